"""How each number was made: images, weights, code and settings, and what was not done."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from audit_reports.results import plain
from audit_reports.tables import Tables, natural_key
from audit_reports.wording import count, fixed, is_number, listing, loose, sort_key

#: Rows of the table of checkpoints, and images named as excluded; run.json has all.
MOST_CHECKPOINTS: Final = 200
MOST_EXCLUDED: Final = 50
SHORT: Final = 12

Fact = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The section as the template draws it.

    Attributes:
        data: Facts on the training set: (label, words, full text or "").
        classes: (class, images used).
        excluded: (image, reason).
        n_excluded_hidden: Excluded images left out.
        copies: (training image, held-out image, "exact" or how many bits of the hash differ).
        n_copies_hidden: Copies left out.
        checkpoints: Keys as in `_checkpoint`.
        shared: What all checkpoints have in common, which the table then leaves out.
        varied: What they differ in: (key, heading).
        n_checkpoints_hidden: Checkpoints left out.
        layers: (model, number of checkpoints, rows of (layer, size, units, tied rate)).
        machine: Facts on code and machine.
        measures: Keys as in `_measure`.
        config: The configuration as JSON; empty if not recorded.
        limits: What was not done, in sentences.
    """

    data: Sequence[Fact]
    classes: Sequence[tuple[str, str]]
    excluded: Sequence[tuple[str, str]]
    n_excluded_hidden: int
    copies: Sequence[tuple[str, str, str]]
    n_copies_hidden: int
    checkpoints: Sequence[Mapping[str, Any]]
    shared: Sequence[Fact]
    varied: Sequence[tuple[str, str]]
    n_checkpoints_hidden: int
    layers: Sequence[tuple[str, int, Sequence[tuple[str, str, str, str]]]]
    machine: Sequence[Fact]
    measures: Sequence[Mapping[str, Any]]
    config: str
    limits: Sequence[str]


def provenance(tables: Tables) -> Provenance:
    """Lay out the run record."""
    data = tables.section("dataset")
    entries = tables.entries("checkpoints")
    excluded = data.get("excluded")
    excluded = dict(excluded) if isinstance(excluded, Mapping) else {}
    config = tables.run.get("config")
    rows = [_checkpoint(entry) for entry in entries]
    copies = _copies(tables.section("overlap"))
    return Provenance(
        data=_data(data, len(excluded)),
        classes=_classes(data),
        excluded=[(str(k), str(v)) for k, v in list(excluded.items())[:MOST_EXCLUDED]],
        n_excluded_hidden=max(0, len(excluded) - MOST_EXCLUDED),
        copies=copies[:MOST_EXCLUDED],
        n_copies_hidden=max(0, len(copies) - MOST_EXCLUDED),
        checkpoints=rows[:MOST_CHECKPOINTS],
        shared=[
            (label, rows[0][key], "")
            for key, label in _SETTINGS.items()
            if _same(rows, key) and rows[0][key]
        ],
        varied=[(k, label) for k, label in _SETTINGS.items() if rows and not _same(rows, k)],
        n_checkpoints_hidden=max(0, len(entries) - MOST_CHECKPOINTS),
        layers=_layers(entries),
        machine=_machine(tables),
        measures=_measures(tables),
        config=json.dumps(plain(config), indent=2, ensure_ascii=False) if config else "",
        limits=limits(tables),
    )


def _data(data: Mapping[str, Any], n_excluded: int) -> list[Fact]:
    """Facts on the training set."""
    facts: list[Fact] = []
    if data.get("name"):
        facts.append(("Training set", str(data["name"]), ""))
    if data.get("options"):
        facts.append(("Options", loose(data["options"]), ""))
    if data.get("fingerprint"):
        facts.append(("Fingerprint", _short(data["fingerprint"]), str(data["fingerprint"])))
    if is_number(data.get("n_images")):
        facts.append(("Images", fixed(data["n_images"], 0), ""))
    if is_number(data.get("n_sampled")):
        facts.append(("Images used", fixed(data["n_sampled"], 0), ""))
    per_class = data.get("images_per_class")
    if is_number(per_class):
        words = f"up to {fixed(per_class, 0)}" if per_class else "all"
        facts.append(("Images per class", words, ""))
    names, sampled = data.get("class_names"), data.get("images_of_class")
    if isinstance(names, list | tuple) and isinstance(sampled, Mapping):
        facts.append(("Classes used", f"{len(sampled)} of {len(names)}", ""))
    if data:
        facts.append(("Images excluded", fixed(n_excluded, 0) if n_excluded else "none", ""))
    facts += _counted(data, "skipped", "Passed over")
    facts += _counted(data, "oddities", "Odd pixels in images used")
    return facts


