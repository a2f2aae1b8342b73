"""A comparison of the units of two networks: tables, verdicts, and what they rest on."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from audit.units.layers import LayerUnits

#: Table → the question that it answers.
QUESTIONS: Final[Mapping[str, str]] = {
    "layers": "Do the units of a layer have the same feature entropies in both networks?",
    "classes": "The same, class by class.",
    "class_order": "Do both networks put the classes in one order?",
    "matched": "Do units that respond alike share their status?",
}
#: Table → what is tested, how, and how often a verdict is wrong.
HYPOTHESES: Final[Mapping[str, str]] = {
    "layers": (
        "Tested: the units of both are draws from one distribution. Mean over classes of the "
        "Wasserstein distance in standard deviations, against units exchanged between the networks "
        "with all their classes; Holm over layers, so that any 'differ' is wrong with probability "
        "{level:g} at most, if units are independent. 'alike': not found to differ, and a shift of "
        "half a standard deviation would be found with probability 0.8. It is about these two "
        "networks: what another training of either would give, it does not say."
    ),
    "classes": (
        "Tested as above, Wasserstein distance in nats; Benjamini and Hochberg over layers and "
        "classes, so that of the verdicts 'differ' a share of {level:g} is wrong on average."
    ),
    "class_order": (
        "Tested: the order of classes by mean feature entropy in one network says nothing of that "
        "in the other. Kendall's τ against permuted classes, two-sided, interval over classes; "
        "Holm over layers. 'no agreement found': τ = 0.5 would be found with probability 0.8. Both "
        "see the same images: classes of more uniform images may come first in any network."
    ),
    "matched": (
        "Units are matched one to one by their responses to the same images. Tested: the feature "
        "entropy of a unit says nothing of that of the unit it is matched with. Spearman's ρ "
        "within classes, each network on the other half of the images, against random pairs, "
        "one-sided; Holm over layers. The ceiling is what a network's units reach with themselves "
        "on the other half; beyond_rate is ρ of what effective rate leaves. 'no sharing found': "
        "ρ = 0.3 would be found with probability 0.8."
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitComparison:
    """The units of two networks beside each other.

    Verdicts are "differ", "alike", "agree", "opposed", "no agreement found", "shared",
    "no sharing found", and "cannot tell" with the `reason`, or for want of power without one.

    Attributes:
        names: Of the networks.
        level: Of the tests.
        least_rate: Effective rate from which on a unit had a number.
        class_names: That both networks were looked at for.
        pairs: The layers that stand beside each other, with the numbers of their units.
        states: Columns network, layer, and the share of (unit, class) rows in each state.
        layers: Columns layer_first, layer_second, n_classes, mean_first, mean_second (nats),
            distance and detectable (standard deviations), p_value, p_adjusted, verdict, reason.
        classes: Likewise with class_name, n_first and n_second (units with a number), distance,
            spread and detectable in nats.
        class_order: n_classes, kendall, lower, upper, p_value, p_adjusted, verdict, reason.
        matched: n_pairs, n_classes, alike (mean correlation of matched responses),
            alike_by_chance, spearman, lower, upper, ceiling, p_value, p_adjusted, beyond_rate,
            beyond_rate_p_value, detectable, verdict, reason; empty where no networks were given.
    """

    names: tuple[str, str]
    level: float
    least_rate: float
    class_names: tuple[str, ...]
    pairs: tuple[tuple[LayerUnits, LayerUnits], ...]
    states: pd.DataFrame
    layers: pd.DataFrame
    classes: pd.DataFrame
    class_order: pd.DataFrame
    matched: pd.DataFrame

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Question → its table; those that were not asked are left out."""
        found = {name: getattr(self, name) for name in QUESTIONS}
        return {name: table for name, table in found.items() if not table.empty}

    def hypothesis(self, table: str) -> str:
        """What a table's verdicts rest on, in words."""
        return HYPOTHESES[table].format(level=self.level)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "level": self.level,
            "least_rate": self.least_rate,
            "states": self.states.to_dict("records"),
            **{name: table.to_dict("records") for name, table in self.tables.items()},
            "hypotheses": {name: self.hypothesis(name) for name in self.tables},
        }

    def plot(self) -> Figure:
        """Both networks' units by layer, the classes' order, and the verdicts, as a figure.

        Raises:
            AuditError: matplotlib is not installed.
        """
        from audit.units.comparison_figure import comparison_figure

        return comparison_figure(self)

    def _repr_html_(self) -> str:
        """The tables with their questions, for notebooks."""
        first, second = map(html.escape, self.names)
        parts = [f"<p>first: <b>{first}</b>, second: <b>{second}</b></p>"]
        for name, table in self.tables.items():
            parts.append(f"<h4>{html.escape(QUESTIONS[name])}</h4>")
            parts.append(table.to_html(index=False, float_format="{:.3g}".format))
            parts.append(f"<p><small>{html.escape(self.hypothesis(name))}</small></p>")
        return "\n".join(parts)
