"""Which changes of a network move which measures, as a table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch
from tqdm import tqdm

from audit.conformance.changes import TRANSFORMS, known_change
from audit.conformance.observation import Observation, observe
from audit.conformance.setting import setting_of
from audit.data.transform import resolve_data_config
from audit.network.fitting import fit_weights
from audit.network.plain import frozen, plain
from audit.network.threads import all_of_float32, one_math_thread
from audit.network.weights import read_weights
from audit.plugin.registry import installed

#: (declared, outcome) → the sign that stands for it.
SIGNS: Final = {
    ("same", "same"): "=",
    ("moves", "moves"): "~",
    ("same", "moves"): "!",
    ("moves", "same"): ".",
    **dict.fromkeys(itertools.product(("same", "moves"), ("no value",)), "–"),
    **dict.fromkeys(itertools.product(("same", "moves"), ("not tried",)), "?"),
}


def invariance_table(
    model: str,
    measures: Sequence[str] = ("all",),
    changes: Sequence[str] = (),
    *,
    weights: Path | None = None,
    model_args: Mapping[str, Any] | None = None,
    transform: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """What each change does to each measure on one network.

    Args:
        model: A reference that a model source understands, such as "resnet18".
        measures: Names of measures, patterns, "default" or "all".
        changes: Of `audit.conformance.TRANSFORMS`; none for all.
        weights: A weights file; by default the weights are random.
        model_args: Passed on to the model.
        transform: Overrides of its data configuration, such as `input_size`.
        seed: Of the weights, where none are given, and of what the changes draw.

    Returns:
        One row per change and measure: measure, change, declared ("same" or "moves"), outcome
        ("same", "moves", "no value", "not tried"), part, before, after, note.

    Raises:
        ConfigError: An unknown model, measure or change.
        CheckpointError: The weights do not fit.
    """
    for name in changes:
        known_change(name)
    registry = installed()
    entries = registry.named_measures(list(measures))
    source = registry.model_source(model)
    args = dict(model_args or {})
    with one_math_thread(), all_of_float32():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = frozen(plain(source.create(model, args, False)))
            if weights is None:
                _as_if_trained(network)
        if weights is not None:
            fit_weights(network, read_weights(weights), weights, model, source.adapt)
        config = resolve_data_config(source, network, args, transform or {})
        setting = setting_of(network, config, seed=seed)
        wanted = changes or TRANSFORMS
        observations = observe(entries, setting, wanted, seed)
        total = len(entries) * len(wanted)
        found = list(tqdm(observations, total=total, disable=None, leave=False, desc="changes"))
    table = pd.DataFrame(found, columns=Observation._fields)
    return table.rename(columns={"transform": "change"})


@torch.no_grad()
def _as_if_trained(network: torch.nn.Module) -> None:
    """Draw scales, shifts and statistics of BatchNorm, which begin at 0 and 1.

    Folding would be no change otherwise, and layers with a scale of 0 would have no norm.
    """
    for norm in network.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm) and norm.affine:
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-0.5, 0.5)
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean.uniform_(-0.5, 0.5)
                norm.running_var.uniform_(0.5, 2)


def invariance_matrix(table: pd.DataFrame) -> pd.DataFrame:
    """One row per measure and a column of signs per change, from an `invariance_table`."""
    pairs = zip(table["declared"].astype(str), table["outcome"].astype(str), strict=True)
    signs = [SIGNS[pair] for pair in pairs]
    cells = table.assign(sign=signs)
    matrix = cells.pivot(index="measure", columns="change", values="sign")
    order = [name for name in TRANSFORMS if name in matrix.columns]
    return matrix[order].reset_index().rename_axis(columns=None)
