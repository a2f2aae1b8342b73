"""Criteria by which the units of a layer are put in order, such as feature entropy or APoZ.

A criterion is a small function: evidence on the units of a layer in, one number for each unit out;
NaN where it has none. It says which end of its scale is said to be least important. Units without
a number are always placed at that end: they go first where the least important go first, and last
where they go last. To add an order, write one such function and put `@criterion` on it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from audit.errors import UnavailableError
from audit.measuring.view import Wanted
from audit.topology.entropy import feature_entropy_by_class
from audit.units._evidence import ActivationSums, gate_effects
from audit.units._writers import filters, writer_path

if TYPE_CHECKING:
    from audit.measuring.view import NetworkView
    from audit.network.layers import LayerSpec
    from audit.topology import Filtration, LayerBirths

End: TypeAlias = Literal["highest", "lowest"]
Values: TypeAlias = Float[np.ndarray, " u"]

#: Mean feature entropy below this, in nats, is taken for none, as the authors' program does: maps
#: whose birth is the same on all images say nothing of a class.
UNINFORMATIVE_NATS: Final = 0.1


class UnitEvidence:
    """What is known of the units of one layer; each part is computed when it is first asked for.

    Args:
        view: The network and its training sample, with one layer.
        spec: The layer.
        filtration: Whose births are taken.

    Attributes:
        labels: Shape (n,), from 0, without gaps: classes without an image are left out.
        n_classes: Classes with an image.
        generator: Of what is drawn.
    """

    def __init__(
        self, view: NetworkView, spec: LayerSpec, filtration: Filtration = "clique"
    ) -> None:
        self._view, self._spec, self._filtration = view, spec, filtration
        present, self.labels = np.unique(view.labels, return_inverse=True)
        self.n_classes = len(present)
        self.generator = view.generator("ablation/order")

    @property
    def n_units(self) -> int:
        """Units of the layer."""
        return self._spec.reading.units

    @functools.cached_property
    def births(self) -> LayerBirths:
        """Births of every unit on every image; the view has this layer alone.

        Raises:
            UnavailableError: The filtration is not defined for maps of this shape.
        """
        return next(iter(self._view.births(self._filtration)))

    @functools.cached_property
    def class_means(self) -> Float[np.ndarray, "c u"]:
        """Mean activation over positions and the images of each class."""
        sums = self._view.reduced(ActivationSums)
        present = sums.by_class[np.unique(self._view.labels)]
        return np.asarray(present / np.bincount(self.labels)[:, None])

    @functools.cached_property
    def means(self) -> Values:
        """Mean activation over positions and images."""
        return np.asarray(self._view.reduced(ActivationSums).by_class.sum(0) / len(self.labels))

    @functools.cached_property
    def zero_rates(self) -> Values:
        """Share of positions and images at which the unit is exactly zero."""
        return self._view.reduced(ActivationSums).zeros / len(self.labels)

    @functools.cached_property
    def effects(self) -> Float[np.ndarray, "n u"]:
        """By how much each image's loss falls, to first order, if the unit is set to zero; nats."""
        return gate_effects(self._view, self._spec)

    @functools.cached_property
    def filters(self) -> Float[np.ndarray, "u k"]:
        """The weights that each unit is made with.

        Raises:
            UnavailableError: No convolution or linear map writes as many units.
        """
        module = self._view.module
        images = next(iter(self._view.batches()))[0][:1]
        path = writer_path(module, images, self._spec.place, self.n_units)
        rows = filters(module.get_submodule(path))  # type: ignore[arg-type]
        return np.asarray(rows.detach().double().cpu().numpy())


Score: TypeAlias = Callable[[UnitEvidence], Values]


@dataclasses.dataclass(frozen=True)
class Criterion:
    """A number for each unit of a layer.

    Attributes:
        name: As `orders` name it.
        summary: What it is, in a line.
        source: Who proposed it.
        least: Which of its ends is said to be least important.
        score: Evidence → a number for each unit, NaN where there is none.
        births: Whether it asks for births, which are then taken on the pass of activations.
        drawn: Whether its numbers are drawn by chance, so that it has neither end.
    """

    name: str
    summary: str
    source: str
    least: End
    score: Score
    births: bool = False
    drawn: bool = False


#: Every criterion by name, in the order in which tables list them.
CRITERIA: Final[dict[str, Criterion]] = {}


