import copy
import itertools
import math

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from audit.conformance import ArrayView
from audit_measures._squared_network import squared_output
from audit_measures.path_norm import path_norm


def norm_of(network, size=(1, 4, 4)):
    return path_norm(ArrayView(network, torch.zeros(1, *size), [0]))


def reason_of(network, size=(1, 4, 4)):
    value = norm_of(network, size)
    assert value.status == "undefined"
    return value.reason.removeprefix("the path norm has no value: ")


@torch.no_grad()
def drawn(module, seed=0):
    """The module with every parameter and statistic drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data.normal_(generator=generator)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.track_running_stats:
            part.running_var.abs_().add_(0.3)
    return module.eval().requires_grad_(False)


def dense(convolution, channels, height, width):
    """A convolution without bias as a matrix, entry by entry, by its definition."""
    weight = convolution.weight.double().numpy()
    stride, padding = convolution.stride[0], convolution.padding[0]
    out, _, k, _ = weight.shape
    rows, columns = ((side + 2 * padding - k) // stride + 1 for side in (height, width))
    matrix = np.zeros((out, rows, columns, channels, height, width))
    for o, r, s, c, i, j in itertools.product(*map(range, (out, rows, columns, channels, k, k))):
        y, x = r * stride + i - padding, s * stride + j - padding
        if 0 <= y < height and 0 <= x < width:
            matrix[o, r, s, c, y, x] = weight[o, c, i, j]
    return matrix.reshape(out * rows * columns, channels * height * width)


def test_path_norm_of_two_linear_layers_is_the_sum_over_paths():
    first, second = nn.Linear(4, 3), nn.Linear(3, 2)
    network = drawn(nn.Sequential(nn.Flatten(), first, nn.ReLU(), second))
    w, b, v, c = (p.double().numpy() for p in network.parameters())
    total = sum(
        (w[j, i] * v[k, j]) ** 2 for i, j, k in itertools.product(range(4), range(3), range(2))
    )
    total += sum((b[j] * v[k, j]) ** 2 for j, k in itertools.product(range(3), range(2)))
    total += sum(c[k] ** 2 for k in range(2))
    assert norm_of(network, (1, 2, 2)) == pytest.approx(math.sqrt(total), rel=1e-12)


def test_path_norm_of_convolutions_is_the_sum_over_paths():
    first, second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, stride=2, bias=False)
    head = nn.Linear(2, 2)
    network = drawn(nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), head))
    a, b = dense(first, 2, 4, 4) ** 2, dense(second, 3, 4, 4) ** 2
    bias = np.repeat(first.bias.double().numpy(), 16) ** 2
    last = head.weight.double().numpy() ** 2
    paths = last @ (b @ (a @ np.ones(32) + bias)) + head.bias.double().numpy() ** 2
    assert norm_of(network, (2, 4, 4)) == pytest.approx(math.sqrt(paths.sum()), rel=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_path_norm_folds_batch_norm_into_convolutions_with_and_without_bias(bias):
    convolution, norm = nn.Conv2d(1, 3, 3, bias=bias), nn.BatchNorm2d(3)
    network = drawn(nn.Sequential(convolution, norm, nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)))
    doubled = copy.deepcopy(network).double()
    fused = fuse_conv_bn_eval(doubled[0], doubled[1])
    folded = nn.Sequential(fused, *doubled[2:])
    assert norm_of(network) == pytest.approx(norm_of(folded), rel=1e-9)


def test_path_norm_folds_batch_norm_without_scale_and_shift():
    network = drawn(nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2, affine=False)))
    norm = network[1].double()
    scale = 1 / (norm.running_var + norm.eps).sqrt()
    paths = network[0].weight.double().square().sum((1, 2, 3)) * scale**2
    total = 4 * (paths + (scale * norm.running_mean) ** 2).sum()
    assert norm_of(network) == pytest.approx(math.sqrt(float(total)), rel=1e-9)


class PreActivation(nn.Module):
    """The convolution feeds the norm and a shortcut: its bias belongs to both."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU()

    def forward(self, x):
        x = self.conv(x)
        return self.relu(self.norm(x)) + x


