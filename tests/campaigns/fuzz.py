"""Every parser of ours, given files that are changed at random from sound ones.

Changes are flipped and other bytes, pieces taken out, doubled, swapped, put in from another seed or
from a list of odd tokens. A parser reads the file, or raises an `AuditError`; it neither crashes,
nor hangs, nor raises anything else. A case is told by its parser and its number, so that it can be
made again: `--seed` and the number decide all.
"""

from __future__ import annotations

import faulthandler
import functools
import io
import json
import logging
import pickle
import random
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from audit.correlation import read_held_out
from audit.correlation.foreign_table import read_foreign_table
from audit.errors import AuditError
from audit.folder.record import read_run
from audit.folder.tables import read_measures
from audit.measuring.class_order import read_class_map
from audit.network.weights import read_weights
from audit.ranking import load_card, shipped_cards
from audit.ranking.cards import save_card
from audit.runs.config import AuditConfig
from audit.runs.progress import read_progress
from audit.store import Store
from audit.zoo.tasks import read_task
from tests.campaigns.report import Report, command

SECONDS = 5.0
#: Of a message; some quote a number of five thousand digits.
MOST_LETTERS = 10_000
TOKENS = (
    *(b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\n\n", b'"', b"'", b",", b";", b"\t"),
    *(b"nan", b"inf", b"-inf", b"1e999", b"-0", b"9" * 5000, b"0x1", b"1_0", b"true", b"null"),
    *(b"[" * 2000, b"{" * 2000, b"]", b"}", b"[[", b"]]", b"{}", b"[]", b"=1+1", b"\xed\xa0\x80"),
    *(b"\xe2\x80\xae", b"\x1b[31m", b"../", b"/dev/zero", b"~", b"**", b"checkpoint", b"hp.", b"%"),
)
CONFIG = b"""
[dataset]
name = "image_folder"
root = "data/train"
transform = { input_size = [1, 48, 48], mean = [0.5], std = [0.5], crop_pct = 1.0 }
class_order = ["a", "b"]
[[checkpoints]]
model = "resnet18"
weights = "checkpoints/*.safetensors"
model_args = { num_classes = 16, in_chans = 1 }
which = "ema"
[[checkpoints]]
model = "module:factory"
pretrained = true
name = "x"
[measures]
include = ["default", "birth_*"]
batch_size = 64
images_per_class = 8
[held_out]
table = "held_out.csv"
[ranking]
abstain = true
[reports]
include = ["html"]
[reports.html]
title = "t"
[engine]
name = "local"
retries = 2
"""
HELD_OUT = b"checkpoint,held_out_accuracy,train_accuracy,hp.lr\na,0.5,0.9,1\nb,0.25,1,0.1\n"
FOREIGN = b"model,top1,params,lr\nresnet,76.1,25.6,0.1\nvit,81.2,86,0.01\nmlp,,1e6,\n"
MEASURES = (
    b"checkpoint,measure,version,value,status,reason,seconds,doubt\n"
    b"a,path_norm,1,0.5,ok,,0.1,\na,random,1,,undefined,no number,0,\nb,all,,,failed,why,,\n"
)


def _puts(content: bytes) -> Callable[[Path], list[bytes]]:
    return lambda folder: [content]


def _weights(folder: Path) -> list[bytes]:
    torch.manual_seed(0)
    state = {"a.weight": torch.randn(6, 6), "a.bias": torch.randn(6)}
    found = []
    for content in (state, {"state_dict": state, "epoch": 3}):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        found.append(buffer.getvalue())
    return [*found, safetensors.torch.save(state, {"format": "pt"})]


def _pickles(folder: Path) -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(_weights(folder)[1])) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        return [archive.read(name), pickle.dumps({"a": 1, "b": (1, [2])}, protocol=2)]


def _entry(folder: Path) -> list[bytes]:
    store = Store(folder)
    store.put({"a": 1}, {"x": np.arange(9)}, {"b": [1, 2]})
    store.put({"a": 2}, {}, {})
    return [store.path({"a": n}).read_bytes() for n in (1, 2)]


def _read_entry(path: Path) -> None:
    store = Store(path.parent / "store")
    place = store.path({"a": 1})
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(path.read_bytes())
    store.get({"a": 1})


def _read_ledger(path: Path) -> None:
    store = Store(path.parent / "ledger")
    store.root.mkdir(exist_ok=True)
    (store.root / "ledger.jsonl").write_bytes(path.read_bytes())
    list(store.ledger())


def _card(folder: Path) -> list[bytes]:
    save_card(load_card(shipped_cards()[0]), folder / "card.json")
    return [(folder / "card.json").read_bytes()]


