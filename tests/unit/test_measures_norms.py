import math

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrizations import weight_norm

from audit.conformance import ArrayView
from audit.errors import MeasureError, UnavailableError
from audit_measures import distance_from_init, norms, norms_over_margin
from audit_measures._folded import effective_layers, folded, layer_norms
from audit_measures._layer_products import scaled_mean


class Chain(nn.Sequential):
    """Two linear maps of two pixels, with weights worked out by hand."""

    def __init__(self, first=((2.0, 0.0), (0.0, 1.0)), second=((3.0, 0.0), (0.0, 1.0))):
        super().__init__(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
        with torch.no_grad():
            self[1].weight.copy_(torch.tensor(first))
            self[2].weight.copy_(torch.tensor(second))


def view_of(network, margin=6.0, initial=None):
    """One image of class 0 whose outputs under `Chain` are margin and 0."""
    images = torch.tensor([[[[margin / 6, 0.0]]]])
    return ArrayView(network, images, [0], class_names=["a", "b"], initial=initial)


def test_products_of_norms_by_hand():
    view = view_of(Chain())
    assert norms.log_product_frobenius(view) == pytest.approx(math.log(5 * 10))
    assert norms.log_product_spectral(view) == pytest.approx(math.log(4 * 9))
    assert norms.sum_frobenius(view) == pytest.approx(2 * math.sqrt(50))
    assert norms.sum_spectral(view) == pytest.approx(12)
    assert norms.frobenius_over_spectral(view) == pytest.approx(5 / 4 + 10 / 9)


def test_products_over_the_margin_by_hand():
    view = view_of(Chain())
    over = norms_over_margin
    assert over.log_product_frobenius_over_margin(view) == pytest.approx(math.log(50 / 36))
    assert over.log_product_spectral_over_margin(view) == pytest.approx(0, abs=1e-12)
    assert over.sum_frobenius_over_margin(view) == pytest.approx(2 * math.sqrt(50 / 36))
    assert over.sum_spectral_over_margin(view) == pytest.approx(2)
    ranks = 5 / 4 + 10 / 9
    assert over.log_spectral_original_main(view) == pytest.approx(math.log(ranks))
    assert over.path_norm_over_margin(view) == pytest.approx(math.sqrt(4 * 9 + 1) / 6)


OVER_MARGIN = [entry.compute for entry in norms_over_margin.MEASURES]


@pytest.mark.parametrize("compute", OVER_MARGIN)
@pytest.mark.parametrize("margin", [0.0, -6.0])
def test_norms_over_a_margin_that_is_not_positive_are_undefined(compute, margin):
    assert compute(view_of(Chain(), margin)).reason == (
        "the 10th percentile of the margins is not positive: a bound over it says nothing"
    )


def test_products_with_a_layer_of_zeros_are_undefined():
    view = view_of(Chain(first=((0.0, 0.0), (0.0, 0.0))))
    for compute in (norms.log_product_frobenius, norms.sum_spectral, norms.frobenius_over_spectral):
        assert compute(view).reason == "all weights of layer 1 are 0"


def test_means_that_overflow_are_undefined():
    assert scaled_mean(view_of(Chain()), 2000.0).reason == "e^1000.69 overflows float64"


def test_norms_of_weights_that_are_not_finite_are_an_error():
    with pytest.raises(MeasureError, match=r"^the weights are not finite, first in 1\.weight$"):
        layer_norms(view_of(Chain(first=((math.nan, 0.0), (0.0, 1.0)))))


def test_norms_of_a_network_without_layers_are_unavailable():
    with pytest.raises(
        UnavailableError, match=r"^the network has no convolution and no linear map$"
    ):
        layer_norms(view_of(nn.Flatten()))


def test_norms_of_a_quantised_network_are_unavailable():
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    view = view_of(network)
    quantised = type("Linear", (nn.Linear,), {"__module__": "torch.ao.nn.quantized"})
    view.module[1].__class__ = quantised
    with pytest.raises(UnavailableError) as error:
        layer_norms(view)
    assert str(error.value) == (
        "1 (Linear) is quantised; the measure needs weights in floating point: give the checkpoint "
        "before it was quantised"
    )


def drawn(network, seed=0):
    """The network with statistics of BatchNorm as after training."""
    generator = torch.Generator().manual_seed(seed)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.running_mean, part.running_var, part.weight.data, part.bias.data):
                tensor.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def public_formula(matrices, margin):
    """As nitarshan/robust-generalization-measures computes them, in float64."""
    spectral = np.array([np.linalg.svd(matrix)[1].max() ** 2 for matrix in matrices])
    squares = np.array([np.linalg.norm(matrix) ** 2 for matrix in matrices])
    d, log_spec, log_fro = len(matrices), np.log(spectral).sum(), np.log(squares).sum()
    return {
        "log_product_spectral": log_spec,
        "log_product_frobenius": log_fro,
        "log_sum_spectral": math.log(d) + log_spec / d,
        "log_sum_frobenius": math.log(d) + log_fro / d,
        "frobenius_over_spectral": (squares / spectral).sum(),
        "main": log_spec + np.log((squares / spectral).sum()) - 2 * np.log(margin),
    }


