"""How large a network is: the floor that any measure of generalization has to beat."""

from __future__ import annotations

from audit.plugin import MeasureEntry, TrainView, Value


def parameters(view: TrainView) -> float:
    """Number of learnable numbers: Σ over distinct parameters of their size. A count; never NaN.

    Source:
        evaluation.md, baselines: Kendall τ = 0.62 with accuracy for ImageNet models of mixed
        architectures, larger being better. Buffers (BatchNorm statistics) are not counted.
    """
    return float(sum(parameter.numel() for parameter in view.module.parameters()))


def macs(view: TrainView) -> Value | float:
    """Multiply–accumulates of one forward pass on one image of the network's input size.

    Convolutions, matrix products and attention, counted where they are dispatched, whatever module
    or function calls them; elementwise operations, norms and pooling are not. A count. Undefined
    where nothing was counted.

    Source:
        torch.utils.flop_counter, which counts two operations per multiply–accumulate: halved.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    module = view.module
    like = next(module.parameters(), torch.empty(0))
    image = torch.zeros(1, *view.data_config.input_size, dtype=like.dtype, device=like.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(image)
    count = float(counter.get_total_flops()) / 2
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
        source="count; larger ImageNet models generalize better (Kendall tau 0.62)",
        baseline=True,
        control=True,
        called="parameter count",
    ),
    MeasureEntry(
        name="macs",
        summary="multiply-accumulates of one forward pass on one image",
        compute=macs,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        source="torch.utils.flop_counter, halved; elementwise operations are not counted",
        baseline=True,
        control=True,
        called="MACs",
    ),
)
