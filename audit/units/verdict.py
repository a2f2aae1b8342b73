"""What ablation curves say of the claim that units of high feature entropy matter least."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from audit.units.ablation_orders import Order

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Word: TypeAlias = Literal["holds", "holds weakly", "does not hold here", "undefined"]

#: The criterion of the claim; its least important end goes first in one order, last in the other.
CLAIMED: Final = "feature_entropy"


class Verdict(NamedTuple):
    """What to believe of the claim.

    Attributes:
        word: In a word or three.
        sentence: Why, with numbers.
    """

    word: Word
    sentence: str


def judge(
    orders: Sequence[Order],
    areas: pd.DataFrame,
    differences: pd.DataFrame,
    is_guessing: bool = False,
) -> Verdict:
    """Whether ablating the highest feature entropy first hurts least, and the lowest first most.

    By the area under the accuracy curve, with paired 95% intervals over images; "shown" means that
    the interval of a difference leaves out 0, which happens by chance in about 2.5% of cases to
    either side.

    - "holds": every other order is shown to hurt more than the highest first and less than the
      lowest first. As all must be shown, the chance of saying so where one is not so is at most
      that of one comparison (an intersection–union test).
    - "holds weakly": the highest first is shown to hurt less than the lowest first, and an order
      that is drawn, if one was tried, to lie between them; but not so of every rival.
    - "does not hold here": anything else.
    - "undefined": one of the two orders does not exist, or the network has nothing to lose.

    Args:
        orders: Those that were tried.
        areas: An `area_table` of them.
        differences: A `difference_table` of them.
        is_guessing: Whether the network is not told from guessing before any unit is gone.

    Source:
        Zhao & Zhang 2022, program; Berger, Multiparameter hypothesis testing and acceptance
        sampling, Technometrics 24, 1982.
    """
    claimed = {order.least_first: order.name for order in orders if order.criterion.name == CLAIMED}
    if len(claimed) < 2:
        return Verdict("undefined", "the two orders by feature entropy were not both tried")
    by_name = areas.set_index("order")
    reason = str(by_name.loc[claimed[True], "reason"])
    if is_guessing:
        reason = "the network is not told from guessing before any unit is gone"
    if reason:
        return Verdict("undefined", reason)
    gentle, harsh = claimed[True], claimed[False]
    by_pair = differences.set_index(["order", "other"])
    known = [str(name) for name, why in by_name["reason"].items() if not why]

    def hurts_less(one: str, other: str) -> bool:
        return bool(by_pair["accuracy_lower"][one, other] > 0)

    drawn = [order.name for order in orders if order.criterion.drawn and order.name in known]
    rivals = [name for name in known if name not in (gentle, harsh)]
    as_gentle = [name for name in rivals if not hurts_less(gentle, name)]
    as_harsh = [name for name in rivals if not hurts_less(name, harsh)]
    between = not {*as_gentle, *as_harsh} & {*drawn}
    word: Word = "does not hold here"
    if hurts_less(gentle, harsh) and between:
        word = "holds weakly" if as_gentle or as_harsh else "holds"
    parts = [", ".join(_area(by_name, name) for name in (gentle, *drawn, harsh))]
    parts.append(f"the first less the last {_with_interval(by_pair.loc[(gentle, harsh)], '+')}")
    if as_gentle:
        parts.append(f"not shown to hurt more than {gentle}: {', '.join(as_gentle)}")
    if as_harsh:
        parts.append(f"not shown to hurt less than {harsh}: {', '.join(as_harsh)}")
    return Verdict(word, "; ".join(parts))


def _area(by_name: pd.DataFrame, name: str) -> str:
    """The area of an order with its interval."""
    return f"{name} {_with_interval(by_name.loc[name])}"


def _with_interval(row: Any, sign: str = "") -> str:
    """A number of accuracy and its interval, with a sign in any case where one is given."""
    number, low, high = (row[f"accuracy{end}"] for end in ("", "_lower", "_upper"))
    return f"{number:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
