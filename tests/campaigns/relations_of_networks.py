"""Relations of whole networks: from weights and images to births, flags and the unit table.

Networks are small and drawn anew for each example. Where a change takes sums in another order, all
weights and images are integers or halves, so that every sum is exact in float64 and the births are
equal to the bit as theorems say; elsewhere weights are of any kind, in float32.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import timm
import torch
from torch import nn

from audit.arrays import NO_BIRTH
from audit.conformance import ReferenceNetwork, ReferenceResidual, Setting, changed, observe
from audit.plugin import MeasureEntry
from audit.topology.units import CONSTANT, DEAD, unit_frame
from audit.transforms import orders
from audit_measures import genaudit_measures
from tests.campaigns.relation import ROUNDING, Relation, Same
from tests.campaigns.relations_of_units import numbers

Found = Iterator[Same]
FILTRATIONS = ("clique", "cubical")
CLASSES = ("a", "b", "c")
#: Layer → the weights whose first axis numbers its units.
UNITS_OF = {
    ReferenceNetwork: {f"relu{k}": f"conv{k}.weight" for k in (1, 2, 3)},
    ReferenceResidual: {f"relu{k}": f"bn{k}.weight" for k in (1, 2, 3, 4)},
}
#: How fields of an element of the symmetry group of the square act on the last two axes.
TURNS = {
    "transposition": lambda x: x.transpose(-1, -2),
    "half a turn": lambda x: x.flip(-1, -2),
    "other transposition": lambda x: x.transpose(-1, -2).flip(-1, -2),
    "flip": lambda x: x.flip(-1),
    "quarter of a turn": lambda x: x.transpose(-1, -2).flip(-1),
}


def setting_for(network: nn.Module, rng: np.random.Generator, exact: bool = False) -> Setting:
    """A network and up to 8 images with labels; all activations of the network are looked at."""
    n = int(rng.integers(3, 9))
    shape = (n, 3, 16, 16)
    pixels = rng.integers(-1, 3, shape) if exact else rng.standard_normal(shape)
    images = torch.from_numpy(pixels).to(torch.float64 if exact else torch.float32)
    return Setting(
        network=network.eval(),
        images=images,
        labels=rng.integers(0, 3, n),
        class_names=CLASSES,
        layers=("all-activations",),
        batch_size=int(rng.integers(1, 9)),
    )


def exact(rng: np.random.Generator, kind: type[nn.Module] | None = None) -> Setting:
    """A network of integers and halves, in float64."""
    kind = kind or (ReferenceNetwork, ReferenceResidual)[rng.integers(2)]
    network = kind(seed=int(rng.integers(2**31))).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.from_numpy(rng.integers(-1, 2, tuple(parameter.shape))))
        for norm in (part for part in network.modules() if isinstance(part, nn.BatchNorm2d)):
            norm.eps = 0.0
            n = norm.num_features
            norm.weight.copy_(torch.from_numpy(rng.choice([-1, 0.5, 1], n)))
            norm.running_mean.copy_(torch.from_numpy(rng.integers(-2, 3, n)))
            norm.running_var.copy_(torch.from_numpy(rng.choice([0.25, 1, 4], n)))
    return setting_for(network, rng, exact=True)


def of_any_weights(rng: np.random.Generator, of_timm: bool = True) -> Setting:
    """One of three kinds of network, in float32; every fifth may be timm's."""
    seed = int(rng.integers(2**31))
    if seed % 5 or not of_timm:
        return setting_for((ReferenceNetwork, ReferenceResidual)[seed % 2](seed=seed), rng)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = timm.create_model("test_resnet", num_classes=3)
        for norm in (part for part in network.modules() if isinstance(part, nn.BatchNorm2d)):
            for tensor in (norm.weight, norm.running_var):
                nn.init.uniform_(tensor, 0.5, 2)
            for tensor in (norm.bias, norm.running_mean):
                nn.init.uniform_(tensor, -0.5, 0.5)
    return setting_for(network, rng)


class Told(NamedTuple):
    """What one pass tells in one filtration.

    `layers`: layer → births and flags (2, n, u). `units`: the unit table, as an array.
    """

    layers: dict[str, np.ndarray]
    units: np.ndarray


def told(setting: Setting) -> dict[str, Told]:
    """Filtration → births, flags and the unit table, all of one pass."""
    view = setting.view(of_both_filtrations())
    found = {}
    for filtration in FILTRATIONS:
        births = list(view.births(filtration))
        maps = {one.layer: np.stack([one.birth_levels, one.flags]).astype(int) for one in births}
        frame = unit_frame(births, setting.labels, setting.class_names)
        found[filtration] = Told(maps, numbers(frame, len(setting.class_names)))
    return found