class AddedInPlace(PreActivation):
    """What the norm reads is no longer what the convolution made."""

    def forward(self, x):
        y = self.conv(x)
        y += x
        return self.norm(y)


def test_path_norm_leaves_a_bias_that_something_else_reads():
    network = drawn(PreActivation())
    w, c = (float(p) for p in network.conv.parameters())
    norm = network.norm.double()
    a = float(norm.weight / (norm.running_var + norm.eps).sqrt())
    b = float(norm.bias) - a * float(norm.running_mean)
    per_pixel = (1 + a**2) * (w**2 + c**2) + b**2
    assert norm_of(network) == pytest.approx(math.sqrt(16 * per_pixel), rel=1e-6)


def test_path_norm_sees_additions_in_place():
    network = drawn(AddedInPlace())
    w, c = (float(p) for p in network.conv.parameters())
    norm = network.norm.double()
    a = float(norm.weight / (norm.running_var + norm.eps).sqrt())
    b = float(norm.bias) - a * float(norm.running_mean)
    per_pixel = a**2 * (w**2 + c**2 + 1) + b**2
    assert norm_of(network) == pytest.approx(math.sqrt(16 * per_pixel), rel=1e-6)


def test_path_norm_is_defined_for_timm_networks_of_relu_and_batch_norm():
    for name in ("test_resnet", "resnet10t"):
        network = drawn(timm.create_model(name, in_chans=1, num_classes=3))
        assert norm_of(network, (1, 32, 32)) > 0


class Gate(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return nn.functional.silu(self.conv(x)).flatten(1)


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight / self.weight.norm()
        return nn.functional.conv2d(x, weight, self.bias)


NOT_HOMOGENEOUS = "is not f(a·x) = a·f(x) for a > 0, as ReLU and pooling are"
NOT_LINEAR = "has parameters that are not those of a convolution, a linear map or BatchNorm"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.SiLU(), f"1 (SiLU) {NOT_HOMOGENEOUS}"),
        (nn.GELU(), f"1 (GELU) {NOT_HOMOGENEOUS}"),
        (nn.ReLU6(), f"1 (ReLU6) {NOT_HOMOGENEOUS}"),
        (nn.Sigmoid(), f"1 (Sigmoid) {NOT_HOMOGENEOUS}"),
        (Gate(), f"1 (Gate) {NOT_HOMOGENEOUS}"),
        (nn.GroupNorm(1, 2), f"1 (GroupNorm) {NOT_LINEAR}"),
        (nn.PReLU(), f"1 (PReLU) {NOT_LINEAR}"),
        (Standardised(2, 2, 1), "1 (Standardised) transforms its weight before use"),
        (
            nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 1)),
            "1 (ParametrizedConv2d) transforms its weight before use",
        ),
        (
            nn.BatchNorm2d(2, track_running_stats=False),
            "1 (BatchNorm2d) normalises by the statistics of the batch",
        ),
    ],
)
def test_path_norm_names_the_module_that_forbids_it(module, reason):
    network = drawn(nn.Sequential(nn.Conv2d(1, 2, 3), module, nn.Flatten()))
    assert reason_of(network) == f"the network is not piecewise linear: {reason}"


def test_path_norm_sees_functions_between_modules():
    assert reason_of(drawn(Functional())) == (
        "the network is not piecewise linear: what Functional computes between its modules"
    )


@pytest.mark.parametrize(
    "module",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Dropout(0.5),
        nn.Identity(),
    ],
)
def test_path_norm_accepts_what_is_piecewise_linear(module):
    network = drawn(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), module, nn.Flatten()))
    assert norm_of(network) > 0


def test_path_norm_of_weights_that_are_not_finite_is_undefined():
    network = drawn(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
    network[1].weight.data[0, 0] = math.nan
    assert reason_of(network) == "the weights are not finite"


def test_path_norm_that_overflows_is_undefined():
    network = drawn(nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.Linear(2, 2))).double()
    for parameter in network.parameters():
        parameter.data.fill_(1e100)
    assert reason_of(network) == "the squared weights overflow float64"


def test_squared_output_of_zero_weights_is_zero():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    for parameter in network.parameters():
        parameter.data.zero_()
    assert squared_output(network.eval(), (1, 4, 4)) == 0.0