def criterion(
    summary: str, *, least: End, source: str = "", births: bool = False, drawn: bool = False
) -> Callable[[Score], Score]:
    """Register a function as a criterion, under its own name.

    Args:
        summary: What it is, in a line.
        least: Which of its ends is said to be least important.
        source: Who proposed it.
        births: Whether it asks for births.
        drawn: Whether its numbers are drawn by chance.
    """

    def register(score: Score) -> Score:
        name = score.__name__
        CRITERIA[name] = Criterion(name, summary, source, least, score, births, drawn)
        return score

    return register


@criterion(
    "feature entropy, mean over classes, in nats",
    least="highest",
    source="Zhao & Zhang, ICLR 2022",
    births=True,
)
def feature_entropy(evidence: UnitEvidence) -> Values:
    """Mean feature entropy over the classes in which the unit is ever born.

    None where it is born in no class (dead, constant and never born units), and where the mean is
    below `UNINFORMATIVE_NATS`.
    """
    births = evidence.births.birth_levels
    by_class = feature_entropy_by_class(births, evidence.labels, evidence.n_classes)
    values = by_class.feature_entropy
    known = np.isfinite(values)
    total, n_known = np.where(known, values, 0).sum(0), known.sum(0)
    mean = np.divide(total, n_known, out=np.full(len(total), np.nan), where=n_known > 0)
    return np.where(mean < UNINFORMATIVE_NATS, np.nan, mean)


@criterion(
    "sum of the absolute weights of the unit's filter",
    least="lowest",
    source="Li et al., Pruning filters for efficient ConvNets, ICLR 2017, section 3.1",
)
def l1_norm(evidence: UnitEvidence) -> Values:
    """Σ |w| over the unit's filter, its bias left out."""
    return np.asarray(np.abs(evidence.filters).sum(1))


@criterion(
    "average percentage of zeros, in [0, 1]",
    least="highest",
    source="Hu et al., Network trimming, arXiv:1607.03250, 2016, equation 1",
)
def apoz(evidence: UnitEvidence) -> Values:
    """Share of positions and images at which the unit is exactly zero, in [0, 1]."""
    return evidence.zero_rates


@criterion(
    "mean activation over positions and images",
    least="lowest",
    source="as a rival in Molchanov et al., ICLR 2017, section 2.2",
)
def mean_activation(evidence: UnitEvidence) -> Values:
    """Mean over positions and images, with its sign."""
    return evidence.means


@criterion(
    "class selectivity index, in [0, 1]",
    least="lowest",
    source="Morcos et al., On the importance of single directions, ICLR 2018, section 2.3",
)
def class_selectivity(evidence: UnitEvidence) -> Values:
    """(μ_max − μ_rest) / (μ_max + μ_rest), of mean activations on classes.

    μ_max is the largest mean activation on the images of one class and μ_rest the mean of those on
    the others. None where one of them is negative, for which the index is not defined, or all are
    zero.

    Raises:
        UnavailableError: There is one class only.
    """
    means = evidence.class_means
    if len(means) < 2:
        raise UnavailableError("class selectivity compares classes, and the sample has one")
    most = means.max(0)
    rest = (means.sum(0) - most) / (len(means) - 1)
    defined = (means >= 0).all(0) & (most > 0)
    undefined = np.full(len(most), np.nan)
    return np.asarray(np.divide(most - rest, most + rest, out=undefined, where=defined))


@criterion(
    "mean absolute first-order effect on the loss of setting the unit to zero, in nats",
    least="lowest",
    source="Molchanov et al., Pruning convolutional neural networks for resource efficient "
    "inference, ICLR 2017, equation 8, summed over positions as the gates of Molchanov et al., "
    "CVPR 2019, section 3.2",
)
def taylor(evidence: UnitEvidence) -> Values:
    """Mean over images of |Σ z ∂L/∂z| over the positions of the unit's map z."""
    return np.asarray(np.abs(evidence.effects).mean(0))


@criterion("drawn by chance, several times", least="lowest", drawn=True)
def random(evidence: UnitEvidence) -> Values:
    """A number for each unit, drawn anew at every call."""
    return evidence.generator.random(evidence.n_units)


def wanted_by(criteria: Iterable[Criterion], filtration: Filtration) -> Wanted:
    """What a view is told to take along on its first pass for some criteria.

    Args:
        criteria: Which.
        filtration: Whose births are taken.
    """
    births = any(criterion.births for criterion in criteria)
    return Wanted((filtration,) if births else (), reducers=(ActivationSums,))
