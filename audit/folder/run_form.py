"""What `run.json` must hold where code reads it: `RunForm`, and the form of each of its parts.

Records of older runs lack parts, so that each may be missing but for what tells one entry of a list
or an object from another; `audit.folder.record.read_run` is told which parts its reader needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from audit.folder.json_files import Count, Finite, Form, Text
from audit.plugin import Cost
from audit.plugin.parts import Direction
from audit.store import canonical_json

#: A training image, a held-out image and, where they are near, the bits that differ.
_Pair = Annotated[list[Any], Field(min_length=2, max_length=3)]
#: The largest seed, which generators of every library that is seeded take.
LARGEST_SEED: Final = 2**32 - 1


def _digestible(value: Any) -> Any:
    """Refuse numbers of which no digest is taken."""
    try:
        canonical_json(value)
    except ValueError as error:
        raise PydanticCustomError("digestible", "without infinite numbers and NaN") from error
    return value


_DIGESTIBLE: Final = BeforeValidator(_digestible)


class PartForm(Form):
    """What was declared of a part of a measure."""

    name: Text
    summary: Text = ""
    direction: Direction = "none"
    claim: Text = ""
    judged: bool = False
    by_depth: bool = False


class MeasureForm(Form):
    """What was declared of a measure (`audit.folder.columns.describe_measure`)."""

    direction: Direction
    version: Text = ""
    invariance: Text = ""
    varies_with: list[Text] = Field(default_factory=list)
    cost: Cost = "weights"
    formula: Text = ""
    claim: Text = ""
    weakness: Text = ""
    summary: Text = ""
    source: Text = ""
    unit: Text = ""
    parts: list[PartForm] = Field(default_factory=list)
    baseline: bool = False
    control: bool = False
    called: Text = ""
    diagnostic: bool = False
    order: Finite = 0.0
    plugin: Text = ""


class LayerForm(Form):
    """A layer of a checkpoint: the size of its maps in pixels, its units, the share of ties."""

    layer: Text
    height: Count
    width: Count
    units: Count = 0
    tied_rate: Annotated[Finite, Field(ge=0, le=1)] | None = None


class DoubtForm(Form):
    """A reason to think that a network is not run as it was trained."""

    kind: Text = ""
    reason: Text


class DataConfigForm(Form):
    """How images were prepared for a network; `input_size` is channels, height, width."""

    input_size: Annotated[list[Count], Field(min_length=3, max_length=3)]


class CheckpointForm(Form):
    """A checkpoint that was audited."""

    checkpoint: Text
    model: Text = ""
    model_args: Annotated[dict[Text, Any], _DIGESTIBLE] = Field(default_factory=dict)
    source: Text = ""
    weights: Text | None = None
    weights_digest: Text | None = None
    which: Text | None = None
    class_order: list[Text] | None = None
    class_order_from: Text = ""
    data_config: DataConfigForm | None = None
    notes: list[Text] = Field(default_factory=list)
    layers: list[LayerForm] = Field(default_factory=list)
    doubts: list[DoubtForm] = Field(default_factory=list)


class DatasetForm(Form):
    """The training set and the sample of it."""

    name: Text = ""
    options: dict[Text, Any] = Field(default_factory=dict)
    class_names: list[Text] = Field(default_factory=list)
    n_images: Count = 0
    n_sampled: Count = 0
    images_of_class: dict[Text, Count] = Field(default_factory=dict)
    skipped: dict[Text, Count] = Field(default_factory=dict)
    oddities: dict[Text, Count] = Field(default_factory=dict)
    fingerprint: Text = ""
    excluded: dict[Text, Text] = Field(default_factory=dict)
    notes: list[Text] = Field(default_factory=list)


class OverlapForm(Form):
    """Training images that are also among the held-out images; pairs of names, with bits apart."""

    n_sampled: Count
    n_held_out: Count
    n_exact: Count
    n_near: Count
    exact: list[_Pair] = Field(default_factory=list)
    near: list[_Pair] = Field(default_factory=list)
    unreadable: dict[Text, Any] = Field(default_factory=dict)


class HeldOutForm(Form):
    """Where held-out accuracies are, as the configuration says."""

    table: Text | None = None
    format: Text = "table"


class ConfigForm(Form):
    """The configuration, of which `audit.runs.config` checks the rest where it is run again."""

    dataset: dict[Text, Any] = Field(default_factory=dict)
    held_out: HeldOutForm | None = None


class CorrelationForm(Form):
    """How correlations were made."""

    target: Text = ""
    n_models: Count = 0
    n_bootstrap: Count = 0
    confidence: Annotated[Finite, Field(gt=0, lt=1)] = 0.95
    resampled: Text = ""
    notes: list[Text] = Field(default_factory=list)
    inputs: Text = ""
    sha256: Text = ""


class RankingForm(Form):
    """How a ranking was made; statistics of its ranker are read as they come."""

    mode: Text = ""
    score_is: Text = ""
    description: Text = ""
    left_out: Text | None = None
    measures: list[Text] = Field(default_factory=list)
    confidence: Annotated[Finite, Field(gt=0, lt=1)] = 0.9
    notes: list[Text] = Field(default_factory=list)
    inputs: Text = ""
    sha256: Text = ""


class ReportsForm(Form):
    """What became of each report: files by reporter, and reasons by reporter."""

    written: dict[Text, list[Text]]
    failed: dict[Text, Text]


def _told_apart(entries: Sequence[CheckpointForm]) -> Sequence[CheckpointForm]:
    """Refuse a list that names a checkpoint twice."""
    if len({entry.checkpoint for entry in entries}) < len(entries):
        raise PydanticCustomError("told_apart", "a list that names each checkpoint once")
    return entries


_TOLD_APART: Final = AfterValidator(_told_apart)


class RunForm(Form):
    """The whole record (`audit.runs.study.describe`, and what later stages add)."""

    written_as: Literal[1] = Field(default=1, alias="schema")
    genaudit: Text = ""
    commit: Text | None = None
    versions: dict[Text, Text | None] = Field(default_factory=dict)
    config: ConfigForm = ConfigForm()
    base: Text = ""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    device: Text = ""
    dtype: Text = ""
    dataset: DatasetForm = DatasetForm()
    overlap: OverlapForm | None = None
    measures: Annotated[dict[Text, MeasureForm], _DIGESTIBLE] = Field(default_factory=dict)
    checkpoints: Annotated[list[CheckpointForm], _TOLD_APART] = Field(default_factory=list)
    complete: bool = True
    missing: Count = 0
    correlation: CorrelationForm = CorrelationForm()
    ranking: RankingForm = RankingForm()
    reports: ReportsForm = ReportsForm(written={}, failed={})