def _read_pickle(path: Path) -> None:
    """A changed pickle inside a whole archive, checksums and all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", path.read_bytes())
        archive.writestr("archive/byteorder", "little")
        for name in "01":
            archive.writestr(f"archive/data/{name}", bytes(144 if name == "0" else 24))
        archive.writestr("archive/version", "3\n")
    path.write_bytes(buffer.getvalue())
    read_weights(path)


def _read_run(path: Path) -> None:
    folder = path.parent / "run"
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_bytes(path.read_bytes())
    read_run(folder)


def _read_progress(path: Path) -> None:
    folder = path.parent / "progress"
    folder.mkdir(exist_ok=True)
    (folder / "progress.json").write_bytes(path.read_bytes())
    read_progress(folder)


def _read_index(path: Path) -> None:
    target = path.with_name("model.safetensors.index.json")
    target.write_bytes(path.read_bytes())
    read_weights(target)


RUN = json.dumps(
    {
        "schema": 1,
        "checkpoints": [
            {
                "checkpoint": "a",
                "notes": [],
                "layers": [{"layer": "1", "height": 4, "width": 4, "tied_rate": 0.5}],
                "data_config": {"input_size": [1, 8, 8]},
                "doubts": [{"kind": "untrained", "reason": "why"}],
            }
        ],
        "measures": {
            "a": {"direction": "higher", "parts": [{"name": "b", "summary": "c"}], "order": 1}
        },
        "dataset": {"class_names": ["a", "b"], "n_sampled": 3, "images_of_class": {"a": 3}},
        "overlap": {"n_sampled": 3, "n_held_out": 1, "n_exact": 1, "n_near": 0},
        "ranking": {"mode": "m", "notes": [], "confidence": 0.9},
        "seed": 0,
    }
).encode()
PROGRESS = json.dumps(
    {
        "state": "running",
        "reason": "",
        "started": 1.5,
        "written": 2.5,
        "total": 3,
        "finished": 1,
        "failed": 1,
        "last_failures": [{"checkpoint": "a", "reason": "b"}],
        "running": [{"checkpoint": "c", "since": 1.0}],
        "seconds_left": None,
        "host": "h",
        "pid": 1,
        "pid_started": 1.0,
    }
).encode()
TASK = b"""
about = "digits"
source = "digits"
images_per_class = 20
[dataset]
name = "digits"
held_out_rate = 0.82
[training]
epochs = 12
[axes]
label_noise = [0.0, 0.3]
augmentation = [false, true]
[[architectures]]
model = "test_resnet"
"""
INDEX = json.dumps({"metadata": {"total_size": 1}, "weight_map": {"a": "x", "b": "y"}}).encode()
#: Parser → sound files, what reads a file, and its share of the count.
PARSERS: dict[str, tuple[Callable[[Path], list[bytes]], Callable[[Path], Any], float]] = {
    "checkpoint": (_weights, read_weights, 0.05),
    "checkpoint's pickle": (_pickles, _read_pickle, 0.04),
    "shard index": (_puts(INDEX), _read_index, 0.01),
    "configuration": (_puts(CONFIG), AuditConfig.read, 0.2),
    "store entry": (_entry, _read_entry, 0.2),
    "ledger": (_puts(b'{"a":1,"time":1.5}\n{"b":[1]}\n'), _read_ledger, 0.1),
    "card": (_card, load_card, 0.1),
    "held-out table": (_puts(HELD_OUT), lambda path: read_held_out(path, ["a", "b"]), 0.08),
    "foreign table": (_puts(FOREIGN), read_foreign_table, 0.05),
    "measures table": (_puts(MEASURES), read_measures, 0.05),
    "record": (_puts(RUN), _read_run, 0.05),
    "progress": (_puts(PROGRESS), _read_progress, 0.01),
    "class map": (
        _puts(b"a\nb\n"),
        lambda path: read_class_map(path, ["a", "b"], "here"),
        0.04,
    ),
    "task": (_puts(TASK), read_task, 0.03),
}


#: Whose files are not sound alone.
_NEED_MORE = ("shard index", "checkpoint's pickle")


def changed(rng: random.Random, seeds: list[bytes]) -> bytes:
    """A sound file with a few changes."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(8)
        length = min(rng.choice((1, 2, 4, 16, 200)), max(1, len(data)))
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            other = rng.choice(seeds)
            start = rng.randrange(len(other) + 1)
            data[at:at] = other[start : start + length]
        elif kind in (5, 6):
            data[at : at + (length if kind == 6 else 0)] = rng.choice(TOKENS)
        else:
            del data[at:]
    return bytes(data)


def cases(count: int) -> Iterator[tuple[str, int]]:
    """Parser and number of every case."""
    for parser, (_, _, share) in PARSERS.items():
        for number in range(max(1, round(count * share))):
            yield parser, number


def run(count: int, seed: int) -> Report:
    """So many changed files, shared out among the parsers."""
    faulthandler.enable()
    report = Report()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        sound = {
            parser: make(_made(folder / str(n)))
            for n, (parser, (make, _, _)) in enumerate(PARSERS.items())
        }
        path = folder / "file.toml"  # tasks go by the ending, all else by content
        for parser, contents in sound.items():
            path.write_bytes(contents[0])
            if parser not in _NEED_MORE:
                PARSERS[parser][1](path)  # what is changed is sound
        for parser, number in cases(count):
            path.write_bytes(changed(random.Random(f"{seed} {parser} {number}"), sound[parser]))
            faulthandler.dump_traceback_later(60, exit=True)
            one(parser, number, functools.partial(PARSERS[parser][1], path), report)
        faulthandler.cancel_dump_traceback_later()
    logging.disable(logging.NOTSET)
    return report


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def one(parser: str, number: int, read: Callable[[], Any], report: Report) -> None:
    """Read one file."""
    started = time.process_time()
    report.count(f"{parser}: files")
    try:
        read()
        report.count(f"{parser}: read")
    except AuditError as error:
        report.count("typed errors")
        if len(str(error)) > MOST_LETTERS:
            report.fail(f"{parser} {number}: a message of {len(str(error))} letters")
    except Exception as error:  # noqa: BLE001  this is what is looked for
        report.fail(f"{parser} {number}: {type(error).__name__}: {error}")
    if time.process_time() - started > SECONDS:
        report.fail(f"{parser} {number}: it took {time.process_time() - started:.1f} s")


if __name__ == "__main__":
    command(run, 1_000_000)