def _copies(overlap: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Training images that are also among the held-out images, exact copies first."""
    pairs = [*(overlap.get("exact") or []), *(overlap.get("near") or [])]
    return [
        (str(pair[0]), str(pair[1]), f"{pair[2]} of 256 bits differ" if pair[2:] else "exact")
        for pair in pairs
        if isinstance(pair, list | tuple) and len(pair) > 1
    ]


def _counted(data: Mapping[str, Any], key: str, label: str) -> list[Fact]:
    """One fact of counts by kind, if there are any."""
    counts = data.get(key)
    if not isinstance(counts, Mapping) or not counts:
        return []
    return [(label, "; ".join(f"{loose(n)} × {what}" for what, n in counts.items()), "")]


def _classes(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Images used of each class."""
    sampled = data.get("images_of_class")
    if isinstance(sampled, Mapping):
        return [(str(name), loose(n)) for name, n in sampled.items()]
    names = [str(name) for name in data.get("class_names") or []]
    per_class = data.get("images_per_class")
    if isinstance(per_class, Mapping):
        return [(str(name), loose(n)) for name, n in per_class.items()]
    if isinstance(per_class, list | tuple):
        labels = names or [f"class {index}" for index in range(len(per_class))]
        return list(zip(labels, map(loose, per_class), strict=False))
    return [(name, "") for name in names]


def _checkpoint(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table of checkpoints."""
    notes = entry.get("notes")
    return {
        "checkpoint": str(entry.get("checkpoint", "")),
        "model": str(entry.get("model") or ""),
        "model_args": loose(entry.get("model_args") or {}),
        "weights": str(entry.get("weights") or ""),
        "digest": _short(entry.get("weights_digest")),
        "full_digest": str(entry.get("weights_digest") or ""),
        "source": str(entry.get("source") or ""),
        "data_config": loose(entry.get("data_config") or {}),
        "notes": "; ".join(map(str, notes)) if isinstance(notes, list | tuple) else "",
    }


def _same(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Whether a setting is the same for every checkpoint."""
    return len({row[key] for row in rows}) == 1


def _layers(
    entries: Sequence[Mapping[str, Any]],
) -> list[tuple[str, int, list[tuple[str, str, str, str]]]]:
    """The layers measured, once per model and set of layers."""
    groups: dict[tuple[Any, ...], list[Sequence[Mapping[str, Any]]]] = {}
    for entry in entries:
        layers = [layer for layer in entry.get("layers") or [] if isinstance(layer, Mapping)]
        if layers:
            shape = tuple(tuple(map(str, map(layer.get, _SHAPE))) for layer in layers)
            groups.setdefault((str(entry.get("model") or ""), shape), []).append(layers)
    found = []
    for (model, shape), members in groups.items():
        rows = []
        for index, (layer, height, width, units) in enumerate(shape):
            rates = [member[index].get("tied_rate") for member in members]
            known = [float(rate) for rate in rates if is_number(rate)]
            tied = f"{100 * sum(known) / len(known):.1f} %" if known else fixed(None)
            rows.append((layer, f"{height} × {width}", units, tied))
        found.append((model, len(members), rows))
    return sorted(found, key=lambda group: natural_key(group[0]))[:30]


_SETTINGS: Final = {
    "model_args": "Arguments of the model",
    "data_config": "How images were prepared",
    "notes": "Notes",
}
_SHAPE: Final = ("layer", "height", "width", "units")


def _machine(tables: Tables) -> list[Fact]:
    """Facts on code and machine."""
    run = tables.run
    facts: list[Fact] = []
    labels = {"genaudit": "genaudit", "device": "Device", "dtype": "Precision", "seed": "Seed"}
    for key, label in labels.items():
        if run.get(key) is not None:
            value = run[key]
            facts.append((label, str(value) if key == "seed" else loose(value), ""))
    if run.get("commit"):
        facts.append(("Commit", _short(run["commit"]), str(run["commit"])))
    versions = tables.section("versions")
    facts += [(str(k), loose(v), "") for k, v in versions.items() if k != "genaudit"]
    return facts


def _measures(tables: Tables) -> list[dict[str, Any]]:
    """One row per registered measure, with what it cost here."""
    known = tables.section("measures")
    owner = {column: tables.owner(str(column)) for column in tables.wide.columns}
    spent = tables.measures.assign(entry=tables.measures["measure"].map(owner))
    # Parts of a measure are computed together: each states the time of the whole.
    together = spent.groupby(["entry", "checkpoint"])["seconds"].max()
    seconds = together.groupby("entry").sum(min_count=1).to_dict()
    rows = []
    for name, entry in sorted(known.items()):
        if not isinstance(entry, Mapping):
            continue
        fields = ("version", "direction", "invariance", "cost", "summary", "source", "plugin")
        row = {field: str(entry.get(field) or "") for field in fields}
        total = seconds.get(name)
        rows.append(
            row
            | {
                "name": str(name),
                "baseline": bool(entry.get("baseline")),
                "seconds": fixed(total, 1),
                "seconds_key": sort_key(total),
            }
        )
    return rows


def limits(tables: Tables) -> list[str]:
    """What was not done, and what that means for the reader."""
    data = tables.section("dataset")
    said = []
    n_images, n_sampled = data.get("n_images"), data.get("n_sampled")
    if is_number(n_images) and is_number(n_sampled) and n_sampled < n_images:
        said.append(
            f"Measured on {fixed(n_sampled, 0)} of {count(int(n_images), 'training image')}; "
            "entropies grow with the number of images, so compare only audits of equal samples."
        )
    overlap = tables.section("overlap")
    if overlap.get("n_exact") or overlap.get("n_near"):
        said.append(
            f"{count(int(overlap['n_exact']), 'training image')} of {overlap['n_sampled']} are "
            f"exact and {overlap['n_near']} near copies of held-out images, so held-out accuracy "
            "is not that of unseen images."
        )
    elif not overlap and len(tables.accuracy):
        said.append(
            "The images that held-out accuracies were taken on were not given ([held_out] images), "
            "so it was not looked at whether training images are among them."
        )
    if not len(tables.accuracy):
        said.append(
            "No held-out accuracy was given, so nothing on this page shows that any measure "
            "predicts generalization on this zoo."
        )
    elif len(tables.accuracy) < 20:
        known = count(len(tables.accuracy), "checkpoint")
        said.append(f"Held-out accuracy is known for {known} only; intervals are wide for that.")
    if tables.failed:
        names = listing(sorted(tables.failed), 5)
        said.append(f"{count(len(tables.failed), 'checkpoint')} could not be audited: {names}.")
    if len(tables.problems):
        said.append(
            f"{count(len(tables.problems), 'number')} could not be computed; each is listed with "
            "its reason under “All measures”. In the tables none is replaced by another number; a "
            "fitted ranker puts the median of the networks it was fitted on in its place, and is "
            "told that it did."
        )
    said.append(
        "Intervals describe the checkpoints of this zoo. For other data, architectures or "
        "training recipes the measures may rank differently."
    )
    said.append(
        "Many measures are looked at once: at 95\N{NARROW NO-BREAK SPACE}%, one in twenty without "
        "any merit has an interval that excludes zero."
    )
    return said


def _short(digest: Any) -> str:
    """The first digits of a digest."""
    text = str(digest or "")
    return text if len(text) <= SHORT + 4 else f"{text[:SHORT]}…"
