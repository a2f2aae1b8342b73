"""report.html: what it says, that it needs nothing but itself, and that it survives anything."""

import dataclasses
import html.parser
import re
import time

import numpy as np
import pandas as pd
import pytest
from test_reports_sample import empty_audit, sample_audit

from audit.errors import ConfigError, StoreError
from audit_reports import page, write_html

HOSTILE = [
    '<script>alert("1")</script>',
    "</title><img src=x onerror=alert(1)>",
    "ünïcödé-模型-\u202egnp.exe",
    "a&b'c\"d{{ 7 * 7 }}",
    "\u0645\u0631\u062d\u0628\u0627\n\x07bell",
    "x" * 255,
]


class Outline(html.parser.HTMLParser):
    """Elements, headings and loaded addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.loaded, self.headings, self.text = [], [], [], [], []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.open.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        for key in ("src", "href", "xlink:href", "action", "srcset", "poster"):
            if key in attrs:
                self.loaded.append(attrs[key])

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data.strip())
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass


def words(text):
    """The text a reader sees, with single spaces."""
    return " ".join(" ".join(Outline(text).text).split())


@pytest.fixture(scope="module")
def audit():
    return sample_audit()


@pytest.fixture(scope="module")
def text(audit):
    return page.render(audit)


def renamed(audit, names):
    """The audit with its first checkpoints called otherwise, everywhere."""
    old = list(audit.ranking["checkpoint"][: len(names)])
    new = dict(zip(old, names, strict=True))
    frames = {
        key: getattr(audit, key).assign(
            checkpoint=getattr(audit, key)["checkpoint"].replace(new).to_numpy()
        )
        for key in ("measures", "ranking", "held_out")
    }
    entries = [
        entry | {"checkpoint": new.get(entry["checkpoint"], entry["checkpoint"])}
        for entry in audit.run["checkpoints"]
    ]
    return dataclasses.replace(audit, **frames, run={**audit.run, "checkpoints": entries})


def test_page_has_its_sections_in_a_readers_order(text):
    assert Outline(text).headings == [
        "Which of these networks generalizes best?",
        "Answer",
        "Ranking",
        "Which measures deserve belief",
        "Held-out accuracy against measures",
        "Measures by depth",
        "All measures",
        "How each number was made",
    ]


def test_page_loads_nothing_from_anywhere(text):
    outline = Outline(text)
    assert all(address.startswith(("#", "data:")) for address in outline.loaded)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket", text)
    assert [tag for tag, _ in outline.tags if tag in ("iframe", "object", "embed")] == []
    assert "default-src 'none'" in text


def test_page_prints_no_number_that_is_none(text):
    assert not re.search(r"\b(nan|NaN|inf|None|null|undefined)\b(?=<|,|\))", words(text))
    assert not re.search(r'="(nan|inf|None)[%"]|points="[^"]*nan', text)


def test_page_names_identifiers_once(text):
    ids = Outline(text).ids
    assert len(ids) == len(set(ids))


def test_page_headers_of_tables_have_a_scope(text):
    headers = [attrs for tag, attrs in Outline(text).tags if tag == "th"]
    assert headers
    assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs in headers)


def test_page_drawings_have_words(text):
    drawings = [attrs for tag, attrs in Outline(text).tags if tag == "svg"]
    assert all(a.get("aria-label") or a.get("aria-hidden") == "true" for a in drawings)


def test_page_is_the_same_for_the_same_audit(audit, text):
    assert page.render(audit) == text


def test_page_answers_with_the_first_and_those_tied_with_it(audit, text):
    first = audit.ranking.iloc[0]
    n_tied = len(first["tied_with"].split(";"))
    said = words(text)
    assert f"{first['checkpoint']} is predicted to generalize best, but {n_tied} other" in said
    assert "Kendall τ 0.710 (0.600 to 0.800)" in said
    assert "share of intervals that hold the truth 0.89 (0.9 intended)" in said
    assert "1 checkpoint failed" in said


def test_page_gives_reasons_for_what_failed_or_is_undefined(text):
    said = words(text)
    assert "first missing key 'fc.weight'" in said
    assert "the initial weights were not given" in said
    assert "this architecture has no attention" in said


def test_page_says_what_cannot_be_told_from_parameter_count(text):
    assert "not distinguishable from parameter count" in words(text)


def test_page_marks_baselines(text):
    assert 'class="dotrow baseline"' in text
    assert "hollow: baseline" in words(text).lower()


def test_page_says_so_when_nothing_can_be_told_apart(audit):
    names = audit.ranking["checkpoint"]
    ties = [";".join(other for other in names if other != name) for name in names]
    tied = dataclasses.replace(
        audit, ranking=audit.ranking.assign(predicted_rank=1, tied_with=ties)
    )
    assert "These data cannot tell the 48 checkpoints apart." in words(page.render(tied))


def test_page_says_so_when_the_first_stands_alone(audit):
    alone = dataclasses.replace(audit, ranking=audit.ranking.assign(tied_with=""))
    assert "No other checkpoint is tied with it." in words(page.render(alone))


def test_page_escapes_hostile_names(audit):
    text = page.render(renamed(audit, HOSTILE))
    tags = [tag for tag, _ in Outline(text).tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert "onerror=alert(1)&gt;" in text
    assert "{{ 7 * 7 }}" in words(text)
    assert "\x07" not in text
    assert "x" * 255 in words(text)
    assert "模型" in words(text)


def test_page_escapes_hostile_words_of_the_run(audit):
    attack = "</pre><script>alert(2)</script>"
    run = {
        **audit.run,
        "config": {attack: attack},
        "dataset": {"name": attack, "class_names": [attack], "excluded": {attack: attack}},
        "versions": {attack: attack},
        "measures": {"random": {"summary": attack, "source": attack}},
        "ranking": {"mode": attack, "measures": [attack], "notes": [attack]},
        "checkpoints": [{"checkpoint": attack, "model": attack, "notes": [attack]}],
    }
    text = page.render(dataclasses.replace(audit, run=run))
    assert [tag for tag, _ in Outline(text).tags].count("script") == 1
    assert "alert(2)" in words(text)


def test_page_of_an_audit_without_held_out_accuracies_says_how_to_get_them():
    said = words(page.render(sample_audit(12, held_out=False)))
    assert "no held-out accuracies were given, so no measure could be checked" in said
    assert "[held_out]" in said
    assert "each measure votes by the direction" in said


def test_page_of_nothing_at_all():
    said = words(page.render(empty_audit()))
    assert "No checkpoint could be ranked" in said
    assert "No measure was computed." in said


def test_page_when_every_checkpoint_failed():
    audit = sample_audit(3)
    failed = audit.measures[audit.measures["measure"] == "all"]
    said = words(page.render(dataclasses.replace(empty_audit(audit.run), measures=failed)))
    assert "No checkpoint could be ranked: 1 checkpoint failed" in said
    assert "first missing key 'fc.weight'" in said


def test_page_of_one_checkpoint():
    said = words(page.render(sample_audit(1)))
    assert "Only one checkpoint was audited" in said


@pytest.mark.parametrize("n", [2, 3, 7])
def test_page_of_few_checkpoints(n):
    said = words(page.render(sample_audit(n)))
    assert "is predicted to generalize best" in said or f"cannot tell the {n} checkpoints" in said


@pytest.mark.parametrize("column", ["lower", "upper", "score", "tied_with", "predicted_rank"])
def test_page_without_a_column_of_the_ranking(audit, column):
    ranking = audit.ranking.drop(columns=column)
    text = page.render(dataclasses.replace(audit, ranking=ranking))
    assert "is predicted to generalize best" in words(text)


@pytest.mark.parametrize("column", ["kendall_lower", "kendall_upper", "spearman", "pearson"])
def test_page_without_a_column_of_the_correlations(audit, column):
    correlations = audit.correlations.drop(columns=column)
    text = page.render(dataclasses.replace(audit, correlations=correlations))
    assert "Which measures deserve belief" in text


@pytest.mark.parametrize(
    "key",
    ["dataset", "checkpoints", "measures", "ranking", "correlation", "versions", "config", "seed"],
)
def test_page_without_a_part_of_the_run(audit, key):
    run = {name: value for name, value in audit.run.items() if name != key}
    assert "How each number was made" in page.render(dataclasses.replace(audit, run=run))


def test_page_without_any_run_record(audit):
    assert "The run record lists no checkpoints." in words(
        page.render(dataclasses.replace(audit, run={}))
    )


def test_page_with_every_number_missing(audit):
    measures = audit.measures.assign(value=np.nan, status="undefined", reason="made so")
    ranking = audit.ranking.assign(score=np.nan, lower=np.nan, upper=np.nan)
    correlations = audit.correlations.assign(kendall=np.nan)
    nothing = dataclasses.replace(
        audit, measures=measures, ranking=ranking, correlations=correlations
    )
    assert "made so" in words(page.render(nothing))


def test_page_with_infinite_and_constant_numbers(audit):
    values = audit.measures["value"].where(audit.measures["measure"] != "path_norm", np.inf)
    values = values.where(audit.measures["measure"] != "margin_p10", 1.0)
    odd = dataclasses.replace(audit, measures=audit.measures.assign(value=values))
    assert "Which measures deserve belief" in page.render(odd)


def test_page_groups_measures_by_verdict(text):
    said = words(text)
    assert "What to believe of each measure" in said
    assert "contradicts itself across environments 1 sharpness" in said
    assert "contradicts itself across environments (better along hp.label_noise)" in said


def test_page_without_verdicts(audit):
    correlations = audit.correlations.drop(columns=["verdict", "undefined", "direction"])
    said = words(page.render(dataclasses.replace(audit, correlations=correlations)))
    assert "What to believe of each measure" not in said
    assert "no reason was recorded" in said


def test_page_takes_the_description_and_score_of_a_ranking(audit):
    score = {"kendall": 0.5, "kendall_lower": 0.25, "kendall_upper": 0.75, "n_folds": 5}
    run = {**audit.run, "ranking": {"description": "Made by hand.", "score": score}}
    said = words(page.render(dataclasses.replace(audit, run=run)))
    assert "How the ranking was made: Made by hand." in said
    assert "Kendall τ 0.500 (0.250 to 0.750), folds 5" in said


def test_page_of_an_ordinary_zoo_is_small():
    text = page.render(sample_audit(48, n_measures=16))
    assert len(text.encode()) < 1_500_000


def test_page_of_a_large_zoo_is_drawn_in_time():
    audit = sample_audit(2000, n_measures=16)
    started = time.process_time()
    text = page.render(audit)
    assert time.process_time() - started < 5
    assert len(text.encode()) < 4_000_000
    assert "the darker a cell, the more checkpoints" in words(text)


def test_write_html_replaces_the_file_whole(audit, tmp_path):
    (tmp_path / "report.html").write_text("old")
    assert write_html(audit, tmp_path, {}) == [tmp_path / "report.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_write_html_says_what_cannot_be_written(audit, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_html(audit, blocked, {})


def test_page_takes_text_columns_of_any_kind(audit):
    measures = audit.measures.astype({"checkpoint": object, "reason": object})
    measures = pd.concat([measures, measures.tail(0)])
    assert page.render(dataclasses.replace(audit, measures=measures))


def test_write_html_takes_a_title(audit, tmp_path):
    (path,) = write_html(audit, tmp_path, {"title": "Which <one>?"})
    text = path.read_text("utf-8")
    assert Outline(text).headings[0] == "Which <one>?"
    assert "<title>Which &lt;one&gt;? (48 checkpoints)</title>" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"titel": "x"},
            "unknown option of reporter 'html': 'titel'; did you mean 'title'? "
            "its options are title",
        ),
        ({"title": 1}, "[reports.html] title must be one line of text; found 1"),
        ({"title": " "}, "[reports.html] title must be one line of text; found ' '"),
        ({"title": "a\nb"}, "[reports.html] title must be one line of text; found 'a\\nb'"),
    ],
)
def test_write_html_refuses_options_before_it_writes(audit, tmp_path, options, message):
    with pytest.raises(ConfigError) as caught:
        write_html(audit, tmp_path, options)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_page_says_that_an_audit_is_partial():
    audit = sample_audit(3)
    assert "audit is partial" not in words(page.render(audit))
    partial = dataclasses.replace(audit, run={**audit.run, "complete": False, "missing": 2})
    said = words(page.render(partial))
    assert "This audit is partial: 2 checkpoints have not been measured yet; run it again" in said
