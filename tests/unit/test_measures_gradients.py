import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from audit.conformance import ArrayView, ReferenceNetwork
from audit.errors import UnavailableError
from audit_measures import curvature, gradients, zero_cost
from audit_measures._gradient_sums import GradientSums
from audit_measures.curvature import hessian_trace
from audit_measures.zero_cost import jacobian_covariance, synflow

BY_IMAGE = (
    gradients.gradient_norm,
    gradients.gradient_coherence,
    gradients.empirical_fisher_trace,
    zero_cost.snip,
    zero_cost.grad_norm,
)


def view_of(network=None, n=40, batch_size=7, size=(3, 8, 8)):
    """Images of noise; a tenth of them are every tenth."""
    network = network or ReferenceNetwork().double()
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(n, *size)))
    return ArrayView(network, images, np.arange(n) % 3, batch_size=batch_size)


def rows(view):
    """The gradient of each used image, by an ordinary backward pass, shape (n, parameters)."""
    network = copy.deepcopy(view.module).requires_grad_(True)
    found = []
    for row in range(0, len(view.labels), 10):
        loss = cross_entropy(network(view._images[row : row + 1]), torch.tensor([view.labels[row]]))
        slopes = torch.autograd.grad(loss, list(network.parameters()))
        found.append(torch.cat([slope.flatten() for slope in slopes]))
    return torch.stack(found).numpy()


def test_gradient_measures_are_those_of_single_backward_passes():
    view = view_of()
    slopes = rows(view)
    mean, n = slopes.mean(0), len(slopes)
    variance = np.trace(np.cov(slopes.T))
    between = [slopes[i] @ slopes[j] for i in range(n) for j in range(n) if i != j]
    fisher = (slopes**2).sum(1).mean()
    noise = gradients.gradient_noise(view)
    assert noise["variance"] == pytest.approx(variance, rel=1e-9)
    assert noise[""] == pytest.approx(variance / (mean @ mean), rel=1e-9)
    assert gradients.gradient_norm(view) == pytest.approx(np.linalg.norm(mean), rel=1e-9)
    assert gradients.empirical_fisher_trace(view) == pytest.approx(fisher, rel=1e-9)
    coherence = np.mean(between) / fisher
    assert gradients.gradient_coherence(view) == pytest.approx(coherence, rel=1e-9)


def test_snip_and_grad_norm_are_those_of_the_mean_loss():
    view = view_of()
    network = copy.deepcopy(view.module).requires_grad_(True)
    used = torch.arange(0, 40, 10)
    cross_entropy(network(view._images[used]), torch.from_numpy(view.labels)[used]).backward()
    layers = [network.conv1, network.conv2, network.conv3, network.head]
    products = [float((layer.weight.detach() * layer.weight.grad).abs().sum()) for layer in layers]
    lengths = [float(layer.weight.grad.norm()) for layer in layers]
    assert zero_cost.snip(view) == pytest.approx(sum(products), rel=1e-9)
    assert zero_cost.grad_norm(view) == pytest.approx(sum(lengths), rel=1e-9)


def sums(*vectors):
    """The sums of gradients that are written down."""
    kept = GradientSums.__new__(GradientSums)
    array = torch.tensor(vectors, dtype=torch.float64)
    kept.n, kept.total = len(array), {"w": array.sum(0)}
    kept.squares = float(array.square().sum())
    return kept


class Fixed:
    def __init__(self, kept):
        self.kept = kept

    def reduced(self, reducer):
        return self.kept


def test_gradients_by_hand():
    view = Fixed(sums((3.0, 0.0), (1.0, 8.0)))
    assert gradients.gradient_norm(view) == pytest.approx(math.sqrt(20))
    assert gradients.gradient_noise(view) == pytest.approx({"": 1.7, "variance": 34})
    assert gradients.gradient_coherence(view) == pytest.approx(3 / 37)
    assert gradients.empirical_fisher_trace(view) == pytest.approx(37)


def test_gradients_that_are_equal_have_no_noise():
    view = Fixed(sums((1.0, 2.0), (1.0, 2.0)))
    assert gradients.gradient_noise(view) == {"": 0, "variance": 0}
    assert gradients.gradient_coherence(view) == 1


def test_gradients_that_cancel():
    view = Fixed(sums((1.0, 2.0), (-1.0, -2.0)))
    assert gradients.gradient_noise(view)[""].reason == "the mean gradient is 0"
    assert gradients.gradient_coherence(view) == -1


def test_gradients_that_are_zero():
    view = Fixed(sums((0.0, 0.0), (0.0, 0.0)))
    assert gradients.gradient_coherence(view).reason == "all gradients are 0"


def test_scatter_of_a_single_image_is_undefined():
    reason = "needs the gradients of 2 images or more; a tenth of the sample is 1"
    view = view_of(n=10)
    assert gradients.gradient_noise(view)[""].reason == reason
    assert gradients.gradient_coherence(view).reason == reason


@pytest.mark.parametrize("compute", BY_IMAGE)
def test_gradients_that_are_not_finite_are_undefined(compute):
    network = ReferenceNetwork().double()
    network.head.bias.data[0] = math.nan
    view = view_of(network)
    assert (
        compute(Fixed(view.reduced(GradientSums))).reason
        == "the gradient of an image is not finite"
    )