def compared(one: Setting, other: Setting, *filtrations: str) -> Found:
    """Births, flags and unit tables must have the same bits."""
    before, after = told(one), told(other)
    for filtration in filtrations or FILTRATIONS:
        yield Same("layers", list(before[filtration].layers), list(after[filtration].layers))
        for layer, maps in before[filtration].layers.items():
            yield Same(f"{filtration}, {layer}", maps, after[filtration].layers[layer])
        yield Same(f"{filtration}, units", before[filtration].units, after[filtration].units)


def moved(one: Setting, other: Setting) -> Iterator[tuple[str, Told, Told]]:
    """What is told before and after a change, by filtration."""
    before, after = told(one), told(other)
    yield from ((filtration, before[filtration], after[filtration]) for filtration in FILTRATIONS)


def any_seed(rng: np.random.Generator) -> int:
    """A seed of a change."""
    return int(rng.integers(2**31))


def node_wise(rng: np.random.Generator) -> Found:
    before = of_any_weights(rng)
    yield from compared(before, changed(before, "node-wise", any_seed(rng)))


def layer_uniform(rng: np.random.Generator) -> Found:
    before = of_any_weights(rng)
    yield from compared(before, changed(before, "layer-uniform", any_seed(rng)))


def permutation(rng: np.random.Generator) -> Found:
    before, seed = exact(rng), any_seed(rng)
    after = changed(before, "permutation", seed)
    found = orders(before.network, before.images[:1], seed)
    for filtration, one, other in moved(before, after):
        rows: list[int] = []
        for layer, maps in one.layers.items():
            units = np.arange(maps.shape[2])
            order = found.get(UNITS_OF[type(before.network)][layer], {}).get(0, units)
            yield Same(f"{filtration}, {layer}", maps[..., order], other.layers[layer])
            rows += (len(rows) + order).tolist()
        yield Same(f"{filtration}, units", one.units[rows], other.units)


def folding(rng: np.random.Generator) -> Found:
    before = exact(rng, ReferenceResidual)
    yield from compared(before, changed(before, "folding", any_seed(rng)))


def image_order(rng: np.random.Generator) -> Found:
    before, seed = exact(rng), any_seed(rng)
    after = changed(before, "image-order", seed)
    order = np.random.default_rng(seed).permutation(len(before.labels))
    for filtration, one, other in moved(before, after):
        for layer in one.layers:
            yield Same(f"{filtration}, {layer}", one.layers[layer][:, order], other.layers[layer])
        yield Same(f"{filtration}, units", one.units, other.units)


def batch_size(rng: np.random.Generator) -> Found:
    before = exact(rng)
    yield from compared(before, dataclasses.replace(before, batch_size=before.batch_size % 8 + 1))


def duplicates(rng: np.random.Generator) -> Found:
    before, seed = exact(rng), any_seed(rng)
    after = changed(before, "duplicates", seed)
    for filtration, one, other in moved(before, after):
        for layer, maps in one.layers.items():
            rows = np.arange(maps.shape[1])
            twice = np.repeat(rows, 2) if seed % 2 == 0 else np.tile(rows, 2)
            yield Same(f"{filtration}, {layer}", maps[:, twice], other.layers[layer])
        expected = one.units * [2, 1, 1, 1, 1]
        yield Same(f"{filtration}, units", expected, other.units, ROUNDING)


def relabelling(rng: np.random.Generator) -> Found:
    before = exact(rng)
    after = changed(before, "relabelling", any_seed(rng))
    order = [CLASSES.index(name) for name in after.class_names]
    for filtration, one, other in moved(before, after):
        for layer in one.layers:
            yield Same(f"{filtration}, {layer}", one.layers[layer], other.layers[layer])
        rows = one.units[:, order]
        yield Same(f"{filtration}, units", rows, other.units)


def precision(rng: np.random.Generator) -> Found:
    before = exact(rng, ReferenceNetwork)  # its sums stay below 2 ** 24
    yield from compared(before, changed(before, "dtype", 0))


def turned(rng: np.random.Generator) -> Found:
    before = exact(rng)
    name = list(TURNS)[rng.integers(len(TURNS))]
    after = dataclasses.replace(before.to(torch.float64), images=TURNS[name](before.images))
    with torch.no_grad():
        for part in after.network.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.copy_(TURNS[name](part.weight).clone())
    of_graphs = name in ("transposition", "half a turn", "other transposition")
    yield from compared(before, after, "cubical", *(["clique"] if of_graphs else []))


def brighter(rng: np.random.Generator) -> Found:
    before = setting_for(ReferenceNetwork(seed=any_seed(rng)), rng)
    with torch.no_grad():
        for layer in ("conv1", "conv2", "conv3"):
            getattr(before.network, layer).bias.zero_()
    factor = 2.0 ** int(rng.integers(-20, 21))
    after = dataclasses.replace(before, images=before.images * factor)
    for filtration, one, other in moved(before, after):
        # which layers have maps is told with noise of the size that prepared images have
        for layer in one.layers.keys() & other.layers.keys():
            yield Same(f"{filtration}, {layer}", one.layers[layer], other.layers[layer])
        if one.layers.keys() == other.layers.keys():
            yield Same(f"{filtration}, units", one.units, other.units)


