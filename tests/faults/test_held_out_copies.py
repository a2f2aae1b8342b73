"""Row 29 of the faults: training images among the held-out images are found, counted and told."""

import dataclasses
import runpy
from pathlib import Path

import pytest
from photograph_blocks import blocks, recompressed, write

from audit.cli.show import tell_overlap
from audit.plugin.registry import installed
from audit.runs.config import AuditConfig
from audit.runs.training_set import compare, draw
from audit.store import Store
from audit_reports.provenance import limits
from audit_reports.tables import Tables

pytest.importorskip("imagehash", reason="near copies are found with it")

SAMPLE = Path(__file__).parents[1] / "unit" / "test_reports_sample.py"
N_TRAINING, N_OTHERS, SIDE = 100, 25, 40


@pytest.fixture(scope="module")
def pictures():
    """Different blocks of two photographs, those without contrast left out."""
    ranges = ((block, *block.convert("L").getextrema()) for block in blocks(SIDE))
    found = [block for block, low, high in ranges if high - low > 100]
    return found[: N_TRAINING + N_OTHERS]


@pytest.mark.parametrize("percent", [3, 10])
def test_row_29_planted_copies_are_counted_and_told(percent, pictures, tmp_path, capsys):
    own, others = pictures[:N_TRAINING], pictures[N_TRAINING:]
    write(tmp_path / "train", own)
    near = [recompressed(picture, quality=90) for picture in own[percent : 2 * percent]]
    write(tmp_path / "val", [*others, *own[:percent], *near])
    config = AuditConfig.parse(
        {
            "dataset": {"name": "image_folder", "root": "train"},
            "checkpoints": [{"model": "resnet18", "pretrained": True}],
            "held_out": {"images": "val"},
        },
        tmp_path,
        "it",
    )
    store = Store(tmp_path / "store")
    sample, split = draw(config, installed(), store)
    found = compare(config, installed(), store, split, sample, False).describe()
    assert (found["n_exact"], found["n_near"]) == (percent, percent)
    planted = {f"{'ab'[k % 2]}/{k:03}.png" for k in range(percent)}
    assert {training for training, _ in found["exact"]} == planted
    tell_overlap(found)
    assert (
        f"{percent} exact ({percent / 100:.1%}) and {percent} near ({percent / 100:.1%}) of 100 "
        f"training images are among {N_OTHERS + 2 * percent} held-out images"
    ) in capsys.readouterr().out
    assert (
        f"{percent} training images of 100 are exact and {percent} near copies of held-out "
        "images, so held-out accuracy is not that of unseen images."
    ) in said_by_report(found)


def test_report_says_that_held_out_images_were_not_given():
    assert (
        "The images that held-out accuracies were taken on were not given ([held_out] images), so "
        "it was not looked at whether training images are among them."
    ) in said_by_report(None)


def said_by_report(overlap):
    result = runpy.run_path(str(SAMPLE))["sample_audit"](6)
    run = {**result.run, "overlap": overlap}
    return limits(Tables.of(dataclasses.replace(result, run=run)))
