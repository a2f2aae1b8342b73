"""Which columns the findings show, fixed before any of these zoos was measured."""

from __future__ import annotations

from typing import Final

FILTRATIONS: Final = ("clique", "cubical")

#: As the paper has it, and the means over layers of its nearest relatives.
TOPOLOGY: Final = (
    *("feature_entropy.clique", "feature_entropy.cubical"),
    *("feature_entropy.clique.last", "feature_entropy.cubical.last"),
    *("effective_rate.clique", "effective_rate.cubical"),
    *("birth_class_information.clique", "birth_class_information.cubical"),
    *("birth_class_information.clique.last", "birth_class_information.cubical.last"),
    *("birth_stability.clique", "birth_stability.cubical"),
    *("birth_separation.clique", "birth_separation.cubical"),
    "total_persistence_information",
)
#: Always reported, as marks to beat.
BASELINES: Final = (
    *("parameters", "macs", "train_accuracy", "train_loss", "mean_confidence", "margin_p10"),
    *("augmentation_consistency", "random"),
)
#: One or two of every other kind, the ones that others found best.
OTHERS: Final = (
    *("altered_accuracy", "mixup_accuracy", "dbi_mixup", "logme", "path_norm", "parameter_norm"),
    *("pacbayes_flatness_magnitude", "sharpness_magnitude", "normalised_margin.input"),
    *("label_smoothness", "neural_collapse.nc1", "gradient_coherence", "heavy_tail.alpha"),
)
MAIN: Final = (*BASELINES, *TOPOLOGY, *OTHERS)

#: Measures that come for both filtrations.
WITH_FILTRATION: Final = (
    *("feature_entropy", "feature_entropy_corrected", "feature_entropy_matched"),
    *("shuffled_null", "units_below_chance", "random_weights_null"),
    *("effective_rate", "birth_class_information", "birth_information_beyond_magnitude"),
    *("birth_separation", "birth_stability", "birth_mixing_consistency", "birth_redundancy"),
)
#: Measures of whole persistence diagrams of the cubical filtration.
OF_DIAGRAMS: Final = (
    *("total_persistence_information", "total_persistence_spread"),
    *("persistent_entropy_spread", "hole_area", "hole_entropy"),
)
#: Drawn and tabulated over depth.
OVER_DEPTH: Final = (
    *("feature_entropy", "effective_rate", "birth_class_information"),
    *("birth_separation", "birth_stability"),
)
#: Feature entropy as it is, and estimated or scaled otherwise.
ENTROPIES: Final = {
    "feature_entropy": "as published: plug-in entropy over effective rate",
    "feature_entropy_corrected": "Chao–Wang–Jost estimate of the entropy",
    "feature_entropy_matched": "all maps pooled to one resolution first",
    "shuffled_null": "z against the same maps with pixels shuffled",
    "units_below_chance": "share of units below that chance",
    "random_weights_null": "z against the network with random weights",
}


def variants(stem: str, part: str = "") -> list[str]:
    """The columns of a measure under both filtrations."""
    return [f"{stem}.{f}{'.' + part if part else ''}" for f in FILTRATIONS]
