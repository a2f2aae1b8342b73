"""The later commands: cards, the gate, published results."""

import json

import pandas as pd
import pytest


@pytest.fixture
def audited(user, genaudit, tmp_path):
    """An output folder with known accuracies."""
    out = tmp_path / "out"
    assert genaudit("run", user / "audit.toml", "-o", out).code == 0
    return out


def test_rank_json_follows_its_schema(audited, genaudit):
    result = json.loads(genaudit("rank", audited, "--json").out)
    assert set(result) == {"schema", "ranking", "about", "better_than"}
    assert result["schema"] == 1
    assert result["better_than"] is None
    row = result["ranking"][0]
    assert set(row) == {
        *("predicted_rank", "checkpoint", "score", "lower", "upper", "tied_with", "doubt")
    }
    assert isinstance(row["tied_with"], list)
    assert isinstance(row["doubt"], list)
    assert result["about"]["mode"] == "fitted on 10 known accuracies from card 'default'"


def test_gate_is_shut_unless_something_is_certainly_better(audited, genaudit):
    shut = genaudit("rank", audited, "--require-better-than", "test_resnet-0", "--json")
    names = json.loads(shut.out)["better_than"]["checkpoints"]
    assert shut.code == (0 if names else 4)
    unknown = genaudit("rank", audited, "--require-better-than", "test_resnet-9")
    assert unknown.code == 1
    assert "did you mean 'test_resnet-" in unknown.err


def test_gate_opens_where_a_whole_interval_lies_above(audited, genaudit, tmp_path):
    card = tmp_path / "card.json"
    genaudit("fit-card", audited, "-o", card, "--name", "test", "--measures", "train_loss")
    content = json.loads(card.read_text())
    content["half_width"] = dict.fromkeys(content["half_width"], 0.001)
    card.write_text(json.dumps(content))
    ranked = json.loads(genaudit("rank", audited, "--card", card, "--json").out)["ranking"]
    worst = ranked[-1]["checkpoint"]
    done = genaudit("rank", audited, "--card", card, "--require-better-than", worst, "--json")
    assert done.code == 0
    assert json.loads(done.out)["better_than"]["checkpoints"][0] == ranked[0]["checkpoint"]


def test_a_card_fitted_on_one_zoo_ranks_another_without_accuracies(
    audited, user, genaudit, tmp_path
):
    card = tmp_path / "card.json"
    done = genaudit("fit-card", audited, "-o", card, "--name", "test", "--measures", "train_loss")
    assert done.code == 0
    content = json.loads(card.read_text())
    assert content["name"] == "test"
    assert content["measures"][0]["version"]
    text = (user / "audit.toml").read_text()
    (user / "audit.toml").write_text(text[: text.index("[held_out]")])
    blind = tmp_path / "blind"
    assert genaudit("measure", user / "audit.toml", "-o", blind).code == 0
    result = json.loads(genaudit("rank", blind, "--card", card, "--json").out)
    assert len(result["ranking"]) == 10
    assert "card" in result["about"]["mode"]


def test_a_card_that_does_not_exist_is_named(audited, genaudit):
    done = genaudit("rank", audited, "--card", "absent")
    assert done.code == 1
    assert "absent" in done.err


def test_fit_card_needs_accuracies(user, genaudit, tmp_path):
    out = tmp_path / "out"
    assert genaudit("measure", user / "audit.toml", "-o", out).code == 0
    done = genaudit("fit-card", out, "-o", tmp_path / "card.json", "--name", "test")
    assert done.code == 1
    assert "genaudit correlate" in done.err


def test_published_results_join_by_model_and_image_size(user, genaudit, tmp_path):
    (user / "results.csv").write_text(
        "model,img_size,top1,param_count\n"
        'test_resnet.r160_in1k,32,41.5,"1,000.47"\n'
        "test_mambaout.in1k,32,43.0,0.45\n"
        "test_mambaout.in1k,160,44.0,0.45\n"
    )
    text = (user / "audit.toml").read_text()
    text = text.replace("held_out.csv", "results.csv")
    (user / "audit.toml").write_text(text + 'format = "timm_results"\n')
    out = tmp_path / "out"
    assert genaudit("run", user / "audit.toml", "-o", out).code == 0
    known = pd.read_csv(out / "accuracies.csv").set_index("checkpoint")["held_out_accuracy"]
    assert known["test_resnet-3"] == 0.415
    assert known["test_mambaout-0"] == 0.43
    (user / "audit.toml").write_text(text + 'format = "tim_results"\n')
    done = genaudit("run", user / "audit.toml", "-o", out)
    assert done.code == 1
    assert "did you mean 'timm_results'?" in done.err


def test_correlate_judges_a_table_made_elsewhere(genaudit, tmp_path):
    path = tmp_path / "elsewhere.csv"
    frame = pd.DataFrame({"name": list("abcdefgh"), "top1": range(60, 68), "lr": [1, 2] * 4})
    frame["sharpness"] = -frame["top1"] % 5
    frame.to_csv(path, index=False)
    done = genaudit("correlate", path, "--json", "-o", tmp_path / "statistics.csv")
    assert done.code == 0
    result = json.loads(done.out)
    assert result["roles"]["measures"] == ["sharpness"]
    assert result["roles"]["hyperparameters"] == ["lr"]
    assert result["correlations"][0]["n_models"] == 8
    assert "held_out_accuracy: top1" in done.err
    assert (tmp_path / "statistics.csv").exists()
