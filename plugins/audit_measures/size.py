"""How large a network is: the floor that any measure of generalization has to beat."""

from __future__ import annotations

from audit.plugin import MeasureEntry, TrainView, Value


def parameters(view: TrainView) -> float:
    """Number of learnable numbers: Σ over distinct parameters of their size. A count; never NaN.

    Source:
        docs/evidence.md, marks to beat: Kendall τ = 0.62 with accuracy for ImageNet models of mixed
        architectures, larger being better. Buffers (BatchNorm statistics) are not counted.

    Example:
        A linear map of 8 features to 3 classes with its bias: 27.
    """
    return float(sum(parameter.numel() for parameter in view.module.parameters()))


def macs(view: TrainView) -> Value | float:
    """Multiply–accumulates of one forward pass on one image of the network's input size.

    Convolutions, matrix products, recurrent layers and attention, whatever module or function calls
    them and whatever kernel torch would compute them with; elementwise operations, norms and
    pooling are not counted. Attention is counted in full, whether or not it is masked. A count.
    Undefined where nothing was counted.

    Source:
        torch.utils.flop_counter, which counts two operations per multiply–accumulate: halved. It
        has no formula for some fused kernels; `_macs` adds them. Before version 2 attention and
        recurrent layers were counted or not by which kernel ran.

    Example:
        A 3 × 3 convolution of 3 channels to 6 on 16 × 16 pixels, padded: 9 · 3 · 6 · 256 = 41,472.
    """
    import torch

    from audit_measures._macs import multiply_accumulates

    module = view.module
    like = next(module.parameters(), torch.empty(0))
    image = torch.zeros(1, *view.data_config.input_size, dtype=like.dtype, device=like.device)
    count = multiply_accumulates(module, image)
    if count == 0:
        return Value.undefined("the network makes no convolution or matrix product that is counted")
    return count


MEASURES = (
    MeasureEntry(
        name="parameters",
        summary="number of learnable parameters",
        compute=parameters,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="weights",
        varies_with=("folding",),
        formula="Σ over distinct parameters of their size",
        claim="measured on ImageNet models of mixed architectures: tau 0.62 with accuracy "
        "(docs/evidence.md, marks to beat)",
        weakness="the same for all checkpoints of a family, and no measure of training at all",
        source="count; larger ImageNet models generalize better (Kendall tau 0.62)",
        baseline=True,
        control=True,
        called="parameter count",
    ),
    MeasureEntry(
        name="macs",
        summary="multiply-accumulates of one forward pass on one image",
        compute=macs,
        version="2",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        formula="floating-point operations of one forward pass / 2",
        claim="measured on ImageNet models of mixed architectures: tau 0.61 with accuracy "
        "(docs/evidence.md, marks to beat)",
        weakness="the same for all checkpoints of a family on images of one size",
        needs="a convolution, a matrix product, a recurrent layer or attention",
        source=(
            "torch.utils.flop_counter, halved, with formulas for fused attention and recurrent "
            "layers (version 1 left them out where a fused kernel ran); elementwise operations are "
            "not counted"
        ),
        baseline=True,
        control=True,
        called="MACs",
    ),
)
