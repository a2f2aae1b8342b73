"""The images that a network is followed on, how often, and where the rows go."""

import importlib
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from audit.errors import ConfigError, DataError
from audit.following.budget import Budget
from audit.following.logs import TableLog, logs_for, needed
from audit.following.sample import fixed_sample, images_and_labels

ROW = {
    "epoch": 3,
    "layer": "stage|1",
    "filtration": "cubical",
    "feature_entropy": 0.5,
    "birth_entropy": float("nan"),
    "effective_rate": 0.25,
    "birth_class_information": 0.125,
    "n_units": 8,
    "n_silent": 0,
    "sample_loss": 1.5,
    "sample_accuracy": 0.75,
    "loss": float("nan"),
    "seconds": 0.1,
    "reason": "",
    "lr": 0.01,
}


class Pictures(Dataset):
    """A dataset that keeps no labels, and says how often it was asked."""

    def __init__(self, n=200, n_classes=4):
        self.asked, self._n, self._n_classes = [], n, n_classes

    def __len__(self):
        return self._n

    def __getitem__(self, index):
        self.asked.append(index)
        return {
            "pixel_values": torch.full((1, 8, 8), float(index)),
            "label": index % self._n_classes,
        }


def pairs(n=60, n_classes=3):
    images = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 8, 8)
    return TensorDataset(images, torch.arange(n) % n_classes)


def drawn(loader, images_per_class=5, max_classes=10, seed=0):
    return fixed_sample(loader, nn.Identity(), images_per_class, max_classes, seed)


def test_sample_of_a_loader_is_balanced_and_drawn_once():
    sample = drawn(DataLoader(pairs(), batch_size=7, shuffle=True))
    assert np.bincount(sample.labels).tolist() == [5, 5, 5]
    assert (sample.images[:, 0, 0, 0].long() % 3).tolist() == sample.labels.tolist()
    again = drawn(DataLoader(pairs(), batch_size=3))
    assert torch.equal(sample.images, again.images)
    other = drawn(DataLoader(pairs()), seed=1)
    assert not torch.equal(sample.images, other.images)


def test_sample_opens_only_chosen_items_where_labels_are_kept():
    dataset = Pictures()
    dataset.targets = [index % 4 for index in range(200)]
    sample = drawn(DataLoader(dataset), images_per_class=3, max_classes=2)
    assert len(dataset.asked) == len(sample) == 6
    subset = Subset(dataset, range(1, 200, 4))
    with pytest.raises(DataError, match="two classes with two images each are needed"):
        drawn(DataLoader(subset))


def test_sample_looks_at_no_more_items_than_it_has_to_where_labels_are_not_kept():
    dataset = Pictures(n=5000)
    sample = drawn(DataLoader(dataset), images_per_class=2, max_classes=3)
    assert len(dataset.asked) == 60
    assert len(sample) == 6


def test_sample_leaves_random_generators_alone():
    class Augmented(Pictures):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return {**item, "pixel_values": item["pixel_values"] + torch.rand(1)}

    before = torch.get_rng_state()
    samples = [drawn(DataLoader(Augmented())) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(samples[0].images, samples[1].images)


def test_sample_refuses_loaders_it_cannot_draw_from():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(DataError, match="Stream has not: give a FixedSample"):
        drawn(DataLoader(Stream()))
    flat = TensorDataset(torch.zeros(9, 5), torch.arange(9) % 2)
    with pytest.raises(DataError, match=r"found list of \(1, 5\), \(1,\): give a FixedSample"):
        drawn(DataLoader(flat))


def test_batches_are_read_as_pairs_and_under_the_usual_names():
    images, labels = torch.zeros(2, 1, 8, 8), torch.zeros(2)
    for batch in ((images, labels), [images, labels, 3], {"image": images, "labels": labels}):
        found = images_and_labels(batch)
        assert found[0] is images
        assert found[1] is labels
    assert images_and_labels({"text": "a"}) == (None, None)
    assert images_and_labels(images) == (None, None)


def test_budget_is_kept_over_many_epochs():
    now = [0.0]
    budget = Budget(0.03, clock=lambda: now[0])
    n_looks = 0
    for _ in range(200):
        now[0] += 1.0
        if budget.begin():
            n_looks += 1
            now[0] += 0.1
            budget.end()
    assert 55 <= n_looks <= 61
    assert budget.spent_share <= 0.03
    assert budget.n_passed_over == 200 - n_looks


def test_budget_of_none_affords_every_look_and_a_share_must_be_one():
    budget = Budget(None, clock=lambda: 0.0)
    assert [budget.begin() for _ in range(3)] == [True] * 3
    with pytest.raises(ConfigError, match=r"^budget must be a share of training time in \(0, 1\)"):
        Budget(3.0)


def test_table_of_something_else_is_not_overwritten(tmp_path):
    path = tmp_path / "following.csv"
    path.write_text("epoch,loss\n1,2\n")
    with pytest.raises(DataError, match="lacks the columns layer"):
        TableLog(tmp_path).write([ROW])
    assert path.read_text() == "epoch,loss\n1,2\n"


def test_tensorboard_holds_every_number_under_its_layer(tmp_path):
    events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    (log,) = logs_for(["tensorboard"], tmp_path)[1:]
    log.write([ROW, {**ROW, "layer": "head"}])
    log.write([{**ROW, "epoch": 4, "feature_entropy": 0.75}])
    log.close()
    found = events.EventAccumulator(str(tmp_path)).Reload()
    tags = found.Tags()["scalars"]
    assert "feature_entropy/head" in tags
    assert "birth_entropy/head" not in tags
    assert "following/sample_loss" in tags
    assert "following/lr" in tags
    points = [(p.step, p.value) for p in found.Scalars("feature_entropy/stage|1")]
    assert points == [(3, 0.5), (4, 0.75)]


def test_mlflow_holds_every_number_under_its_layer(tmp_path, monkeypatch):
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "true")
    mlflow = importlib.import_module("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    (log,) = logs_for(["mlflow"], None)
    log.write([ROW])
    run = mlflow.active_run().info.run_id
    log.write([{**ROW, "epoch": 4, "feature_entropy": 0.75}])
    log.close()
    assert mlflow.active_run() is None
    found = mlflow.tracking.MlflowClient().get_metric_history(run, "feature_entropy/stage_1")
    assert [(point.step, point.value) for point in found] == [(3, 0.5), (4, 0.75)]


def test_logs_are_named_and_packages_that_are_missing_too(monkeypatch):
    with pytest.raises(ConfigError, match="unknown log 'tensorbord'; did you mean 'tensorboard'"):
        logs_for(["tensorbord"], None)
    with pytest.raises(ConfigError, match="TensorBoard needs a folder"):
        logs_for(["tensorboard"], None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError) as caught:
        needed("mlflow", "log to MLflow", "mlflow-skinny")
    assert str(caught.value) == (
        "to log to MLflow the package mlflow-skinny is needed, which cannot be imported (import of "
        "mlflow halted; None in sys.modules); install it: pip install 'genaudit[training]'"
    )
