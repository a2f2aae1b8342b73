"""Patches of photographs, textures and terrain that come inside packages, held out by region.

A class is a picture or a block of one. Each block is cut into two or four upright strips; the
second and the fourth are held out. A patch lies whole within its strip and keeps away from the
strip's right edge by a quarter of its side, so that no held-out pixel was trained on. Which
patches of a strip are taken is decided by the seed; patches of one grey level are not. Grey, one
channel.

Pictures are read from the folders of the packages; nothing is downloaded:

- "scikit-learn": two photographs, `china.jpg` (danielbuechele, CC BY 2.0) and `flower.jpg`
  (vultilion, CC BY 2.0), each in 3 × 3 blocks.
- "scikit-image": sixteen pictures of its `data` folder, one class each; their sources and licences,
  mostly CC0 or the public domain, are in the docstrings of `skimage.data`.
- "matplotlib": pictures of its `sample_data`: the elevation of Jacksboro Fault in 2 × 2 blocks and
  that of the coast of Vancouver Island, at twice its size, both brighter where the land is high or
  lit from the north-west; a magnetic resonance image of a head in two halves; and the photograph of
  Grace Hopper in 3 × 2 blocks.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import io
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.data.images import decode_bytes
from audit.errors import ConfigError, DataError, unknown_name
from audit.plugin import DatasetEntry, Split
from audit_datasets._drawn import named_generator, whole_option
from audit_datasets._in_memory import PictureSplit
from audit_datasets._options import import_optional, refuse_unknown, text_option

if TYPE_CHECKING:
    from PIL import Image

OPTIONS = ("pictures", "side", "per_class", "seed")

#: Files of scikit-image's `data` folder, and the part of each that is taken: left, upper, right
#: and lower edge. Left out is what a disc or a margin leaves black.
_SCIKIT_IMAGE: Final[Mapping[str, tuple[int, int, int, int]]] = {
    "astronaut.png": (0, 0, 512, 512),
    "brick.png": (0, 0, 512, 512),
    "camera.png": (0, 0, 512, 512),
    "cell.png": (60, 60, 490, 600),
    "chelsea.png": (0, 0, 451, 300),
    "coffee.png": (0, 0, 600, 400),
    "coins.png": (0, 0, 384, 303),
    "grass.png": (0, 0, 512, 512),
    "gravel.png": (0, 0, 512, 512),
    "hubble_deep_field.jpg": (0, 0, 1000, 872),
    "ihc.png": (0, 0, 512, 512),
    "moon.png": (0, 0, 512, 512),
    "motorcycle_left.png": (0, 0, 741, 500),
    "page.png": (0, 0, 384, 191),
    "retina.jpg": (300, 300, 1100, 1100),
    "text.png": (0, 0, 448, 172),
}


def open_split(split: Split, options: Mapping[str, Any]) -> PictureSplit:
    """The patches of one split.

    Args:
        split: "train" or "held_out".
        options: `pictures`, "scikit-learn" (default), "scikit-image" or "matplotlib"; `side` in
            pixels, default 32; `per_class`, the patches of a class in this split, default 40;
            `seed`, default 0.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, a package that is missing, or
            a block too small for so many patches or for patches so large.
        DataError: A package is installed without its pictures.
    """
    refuse_unknown("patches", options, OPTIONS)
    pictures = text_option("patches", options, "pictures", "scikit-learn")
    if pictures not in _BLOCKS:
        raise unknown_name("pictures of patches:", pictures, _BLOCKS)
    side = whole_option("patches", options, "side", 32, 8)
    per_class = whole_option("patches", options, "per_class", 40, 1)
    seed = whole_option("patches", options, "seed", 0, 0)
    blocks = _BLOCKS[pictures]()
    patches = {
        f"{block}/{x}+{y}": levels[y : y + side, x : x + side]
        for block, levels in blocks.items()
        for x, y in _places(block, levels, split, side, per_class, seed)
    }
    names = list(patches)

    def get(index: int) -> Image.Image:
        from PIL import Image

        return Image.fromarray(np.ascontiguousarray(patches[names[index]]))

    labels = np.repeat(np.arange(len(blocks), dtype=np.int64), per_class)
    return PictureSplit(labels, tuple(blocks), names, get)


def _places(
    block: str, levels: np.ndarray, split: Split, side: int, per_class: int, seed: int
) -> list[tuple[int, int]]:
    """Left and upper edges of the patches of one block, from its strips in turn."""
    height, width = levels.shape
    n_strips = 4 if width >= 6 * side else 2
    room = width // n_strips - side - side // 4 + 1
    if room < 1 or height < side:
        raise ConfigError(
            f"patches: side = {side} is too large for {block}, which is {width} × {height} pixels "
            f"and is cut into {n_strips} strips"
        )
    strips = []
    for strip in range(1 if split == "held_out" else 0, n_strips, 2):
        rng = named_generator(seed, f"{block}/{strip}")
        strips.append(_in_strip(levels, strip * (width // n_strips), room, side, rng))
    turns = (place for several in itertools.zip_longest(*strips) for place in several if place)
    found = list(itertools.islice(turns, per_class))
    if len(found) < per_class:
        raise ConfigError(
            f"patches: {block} has {len(found)} {split} patches of {side} × {side} pixels, fewer "
            f"than per_class = {per_class}; lower per_class or side"
        )
    return found


def _in_strip(
    levels: np.ndarray, left: int, room: int, side: int, rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """Left and upper edges of the patches of a strip that have more than one level, shuffled."""
    for place in rng.permutation(room * (levels.shape[0] - side + 1)).tolist():
        x, y = left + place % room, place // room
        patch = levels[y : y + side, x : x + side]
        if patch.min() < patch.max():
            yield x, y


def _grid(name: str, levels: np.ndarray, rows: int, columns: int) -> dict[str, np.ndarray]:
    """The blocks of a picture, by name, row and column."""
    height, width = levels.shape[0] // rows, levels.shape[1] // columns
    return {
        f"{name}-{row}-{column}": levels[
            row * height : (row + 1) * height, column * width : (column + 1) * width
        ]
        for row in range(rows)
        for column in range(columns)
    }


def _grey_file(path: Path) -> np.ndarray:
    """A picture as grey levels, shape (height, width), uint8."""
    return np.asarray(decode_bytes(_bytes(path), path.name).convert("L"))


def _bytes(path: Path) -> bytes:
    """What a file of a package holds.

    Raises:
        DataError: It is not there, as where a distribution leaves pictures out of packages.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"patches: {path.name} cannot be read from its package: {error}; install the package "
            "from PyPI, where its pictures come along, or choose other pictures"
        ) from error


