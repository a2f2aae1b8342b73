"""Training images that are also among the held-out images: exact copies, and near ones.

Only contents are compared, to warn the user; nothing of this reaches a measure. An exact copy has
the same bytes, or the same pixels after decoding. A near copy has a perceptual hash that differs in
few bits: `imagehash.phash` of 16 × 16 bits (Zauner 2010), of which at most `MOST_BITS` differ.

Hash and bound were chosen by `python -m benchmarks.near_duplicates`: of 1,717 digits, glyphs and
blocks of photographs of which no two are the same, none was called a near copy (so less than 0.2%
are, at 95%); at 24 bits 0.6% of the glyphs were, and with 8 × 8 bits a third of them at a bound as
loose. Of copies of photographs, 78 to 84% were found after JPEG at quality 75 and 90 to 98% after
brightening or enlarging. A copy that was cropped or mirrored is not found, nor one of a picture
without contrast, nor a recompressed one of 8 × 8 pixels.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.data.pixels import pixel_digest, standard_mode
from audit.data.sample import Sample
from audit.errors import ConfigError, DataError
from audit.plugin import ImageSplit

if TYPE_CHECKING:
    from PIL import Image

HASH: Final = "imagehash.phash, 16 × 16 bits"
SIDE: Final = 16
MOST_BITS: Final = 16
#: Grey levels between the darkest and the brightest pixel below which a hash is that of noise.
LEAST_CONTRAST: Final = 8
_PAIRS_AT_ONCE: Final = 1 << 22


@dataclasses.dataclass(frozen=True)
class Overlap:
    """What a training sample and a held-out set have in common.

    Attributes:
        n_sampled: Training images that were compared.
        n_held_out: Held-out images that they were compared with.
        exact: (training image, held-out image) of equal bytes or pixels; one pair for each
            training image.
        near: (training image, held-out image, differing bits) of the others, the nearest pair.
        unreadable: Held-out image → why it could not be compared.
    """

    n_sampled: int
    n_held_out: int
    exact: tuple[tuple[str, str], ...]
    near: tuple[tuple[str, str, int], ...]
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of it."""
        return {
            "n_sampled": self.n_sampled,
            "n_held_out": self.n_held_out,
            "n_exact": len(self.exact),
            "n_near": len(self.near),
            "hash": HASH,
            "most_bits": MOST_BITS,
            "exact": [list(pair) for pair in self.exact],
            "near": [list(pair) for pair in self.near],
            "unreadable": dict(self.unreadable),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Print:
    """What stands for an image in a comparison.

    Attributes:
        file: SHA-256 of its stored content.
        pixels: SHA-256 of its decoded pixels, as RGB.
        bits: Its perceptual hash as hexadecimal digits, or "" for a picture without contrast.
    """

    file: str
    pixels: str
    bits: str


def find_overlap(
    split: ImageSplit,
    sample: Sample,
    held_out: ImageSplit,
    memo: MutableMapping[str, str] | None = None,
    held_out_memo: MutableMapping[str, str] | None = None,
    progress: bool = False,
) -> Overlap:
    """Compare the sampled training images with every held-out image.

    Args:
        split: The training images.
        sample: Those of them that are compared.
        held_out: The held-out images, all of which are compared.
        memo: Keeps prints of training images between runs, by name and `stamp`.
        held_out_memo: Likewise of held-out images.
        progress: Whether to draw a progress bar on standard error.

    Raises:
        ConfigError: The package `imagehash` is missing.
        DataError: A sampled image can no longer be read.
    """
    _import_imagehash()
    from tqdm import tqdm

    training = [print_of(split, int(index), memo) for index in sample.indices]
    prints: list[Print] = []
    names: list[str] = []
    unreadable: dict[str, str] = {}
    positions: Iterable[int] = range(len(held_out.sample_ids))
    for index in tqdm(positions, desc="comparing", unit="image", disable=not progress):
        try:
            prints.append(print_of(held_out, index, held_out_memo))
            names.append(held_out.sample_ids[index])
        except DataError as error:
            unreadable[held_out.sample_ids[index]] = str(error)
    exact = _exact(training, prints)
    rest = [position for position in range(len(training)) if position not in exact]
    near = _near([training[position] for position in rest], prints)
    return Overlap(
        n_sampled=len(training),
        n_held_out=len(prints),
        exact=tuple((sample.sample_ids[at], names[other]) for at, other in exact.items()),
        near=tuple((sample.sample_ids[rest[at]], names[other], bits) for at, other, bits in near),
        unreadable=unreadable,
    )


def print_of(split: ImageSplit, index: int, memo: MutableMapping[str, str] | None = None) -> Print:
    """What stands for one image, from memo if there.

    Raises:
        DataError: The image cannot be read.
    """
    stamp = split.stamp(index) if memo is not None else ""
    key = f"print/{stamp}/{split.sample_ids[index]}"
    if memo is not None and stamp and key in memo:
        return Print(**json.loads(memo[key]))
    image = standard_mode(split.load(index))
    found = Print(split.digest(index), pixel_digest(image.convert("RGB")), perceptual_bits(image))
    if memo is not None and stamp:
        memo[key] = json.dumps(dataclasses.asdict(found))
    return found


def perceptual_bits(image: Image.Image) -> str:
    """The perceptual hash of an image as hexadecimal digits; "" where it has no contrast."""
    low, high = image.convert("L").getextrema()
    if high - low < LEAST_CONTRAST:  # type: ignore[operator]
        return ""
    bits = _import_imagehash().phash(image, hash_size=SIDE).hash
    return np.packbits(np.asarray(bits, dtype=bool).ravel()).tobytes().hex()


def _import_imagehash() -> Any:
    """The package that hashes.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import imagehash
    except ImportError as error:
        raise ConfigError(
            "[held_out] images is compared with the training images by the package 'imagehash', "
            f"which cannot be imported ({error}); install it: pip install 'genaudit[duplicates]'"
        ) from error
    return imagehash


def _exact(training: Sequence[Print], held_out: Sequence[Print]) -> dict[int, int]:
    """Training position → position of the first held-out image of equal bytes or pixels."""
    first: dict[str, int] = {}
    for position, one in enumerate(held_out):
        first.setdefault(one.file, position)
        first.setdefault(one.pixels, position)
    found = ((at, first.get(one.file, first.get(one.pixels))) for at, one in enumerate(training))
    return {at: other for at, other in found if other is not None}


def _near(training: Sequence[Print], held_out: Sequence[Print]) -> Iterator[tuple[int, int, int]]:
    """(training position, position of the nearest held-out image, differing bits), where few do."""
    at = [position for position, one in enumerate(training) if one.bits]
    others = [position for position, one in enumerate(held_out) if one.bits]
    if not at or not others:
        return
    ours = _words([training[position].bits for position in at])
    theirs = _words([held_out[position].bits for position in others])
    rows = max(1, _PAIRS_AT_ONCE // len(theirs))
    for start in range(0, len(ours), rows):
        stretch = ours[start : start + rows]
        bits = np.zeros((len(stretch), len(theirs)), dtype=np.uint16)
        for word in range(ours.shape[1]):
            bits += np.bitwise_count(stretch[:, word, None] ^ theirs[None, :, word])
        nearest = bits.argmin(axis=1)
        for row, other in enumerate(nearest.tolist()):
            if bits[row, other] <= MOST_BITS:
                yield at[start + row], others[other], int(bits[row, other])


def _words(hashes: Sequence[str]) -> np.ndarray:
    """Hashes as 64-bit words, shape (n, 4)."""
    content = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint64)
    return content.reshape(len(hashes), -1)