@pytest.mark.parametrize("compute", [*BY_IMAGE, jacobian_covariance, hessian_trace])
def test_gradients_in_half_precision_are_unavailable(compute):
    view = view_of(ReferenceNetwork().half())
    view._images = view._images.half()
    with pytest.raises(UnavailableError) as error:
        compute(view)
    assert str(error.value) == (
        "gradients need weights in float32; the network's are torch.float16, in which they "
        "underflow"
    )


def test_gradients_without_parameters_are_unavailable():
    with pytest.raises(
        UnavailableError, match=r"^the network has no parameters, hence no gradients$"
    ):
        gradients.gradient_norm(view_of(nn.Flatten()))


def test_synflow_of_two_layers_by_hand():
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    for parameter, value in zip(
        network.parameters(), ([[1.0, -2.0]], [5.0], [[-3.0]], [7.0]), strict=True
    ):
        parameter.data.copy_(torch.tensor(value))
    assert synflow(view_of(network, size=(1, 1, 2))) == pytest.approx(math.log(18), rel=1e-12)


def test_synflow_is_the_sum_over_layers_of_the_product_of_magnitudes():
    view = view_of()
    network = view.module
    magnitudes = copy.deepcopy(network)
    for name, parameter in magnitudes.named_parameters():
        parameter.data = torch.zeros_like(parameter) if "bias" in name else parameter.data.abs()
    total = float(magnitudes(torch.ones(1, 3, 8, 8).double()).sum())
    assert synflow(view) == pytest.approx(math.log(4 * total), rel=1e-9)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.GroupNorm(1, 3), "0 (GroupNorm) normalises by the statistics of its input"),
        (
            nn.BatchNorm2d(3, track_running_stats=False),
            "0 (BatchNorm2d) normalises by the statistics of the batch",
        ),
        (
            nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)),
            "0 (ParametrizedConv2d) transforms its weight before use",
        ),
    ],
)
def test_synflow_names_the_module_that_forbids_it(module, reason):
    network = nn.Sequential(module, nn.Flatten(), nn.Linear(192, 2)).double()
    assert synflow(view_of(network)).reason == f"synflow has no value: {reason}"


def test_synflow_of_zeros_is_undefined():
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).double()
    network[1].weight.data.zero_()
    reason = "synflow has no value: nothing flows from inputs to outputs"
    assert synflow(view_of(network)).reason == reason


def test_jacobian_covariance_is_that_of_the_public_formula():
    view = view_of(n=16)
    images = view._images.clone().requires_grad_(True)
    view.module(images).sum().backward()
    values = np.linalg.eigvals(np.corrcoef(images.grad.flatten(1).numpy())).real
    expected = -(np.log(values.clip(0) + 1e-5) + 1 / (values.clip(0) + 1e-5)).sum()
    assert jacobian_covariance(view) == pytest.approx(expected, rel=1e-6)


def test_jacobian_covariance_of_equal_or_constant_rows_is_undefined():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).double()
    reason = "the gradient of an image is the same for all pixels"
    assert jacobian_covariance(view_of(network, size=(1, 4, 4))).reason == reason


def test_jacobian_covariance_of_one_image_is_undefined():
    reason = "correlations need the gradients of at least two images"
    assert jacobian_covariance(view_of(n=1)).reason == reason


def test_hessian_trace_comes_near_the_exact_one():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    view = view_of(network, n=16, size=(1, 2, 2))
    names, values = zip(*view.module.named_parameters(), strict=True)

    def loss(*weights):
        named = dict(zip(names, weights, strict=True))
        scores = torch.func.functional_call(view.module, named, (view._images,))
        return cross_entropy(scores, torch.from_numpy(view.labels))

    blocks = torch.autograd.functional.hessian(loss, values)
    exact = sum(
        float(blocks[i][i].reshape(value.numel(), -1).trace()) for i, value in enumerate(values)
    )
    found = hessian_trace(view)
    assert found[""] == pytest.approx(exact, abs=4 * found["relative_error"] * abs(found[""]))
    assert found["relative_error"] < 0.5


def test_hessian_trace_of_a_diagonal_hessian_is_exact():
    # one class more than none: the loss of equal scores has the Hessian (1/2 − 1/4)·(±1) x²
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False), Against()).double()
    network[1].weight.data.zero_()
    images = torch.full((16, 1, 1, 1), 2.0, dtype=torch.float64)
    found = hessian_trace(ArrayView(network, images, [0] * 16, class_names=["a", "b"]))
    assert found[""] == pytest.approx(0.25 * 4)
    assert found["relative_error"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU()])
def test_hessian_products_by_two_backward_passes_are_those_of_the_library(activation, monkeypatch):
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(4, 3), activation, nn.Linear(3, 3))
    view = view_of(nn.Sequential(*layers).double(), n=16, size=(1, 2, 2))
    found = hessian_trace(view)
    monkeypatch.setattr(curvature, "_Products", TwiceBackward)
    assert hessian_trace(view) == pytest.approx(found, rel=1e-9)


class TwiceBackward(curvature._Products):
    def __init__(self, network, parameters, data, hessian):
        super().__init__(network, parameters, data, None)


class Against(nn.Module):
    def forward(self, score):
        return torch.cat([score, torch.zeros_like(score)], 1)


def test_hessian_trace_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "curvlinops", None)
    with pytest.raises(UnavailableError) as error:
        hessian_trace(view_of())
    assert str(error.value) == "needs the package curvlinops: pip install 'genaudit[curvature]'"
