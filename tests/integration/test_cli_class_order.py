"""A network that was trained with another order of classes than the audit reads them in."""

import json
import re

import pandas as pd
import pytest
import torch
from numbered_classes import NATURAL, PLAIN, trained, write_folder

CONFIG = """
[dataset]
name = "image_folder"
root = "train"
transform = { input_size = [1, 32, 32], mean = [0.5], std = [0.5], crop_pct = 1.0 }

[[checkpoints]]
model = "test_resnet"
weights = "*.pth"
model_args = { num_classes = 12, in_chans = 1 }

[measures]
include = ["train_accuracy"]
"""

NOTE = (
    "the class names sort differently in natural order (1, 2, 3 …; timm's) and in plain order (1, "
    "10, 11 …; torchvision ImageFolder's), and nothing says in which all 2 checkpoints were "
    'trained: the training set\'s own, plain, is taken; set class_order = "natural" or "plain" '
    "in [dataset] or [[checkpoints]] to settle it"
)


@pytest.fixture
def folder(tmp_path):
    """What a user has who trained one network with timm and one with torchvision's folders."""
    write_folder(tmp_path / "train")
    torch.save(trained(NATURAL).state_dict(), tmp_path / "timm.pth")
    torch.save(trained(PLAIN).state_dict(), tmp_path / "plain.pth")
    (tmp_path / "audit.toml").write_text(CONFIG)
    return tmp_path


def set_dataset(folder, line):
    (folder / "audit.toml").write_text(CONFIG.replace('root = "train"', f'root = "train"\n{line}'))


def accuracies(out):
    frame = pd.read_csv(out / "measures.csv")
    rows = frame[frame["measure"] == "train_accuracy"]
    return dict(zip(rows["checkpoint"], rows["value"], strict=True))


def doubts(out):
    run = json.loads((out / "run.json").read_text())
    return {entry["checkpoint"]: entry["doubts"] for entry in run["checkpoints"]}


def test_another_order_is_flagged_everywhere_with_the_setting_to_write(folder, genaudit):
    out = folder / "out"
    done = genaudit("run", folder / "audit.toml", "-o", out)
    assert done.code == 0, done.err
    assert accuracies(out)["timm"] == pytest.approx(1 / 12, abs=0.01)
    assert accuracies(out)["plain"] > 0.97
    found = doubts(out)
    assert found["plain"] == []
    assert [doubt["kind"] for doubt in found["timm"]] == ["class_order", "chance"]
    advice = found["timm"][0]["reason"]
    assert re.fullmatch(
        r'class_order = "natural" would give train accuracy (1\.00|0\.9\d) instead of 0\.08; '
        "set it if the network was trained so",
        advice,
    )
    assert "; for the likely cause see the other reasons; " in found["timm"][1]["reason"]

    measures = pd.read_csv(out / "measures.csv", keep_default_na=False)
    of = measures.groupby("checkpoint")["doubt"].unique()
    assert of["plain"].tolist() == [""]
    assert of["timm"].tolist() == ["class_order;chance"]
    ranking = pd.read_csv(out / "ranking.csv", keep_default_na=False)
    assert dict(zip(ranking["checkpoint"], ranking["doubt"], strict=True)) == {
        "plain": "",
        "timm": "class_order;chance",
    }
    page = (out / "report.html").read_text()
    assert "1 checkpoint looks untrained" in re.sub("<[^>]*>", "", page)
    assert "natural&#34; would give train accuracy" in page
    assert f"note: {NOTE}" in done.out
    assert "doubtful: timm\n" in done.out
    assert advice in done.out
    assert json.loads((out / "run.json").read_text())["dataset"]["notes"] == [NOTE]
    assert json.loads((out / "results.json").read_text())["run"]["checkpoints"][1]["doubts"]


def test_the_advice_is_right(folder, genaudit):
    set_dataset(folder, 'class_order = "natural"')
    out = folder / "out"
    done = genaudit("run", folder / "audit.toml", "-o", out)
    assert done.code == 0, done.err
    assert accuracies(out)["timm"] > 0.97
    assert doubts(out)["timm"] == []
    [reverse, _] = doubts(out)["plain"]
    assert reverse["reason"].startswith('class_order = "plain" would give train accuracy ')
    assert "note: " not in done.out
    run = json.loads((out / "run.json").read_text())
    assert run["checkpoints"][0]["class_order"] == list(NATURAL)
    assert run["checkpoints"][0]["class_order_from"] == "class_order in [dataset]"


def test_each_checkpoint_may_have_an_order_of_its_own(folder, genaudit):
    text = CONFIG.replace('weights = "*.pth"', 'weights = "timm.pth"\nclass_order = "natural"')
    section = text[text.index("[[checkpoints]]") : text.index("[measures]")]
    other = section.replace("timm.pth", "plain.pth").replace('"natural"', '"plain"')
    (folder / "audit.toml").write_text(text.replace("[measures]", f"{other}[measures]"))
    out = folder / "out"
    assert genaudit("run", folder / "audit.toml", "-o", out).code == 0
    assert min(accuracies(out).values()) > 0.97
    assert not any(doubts(out).values())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "\n".join(NATURAL) + "\n"),
        ("names.txt", "\ufeff" + "\r\n".join(NATURAL)),
        ("map.csv", "".join(f"{name},{k}\n" for k, name in enumerate(NATURAL))),
        ("map.json", json.dumps({name: k for k, name in enumerate(NATURAL)})),
        ("id2label.json", json.dumps(dict(enumerate(NATURAL)))),
        ("list.json", json.dumps(NATURAL)),
    ],
)
def test_a_class_map_file_gives_the_order(folder, genaudit, name, content):
    (folder / name).write_text(content, encoding="utf-8")
    set_dataset(folder, f'class_order = "{name}"')
    out = folder / "out"
    done = genaudit("run", folder / "audit.toml", "-o", out)
    assert done.code == 0, done.err
    assert accuracies(out)["timm"] > 0.97


