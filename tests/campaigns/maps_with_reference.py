"""Births of random, tied and real maps on every backend, against the definitions and GUDHI."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import timm
import torch
from gudhi.sklearn.cubical_persistence import CubicalPersistence
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor, nn

from audit.conformance import ArrayView
from audit.topology import FLAG_CONSTANT, FLAG_ZERO, LayerBirths, birth_levels
from audit.topology.units import unit_frame
from tests.campaigns.relation import RANDOM, TIED
from tests.campaigns.report import Report
from tests.levels_by_gudhi import gudhi_clique_level, gudhi_cubical_level

Batches = Iterator[np.ndarray]
#: Height and width of drawn maps, gone through in any order.
SHAPES = (
    *((2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (10, 10), (14, 14)),
    *((1, 8), (9, 1), (2, 7), (5, 9), (14, 10), (28, 20), (28, 28)),
)
PER_BATCH = 10
#: The definition of the clique filtration is too slow for more vertices; GUDHI is not.
MOST_VERTICES = 14
KINDS = ("random", "tied", "real: residual network", "real: trained on digits")


def drawn(rng: np.random.Generator, kinds: dict) -> Batches:
    """Batches of drawn maps, without end."""
    while True:
        for row in rng.permutation(len(SHAPES)):
            for draw in kinds.values():
                yield draw(rng, (PER_BATCH, *SHAPES[row]))


def real(rng: np.random.Generator, network: nn.Module, images: list[Tensor]) -> Batches:
    """Batches of the maps of one layer, up to 28 × 28, on images of several sizes; without end."""
    found: list[np.ndarray] = []
    for batch in images:
        view = ArrayView(network, batch, [0] * len(batch), layers=("all-activations",))
        view.maps(batch, view.module, lambda _, maps: found.append(maps.numpy().copy()))
    flat = [maps.reshape(-1, *maps.shape[2:]) for maps in found if max(maps.shape[2:]) <= 28]
    while True:
        maps = flat[rng.integers(len(flat))]
        yield maps[rng.choice(len(maps), PER_BATCH, replace=False)]


def residual(rng: np.random.Generator) -> Batches:
    """A residual network of timm with random weights, on pieces of two photographs."""
    photographs = [
        torch.from_numpy(p.copy()).permute(2, 0, 1) / 255 for p in load_sample_images().images
    ]
    images = []
    for height, width in ((112, 112), (56, 56), (96, 64)):
        corners = [(int(rng.integers(300)), int(rng.integers(500))) for _ in range(4)]
        pieces = [
            p[:, y : y + height, x : x + width]
            for p, (y, x) in zip(photographs * 2, corners, strict=True)
        ]
        images.append((torch.stack(pieces) - 0.5) / 0.25)
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**31)))
        network = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    return real(rng, network, images)


def trained(rng: np.random.Generator) -> Batches:
    """A small network that learns scikit-learn's digits for a few seconds."""
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**31)))
        network = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()),
            *(nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 10)),
        )
        digits = load_digits()
        images = torch.from_numpy(digits.images / 16).float()[:, None]
        images = nn.functional.interpolate(images, (14, 14), mode="bilinear")
        labels = torch.from_numpy(digits.target)
        optimiser = torch.optim.Adam(network.parameters(), 3e-3)
        for _ in range(3):
            for rows in torch.randperm(len(labels)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
                optimiser.step()
    pieces = [images[:20], images[20:40, :, :, 2:12], images[40:60, :, :10, :10]]
    return real(rng, network.eval(), pieces)


def batches(kind: str, seed: int) -> Batches:
    """Maps of one kind, without end."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    if kind in ("random", "tied"):
        return drawn(rng, RANDOM if kind == "random" else TIED)
    return (residual if "residual" in kind else trained)(rng)


def answers(maps: np.ndarray, filtration: str, preset: str) -> Iterator[tuple[str, np.ndarray]]:
    """Who says what of the births, beside the compiled kernels."""
    yield "torch", birth_levels(maps, filtration, preset, "torch")
    yield "torch, float64", birth_levels(maps.astype(np.float64), filtration, preset, "torch")
    yield "kernels, float64", birth_levels(maps.astype(np.float64), filtration, preset, "cpu")
    if filtration == "cubical" or maps.shape[-1] <= MOST_VERTICES:
        yield "reference", birth_levels(maps, filtration, preset, "reference")
    if preset == "full" and filtration == "clique":
        yield "GUDHI", np.array(list(map(gudhi_clique_level, maps)))
    if filtration == "cubical" and min(maps.shape[1:]) > 1:
        diagrams = CubicalPersistence(homology_dimensions=1).fit_transform(-maps.astype(float))
        yield "GUDHI", np.array(list(map(gudhi_cubical_level, maps, diagrams)))


def unit_table(maps: np.ndarray, threads: int) -> bytes:
    """Births of one unit on these images, in two classes, and its rows of the unit table."""
    births = birth_levels(maps[:, None], "cubical", threads=threads)
    constant = (maps == maps[:, :1, :1]).all((1, 2))[:, None]
    zero = (maps == 0).all((1, 2))[:, None]
    flags = (constant * FLAG_CONSTANT | zero * FLAG_ZERO).astype(np.uint8)
    layer = LayerBirths("layer", *maps.shape[1:], births, flags, 0.0)
    frame = unit_frame([layer], np.arange(len(maps)) % 2, ("a", "b"))
    return births.tobytes() + frame.to_csv().encode()


def compare(report: Report, kind: str, number: int, maps: np.ndarray) -> None:
    """Count maps of one batch, and what was compared; note every mismatch."""
    h, w = maps.shape[1:]
    report.count(f"maps: {kind}", len(maps))
    report.count("maps", len(maps))
    asked = [("cubical", "full")]
    if h == w:
        asked += [("clique", "paper"), ("clique", "full")]
    for filtration, preset in asked:
        births = birth_levels(maps, filtration, preset, "cpu")
        for who, other in answers(maps, filtration, preset):
            report.count(f"births compared: {filtration}, {who}", len(maps))
            for k in np.flatnonzero(births != other):
                report.fail(
                    f"map {k} of batch {number} of {kind!r}, {h} × {w}, {filtration}, {preset}: "
                    f"{births[k]} by the kernels, {other[k]} by {who}"
                )
        for threads in (1, 2, 3):
            again = birth_levels(maps, filtration, preset, "cpu", threads=threads)
            report.count("repeated births, the same bytes", len(maps))
            if again.tobytes() != births.tobytes():
                report.fail(f"batch {number} of {kind!r}, {filtration}: other bytes, {threads=}")
    if unit_table(maps, 1) != unit_table(maps, 2):
        report.fail(f"batch {number} of {kind!r}: another unit table")


def run(report: Report, count: int, seed: int) -> None:
    """So many maps, evenly of every kind."""
    for kind in KINDS:
        n_batches = max(1, round(count / len(KINDS) / PER_BATCH))
        for number, maps in enumerate(itertools.islice(batches(kind, seed), n_batches)):
            compare(report, kind, number, np.ascontiguousarray(maps))
