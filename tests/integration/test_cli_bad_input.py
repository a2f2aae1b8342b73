"""Every mistake a user can make costs a clear message, and nothing that was computed."""

import json
import os

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file


def edit(user, old, new):
    """Change the user's configuration."""
    text = (user / "audit.toml").read_text()
    assert old in text
    (user / "audit.toml").write_text(text.replace(old, new))


def weights_of(user, name):
    return user / "checkpoints" / f"{name}.safetensors"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"test_resnet"', '"test_resnett"', "unknown model 'test_resnett'; did you mean 'test_res"),
        ('"image_folder"', '"image_foldr"', "unknown dataset 'image_foldr'; did you mean 'image_f"),
        (
            "images_per_class = 8",
            'include = ["path_nrom"]',
            "unknown measure 'path_nrom'; did you mean 'path_norm'",
        ),
        ("images_per_class", "images_per_clas", "did you mean 'images_per_class'?"),
        ('root = "data/train"', 'root = "data/trian"', "data/trian"),
        ("resnet-*", "resmet-*", "matches no file"),
        ("held_out.csv", "missing.csv", "missing.csv"),
        ("[dataset]", "[dataset", "is not valid TOML"),
    ],
)
def test_a_mistake_in_the_configuration_stops_with_its_name(
    user, genaudit, tmp_path, old, new, message
):
    edit(user, old, new)
    done = genaudit("run", user / "audit.toml", "-o", tmp_path / "out")
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert message in done.err
    assert "Traceback" not in done.err


def test_missing_configuration_is_named(genaudit, tmp_path):
    done = genaudit("run", tmp_path / "absent.toml")
    assert done.code == 1
    assert "absent.toml cannot be read" in done.err


def test_unknown_option_is_wrong_usage(user, genaudit):
    assert genaudit("run", user / "audit.toml", "--wrong").code == 2


def failure_of(user, genaudit, tmp_path, name):
    """Run with one spoilt checkpoint; its reason, after checking that the rest is ranked."""
    out = tmp_path / "out"
    done = genaudit("run", user / "audit.toml", "-o", out)
    assert done.code == 3, done.err
    measures = pd.read_csv(out / "measures.csv")
    failed = measures[measures["status"] == "failed"]
    assert failed["checkpoint"].tolist() == [name]
    assert failed["measure"].tolist() == ["all"]
    ranking = pd.read_csv(out / "ranking.csv")
    assert len(ranking) == 9
    assert name not in set(ranking["checkpoint"])
    assert name in (out / "report.html").read_text()
    assert name in done.out
    return failed["reason"].iloc[0]


def test_a_checkpoint_that_does_not_fit_costs_one_row_with_its_keys(user, genaudit, tmp_path):
    path = weights_of(user, "test_resnet-1")
    tensors = load_file(path)
    tensors["surplus.weight"] = tensors.pop("conv1.0.weight")
    save_file(tensors, path)
    reason = failure_of(user, genaudit, tmp_path, "test_resnet-1")
    assert "conv1.0.weight" in reason
    assert "surplus.weight" in reason


def test_a_truncated_checkpoint_costs_one_row(user, genaudit, tmp_path):
    path = weights_of(user, "test_mambaout-2")
    path.write_bytes(path.read_bytes()[:50_000])
    assert "50000" in failure_of(user, genaudit, tmp_path, "test_mambaout-2").replace(",", "")


def test_not_finite_weights_cost_one_row(user, genaudit, tmp_path):
    path = weights_of(user, "test_resnet-3")
    tensors = load_file(path)
    tensors["fc.bias"][0] = float("nan")
    save_file(tensors, path)
    assert "fc.bias" in failure_of(user, genaudit, tmp_path, "test_resnet-3")


def test_not_finite_activations_cost_one_row_that_names_the_layer(user, genaudit, tmp_path):
    path = weights_of(user, "test_resnet-3")
    tensors = load_file(path)
    tensors["layer1.0.bn2.running_var"].fill_(-1.0)
    save_file(tensors, path)
    reason = failure_of(user, genaudit, tmp_path, "test_resnet-3")
    assert "layer layer1 gives activations that are not finite" in reason
    assert "not finite" in reason


def test_a_head_of_another_size_costs_one_row(user, genaudit, tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=5, in_chans=1)
    save_file(network.state_dict(), weights_of(user, "test_resnet-4"))
    reason = failure_of(user, genaudit, tmp_path, "test_resnet-4")
    assert "num_classes" in reason


