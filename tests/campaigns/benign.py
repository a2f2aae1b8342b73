"""Weights as everybody saves them: every shape that is supported loads, with no opt-out.

Each is a way of saving the same small network, as training scripts, libraries and wrappers do; what
is read must be that network, value for value.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from audit.errors import AuditError
from audit.network.fitting import fit_weights
from audit.network.weights import read_weights
from tests.campaigns.report import Report, command

State = dict[str, torch.Tensor]
#: Writes weights into a folder, and says what is to be read of it.
Writer = Callable[[Path, State], Path]


def network() -> nn.Sequential:
    """What is saved."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
    )


def saved(content: Callable[[State], Any], name: str = "w.pth", **options: Any) -> Writer:
    """`torch.save` of something made from a state dict."""

    def write(folder: Path, state: State) -> Path:
        torch.save(content(state), folder / name, **options)
        return folder / name

    return write


def under(*keys: str, **beside: Any) -> Callable[[State], Any]:
    """A state dict below keys, others beside it."""

    def make(state: State) -> Any:
        content: Any = state
        for key in reversed(keys):
            content = {key: content, **beside}
        return content

    return make


def named(prefix: str, inner: Callable[[State], Any] = lambda state: state) -> Any:
    """The same with a prefix before every name."""
    return lambda state: inner({prefix + name: tensor for name, tensor in state.items()})


def each(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[State], Any]:
    """Every floating tensor changed."""
    return lambda state: {
        name: change(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def tensors(content: Callable[[State], Any] = lambda state: state, **options: Any) -> Writer:
    """A safetensors file."""

    def write(folder: Path, state: State) -> Path:
        path = folder / options.get("name", "model.safetensors")
        safetensors.torch.save_file(content(state), path, options.get("metadata"))
        return path

    return write


def sharded(kind: str, *, give_folder: bool = False) -> Writer:
    """Two shards and an index, as Hugging Face's `save_pretrained` writes them."""

    def write(folder: Path, state: State) -> Path:
        base = "model" if kind == "safetensors" else "pytorch_model"
        ending = "safetensors" if kind == "safetensors" else "bin"
        places = {}
        names = sorted(state)
        for number, part in enumerate((names[::2], names[1::2]), 1):
            shard = f"{base}-{number:05d}-of-00002.{ending}"
            content = {name: state[name] for name in part}
            if kind == "safetensors":
                safetensors.torch.save_file(content, folder / shard)
            else:
                torch.save(content, folder / shard)
            places |= dict.fromkeys(part, shard)
        index = folder / f"{base}.{ending}.index.json"
        index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
        return folder if give_folder else index

    return write


def folder_of(**files: Any) -> Writer:
    """A folder of a trainer: `weights` is the name of the file, others lie beside it."""

    def write(folder: Path, state: State) -> Path:
        name = files["weights"]
        if name.endswith(".safetensors"):
            safetensors.torch.save_file(state, folder / name)
        else:
            torch.save(files.get("content", lambda s: s)(state), folder / name)
        for other, content in files.get("beside", {}).items():
            if isinstance(content, str):
                (folder / other).write_text(content)
            else:
                torch.save(content, folder / other)
        return folder

    return write


def averaged(state: State) -> State:
    """Other weights, as an average beside those of the last step."""
    return {n: t + 1 if t.is_floating_point() else t for n, t in state.items()}


def training_run(state: State) -> dict[str, Any]:
    """What training scripts save beside weights."""
    optimizer = torch.optim.SGD(network().parameters(), 0.1, momentum=0.9)
    return {
        "epoch": 5,
        "arch": "net",
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "milestones": collections.Counter({3: 1}),
        "args": argparse.Namespace(data="/data", lr=0.1, tags=["a"], nothing=None),
        "metric": 0.5,
        "seen": {1, 2},
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "size": torch.Size([1, 2]),
        "blob": b"bytes",
        "rng": torch.get_rng_state(),
    }


def lightning(state: State) -> dict[str, Any]:
    """A checkpoint of Lightning: the network is an attribute of the module that is trained."""
    return {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.5.5",
        "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": "x"}},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1},
    }


def swa(state: State) -> Any:
    """An average of `torch.optim.swa_utils`."""
    module = network()
    module.load_state_dict(state)
    return torch.optim.swa_utils.AveragedModel(module).state_dict()


def wrapped(wrap: Callable[[nn.Module], nn.Module]) -> Callable[[State], Any]:
    """The state dict of a wrapped network."""

    def make(state: State) -> Any:
        module = network()
        module.load_state_dict(state)
        return wrap(module).state_dict()

    return make


def parameters(state: State) -> Any:
    """Parameters instead of tensors."""
    return {n: nn.Parameter(t) if t.is_floating_point() else t for n, t in state.items()}


HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
KEYS = ("state_dict", "model", "model_state_dict", "model_state", "network", "net", "weights")
KEYS += ("params", "module")
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model")
AVERAGES += ("params_ema", "ema")
PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.")
HF_BESIDE = {"config.json": "{}", "training_args.bin": {}, "optimizer.pt": {}, "rng_state.pth": {}}

SHAPES: dict[str, Writer] = {
    "a state dict": saved(dict),
    "an ordered state dict": saved(collections.OrderedDict),
    "a state dict called .bin": saved(dict, "pytorch_model.bin"),
    "a state dict called .safetensors": saved(dict, "w.safetensors"),
    "a state dict without an ending": saved(dict, "weights"),
    "parameters": saved(parameters),
    "views of larger tensors": saved(lambda s: {k: torch.stack([v, v])[1] for k, v in s.items()}),
    "transposed": saved(
        lambda s: {k: v.T.contiguous().T if v.dim() == 2 else v for k, v in s.items()}
    ),
    "channels last": saved(
        lambda s: {
            k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v
            for k, v in s.items()
        }
    ),
    "without batch counters": saved(
        lambda s: {k: v for k, v in s.items() if "num_batches" not in k}
    ),
    "a training run": saved(training_run),
    "a network inside a training run": saved(under("model", "state_dict", epoch=1)),
    "Lightning": saved(lightning, "epoch=1-step=10.ckpt"),
    "an average of swa_utils": saved(swa),
    "a network of DataParallel": saved(wrapped(nn.DataParallel)),
    "a compiled network": saved(wrapped(lambda module: torch.compile(module))),
    "safetensors": tensors(),
    "safetensors with metadata": tensors(metadata={"format": "pt", "epoch": "3"}),
    "safetensors called .bin": tensors(name="w.bin"),
    "safetensors of DataParallel": tensors(named("module.")),
    "shards of safetensors, by index": sharded("safetensors"),
    "shards of safetensors, by folder": sharded("safetensors", give_folder=True),
    "shards of torch, by index": sharded("torch"),
    "shards of torch, by folder": sharded("torch", give_folder=True),
    "a folder of Hugging Face": folder_of(weights="model.safetensors", beside=HF_BESIDE),
    "an old folder of Hugging Face": folder_of(weights="pytorch_model.bin", beside=HF_BESIDE),
    "a folder of Lightning": folder_of(weights="epoch=1-step=10.ckpt", content=lightning),
    "a folder of timm": folder_of(
        weights="model_best.pth.tar",
        content=under("state_dict", epoch=3, arch="net", metric=0.5, version=2),
        beside={"args.yaml": "model: net\n", "summary.csv": "epoch,loss\n0,1\n"},
    ),
    **{f"below {key!r}": saved(under(key, epoch=3)) for key in KEYS},
    **{f"an average below {key!r}": saved(under(key)) for key in AVERAGES},
    **{
        f"an average below {key!r} beside raw weights": saved(
            lambda s, key=key: {"state_dict": averaged(s), key: s}
        )
        for key in AVERAGES
    },
    **{f"names with {prefix}": saved(named(prefix)) for prefix in PREFIXES},
    **{f"names with {p} in a run": saved(named(p, training_run)) for p in PREFIXES},
    **{f"{kind}, torch": saved(each(lambda t, to=to: t.to(to))) for kind, to in HALF.items()},
    **{
        f"{kind}, safetensors": tensors(each(lambda t, to=to: t.to(to)))
        for kind, to in HALF.items()
    },
}


def load(name: str, write: Writer, report: Report) -> None:
    """Save the network one way, and read it."""
    state = network().state_dict()
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), {key: tensor.clone() for key, tensor in state.items()})
        into = network()
        for tensor in into.state_dict().values():
            tensor.zero_()
        try:
            weights = read_weights(path)
            fit_weights(into, weights, path)
        except AuditError as error:
            report.fail(f"{name}: {error}")
            return
    exact = not name.startswith(("bfloat16", "float16"))
    for key, tensor in into.state_dict().items():
        if "num_batches" in key:
            continue
        same = (
            torch.equal(tensor, state[key]) if exact else torch.allclose(tensor, state[key], 0.02)
        )
        if not same:
            report.fail(f"{name}: {key} has other values")
    report.count("shapes that load")


def run(count: int, seed: int) -> Report:
    """So many shapes; all of them where the count is 0 or larger."""
    report = Report()
    every = list(SHAPES.items())
    if 0 < count < len(every):
        every = random.Random(seed).sample(every, count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what writes the files
        for name, write in every:
            load(name, write, report)
            report.count("shapes")
    return report


if __name__ == "__main__":
    command(run, 0)
