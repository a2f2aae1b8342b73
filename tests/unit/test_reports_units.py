"""The section on units: shown where examples of this audit lie beside it, and never trusted."""

import dataclasses
import json

import numpy as np
import pytest
from test_reports_page import Outline, words
from test_reports_sample import sample_audit

from audit.measuring.examples import Pick, UnitExamples
from audit.runs.kept_examples import _unit
from audit.topology import birth_levels
from audit_reports import page


def unit(filtration, stable, **other):
    maps = np.random.default_rng(0).normal(size=(20, 6, 6)).astype(np.float32)
    maps[1] = 0
    births = np.asarray(birth_levels(maps, filtration))
    images = np.random.default_rng(1).random((3, 10, 10, 3)).astype(np.float32)
    pick = Pick("layer<4>", 7, "cat & dog")
    examples = UnitExamples("net", pick, filtration, births, images, maps[:3], births[:3])
    return {"stable": stable, **_unit(examples), **other}


@pytest.fixture
def shown(tmp_path):
    """An audit with examples beside it, and what to change of them."""
    audit = sample_audit()
    entry = audit.run["checkpoints"][0]
    run = {**audit.run, "dataset": {**audit.run.get("dataset", {}), "fingerprint": "f"}}
    content = {
        "version": 1,
        "checkpoint": entry["checkpoint"],
        "weights_digest": entry.get("weights_digest"),
        "sample": "f",
        "units": [unit(f, s) for f in ("clique", "cubical") for s in (True, False)],
    }

    def render(**changes):
        (tmp_path / "unit_examples.json").write_text(json.dumps(content | changes))
        return page.render(dataclasses.replace(audit, run=run, output=tmp_path))

    return render


def test_units_are_shown_under_both_filtrations(shown):
    text = shown()
    found = words(text)
    assert "layer<4> , class cat & dog , clique filtration".replace(" ,", ",") in found.replace(
        " ,", ","
    )
    assert "Most stable" in found
    assert "Least stable" in found
    outline = Outline(text)
    assert "units" in outline.ids
    pictures = [address for address in outline.loaded if address.startswith("data:image/")]
    assert len(pictures) == 2 * 2 * 3 * 2 + 2 * 2  # and two superlevel sets of each cubical unit
    assert all(address.startswith(("#", "data:")) for address in outline.loaded)
    drawn = [attrs for tag, attrs in outline.tags if attrs.get("class") == "unit"]
    assert all(
        attrs["aria-label"].startswith("Unit 7: 3 images of class cat & dog") for attrs in drawn
    )
    assert len(drawn) == 4


@pytest.mark.parametrize(
    "changes",
    [{"version": 2}, {"sample": "other"}, {"weights_digest": "other"}, {"units": []}],
)
def test_examples_of_another_audit_are_not_shown(shown, changes):
    assert 'id="units"' not in shown(**changes)
    assert 'href="#units"' not in shown(**changes)


def test_addresses_that_lead_elsewhere_are_not_loaded(shown):
    hostile = unit("cubical", True)
    hostile["shown"][0]["image"] = "https://example.org/x.png"
    hostile["shown"][0]["map"] = "data:text/html;base64,PHNjcmlwdD4="
    hostile["class_name"] = "<script>alert(1)</script>"
    text = shown(units=[hostile])
    assert "example.org" not in text
    assert "text/html" not in text
    assert len([tag for tag, _ in Outline(text).tags if tag == "script"]) == 1


def test_without_examples_there_is_no_section(tmp_path):
    audit = dataclasses.replace(sample_audit(), output=tmp_path)
    assert 'id="units"' not in page.render(audit)
    (tmp_path / "unit_examples.json").write_text("{")
    assert 'id="units"' not in page.render(audit)
