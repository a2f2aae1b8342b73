"""Which weights lie in a folder, from the names of its files alone.

Training scripts leave whole folders: those of timm's `train.py`, of Lightning, of the trainer of
Hugging Face, or a network cut into shards. What lies there is one checkpoint, or a series of them.
"""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import Final

from audit.errors import CheckpointError
from audit.network.weights._refusals import is_shard, named_trainer_file, special_folder
from audit.network.weights._shards import INDEX_ENDING

ENDINGS: Final = (".safetensors", ".pth.tar", ".pt.tar", ".pth", ".pt", ".ckpt", ".bin", ".tar")
#: What Hugging Face and timm call the weights of a folder that holds one network, best first.
WHOLE: Final = (
    "model.safetensors",
    f"model.safetensors{INDEX_ENDING}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX_ENDING}",
    "pytorch_model.pth",
    "diffusion_pytorch_model.safetensors",
    f"diffusion_pytorch_model.safetensors{INDEX_ENDING}",
)
#: What trainers call a second copy of an epoch.
_COPIES: Final = ("model_best", "last", "best")
_MAX_DEPTH: Final = 8


def stem(path: Path) -> str:
    """The name of a file without its ending, such as `.pth.tar` or `.safetensors.index.json`."""
    name = path.name.removesuffix(INDEX_ENDING)
    ending = next((e for e in ENDINGS if name.endswith(e) and name != e), "")
    return name.removesuffix(ending) if ending else Path(name).stem


def weights_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, in alphabetical order; those of its own before any below.

    * a network by its usual name, or an index with shards: that alone;
    * else every file with the ending of weights, without optimizers and the like, and without
      `last` and `model_best` where they are copies of an epoch;
    * else those in the folders below.

    A folder of a format that is not read is given itself: reading it says what it is.

    Raises:
        CheckpointError: There are none.
    """
    found = _search(folder, 0)
    if not found:
        names = sorted(path.name for path in folder.iterdir())
        inside = f"holds {', '.join(names[:10])}" if names else "is empty"
        raise CheckpointError(
            f"checkpoint {folder} is a folder without weights (files ending in "
            f"{', '.join(ENDINGS)}): it {inside}{' and more' if len(names) > 10 else ''}"
        )
    return found


def _search(folder: Path, depth: int) -> list[Path]:
    """The checkpoints in a folder, or in the folders below it."""
    if special_folder(folder):
        return [folder]
    whole = [folder / name for name in WHOLE if (folder / name).is_file()]
    if whole:
        return whole[:1]
    indices = sorted(folder.glob(f"*{INDEX_ENDING}"))
    if indices:
        return indices
    files = [path for path in sorted(folder.iterdir()) if _is_weights(path)]
    if files:
        return _without_copies(files)
    if depth >= _MAX_DEPTH:
        return []
    below = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    return [path for inner in below for path in _search(inner, depth + 1)]


def _is_weights(path: Path) -> bool:
    """Whether the name of a file is that of weights."""
    if path.name.startswith(".") or named_trainer_file(path.name):
        return False
    return path.name.endswith(ENDINGS) and path.is_file()


def _without_copies(files: list[Path]) -> list[Path]:
    """Leave out what a trainer only saved under a second name."""
    shards = [path for path in files if is_shard(path.name)]
    if shards:
        return shards[:1] + [path for path in files if path not in shards]
    named = [path for path in files if not stem(path).startswith(_COPIES)]
    kept = list(named)
    for path in files:
        if path not in named and not any(_same(path, other) for other in kept):
            kept.append(path)
    return sorted(kept)


def _same(path: Path, other: Path) -> bool:
    """Whether two files have the same content."""
    try:
        return path.samefile(other) or filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False  # reading it says why