def _relief(elevation: np.ndarray) -> np.ndarray:
    """Terrain as grey levels: half its rank among all heights, half its slope to the south-east."""
    heights = elevation.astype(np.float64)
    down, right = np.gradient(heights)
    lit = 0.5 + (right + down) / (6 * (right + down).std())
    rank = np.searchsorted(np.sort(heights, axis=None), heights) / heights.size
    levels: np.ndarray = np.floor(np.clip((rank + lit) / 2, 0, 1) * 255 + 0.5).astype(np.uint8)
    return levels


@functools.cache
def _from_scikit_learn() -> dict[str, np.ndarray]:
    """Nine blocks of each of two photographs."""
    import sklearn.datasets

    folder = Path(sklearn.datasets.__file__).parent / "images"
    return {
        **_grid("china", _grey_file(folder / "china.jpg"), 3, 3),
        **_grid("flower", _grey_file(folder / "flower.jpg"), 3, 3),
    }


@functools.cache
def _from_scikit_image() -> dict[str, np.ndarray]:
    """Sixteen pictures, each a block; the package itself is not imported."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "dataset 'patches' needs the package 'skimage' for pictures = \"scikit-image\", which "
            "is not installed; install it: pip install 'genaudit[pictures]'"
        )
    folder = Path(spec.submodule_search_locations[0]) / "data"
    blocks = {}
    for file, (left, upper, right, lower) in _SCIKIT_IMAGE.items():
        blocks[file.partition(".")[0]] = _grey_file(folder / file)[upper:lower, left:right]
    return blocks


@functools.cache
def _from_matplotlib() -> dict[str, np.ndarray]:
    """Thirteen blocks of terrain, a head's inside and a portrait."""
    matplotlib = import_optional("patches", "matplotlib", "pictures")
    folder = Path(matplotlib.get_data_path()) / "sample_data"
    with np.load(io.BytesIO(_bytes(folder / "jacksboro_fault_dem.npz"))) as fault:
        jacksboro = _relief(fault["elevation"])
    with np.load(io.BytesIO(_bytes(folder / "topobathy.npz"))) as coast:
        vancouver = _relief(coast["topo"]).repeat(2, axis=0).repeat(2, axis=1)
    scan = gzip.decompress(_bytes(folder / "s1045.ima.gz"))
    head = np.frombuffer(scan, dtype=">u2").reshape(256, 256).astype(np.uint8)
    return {
        **_grid("jacksboro", jacksboro, 2, 2),
        "vancouver": vancouver,
        **_grid("head", head[16:240, 32:224], 2, 1),
        **_grid("hopper", _grey_file(folder / "grace_hopper.jpg"), 3, 2),
    }


_BLOCKS: Final[Mapping[str, Callable[[], dict[str, np.ndarray]]]] = {
    "scikit-learn": _from_scikit_learn,
    "scikit-image": _from_scikit_image,
    "matplotlib": _from_matplotlib,
}

DATASETS = (
    DatasetEntry(
        name="patches",
        summary="patches of photographs inside packages, held out by region, no download",
        version="1",
        open=open_split,
        options=OPTIONS,
    ),
)
