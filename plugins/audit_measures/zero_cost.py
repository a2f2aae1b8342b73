"""Zero-cost proxies: what neural architecture search reads off networks before training.

Their authors rank untrained architectures with them; on trained networks nobody claims a direction.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import nn

from audit.plugin import MeasureEntry, TrainView, Value
from audit_measures._changed_weights import Share, images_at
from audit_measures._folded import folded, transforms_weight
from audit_measures._gradient_sums import GradientSums, refuse_without_gradients, sums_of

if TYPE_CHECKING:
    from torch import Tensor

_BATCH: Final = Share(1 / 10, least=16, most=64)
_K: Final = 1e-5
_NORM: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_LINEAR: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def _mean_gradients(view: TrainView) -> list[tuple[Tensor, Tensor]] | Value:
    """Weight and gradient of the mean loss, for each convolution and linear map."""
    sums = sums_of(view)
    if isinstance(sums, Value):
        return sums
    mean = sums.mean()
    pairs = [
        (module.weight.detach().double(), mean[f"{path}.weight" if path else "weight"])
        for path, module in view.module.named_modules()
        if isinstance(module, _LINEAR) and (f"{path}.weight" if path else "weight") in mean
    ]
    return pairs or Value.undefined("the network has no convolution and no linear map")


def snip(view: TrainView) -> Value | float:
    """Σ |w · ∂L/∂w| over the weights of convolutions and linear maps, L the mean cross-entropy.

    On a tenth of the sample, in eval mode. At least 0.

    Source:
        Lee, Ajanthan & Torr, SNIP, ICLR 2019; Abdelfattah et al., Zero-Cost Proxies for Lightweight
        NAS, ICLR 2021. Deviations: a tenth of the sample, not one batch; eval mode, not train mode.

    Example:
        Weights (2, −1) with the gradient (0.5, 3): 1 + 3 = 4.
    """
    pairs = _mean_gradients(view)
    if isinstance(pairs, Value):
        return pairs
    return math.fsum(float((weight * slope).abs().sum()) for weight, slope in pairs)


def grad_norm(view: TrainView) -> Value | float:
    """Σ_l ‖∂L/∂W_l‖ over convolutions and linear maps, L the mean cross-entropy. At least 0.

    On a tenth of the sample, in eval mode.

    Source:
        Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, "grad_norm".
        Deviations: as for `snip`.

    Example:
        Two layers with the gradients (3, 4) and (0, 2): 5 + 2 = 7.
    """
    pairs = _mean_gradients(view)
    if isinstance(pairs, Value):
        return pairs
    return math.fsum(float(slope.norm()) for _, slope in pairs)


def synflow(view: TrainView) -> Value | float:
    """The logarithm of Σ |w| · ∂R/∂|w|, R the summed outputs of the network of |w|.

    At an all-ones input, over all weights of convolutions and linear maps, in float64, BatchNorm
    folded, without biases: each layer's share of the sum is then R itself in a chain of layers, the
    sum over all paths from inputs to outputs of Π |w|.

    Undefined where a module normalises by the statistics of its input (LayerNorm, GroupNorm), which
    hides the magnitude of weights; where a module transforms its weight before use; where R is 0;
    and where it overflows.

    Source:
        Tanaka et al., Pruning Neural Networks Without Any Data, NeurIPS 2020; Abdelfattah et al.,
        Zero-Cost Proxies for Lightweight NAS, ICLR 2021, "synflow". Deviations: the logarithm;
        BatchNorm is folded, where public code leaves it out or takes |·| of its statistics; no
        biases.

    Example:
        Weights (1, −2) on two inputs, then 3: R = 3·(1 + 2) = 9, in each of two layers; log 18.
    """
    network = folded(view)
    refusal = _refusal(network)
    if refusal:
        return Value.undefined(f"synflow has no value: {refusal}")
    with torch.no_grad():
        _make_positive(network)
    network.requires_grad_(True)
    ones = torch.ones((1, *view.data_config.input_size), dtype=torch.float64)
    weights = [p for p in network.parameters() if p.ndim > 1]
    with torch.enable_grad():
        total = view.scores(ones, network).sum()
        slopes = torch.autograd.grad(total, weights, materialize_grads=True)
    pairs = zip(weights, slopes, strict=True)
    flow = sum(float((weight.detach() * slope).sum()) for weight, slope in pairs)
    if flow == 0:
        return Value.undefined("synflow has no value: nothing flows from inputs to outputs")
    if not 0 < flow < math.inf:
        return Value.undefined(f"synflow has no value: the flow is {flow}")
    return math.log(flow)


def _refusal(network: nn.Module) -> str:
    """The first module that has no place in a network of positive weights, and why; or ""."""
    for path, module in network.named_modules():
        kind = type(module).__name__
        if isinstance(module, _NORM):
            if module.running_mean is None:
                return f"{path} ({kind}) normalises by the statistics of the batch"
        elif "Norm" in kind and "BatchNorm" not in kind and _is_one_operation(module):
            return f"{path} ({kind}) normalises by the statistics of its input"
        elif isinstance(module, _LINEAR) and transforms_weight(module):
            return f"{path} ({kind}) transforms its weight before use"
    return ""


def _is_one_operation(module: nn.Module) -> bool:
    """Whether a module is no mere container of others."""
    return bool(dict(module.named_parameters(recurse=False))) or not any(module.children())


def _make_positive(network: nn.Module) -> None:
    """Every weight its magnitude, every bias 0, every BatchNorm that is left a positive scale."""
    modules: list[Any] = list(network.modules())
    for module in modules:
        if isinstance(module, _NORM):
            _make_scale(module)
        elif isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias.zero_()
    for parameter in network.parameters():
        parameter.abs_()


def _make_scale(norm: Any) -> None:
    """Rewrite a BatchNorm as y = |a|·x, without a shift."""
    scale = 1 / (norm.running_var + norm.eps).sqrt()
    scale = scale if norm.weight is None else scale * norm.weight.abs()
    norm.weight, norm.bias = nn.Parameter(scale), None
    norm.running_mean, norm.running_var = torch.zeros_like(scale), torch.ones_like(scale)
    norm.eps = torch.finfo(torch.float64).tiny  # which 1 swallows


def jacobian_covariance(view: TrainView) -> Value | float:
    """−Σ (log (λ + k) + 1 / (λ + k)), λ the eigenvalues of the correlations of input gradients.

    Each image's gradient of its summed outputs with respect to its pixels is a row; the rows'
    correlations (n × n) have the eigenvalues λ ≥ 0, whose sum is n; k = 10⁻⁵. At most −n, reached
    where all rows are uncorrelated. On a tenth of the sample, at least 16 and at most 64 images:
    comparable only among samples of one size.

    Undefined on a single image, and where a row is constant.

    Source:
        Mellor et al., Neural Architecture Search without Training, arXiv 2006.04647v1; Abdelfattah
        et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, "jacob_cov". Deviations: the
        eigenvalues of a symmetric matrix are computed as such; eval mode.

    Example:
        Two images with uncorrelated rows: λ = 1, 1, so −2·(log 1.00001 + 1 / 1.00001) = −2.0000.
    """
    refuse_without_gradients(view.module)
    rows = _BATCH.rows(len(view.labels))
    if len(rows) < 2:
        return Value.undefined("correlations need the gradients of at least two images")
    slopes = np.concatenate([_input_gradients(view, images) for images in images_at(view, rows)])
    if not np.isfinite(slopes).all():
        return Value.undefined("the gradient of an image is not finite")
    centred = slopes - slopes.mean(1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    if (lengths <= 1e-12 * np.linalg.norm(slopes, axis=1, keepdims=True)).any():
        return Value.undefined("the gradient of an image is the same for all pixels")
    unit = centred / lengths
    eigenvalues = np.linalg.eigvalsh(unit @ unit.T).clip(min=0) + _K
    return float(-(np.log(eigenvalues) + 1 / eigenvalues).sum())


def _input_gradients(view: TrainView, images: Tensor) -> np.ndarray:
    """Of each image's summed outputs, shape (b, pixels), float64."""
    with torch.enable_grad():
        pixels = images.clone().requires_grad_(True)
        # times 1: networks may change their input in place
        slopes = torch.autograd.grad(view.scores(pixels * 1).sum(), pixels)[0]
    found: np.ndarray = slopes.flatten(1).double().cpu().numpy()
    return found


