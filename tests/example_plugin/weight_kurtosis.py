"""How heavy the tails of a network's weights are: a third party's measure in one file."""

import torch

from audit.plugin import MeasureEntry, TrainView, Value, hookimpl


def weight_kurtosis(view: TrainView) -> Value | float:
    """Excess kurtosis of all convolution and linear weights; 0 for a normal distribution."""
    tensors = [p.flatten().double() for p in view.module.parameters() if p.ndim > 1]
    if not tensors:
        return Value.undefined("the network has no convolution and no linear map")
    weights = torch.cat(tensors)
    deviation = weights - weights.mean()
    variance = float(deviation.square().mean())
    if variance == 0:
        return Value.undefined("all weights are equal")
    return float(deviation.pow(4).mean()) / variance**2 - 3


@hookimpl
def genaudit_measures() -> list[MeasureEntry]:
    """The one measure of this plugin."""
    return [
        MeasureEntry(
            name="weight_kurtosis",
            summary="excess kurtosis of all weights",
            compute=weight_kurtosis,
            version="1",
            direction="none",
            invariance="none",
            varies_with=("folding",),
            cost="weights",
        )
    ]
