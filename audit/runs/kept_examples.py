"""A few units of an audit's first checkpoint, kept in the output folder for reports to show."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from audit.arrays import NO_BIRTH
from audit.errors import AuditError, DataError
from audit.files import write_atomically
from audit.folder.record import MEASURES, RANKING, UNIT_EXAMPLES, UNITS
from audit.folder.table_forms import RANKING_FORM, optional_table
from audit.folder.tables import ALL_MEASURES, read_measures
from audit.folder.unit_examples import VERSION, check_examples
from audit.folder.unit_rows import read_units
from audit.measuring.examples import Pick, UnitExamples, unit_examples
from audit.measuring.view import Wanted
from audit.runs.reopened import reopened_view
from audit.runs.study import Study
from audit.topology.cycles import birth_cycle, birth_hole, cycle_pixels, outline
from audit.topology.entropy import feature_entropy
from audit.topology.intervals import unit_interval
from audit.units.order import rank_units

_log = logging.getLogger("genaudit.reports")

#: Units from either end of the ranking, of one layer and class under each filtration.
_N_EACH: Final = 2
#: Images shown of each unit.
_N_IMAGES: Final = 4
#: Pixels of the longer side of an image as it is kept.
_SIDE: Final = 64
#: Units born on a smaller share of the class are not shown.
_LEAST_RATE: Final = 0.5


def keep_examples(study: Study) -> Path | None:
    """Keep the most and the least stable units of the first checkpoint of the ranking.

    Of the deepest layer in which enough units can be ranked, and of the class in which most can.
    What is there already of the same checkpoint, images and units is not made again. What goes
    wrong costs the examples only, and is logged.

    Args:
        study: The run; its tables lie in the output folder.

    Returns:
        The file, or None where there is none: no unit can be ranked, or something went wrong.
    """
    path = study.options.output / UNIT_EXAMPLES
    try:
        picks, checkpoint = _picks(study.options.output)
        head = _head(study, checkpoint, picks)
        if picks and _kept_head(path.parent) == head:
            return path
        content = head | {"units": list(_units(study, checkpoint, picks))} if picks else None
    except AuditError as error:
        _log.warning("no examples of units are kept: %s", error)
        content = None
    if content is None:
        path.unlink(missing_ok=True)
        return None
    write_atomically(path, json.dumps(content).encode())
    return path


def _picks(folder: Path) -> tuple[dict[str, list[Pick]], str]:
    """Filtration → units to be shown, the most stable first; and the checkpoint they are of."""
    ranking = optional_table(folder / RANKING, RANKING_FORM)
    if ranking is None or ranking.empty:
        measures = read_measures(folder / MEASURES)
        audited = measures.loc[measures["measure"] != ALL_MEASURES, "checkpoint"]
        names = [str(name) for name in audited.unique()]
    else:
        names = [str(name) for name in ranking["checkpoint"]]
    path = folder / UNITS
    if not names or not path.exists():
        return {}, ""
    table = read_units(path, names[0])
    found = {
        str(filtration): picks
        for filtration, group in table.groupby("filtration", observed=True)
        if (picks := _of_filtration(group))
    }
    return found, names[0]


def _of_filtration(table: pd.DataFrame) -> list[Pick]:
    """The units from either end, in the deepest layer that has them."""
    ranked = rank_units(table, "class", _LEAST_RATE)
    ranked = ranked[ranked["unranked"] == ""]
    layers = [layer for layer in table["layer"].drop_duplicates() if layer in set(ranked["layer"])]
    for layer in reversed(layers):
        here = ranked[ranked["layer"] == layer]
        counts = here.groupby("class_name", observed=True)["feature_entropy"].nunique()
        name = counts.idxmax()
        own = here[here["class_name"] == name].sort_values("rank", kind="stable")
        if counts.max() >= 2 * _N_EACH:
            ends = pd.concat([own.head(_N_EACH), own.tail(_N_EACH)])
            return [Pick(str(layer), int(unit), str(name)) for unit in ends["unit"]]
    return []


def _head(study: Study, checkpoint: str, picks: Mapping[str, list[Pick]]) -> dict[str, Any]:
    """What the examples are of."""
    digests = {subject.name: subject.weights_digest for subject in study.subjects}
    return {
        "version": VERSION,
        "checkpoint": checkpoint,
        "weights_digest": digests.get(checkpoint, ""),
        "sample": study.sample.fingerprint,
        "picks": {name: [list(pick) for pick in found] for name, found in picks.items()},
    }


def _kept_head(folder: Path) -> dict[str, Any] | None:
    """What the examples are of that lie there already, if any that can be drawn."""
    try:
        content = check_examples(folder)
    except DataError:
        return None
    return content and {name: part for name, part in content.items() if name != "units"}


def _units(
    study: Study, checkpoint: str, picks: Mapping[str, list[Pick]]
) -> Iterator[dict[str, Any]]:
    """Each unit as plain data."""
    wanted = Wanted(tuple(sorted(picks)))  # type: ignore[arg-type]
    with reopened_view(study, checkpoint, wanted) as view:
        for filtration, chosen in picks.items():
            found = unit_examples(view, filtration, chosen, _N_IMAGES)  # type: ignore[arg-type]
            for number, examples in enumerate(found):
                yield {"stable": number < _N_EACH, **_unit(examples)}


def _unit(examples: UnitExamples) -> dict[str, Any]:
    """A unit and what is shown of it."""
    births = examples.births
    levels, counts = np.unique(births[births != NO_BIRTH], return_counts=True)
    numbers = feature_entropy(births)
    lower, upper = unit_interval(births[:, None])
    shown = zip(examples.images, examples.maps, examples.levels, strict=True)
    return {
        **examples.pick._asdict(),
        "filtration": examples.filtration,
        "height": examples.maps.shape[1],
        "width": examples.maps.shape[2],
        "n_images": len(births),
        "effective_rate": float(numbers.effective_rate),
        "feature_entropy": float(numbers.feature_entropy),
        "interval": [float(lower[0]), float(upper[0])] if np.isfinite(lower[0]) else None,
        "births": [levels.tolist(), counts.tolist()],
        "shown": [_shown(*one, examples.filtration) for one in shown],
    }


def _shown(
    pixels: np.ndarray, feature_map: np.ndarray, level: int, filtration: str
) -> dict[str, Any]:
    """One image, the map of it, and where the birth lies."""
    low, high = float(feature_map.min()), float(feature_map.max())
    scaled = np.rint((feature_map - low) / (high - low if high > low else 1) * 255)
    found: dict[str, Any] = {
        "image": _address(_thumbnail(pixels), "JPEG"),
        "map": _address(Image.fromarray(scaled.astype(np.uint8)), "PNG"),
        "level": int(level),
    }
    if filtration == "cubical":
        hole = birth_hole(feature_map)
        if hole is not None:
            present = Image.fromarray(np.where(hole.present, 96, 255).astype(np.uint8))
            found |= {"present": _address(present, "PNG"), "outline": outline(hole.hole).tolist()}
        return found
    cycle = birth_cycle(feature_map)
    if cycle is not None:
        found |= {
            "edges": cycle.edges.tolist(),
            "cycle": list(cycle.cycle),
            "outline": outline(cycle_pixels(feature_map, cycle)).tolist(),
        }
    return found


def _thumbnail(pixels: np.ndarray) -> Image.Image:
    """An image, at most `_SIDE` pixels a side."""
    values = np.rint(pixels * 255).astype(np.uint8)
    image = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    image.thumbnail((_SIDE, _SIDE))
    return image


def _address(image: Image.Image, form: str) -> str:
    """An image as an address that holds all of it."""
    buffer = io.BytesIO()
    image.save(buffer, form, **({"quality": 80} if form == "JPEG" else {"optimize": True}))
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{form.lower()};base64,{text}"
