"""The answer in words: which checkpoint, how sure, made how, and how far to trust it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from audit_reports.tables import Tables, split_names
from audit_reports.wording import fixed, formatter, humanize, interval, is_number, loose

MODES: Final = {
    "fitted": (
        "a ranker was fitted on the checkpoints whose held-out accuracy is known; each of them "
        "was predicted by a ranker that never saw it{left_out}"
    ),
    "zero-shot by card": (
        "no held-out accuracy was used; a card weighs the measures' ranks among these checkpoints "
        "as it learned on other zoos"
    ),
    "zero-shot": (
        "no held-out accuracy was used; each measure votes by the direction its authors declare "
        "(higher or lower is better)"
    ),
}
#: Statistics of the ranker that may stand beside its mode.
_STATISTICS: Final = ("kendall", "spearman", "pearson", "r2", "coverage")
_SCORES: Final = {
    "kendall": "Kendall τ",
    "tau": "Kendall τ",
    "spearman": "Spearman ρ",
    "pearson": "Pearson r",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "regret": "accuracy lost by taking the first",
    "top_1_regret": "accuracy lost by taking the first",
    "coverage": "share of intervals that hold the truth",
}


@dataclasses.dataclass(frozen=True)
class Headline:
    """What the first screen says.

    Attributes:
        best: Checkpoints of rank 1.
        score: Of the first, in words; empty if none.
        interval: Of the first, in words; empty if none.
        tied: Checkpoints that cannot be told apart from the first, itself left out.
        n_ranked: Checkpoints in the ranking.
        all_tied: Whether no checkpoint can be told from the first.
        how: How the ranking was made.
        score_is: What the score means; empty if not recorded.
        votes: Measures the ranking rests on.
        n_columns: Columns of theirs it uses: a measure may come in parts.
        notes: What the ranker has to say besides.
        quality: How well it does out of fold: (statistic, value).
        n_failed: Checkpoints that could not be audited.
        doubtful: Checkpoints that look untrained.
        data_notes: What is to be known of the audit and its training set, in sentences.
        n_held_out: Checkpoints whose held-out accuracy is known.
    """

    best: Sequence[str]
    score: str
    interval: str
    tied: Sequence[str]
    n_ranked: int
    all_tied: bool
    how: str
    score_is: str
    votes: Sequence[str]
    n_columns: int
    notes: Sequence[str]
    quality: Sequence[tuple[str, str]]
    n_failed: int
    doubtful: Sequence[str]
    data_notes: Sequence[str]
    n_held_out: int
    known: str


def headline(tables: Tables) -> Headline:
    """Read the answer off the tables."""
    ranking = tables.ranking
    ranked = [str(name) for name in ranking["checkpoint"]]
    made = tables.section("ranking")
    columns = [str(name) for name in made.get("measures") or []]
    best: list[str] = []
    tied: list[str] = []
    score = span = ""
    if ranked:
        first = ranking.iloc[0]
        top = ranking["predicted_rank"] == first["predicted_rank"]
        best = [str(name) for name in ranking["checkpoint"][top]] or ranked[:1]
        write = formatter(ranking[["score", "lower", "upper"]].to_numpy().ravel())
        score = write(first["score"]) if is_number(first["score"]) else ""
        if is_number(first["lower"]) and is_number(first["upper"]):
            span = f"{write(first['lower'])} to {write(first['upper'])}"
        tied = tied_with_first(tables)
    return Headline(
        best=best,
        score=score,
        interval=span,
        tied=tied,
        n_ranked=len(ranked),
        all_tied=len(ranked) > 1 and len(tied) == len(ranked) - 1,
        how=how_made(made),
        score_is=str(made.get("score_is") or ""),
        votes=list(dict.fromkeys(tables.owner(column) for column in columns)),
        n_columns=len(columns),
        notes=[str(note) for note in made.get("notes") or []],
        quality=quality(made.get("score") or _beside_mode(made)),
        n_failed=len(tables.failed),
        doubtful=[name for name in tables.checkpoints if name in tables.doubts],
        data_notes=[
            *filter(None, [tables.partial]),
            *map(str, tables.section("dataset").get("notes") or ()),
        ],
        n_held_out=len(tables.accuracy),
        known=known_accuracies(tables, ranked),
    )


def known_accuracies(tables: Tables, ranked: Sequence[str]) -> str:
    """What is known of the accuracies that the ranking predicts, in a sentence; or nothing."""
    known = {name: float(tables.accuracy[name]) for name in ranked if name in tables.accuracy}
    if not known:
        return ""
    best = max(known, key=lambda name: known[name])
    said = f"The highest known held-out accuracy is {fixed(known[best])}, of {best}"
    if ranked[0] in known and ranked[0] != best:
        said += f"; that of {ranked[0]} is {fixed(known[ranked[0]])}"
    whole = "every" if len(known) == len(ranked) else f"{len(known)} of {len(ranked)}"
    return (
        f"{said}. Accuracies are known for {whole} ranked checkpoint"
        f"{'' if whole == 'every' else 's'}: where they are, they decide, and the ranking only "
        "shows how well the measures would have done without them."
    )


def tied_with_first(tables: Tables) -> list[str]:
    """Checkpoints that the first says it is tied with; without such words, those of its rank."""
    ranking = tables.ranking
    first = ranking.iloc[0]
    ranked = [str(name) for name in ranking["checkpoint"]]
    if ranking["tied_with"].notna().any():
        named = set(split_names(first["tied_with"], frozenset(ranked)))
    else:
        named = set(ranking["checkpoint"][ranking["predicted_rank"] == first["predicted_rank"]])
    return [name for name in ranked[1:] if name in named]


def how_made(made: Mapping[str, Any]) -> str:
    """How the ranking was made, in a sentence."""
    if made.get("description"):
        return str(made["description"])
    mode = str(made.get("mode") or "")
    words = next((text for key, text in MODES.items() if mode.startswith(key)), "")
    families = " (nor any of its family)" if made.get("left_out") == "families" else ""
    words = words.format(left_out=families)
    model = f" The ranker: {made['model']}." if made.get("model") else ""
    text = ": ".join(part for part in (mode, words) if part)
    return f"{text[:1].upper()}{text[1:]}.{model}" if text else ""


def _beside_mode(made: Mapping[str, Any]) -> dict[str, Any]:
    """The statistics that stand beside the mode, with their bounds."""
    ends = ("", "_lower", "_upper")
    keys = [name + end for name in _STATISTICS for end in ends]
    found: dict[str, Any] = {key: made[key] for key in keys if is_number(made.get(key))}
    if "coverage" in found and is_number(made.get("confidence")):
        found["coverage"] = f"{fixed(made['coverage'], 2)} ({made['confidence']:g} intended)"
    return found


def quality(score: Any) -> list[tuple[str, str]]:
    """The out-of-fold statistics of the ranker, in words.

    Args:
        score: A number, or statistic → number, where `x_lower` and `x_upper` bound `x`.
    """
    if is_number(score):
        return [("score", fixed(score))]
    if not isinstance(score, Mapping):
        return []
    found = []
    for key, value in score.items():
        stem, _, end = str(key).rpartition("_")
        if end in ("lower", "upper") and stem in score:
            continue
        words = loose(value)
        if is_number(value):
            words = fixed(value, 0) if isinstance(value, int) else fixed(value)
        if span := interval(score.get(f"{key}_lower"), score.get(f"{key}_upper")):
            words += f" ({span})"
        found.append((_SCORES.get(str(key), humanize(str(key))), words))
    return found


def facts(tables: Tables) -> list[tuple[str, str]]:
    """What was audited, in a few counts."""
    data = tables.section("dataset")
    rows = [("Checkpoints", fixed(len(tables.checkpoints), 0))]
    if tables.failed:
        rows.append(("Failed", fixed(len(tables.failed), 0)))
    if tables.families:
        rows.append(("Architectures", fixed(len(set(tables.families.values())), 0)))
    owners = {tables.owner(str(column)) for column in tables.wide.columns}
    rows.append(("Measures", fixed(len(owners), 0)))
    if len(owners) < len(tables.wide.columns):
        rows.append(("Columns of measures", fixed(len(tables.wide.columns), 0)))
    if data.get("name"):
        rows.append(("Training set", str(data["name"])))
    if data.get("n_sampled"):
        rows.append(("Images used", fixed(data["n_sampled"], 0)))
    known = len(tables.accuracy)
    rows.append(("Held-out known", fixed(known, 0) if known else "none"))
    return rows