_CLAIM = (
    "none for trained networks: Abdelfattah et al. 2021 rank untrained architectures, where higher "
    "is better"
)
_UNTRAINED = "made for untrained networks; after training it also measures how far the loss fell"
_FLOATS = "weights in float32 or float64"

MEASURES = (
    MeasureEntry(
        name="snip",
        summary="sum of |weight × gradient| of the mean training loss, on a tenth of the sample",
        compute=snip,
        version="1",
        direction="none",
        invariance="node-wise",
        varies_with=("image-order", "duplicates"),
        cost="backward",
        formula="Σ |w · ∂L/∂w|",
        claim=_CLAIM,
        weakness=_UNTRAINED,
        needs=_FLOATS,
        source="Lee et al., ICLR 2019; Abdelfattah et al., ICLR 2021; a tenth of the sample",
        reducers=(GradientSums,),
        default=False,
    ),
    MeasureEntry(
        name="grad_norm",
        summary="sum of the layers' gradient lengths of the mean training loss",
        compute=grad_norm,
        version="1",
        direction="none",
        invariance="none",
        varies_with=("folding", "image-order", "duplicates"),
        cost="backward",
        formula="Σ_l ‖∂L/∂W_l‖",
        claim=_CLAIM,
        weakness=_UNTRAINED,
        needs=_FLOATS,
        source="Abdelfattah et al., ICLR 2021; a tenth of the sample, eval mode",
        reducers=(GradientSums,),
        default=False,
    ),
    MeasureEntry(
        name="synflow",
        summary="log of the flow through the network of weights' magnitudes",
        compute=synflow,
        version="1",
        direction="none",
        invariance="node-wise",
        cost="backward",
        formula="log Σ |w| · ∂R/∂|w|",
        claim=_CLAIM,
        weakness="grows with depth and width, and so ranks by size before anything else",
        needs="no LayerNorm, GroupNorm or weight standardisation",
        source="Tanaka et al., NeurIPS 2020; Abdelfattah et al., ICLR 2021; BatchNorm folded",
        default=False,
    ),
    MeasureEntry(
        name="jacobian_covariance",
        summary="how uncorrelated the images' input gradients are",
        compute=jacobian_covariance,
        version="1",
        direction="none",
        invariance="node-wise",
        varies_with=("image-order", "duplicates"),
        cost="backward",
        formula="−Σ (log (λ + k) + 1 / (λ + k))",
        claim=_CLAIM,
        weakness="one pair of images with nearly equal gradients outweighs all others",
        needs=_FLOATS,
        source="Mellor et al., arXiv 2006.04647v1; Abdelfattah et al., ICLR 2021; eval mode",
        passes=0.3,
        default=False,
    ),
)
