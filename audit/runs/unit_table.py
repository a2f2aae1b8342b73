"""One network looked at closely: its unit table, without a configuration or a lasting store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.errors import unknown_name
from audit.measuring.view import Wanted
from audit.runs.one_network import Checkpoint, Dataset, network_view, training_images
from audit.topology import Filtration
from audit.units.standing import null_reducers, standing

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn
    from torch.export import ExportedProgram


def unit_table(
    checkpoint_or_module: Checkpoint | nn.Module | ExportedProgram,
    dataset: Dataset,
    layers: str | Sequence[str] | None = None,
    filtration: Filtration = "clique",
    images_per_class: int = 100,
    *,
    transform: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    device: str = "auto",
    seed: int = 0,
    max_classes: int = 20,
    confidence: float | None = 0.95,
    nulls: bool = False,
) -> pd.DataFrame:
    """Feature entropy of every unit of one network for every class.

    Args:
        checkpoint_or_module: A module in memory (it is copied, and left as it was), compiled or
            wrapped as it may be, or what `torch.export` made of one; or a mapping
            with the keys of `[[checkpoints]]` (model, weights, model_args, pretrained); or the
            path of a weights file with its recipe beside it, as `genaudit demo` writes.
        dataset: Name of a dataset plugin; or a mapping of `name` and options; or an open split;
            or an object that a plugin reads: a dataset of torch, a pair of arrays.
        layers: Whose feature maps are taken: "stages" (the end of each stage; where None), "last",
            "all-conv", "all-activations", the path of a module, a pattern of paths, a regular
            expression after "re:"; or several of these.
        filtration: "clique" or "cubical".
        images_per_class: Training images of each class; 0 means all.
        transform: Overrides of the network's data configuration (`input_size`, `mean`, `std`,
            `interpolation`, `crop_pct`); the first three are required for a module that no model
            source recognises.
        batch_size: Images per forward pass.
        device: "auto", "cpu" or "cuda".
        seed: Of the choice of images.
        max_classes: How many classes are looked at where there are more; 0 means all.
        confidence: Coverage of the intervals, in (0, 1); None leaves them and the search for
            redundant units out, which saves a third of a second for 500 units of a class.
        nulls: Whether every unit is set against chance: against its own shuffled maps, against
            images of any class, and against units with random weights. On the same pass, with
            another one of the network with random weights; the births of eight shuffles of 500
            images at most are taken and kept, which takes about eight times as long as theirs
            alone and some 15 MB for ResNet-50.

    Returns:
        Columns layer, unit, class_name, n_images, effective_rate (in [0, 1]), birth_entropy and
        feature_entropy (nats; NaN where no image has a birth), lower and upper (the interval of
        the feature entropy of the class, in nats; NaN for fewer than ten births), status ("ok",
        "dead", "constant", "never_born"; "redundant" for a unit that repeats an earlier one of its
        layer) and repeats (the number of that unit, or −1); one row per layer, unit and class.
        With `nulls` also shuffled_z, labels_z and random_z: how many standard deviations feature
        entropy lies above that of shuffled maps, of as many images of any class, and of units with
        random weights. Below −1.645 is less than chance, which 5% of pairs are by chance alone;
        NaN where a pair has no number or its null does not vary (`audit.units.standing`).

    Raises:
        ConfigError: A name, layer or option that is unknown, or a module that no model source
            recognises and for which `transform` does not say how images are prepared.
        DataError: The dataset cannot be used.
        CheckpointError: The weights cannot be read, or do not fit.
        UnavailableError: No layer has feature maps this filtration is defined for.

    Example:
        >>> import timm
        >>> network = timm.create_model("test_resnet", num_classes=10, in_chans=1)
        >>> size = {"input_size": [1, 32, 32]}
        >>> frame = unit_table(network, "digits", images_per_class=2, transform=size)
        >>> list(frame.columns[:4])
        ['layer', 'unit', 'class_name', 'n_images']
    """
    if filtration not in ("clique", "cubical"):
        raise unknown_name("filtration", filtration, ["clique", "cubical"])
    images = training_images(dataset, images_per_class, seed, max_classes)
    reducers = null_reducers(filtration) if nulls else ()
    with network_view(
        checkpoint_or_module,
        images,
        Wanted((filtration,), reducers=reducers),
        layers=layers,
        transform=transform,
        batch_size=batch_size,
        device=device,
        seed=seed,
    ) as view:
        return standing(view, filtration, confidence=confidence, nulls=nulls)
