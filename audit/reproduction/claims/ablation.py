"""Ablating units of highest feature entropy first hurts accuracy least, of lowest first most.

By the area under the accuracy curve over the share of units that are gone. That the two ends of an
order differ is not enough: chance must lie between them. Rival orders stand beside, each by what
its least important end spares against its most important one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.reproduction import figures
from audit.reproduction.case import FILTRATION, Case
from audit.reproduction.claim import Claim, Found, Quantity, Record
from audit.units.ablation_orders import chosen_orders
from audit.units.cumulative import CumulativeAblation, cumulative
from audit.units.importance import CRITERIA, wanted_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ENTROPY: Final = "feature_entropy"
#: The last one says what an order that sees the labels can do: without it, an order that spares
#: nothing might only say that no unit of the layer matters.
_RIVALS: Final = ("l1_norm", "apoz", "mean_activation", "taylor")
#: Orders of feature entropy, and chance: drawn as full lines with the range over seeds.
_FULL_LINES: Final = 3
#: The order that is drawn.
_CHANCE: Final = next(name for name, one in CRITERIA.items() if one.drawn)


def gather(case: Case) -> Found:
    """Ablate the units of the last convolution in several orders.

    Raises:
        UnavailableError: It is not known which output of the network means which class.
    """
    case.require_labels()
    orders = chosen_orders([_ENTROPY, *_RIVALS, _CHANCE])
    wanted = wanted_by((order.criterion for order in orders), FILTRATION)
    with case.view(case.trained(), wanted, case.last_layer) as view:
        found = cumulative(view, orders, case.steps, filtration=FILTRATION)
    gentle, harsh = _ends(_ENTROPY)
    pairs = {
        "spread": (gentle, harsh),
        "gentle": (gentle, _CHANCE),
        "harsh": (_CHANCE, harsh),
        **{name: _ends(name) for name in _RIVALS},
    }
    numbers, intervals = {}, {}
    for name, (one, other) in pairs.items():
        numbers[name], *ends = _difference(found, one, other)
        intervals[name] = (ends[0], ends[1])
    areas = found.areas.set_index("order")["accuracy"]
    numbers |= {f"area_{name}": float(areas[order]) for name, order in _named_areas().items()}
    return Found(numbers, {"curves": _curves(found), "n_units": found.n_units}, intervals)


def _ends(name: str) -> tuple[str, str]:
    """The orders of a criterion in which the least, and the most important units go first."""
    least = CRITERIA[name].least
    most = "lowest" if least == "highest" else "highest"
    return f"{name}:{least}", f"{name}:{most}"


def _named_areas() -> dict[str, str]:
    gentle, harsh = _ends(_ENTROPY)
    return {"highest": gentle, "lowest": harsh, "chance": _CHANCE}


def _difference(found: CumulativeAblation, one: str, other: str) -> tuple[float, float, float]:
    """Difference of areas with its interval over images; NaN where an order does not exist."""
    table = found.differences
    row = table[(table["order"] == one) & (table["other"] == other)]
    if row.empty:
        return float("nan"), float("nan"), float("nan")
    value, lower, upper = row[["accuracy", "accuracy_lower", "accuracy_upper"]].iloc[0]
    return float(value), float(lower), float(upper)


def _curves(found: CumulativeAblation) -> dict[str, Any]:
    """Order → shares of units that are gone, and accuracies."""
    return {
        str(order): {
            "share": rows["share_ablated"].tolist(),
            "accuracy": rows["accuracy"].tolist(),
        }
        for order, rows in found.curves.groupby("order", sort=False)
    }


def draw(records: Sequence[Record]) -> Mapping[str, Figure]:
    """Accuracy by the share of units that are gone, in every order."""
    gentle, harsh = _ends(_ENTROPY)
    rivals = {name: _ends(name)[0] for name in _RIVALS}
    shown = {"highest entropy first": gentle, "lowest entropy first": harsh, "chance": _CHANCE}
    shown |= {f"{name}, least first": order for name, order in rivals.items()}
    return {"curves": _ablation_curves(records, shown)}


def _ablation_curves(records: Sequence[Record], orders: Mapping[str, str]) -> Figure:
    """Accuracy by the share of ablated units, mean over seeds and their range.

    Args:
        records: Of the claim.
        orders: Words → order.
    """
    cells = figures.by_cell(records)
    figure, axes = figures.grid_of_cells(list(cells))
    for cell, group in cells.items():
        one = axes[cell]
        for number, (words, order) in enumerate(orders.items()):
            known = [r.series["curves"][order] for r in group if order in r.series["curves"]]
            if not known:
                continue
            share = np.asarray(known[0]["share"])
            accuracy = np.array([curve["accuracy"] for curve in known])
            style = "-" if number < _FULL_LINES else "--"
            colour = figures.COLOURS[number]
            one.plot(share, accuracy.mean(0), style, color=colour, linewidth=1.3, label=words)
            if number < _FULL_LINES:
                one.fill_between(
                    share, accuracy.min(0), accuracy.max(0), color=colour, alpha=0.15, linewidth=0
                )
        one.set_ylim(0, 1.02)
        one.set_xlabel("share of units ablated", fontsize=7)
        one.set_ylabel("accuracy on the sample", fontsize=7)
    figures.legend_below(figure, axes[next(iter(cells))], 3)
    return figure


CLAIM: Final = Claim(
    name="ablation",
    statement="ablating units of highest feature entropy first hurts accuracy least, of lowest "
    "first most",
    version="2",
    gather=gather,
    draw=draw,
    quantities=(
        Quantity(
            "spread",
            "highest − lowest",
            "area under the accuracy curve, highest entropy first less lowest first",
            "claim",
            least=0.05,
        ),
        Quantity("gentle", "highest − chance", "highest entropy first less chance", "control"),
        Quantity("harsh", "chance − lowest", "chance less lowest entropy first", "control"),
        *(
            Quantity(name, name, f"least important by {name} first less most important first")
            for name in _RIVALS
        ),
        *(
            Quantity(f"area_{name}", f"area, {name}", "area under the accuracy curve, in [0, 1]")
            for name in _named_areas()
        ),
    ),
)