def test_norms_are_those_of_the_public_formula_on_folded_weights():
    conv, norm, head = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.Linear(6, 2)
    torch.manual_seed(0)
    network = drawn(
        nn.Sequential(conv, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    )
    fused = fuse_conv_bn_eval(conv.double(), norm.double()).weight.detach().flatten(1).numpy()
    matrices = [fused, head.weight.detach().double().numpy()]
    view = ArrayView(network.double(), torch.ones(1, 3, 6, 6).double(), [0], class_names=["a", "b"])
    logits = np.asarray(view.logits(), float)[0]
    view.labels = np.array([logits.argmax()])
    expected = public_formula(matrices, abs(logits[0] - logits[1]))
    close = {"rel": 1e-9}
    assert norms.log_product_spectral(view) == pytest.approx(
        expected["log_product_spectral"], **close
    )
    assert norms.log_product_frobenius(view) == pytest.approx(
        expected["log_product_frobenius"], **close
    )
    assert math.log(norms.sum_spectral(view)) == pytest.approx(
        expected["log_sum_spectral"], **close
    )
    assert math.log(norms.sum_frobenius(view)) == pytest.approx(
        expected["log_sum_frobenius"], **close
    )
    assert norms.frobenius_over_spectral(view) == pytest.approx(
        expected["frobenius_over_spectral"], **close
    )
    main = norms_over_margin.log_spectral_original_main(view)
    assert main == pytest.approx(expected["main"], **close)


def test_folding_keeps_the_outputs_of_real_networks():
    network = drawn(timm.create_model("test_resnet", num_classes=3))
    view = ArrayView(network, torch.randn(2, 3, 32, 32, generator=torch.manual_seed(0)), [0, 1])
    with torch.no_grad():
        found, expected = (
            folded(view)(view._images.double()),
            network.double()(view._images.double()),
        )
    assert torch.allclose(found, expected, rtol=1e-9)


def test_a_grouped_convolution_is_block_diagonal():
    conv = nn.Conv2d(4, 4, 1, groups=2, bias=False)
    blocks = torch.tensor([[3.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    conv.weight.data.copy_(blocks[:, :, None, None])
    (layer,) = layer_norms(ArrayView(conv, torch.zeros(1, 4, 2, 2), [0]))
    # as one matrix 4 × 2 its spectral norm would be √13
    assert (layer.squared_frobenius, layer.squared_spectral) == (
        pytest.approx(18),
        pytest.approx(9),
    )


def test_a_transposed_convolution_is_read_out_by_in():
    conv = nn.ConvTranspose2d(2, 3, 1, bias=False)
    (layer,) = effective_layers(ArrayView(conv, torch.zeros(1, 2, 2, 2), [0]))
    assert np.array_equal(layer.matrix, conv.weight.detach().double().numpy()[:, :, 0, 0].T)


def test_a_normalised_weight_counts_as_it_is_used():
    linear = weight_norm(nn.Linear(4, 2, bias=False))
    linear.parametrizations.weight.original0.data.fill_(2.0)
    view = ArrayView(nn.Sequential(nn.Flatten(), linear), torch.zeros(1, 1, 2, 2), [0])
    (layer,) = layer_norms(view)
    assert layer.squared_frobenius == pytest.approx(2 * 2.0**2)


def test_standardised_convolutions_count_as_they_are_used():
    network = timm.create_model("test_nfnet", num_classes=3)
    view = ArrayView(network, torch.zeros(1, 3, 32, 32), [0])
    first = next(layer for layer in effective_layers(view) if layer.name.startswith("stem"))
    assert abs(first.matrix.mean(axis=1)).max() < 1e-7


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens)[0].mean(1)


def test_the_projections_of_attention_are_layers():
    layers = effective_layers(ArrayView(Attention(), torch.zeros(1, 4, 2, 2), [0]))
    assert [(layer.name, layer.matrix.shape) for layer in layers] == [
        ("attention.in_proj_weight", (12, 4)),
        ("attention.out_proj", (4, 4)),
    ]


def test_a_module_called_twice_is_one_layer():
    shared = nn.Linear(2, 2)
    assert len(layer_norms(view_of(nn.Sequential(nn.Flatten(), shared, shared)))) == 1


def test_distances_from_init_by_hand():
    start = Chain(first=((1.0, 0.0), (0.0, 1.0)), second=((1.0, 0.0), (0.0, -1.0)))
    view = view_of(Chain(), initial=start)
    assert distance_from_init.frobenius(view) == pytest.approx(3)
    assert distance_from_init.spectral(view) == pytest.approx(1 + 4)
    main = math.log(36 * (1 / 4 + (4 + 4) / 9) / 36)
    assert distance_from_init.log_spectral_main(view) == pytest.approx(main)


@pytest.mark.parametrize("entry", distance_from_init.MEASURES, ids=lambda entry: entry.name)
def test_distances_without_initial_weights_are_unavailable(entry):
    with pytest.raises(UnavailableError) as error:
        entry.compute(view_of(Chain()))
    assert str(error.value) == (
        "the weights before training were not given; set `init` in [[checkpoints]] to the file"
    )


def test_distance_of_a_network_that_did_not_move():
    view = view_of(Chain(), initial=Chain())
    assert distance_from_init.frobenius(view) == 0
    assert distance_from_init.log_spectral_main(view).reason == "no weight moved in training"


def test_initial_weights_of_another_network_are_an_error():
    view = view_of(Chain(), initial=nn.Linear(2, 2))
    with pytest.raises(
        MeasureError, match=r"^the weights before training do not fit the network: "
    ):
        distance_from_init.spectral(view)
