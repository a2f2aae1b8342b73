"""The stage that ranks the checkpoints of an output folder, and cards fitted on such folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import pandas as pd

from audit import ranking
from audit.errors import DataError
from audit.folder.columns import directed_columns, directions_of, judged_columns, measure_of
from audit.folder.csv_files import write_csv
from audit.folder.currency import file_sha256, is_current, stage_digest
from audit.folder.record import ACCURACIES, MEASURES, RANKING, network_digests, read_run, write_run
from audit.folder.table_forms import ACCURACIES_FORM, RANKING_FORM, optional_table, read_table
from audit.folder.tables import doubts_of, read_measures, wide_frame
from audit.ranking.cards import DEFAULT_CARD
from audit.statistics import MIN_FAMILIES
from audit.statistics.copies import NETWORK, network_codes

#: The shipped card that ranks where accuracies are too few, and that fitted rankers start from.
PRIOR: Final = DEFAULT_CARD
#: In place of a card: no prior, and votes by declared directions where accuracies are too few.
NO_CARD: Final = "none"
#: What decides this stage's table, of `audit`'s source.
SOURCES: Final = ("statistics", "ranking", "folder", "plugin/parts.py", "shown.py")


def rank_folder(
    folder: Path,
    card: str | Path | None = None,
    *,
    prior: str | Path | None = PRIOR,
    abstain: bool = False,
    leave_out: Literal["auto", "families", "checkpoints"] = "auto",
) -> pd.DataFrame:
    """Rank the checkpoints of an output folder, and write `ranking.csv`.

    Judged columns with a declared direction rank: measures, and those of their parts that stand
    for a claim of their own.

    Args:
        folder: Where `measure` wrote.
        card: A calibrator card to rank by, shipped (by name) or a file; no accuracy is used then.
            By default the accuracies that `correlate` found fit a ranker; where they are too few
            the prior ranks, or, where the table lacks most of its measures, the measures vote in
            their declared directions. "none": neither a card nor a prior.
        prior: The card that a fitted ranker starts from; None: from nothing.
        abstain: Outside the card's domain, leave every checkpoint tied.
        leave_out: What the ranker that predicts a checkpoint has not seen: its family or itself.
            "auto": its family where there are at least `statistics.MIN_FAMILIES` of them.

    Raises:
        DataError: A table or the card cannot be used, or every checkpoint failed.
    """
    record = read_run(folder, ("measures", "seed"))
    measures = read_measures(folder / MEASURES)
    wide = wide_frame(measures, optional_table(folder / ACCURACIES, ACCURACIES_FORM))
    if wide.empty:
        raise DataError(f"every checkpoint of {folder / MEASURES} failed: there is none to rank")
    chosen = ranking.load_card(card) if card not in (None, NO_CARD) else None
    start = ranking.load_card(prior) if prior is not None and card is None else None
    inputs = stage_digest(
        SOURCES,
        declared=record["measures"],
        measures=file_sha256(folder / MEASURES),
        accuracies=file_sha256(folder / ACCURACIES),
        seed=record["seed"],
        card=chosen.model_dump(mode="json") if chosen else None,
        prior=start.model_dump(mode="json") if start else None,
        options=[abstain, leave_out],
    )
    path = folder / RANKING
    if is_current(record.get("ranking"), inputs, path):
        return read_table(path, RANKING_FORM)
    directions = directions_of(record, wide)
    if leave_out == "auto":
        n_families = wide["family"].nunique() if "family" in wide else 0
        leave_out = "families" if n_families >= MIN_FAMILIES else "checkpoints"
    if len(wide) == 1:
        found = _alone(str(wide["checkpoint"].iloc[0]))
    else:
        networks = wide.assign(**{NETWORK: wide["checkpoint"].map(network_digests(record))})
        found = ranking.rank_networks(
            wide,
            network_codes(networks, judged_columns(record, wide)[0]),
            directions=directions,
            measures=directed_columns(record, wide),
            owners={column: measure_of(record, column) for column in directions},
            card=chosen,
            prior=start,
            versions=dict(zip(measures["measure"], measures["version"], strict=True)),
            abstain=abstain,
            leave_out=leave_out,
            seed=record["seed"],
        )
    doubts = doubts_of(measures)
    table = found.table.assign(doubt=[doubts.get(n, "") for n in found.table["checkpoint"]])
    write_csv(table, path)
    about = found.to_dict()
    del about["ranking"]
    record["ranking"] = {**about, "inputs": inputs, "sha256": file_sha256(path)}
    write_run(folder, record)
    return table


def _alone(checkpoint: str) -> ranking.Ranking:
    """The ranking of a single checkpoint: first, with no score."""
    nan = float("nan")
    row = dict(zip(ranking.RANKING_COLUMNS, (1, checkpoint, nan, nan, nan, ""), strict=True))
    notes = ["one checkpoint was audited: there is none to rank it against"]
    return ranking.Ranking(pd.DataFrame([row]), {"mode": "one checkpoint", "notes": notes})


def fit_card(
    folders: Sequence[Path], name: str, measures: Sequence[str] = (), description: str = ""
) -> ranking.Card:
    """Fit a calibrator card on audits whose accuracies are known.

    Args:
        folders: Output folders in which `correlate` has been run; one zoo each.
        name: Of the card.
        measures: What the card weighs; by default every judged column with a declared direction
            that has a number for every checkpoint of every zoo.
        description: For readers.

    Raises:
        DataError: A folder lacks accuracies, versions of a measure differ, or no measure is left.
    """
    zoos: dict[str, pd.DataFrame] = {}
    versions: dict[str, str] = {}
    usable: set[str] | None = None
    for folder in folders:
        record = read_run(folder, ("measures",))
        tidy = read_measures(folder / MEASURES)
        held_out = optional_table(folder / ACCURACIES, ACCURACIES_FORM)
        if held_out is None:
            raise DataError(
                f"{folder} has no {ACCURACIES}: run `genaudit correlate {folder}` first"
            )
        wide = wide_frame(tidy, held_out)
        found = dict(zip(tidy["measure"], tidy["version"], strict=True))
        for measure_name in versions.keys() & found.keys():
            if versions[measure_name] != found[measure_name]:
                raise DataError(
                    f"{measure_name} has version {versions[measure_name]} in one folder and "
                    f"{found[measure_name]} in {folder}; measure again"
                )
        versions |= found
        whole = {c for c in directed_columns(record, wide) if wide[c].notna().all()}
        usable = whole if usable is None else usable & whole
        zoos[folder.name] = wide
    chosen = list(measures) or sorted(usable or ())
    if not chosen:
        raise DataError("no measure has a direction and a number for every checkpoint")
    return ranking.fit_card(zoos, chosen, name=name, versions=versions, description=description)
