"""The callbacks, each in a training of the real package."""

import importlib
import sys
import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch
from test_following_follower import small_network, small_sample
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from audit.errors import ConfigError
from audit.following.logs import read_table
from audit.following.sample import FixedSample


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


def training_pairs():
    sample = small_sample(n=48)
    return TensorDataset(sample.images, torch.from_numpy(sample.labels))


@pytest.fixture
def lightning():
    return importlib.import_module("pytorch_lightning")


@pytest.fixture
def transformers(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    importlib.import_module("accelerate")
    return importlib.import_module("transformers")


def fitted(lightning, tmp_path, callbacks, n_epochs=3, seed=0, **options):
    """The weights, and the module, after a training by Lightning."""

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = small_network()
            self.losses = []

        def forward(self, images):
            return self.network(images)

        def training_step(self, batch, index):
            loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.losses.append(loss.item())
            self.log("seen", float(len(self.losses)))
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    lightning.seed_everything(seed, verbose=False)
    module = Module()
    trainer = lightning.Trainer(
        max_epochs=n_epochs,
        accelerator="cpu",
        callbacks=callbacks,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer.fit(module, DataLoader(training_pairs(), batch_size=12, shuffle=True))
    return {name: t.clone() for name, t in module.state_dict().items()}, module


def test_lightning_is_followed_and_trains_as_it_would_without(lightning, tmp_path):
    from audit.following.lightning import FollowingCallback

    callback = FollowingCallback(
        None, every=2, folder=tmp_path, images_per_class=4, budget=None, metrics=["seen", "absent"]
    )
    plain, _ = fitted(lightning, tmp_path, [])
    followed, module = fitted(lightning, tmp_path, [callback])
    assert all(torch.equal(plain[name], followed[name]) for name in plain)
    table = read_table(tmp_path / "following.csv")
    assert table["epoch"].unique().tolist() == [0, 2]
    assert table["layer"].unique().tolist() == ["network.3", "network.5"]
    losses = np.reshape(module.losses, (3, 4)).mean(1)
    assert table["loss"].tolist() == pytest.approx(np.repeat(losses[[0, 2]], 2), rel=1e-5)
    assert table["seen"].tolist() == [4, 4, 12, 12]
    assert len(callback.follower.sample) == 12


def test_lightning_follows_a_part_of_the_module_on_images_of_ones_own(lightning, tmp_path):
    from audit.following.lightning import FollowingCallback

    callback = FollowingCallback(
        small_sample(), "last", folder=None, budget=None, network=lambda module: module.network
    )
    _, module = fitted(lightning, tmp_path, [callback], 1, accumulate_grad_batches=2)
    assert callback.follower.layers == ("5",)
    assert callback.follower.table["loss"].tolist() == pytest.approx([np.mean(module.losses)])


def test_lightning_with_several_loaders_needs_a_dataset(lightning):
    from audit.following.lightning import FollowingCallback

    class Trainer:
        is_global_zero = True
        train_dataloader: ClassVar = {}

    with pytest.raises(ConfigError, match=r"`dataset` must be given to FollowingCallback$"):
        FollowingCallback().on_train_start(Trainer, None)


def enlarged(sample):
    """The same images, large enough for a network that halves them three times."""
    return FixedSample(sample.images.repeat(1, 1, 2, 2), sample.labels)


def trained(transformers, tmp_path, callbacks, **options):
    """The weights, and the Trainer, after a training of a small ResNet of transformers."""
    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], num_labels=3
    )
    transformers.set_seed(0)
    model = transformers.ResNetForImageClassification(config)
    sample = enlarged(small_sample(n=48))
    pairs = zip(sample.images, sample.labels.tolist(), strict=True)
    items = [{"pixel_values": image, "labels": label} for image, label in pairs]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"),
        num_train_epochs=3,
        per_device_train_batch_size=12,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **options,
    )
    trainer = transformers.Trainer(
        model, arguments, train_dataset=items, eval_dataset=items[:6], callbacks=callbacks
    )
    trainer.train()
    return {name: t.clone() for name, t in model.state_dict().items()}, trainer


def test_trainer_of_transformers_is_followed_and_trains_as_it_would_without(transformers, tmp_path):
    from audit.following.transformers import FollowingCallback

    callback = FollowingCallback(
        folder=tmp_path,
        images_per_class=4,
        budget=None,
        filtration="cubical",
        metrics=["eval_loss", "absent"],
    )
    options = {"logging_strategy": "epoch", "eval_strategy": "epoch"}
    plain, _ = trained(transformers, tmp_path, [], **options)
    followed, trainer = trained(transformers, tmp_path, [callback], **options)
    assert all(torch.equal(plain[name], followed[name]) for name in plain)
    table = read_table(tmp_path / "following.csv").groupby("epoch", as_index=False).first()
    assert table["epoch"].tolist() == [1, 2, 3]
    history = trainer.state.log_history
    assert table["loss"].tolist() == [row["loss"] for row in history if "loss" in row]
    assert table["eval_loss"].tolist() == [
        row["eval_loss"] for row in history if "eval_loss" in row
    ]
    assert table["feature_entropy"].notna().all()


def test_loss_of_an_epoch_is_the_mean_of_what_the_trainer_logged(transformers, tmp_path):
    from audit.following.transformers import FollowingCallback

    callback = FollowingCallback(enlarged(small_sample()), "last", folder=None, budget=None)
    _, trainer = trained(transformers, tmp_path, [callback], logging_steps=1)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    expected = np.reshape(losses, (3, 4)).mean(1)
    assert callback.follower.table["loss"].tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    ("module", "package", "purpose"),
    [
        ("pytorch_lightning", "pytorch-lightning", "follow a training of Lightning"),
        ("transformers", "transformers", "follow a training of transformers"),
    ],
)
def test_callbacks_name_the_extra_where_the_package_is_missing(
    module, package, purpose, monkeypatch
):
    ours = f"audit.following.{module.removeprefix('pytorch_')}"
    monkeypatch.delitem(sys.modules, ours, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError) as caught:
        importlib.import_module(ours)
    assert str(caught.value) == (
        f"to {purpose} the package {package} is needed, which cannot be imported (import of "
        f"{module} halted; None in sys.modules); install it: pip install 'genaudit[training]'"
    )
