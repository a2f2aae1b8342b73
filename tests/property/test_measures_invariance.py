import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audit.arrays import NO_BIRTH
from audit.conformance import ReferenceNetwork, reference_view, rescaled
from audit.plugin import Value
from audit.topology import FLAG_CONSTANT, FLAG_ZERO, LayerBirths
from audit.topology.units import STATUS_NAMES, unit_frame, unit_status
from audit_measures import genaudit_measures
from audit_measures._squared_network import squared_output

NODE_WISE = [entry for entry in genaudit_measures() if entry.invariance == "node-wise"]
CHEAP = [entry for entry in NODE_WISE if entry.name != "augmentation_consistency"]


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


@pytest.mark.parametrize("entry", CHEAP, ids=lambda entry: entry.name)
@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=3)
def test_node_wise_measures_survive_every_rescaling_by_powers_of_two(entry, seed):
    network = ReferenceNetwork(seed=seed % 5)
    before = entry.compute(reference_view(network))
    after = entry.compute(reference_view(rescaled(network, "node-wise", seed=seed)))
    if not isinstance(before, dict):
        before, after = {"": before}, {"": after}
    assert list(before) == list(after)
    for part, value in before.items():
        now = Value.of(after[part])
        assert now.status == Value.of(value).status
        # equal to the bit, but for sums whose order of magnitude moves between the terms
        np.testing.assert_allclose(now.value, Value.of(value).value, rtol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0.1, 10))
@settings(deadline=None, max_examples=20)
def test_squared_output_grows_with_the_square_of_the_last_layer(seed, factor):
    network = ReferenceNetwork(seed=seed % 7).requires_grad_(False).eval()
    before = squared_output(network, (3, 8, 8))
    network.head.weight.mul_(factor)
    network.head.bias.mul_(factor)
    scale = float(np.float32(factor)) ** 2
    assert squared_output(network, (3, 8, 8)) == pytest.approx(before * scale, rel=1e-5)
