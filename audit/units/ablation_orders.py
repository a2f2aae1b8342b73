"""Orders in which the units of a layer are ablated, by the criteria of `importance`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from audit.errors import ConfigError, UnavailableError, unknown_name
from audit.units.importance import CRITERIA, Criterion, End, UnitEvidence, Values


@dataclasses.dataclass(frozen=True)
class Order:
    """A criterion, and from which end its units go.

    Attributes:
        criterion: What puts units in order.
        first: Which end goes first.
    """

    criterion: Criterion
    first: End

    @property
    def name(self) -> str:
        """`criterion:first`, or the criterion's name alone where it is drawn."""
        name = self.criterion.name
        return name if self.criterion.drawn else f"{name}:{self.first}"

    @property
    def least_first(self) -> bool:
        """Whether the least important units go first, which ought to hurt least."""
        return self.first == self.criterion.least


def chosen_orders(orders: Sequence[str] | None = None) -> list[Order]:
    """The orders of these names, each once.

    Args:
        orders: Names of criteria, for both of their ends, or "NAME:highest" or "NAME:lowest" for
            the end that goes first; None or none: all.

    Raises:
        ConfigError: An unknown name or end.

    Example:
        >>> [order.name for order in chosen_orders(["apoz", "taylor:lowest"])]
        ['apoz:highest', 'apoz:lowest', 'taylor:lowest']
    """
    found: dict[str, Order] = {}
    for text in orders or CRITERIA:
        name, _, end = text.partition(":")
        if name not in CRITERIA:
            raise unknown_name("order of units", name, CRITERIA, f"known: {', '.join(CRITERIA)}")
        one = CRITERIA[name]
        if end not in ("", "highest", "lowest") or (end and one.drawn):
            ends = "has no ends" if one.drawn else f"may be {name}:highest or {name}:lowest"
            raise ConfigError(f"order of units {text!r}: {name} {ends}")
        other: End = "lowest" if one.least == "highest" else "highest"
        both: tuple[End, ...] = (one.least,) if one.drawn else (one.least, other)
        for first in both:
            if end in ("", first):
                order = Order(one, first)
                found[order.name] = order
    return list(found.values())


def permutation(values: Values, order: Order, ties: Values) -> Int64[np.ndarray, " u"]:
    """The units of a layer, those first that go first.

    Args:
        values: Of the order's criterion; NaN stands at the end that is least important.
        order: Which end goes first.
        ties: Distinct numbers, by which units of equal values are put in order.

    Example:
        >>> order = chosen_orders(["apoz:lowest"])[0]
        >>> permutation(np.array([0.5, np.nan, 0.1]), order, np.arange(3.0)).tolist()
        [2, 0, 1]
    """
    signed = values if order.first == "lowest" else -values
    unknown = -np.inf if order.least_first else np.inf
    return np.lexsort((ties, np.where(np.isnan(values), unknown, signed)))


def check_varied(values: Values, name: str) -> None:
    """Refuse numbers that put no unit before another.

    Raises:
        UnavailableError: No unit has a number, or all have the same.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        raise UnavailableError(f"{name} has no value for any of the {len(values)} units")
    if len(known) == len(values) > 1 and (known == known[0]).all():
        raise UnavailableError(
            f"{name} is {known[0]:.3g} for each of the {len(values)} units, which gives no order"
        )


@dataclasses.dataclass(frozen=True)
class Ranked:
    """The units of a layer in order.

    Attributes:
        order: Which order.
        units: Shape (draws, u): permutations of the units, the first to go first; several where the
            order is drawn by chance, none where there is no order.
        n_undefined: Units without a number, which stand at the end that is least important.
        reason: Why there is no order; "" where there is one.
    """

    order: Order
    units: Int64[np.ndarray, "d u"]
    n_undefined: int = 0
    reason: str = ""


def put_in_order(
    orders: Sequence[Order], evidence: UnitEvidence, n_draws: int, ties: Values
) -> list[Ranked]:
    """The units of a layer in each of some orders.

    Args:
        orders: Which.
        evidence: On the units.
        n_draws: How often an order by chance is drawn.
        ties: Distinct numbers, by which units of equal values are put in order.

    Returns:
        One for each order; of one that does not exist, the reason.
    """
    known: dict[str, Values | UnavailableError] = {}
    found = []
    for order in orders:
        name = order.criterion.name
        if order.criterion.drawn:
            drawn = [order.criterion.score(evidence) for _ in range(n_draws)]
            found.append(Ranked(order, np.stack([permutation(v, order, ties) for v in drawn])))
            continue
        if name not in known:
            known[name] = _values(order.criterion, evidence)
        values = known[name]
        if isinstance(values, UnavailableError):
            nothing = np.empty((0, evidence.n_units), np.int64)
            found.append(Ranked(order, nothing, evidence.n_units, str(values)))
        else:
            units = permutation(values, order, ties)[None]
            found.append(Ranked(order, units, int(np.isnan(values).sum())))
    return found


def _values(criterion: Criterion, evidence: UnitEvidence) -> Values | UnavailableError:
    """A criterion's number for each unit, or why there is no order by it."""
    try:
        values = np.asarray(criterion.score(evidence), np.float64)
        check_varied(values, criterion.name)
    except UnavailableError as error:
        return error
    return values