def test_every_head_of_another_size_says_so_and_ranks_nothing(user, genaudit, tmp_path):
    for path in (user / "data/train/class 2").iterdir():
        path.unlink()
    (user / "data/train/class 2").rmdir()
    out = tmp_path / "out"
    done = genaudit("run", user / "audit.toml", "-o", out)
    assert done.code == 1
    assert "training set has 2 classes" in pd.read_csv(out / "measures.csv")["reason"].iloc[0]
    assert (out / "report.html").exists()
    assert not (out / "ranking.csv").exists()


def test_an_empty_class_folder_stops_and_shows_the_counts(user, genaudit, tmp_path):
    for path in (user / "data/train/class 1").iterdir():
        path.unlink()
    done = genaudit("run", user / "audit.toml", "-o", tmp_path / "out")
    assert done.code == 1
    assert "class 1" in done.err
    assert "12" in done.err


def test_a_corrupt_image_is_left_out_for_every_checkpoint_and_said(user, genaudit, tmp_path):
    for path in sorted((user / "data/train/class 0").iterdir())[:6]:
        path.write_bytes(path.read_bytes()[:60])
    out = tmp_path / "out"
    assert genaudit("run", user / "audit.toml", "-o", out).code == 0
    run = json.loads((out / "run.json").read_text())
    assert run["dataset"]["n_sampled"] == 22
    assert len(run["dataset"]["excluded"]) == 6
    assert all("class 0" in name for name in run["dataset"]["excluded"])


def test_a_held_out_table_that_names_unknown_checkpoints_stops_before_computing(
    user, genaudit, tmp_path
):
    with (user / "held_out.csv").open("a") as file:
        file.write("test_resnet-77,0.5\n")
    out = tmp_path / "out"
    done = genaudit("run", user / "audit.toml", "-o", out)
    assert done.code == 1
    assert "test_resnet-77" in done.err
    assert not out.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_output_folder_stops_before_computing(user, genaudit, tmp_path):
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    done = genaudit("run", user / "audit.toml", "-o", out)
    assert done.code == 1
    assert "cannot be written" in done.err


def test_an_output_folder_that_is_a_file_stops_before_computing(user, genaudit, tmp_path):
    out = tmp_path / "out"
    out.write_text("occupied")
    assert genaudit("run", user / "audit.toml", "-o", out).code == 2
    done = genaudit("run", user / "audit.toml", "-o", out / "deeper")
    assert done.code == 1
    assert "cannot be written" in done.err


def test_steps_without_the_step_before_say_what_to_run(genaudit, tmp_path):
    for command in ("correlate", "rank", "report"):
        done = genaudit(command, tmp_path)
        assert done.code == 1
        assert "genaudit measure" in done.err


def test_correlate_without_accuracies_says_how_to_give_them(user, genaudit, tmp_path):
    text = (user / "audit.toml").read_text()
    (user / "audit.toml").write_text(text[: text.index("[held_out]")])
    out = tmp_path / "out"
    assert genaudit("measure", user / "audit.toml", "-o", out).code == 0
    done = genaudit("correlate", out)
    assert done.code == 1
    assert "--held-out TABLE" in done.err
    assert genaudit("correlate", out, "--held-out", user / "held_out.csv").code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("name,accuracy,m,m\na,0.9,1,2\n", "columns of the same name: 'm'"),
        ("name,accuracy,m\na,0.93,1\nb,87.5,2\n", "and 87.5 for 'b' (line 3)"),
        ('name,accuracy,m\na,0.93,"1,234"\n', "'1,234' in column m, line 2, can be"),
        ("checkpoint,measure,value\na,m,1\na,m,2\n", "keep one"),
    ],
)
def test_a_foreign_table_that_cannot_be_used_is_refused_with_the_place(
    genaudit, tmp_path, text, message
):
    path = tmp_path / "table.csv"
    path.write_text(text)
    done = genaudit("correlate", path)
    assert done.code == 1
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_foreign_table_of_a_spreadsheet_is_judged_with_notes(genaudit, tmp_path):
    rows = [f"{i};n{i};0,{50 + 7 * i % 40};{i * i % 11},5" for i in range(12)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join([";name;accuracy;sharpness", *rows]))
    done = genaudit("correlate", path, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [row["measure"] for row in found["correlations"]] == ["sharpness"]
    assert any("numbers of rows, not judged" in note for note in found["notes"])
