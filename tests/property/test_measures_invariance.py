import functools
import itertools
import os

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from audit.arrays import NO_BIRTH
from audit.conformance import TRANSFORMS, ReferenceNetwork, changed, setting_of
from audit.conformance.observation import compared
from audit.conformance.values import values_of
from audit.errors import UnavailableError
from audit.plugin import DataConfig
from audit.topology import FLAG_CONSTANT, FLAG_ZERO, LayerBirths
from audit.topology.units import STATUS_NAMES, unit_frame, unit_status
from audit_measures import genaudit_measures
from audit_measures._squared_network import squared_output

#: Those that search, differentiate or run other networks are tried on the reference networks alone.
CHEAP = [entry for entry in genaudit_measures() if entry.cost != "backward" and not entry.passes]
WITHOUT_BATCHNORM = {"test_vit"}
EXAMPLES = int(os.environ.get("GENAUDIT_CAMPAIGN", "1"))


@st.composite
def samples(draw):
    """Flags and births that fit each other, and labels of up to three classes."""
    n, u = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    states = draw(arrays(np.int8, (n, u), elements=st.integers(0, 3)))  # zero, constant, none, born
    levels = draw(arrays(np.int32, (n, u), elements=st.integers(1, 4)))
    flags = np.select([states == 0, states == 1], [FLAG_ZERO | FLAG_CONSTANT, FLAG_CONSTANT], 0)
    births = np.where(states == 3, levels, NO_BIRTH)
    labels = draw(arrays(np.int64, (n,), elements=st.integers(0, 2)))
    return flags.astype(np.uint8), births.astype(np.int32), labels


def state_of(flags, births):
    """The definition, for one unit on the images of one class."""
    if not len(flags):
        return "no_images"
    if all(flag & FLAG_ZERO for flag in flags):
        return "dead"
    if all(flag & (FLAG_ZERO | FLAG_CONSTANT) for flag in flags):
        return "constant"
    return "ok" if any(births != NO_BIRTH) else "never_born"


@given(samples())
def test_unit_status_is_its_definition(sample):
    flags, births, labels = sample
    codes = unit_status(flags, births, labels, 3)
    for c in range(3):
        for k in range(flags.shape[1]):
            expected = state_of(flags[labels == c, k], births[labels == c, k])
            assert STATUS_NAMES[codes[c, k]] == expected


@given(samples(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_unit_frame_does_not_depend_on_the_order_of_images(sample, random):
    flags, births, labels = sample
    order = random.sample(range(len(labels)), len(labels))
    frames = [
        unit_frame([LayerBirths("a", 5, 5, births[rows], flags[rows], 0.0)], labels[rows], "xyz")
        for rows in (slice(None), order)
    ]
    columns = ["effective_rate", "birth_entropy", "feature_entropy"]
    np.testing.assert_allclose(frames[0][columns], frames[1][columns], rtol=1e-12, atol=1e-12)
    assert frames[0].drop(columns=columns).equals(frames[1].drop(columns=columns))
    ok = frames[0]["status"] == "ok"
    assert frames[0]["feature_entropy"].notna().equals(ok)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small only lose by sharing their work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def setting(name):
    """A timm network with random weights and statistics of BatchNorm on its reference images."""
    side = 64 if name == "test_vit" else 32
    size = {"img_size": side} if name == "test_vit" else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=3, **size)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                for tensor in (part.weight, part.running_var):
                    nn.init.uniform_(tensor, 0.5, 2)
                for tensor in (part.bias, part.running_mean):
                    nn.init.uniform_(tensor, -0.5, 0.5)
    config = DataConfig((3, side, side), (0.5,) * 3, (0.25,) * 3)
    return setting_of(network, config, seed=0)


@functools.cache
def values_before(name):
    """The measures of a network as it comes."""
    view = setting(name).to(torch.float64).view(CHEAP)
    return {entry.name: values_of(entry, view) for entry in CHEAP}


#: Network → what is done to it. Images are changed on one network alone.
PAIRS = [
    *(("test_resnet", name) for name in TRANSFORMS if name != "device"),
    *itertools.product(
        ["test_efficientnet", "test_vit"], ["node-wise", "permutation", "folding", "relabelling"]
    ),
]


@pytest.mark.parametrize(("name", "transform"), PAIRS)
@given(seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=EXAMPLES)
def test_measures_of_timm_networks_stay_where_they_declare_it(name, transform, seed):
    if transform == "folding" and name in WITHOUT_BATCHNORM:
        with pytest.raises(UnavailableError, match="BatchNorm"):
            changed(setting(name), transform, seed)
        return
    after = changed(setting(name).to(torch.float64), transform, seed).view(CHEAP)
    moved = {}
    for entry in CHEAP:
        found = compared(entry, transform, values_before(name)[entry.name], values_of(entry, after))
        if found.outcome == "moves" and found.declared == "same":
            moved[found.part] = (found.before, found.after, found.note)
    assert moved == {}


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0.1, 10))
@settings(deadline=None, max_examples=20)
def test_squared_output_grows_with_the_square_of_the_last_layer(seed, factor):
    network = ReferenceNetwork(seed=seed % 7).requires_grad_(False).eval()
    before = squared_output(network, (3, 8, 8))
    network.head.weight.mul_(factor)
    network.head.bias.mul_(factor)
    scale = float(np.float32(factor)) ** 2
    assert squared_output(network, (3, 8, 8)) == pytest.approx(before * scale, rel=1e-5)