def test_names_inside_a_checkpoint_are_taken_without_being_asked_for(folder, genaudit):
    state = trained(NATURAL).state_dict()
    classes = {name: index for index, name in enumerate(NATURAL)}
    torch.save({"state_dict": state, "class_to_idx": classes, "epoch": 3}, folder / "timm.pth")
    out = folder / "out"
    done = genaudit("run", folder / "audit.toml", "-o", out)
    assert done.code == 0, done.err
    assert min(accuracies(out).values()) > 0.97
    assert not any(doubts(out).values())
    run = json.loads((out / "run.json").read_text())
    assert run["checkpoints"][1]["class_order_from"] == "class_to_idx in timm.pth"
    [note] = run["dataset"]["notes"]
    assert "nothing says in which 1 of 2 was trained" in note


def test_names_inside_the_checkpoint_are_refused_where_they_are_others(folder, genaudit):
    state = trained(NATURAL).state_dict()
    names = [*NATURAL[:-1], "twelve"]
    torch.save({"state_dict": state, "class_names": names}, folder / "timm.pth")
    set_dataset(folder, 'class_order = "checkpoint"')
    out = folder / "out"
    done = genaudit("run", folder / "audit.toml", "-o", out)
    assert done.code == 1
    reasons = pd.read_csv(out / "measures.csv").set_index("checkpoint")["reason"]
    assert reasons["timm"] == (
        'class_order in [dataset] is "checkpoint", and class_names in timm.pth must name each of '
        "the 12 classes of the training set once; it has 12 names; unknown: 'twelve'; missing: "
        "'12'"
    )
    assert reasons["plain"] == (
        'class_order in [dataset] is "checkpoint", but neither its weights file nor a config.json '
        "holds class names; give a list of names or a class-map file"
    )


def test_wrong_names_stop_with_the_nearest(folder, genaudit):
    names = ", ".join(f'"{name}"' for name in ["11", "1O", *NATURAL[2:]])
    set_dataset(folder, f"class_order = [{names}]")
    done = genaudit("run", folder / "audit.toml", "-o", folder / "out")
    assert done.code == 1
    assert done.err.strip() == (
        "error: class_order in [dataset] must name each of the 12 classes of the training set "
        "once; it has 12 names; unknown: '1O' (did you mean '1'?); missing: '1', '2'; given "
        "twice: '11'"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('"naturl"', "unknown order 'naturl'; did you mean 'natural'?"),
        ('"maps/none.txt"', "cannot be read: No such file or directory; write one class name per"),
        ("3", "dataset.class_order: must be 'dataset', 'natural', 'plain', 'checkpoint', a list"),
        ("[1, 2]", "dataset.class_order: must be 'dataset', 'natural', 'plain', 'checkpoint', a"),
    ],
)
def test_a_setting_that_is_no_order_is_refused(folder, genaudit, setting, message):
    set_dataset(folder, f"class_order = {setting}")
    done = genaudit("run", folder / "audit.toml", "-o", folder / "out")
    assert done.code == 1
    assert message in done.err
    assert "Traceback" not in done.err


def test_on_doubt_fail_makes_a_failed_row(folder, genaudit):
    text = CONFIG + 'on_doubt = "fail"\n'
    (folder / "audit.toml").write_text(text)
    out = folder / "out"
    done = genaudit("run", folder / "audit.toml", "-o", out)
    assert done.code == 3
    measures = pd.read_csv(out / "measures.csv")
    failed = measures[measures["status"] == "failed"]
    assert failed["checkpoint"].tolist() == ["timm"]
    assert failed["measure"].tolist() == ["all"]
    assert (
        failed["reason"]
        .iloc[0]
        .startswith(
            'doubtful, and on_doubt = "fail" in [measures]: class_order = "natural" would give'
        )
    )
    assert pd.read_csv(out / "ranking.csv")["checkpoint"].tolist() == ["plain"]
    plan = genaudit("validate", folder / "audit.toml", "-o", out)
    assert plan.code == 3
    assert "  would fail   timm: doubtful, and on_doubt" in plan.out
    (folder / "audit.toml").write_text(CONFIG)  # on_doubt decides no number
    flagged = genaudit("validate", folder / "audit.toml", "-o", out)
    assert flagged.code == 0
    assert "of which 2 are wholly cached" in flagged.out
    assert '  doubtful     timm: class_order = "natural" would give' in flagged.out


def test_validate_says_once_that_the_order_is_open(folder, genaudit):
    done = genaudit("validate", folder / "audit.toml", "-o", folder / "out")
    assert done.code == 0
    assert done.out.count("sort differently in natural order") == 1
    assert f"  note         {NOTE}\n" in done.out


def test_classes_that_were_swapped_are_found_by_assignment(folder, genaudit):
    order = [*NATURAL[::-1]]
    (folder / "plain.pth").unlink()
    torch.save(trained(order).state_dict(), folder / "timm.pth")
    out = folder / "out"
    assert genaudit("run", folder / "audit.toml", "-o", out).code == 0
    advice = doubts(out)["timm"][0]["reason"]
    written = ", ".join(f'"{name}"' for name in order)
    assert advice.startswith(f"class_order = [{written}] would give train accuracy ")