def unit_without_weights(rng: np.random.Generator) -> Found:
    before = setting_for(ReferenceNetwork(seed=any_seed(rng)), rng)
    after = before.to(torch.float32)
    k, bias = int(rng.integers(1, 3)), float(rng.integers(-1, 2))
    convolution = getattr(after.network, f"conv{k}")
    unit = int(rng.integers(convolution.out_channels))
    with torch.no_grad():
        convolution.weight[unit], convolution.bias[unit] = 0, bias
    for _filtration, one, other in moved(before, after):
        for layer in list(one.layers)[: k - 1]:
            yield Same(f"{layer}, before it", one.layers[layer], other.layers[layer])
        beside = np.arange(convolution.out_channels) != unit
        own = f"relu{k}"
        yield Same("the other units", one.layers[own][..., beside], other.layers[own][..., beside])
        yield Same(
            "its births", other.layers[own][0, :, unit], np.full(len(before.labels), NO_BIRTH)
        )
        position = sum(maps.shape[2] for maps in list(other.layers.values())[: k - 1]) + unit
        state = other.units[position, np.unique(before.labels), -1]
        yield Same("its state", state, np.full(len(state), CONSTANT if bias > 0 else DEAD))
    if bias <= 0:
        unread = after.to(torch.float32)
        with torch.no_grad():
            weight = getattr(unread.network, f"conv{k + 1}").weight
            weight[:, unit] = torch.from_numpy(rng.standard_normal(tuple(weight[:, 0].shape)))
        yield from compared(after, unread)


def repeated(rng: np.random.Generator) -> Found:
    before = of_any_weights(rng, of_timm=False)
    threads = torch.get_num_threads()
    first = told(before)
    try:
        for n in (threads, 3 - min(threads, 2)):
            torch.set_num_threads(n)
            for filtration, found in told(before).items():
                same = found.units.tobytes() == first[filtration].units.tobytes()
                yield Same(f"{filtration}, {n} threads", same, True)
    finally:
        torch.set_num_threads(threads)


@functools.cache
def of_both_filtrations() -> list[MeasureEntry]:
    """Measures that have a pass take births of both filtrations along."""
    return [entry for entry in genaudit_measures() if entry.name.startswith("feature_entropy.")]


def birth_measures() -> list[MeasureEntry]:
    """Measures of births that are defined on samples as small as these."""
    names = ("feature_entropy.", "birth_class_information.")
    return [entry for entry in genaudit_measures() if entry.name.startswith(names)]


def declared(rng: np.random.Generator) -> Found:
    names = ("node-wise", "layer-uniform", "permutation", "image-order", "batch-size")
    names += ("duplicates", "relabelling")
    name = names[rng.integers(len(names))]
    for found in observe(birth_measures(), exact(rng), [name], any_seed(rng)):
        if found.declared == "same":
            told = f"{name}, {found.part}: {found.before} and {found.after} {found.note}"
            yield Same(told, found.outcome in ("same", "no value"), True)


RELATIONS = (
    Relation(
        "network: node-wise",
        "a factor 2ᵏ into each unit and 2⁻ᵏ out of it leaves births, flags and H / ε to the bit",
        node_wise,
    ),
    Relation("network: layer-uniform", "the same with one factor for each layer", layer_uniform),
    Relation(
        "network: permutation",
        "channels in another order: births and rows of the unit table in that order",
        permutation,
    ),
    Relation("network: folding", "BatchNorm put into the convolution leaves the maps", folding),
    Relation(
        "network: image order", "images in another order: births in it, one table", image_order
    ),
    Relation(
        "network: batch size", "births do not depend on which images are run together", batch_size
    ),
    Relation(
        "network: duplicates", "every image twice: its births twice, H / ε as before", duplicates
    ),
    Relation(
        "network: relabelling", "births know no classes; rows go with their class", relabelling
    ),
    Relation(
        "network: precision", "where sums are exact, float32 gives float64's births", precision
    ),
    Relation(
        "network: turned",
        "g of kernels and images, g one of 5 symmetries of the square, is g of the maps: the same "
        "cubical births, and clique births where g is a half turn or a transposition",
        turned,
    ),
    Relation("network: brighter", "without biases, images times 2ᵏ have the same births", brighter),
    Relation(
        "network: unit without weights",
        "a unit with weights 0 is dead (bias ≤ 0) or constant, the others of its layer are as they "
        "were, and what reads a dead unit is of no effect",
        unit_without_weights,
    ),
    Relation("network: repeated", "again, on any number of threads: the same bytes", repeated),
    Relation(
        "network: declared",
        "feature entropy and birth–class information stay where they declare it under `TRANSFORMS`",
        declared,
    ),
)
