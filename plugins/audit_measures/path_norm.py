"""Path norm: the network with squared weights, at an all-ones input."""

from __future__ import annotations

import math

from audit.plugin import MeasureEntry, TrainView, Value


def path_norm(view: TrainView) -> Value | float:
    """√ of the sum of the outputs of the network with squared weights at an all-ones input.

    For a ReLU network this is √ Σ over paths, from every input pixel and every bias to every
    output, of Π w² along the path. Computed in float64 on a copy, on the CPU. Average and max
    pooling are kept as they are. At least 0.

    Undefined where the network is not piecewise linear: the reason names the first module called
    that is neither a convolution, a linear map, BatchNorm nor positively homogeneous (LayerNorm,
    attention, sigmoid gates, GELU, SiLU, ReLU6), or says that a function between modules is not.

    Source:
        Neyshabur, Salakhutdinov & Srebro, Path-SGD, NeurIPS 2015; Jiang et al., Fantastic
        Generalization Measures and Where to Find Them, ICLR 2020, "path norm". Deviations: the
        root is taken; BatchNorm is folded (see `_squared_network`); networks for which it is not
        defined are refused, where public code squares every parameter of any network.

    Example:
        One linear map of two pixels with weights 1, −2 and bias 2: √(1 + 4 + 4) = 3.
    """
    from audit_measures._squared_network import squared_output

    total = squared_output(view.module, view.data_config.input_size)
    if isinstance(total, str):
        return Value.undefined(f"the path norm has no value: {total}")
    if not math.isfinite(total):
        return Value.undefined("the path norm has no value: the squared weights overflow float64")
    return math.sqrt(total)


MEASURES = (
    MeasureEntry(
        name="path_norm",
        summary="root of the output of the network with squared weights at an all-ones input",
        compute=path_norm,
        version="1",
        direction="lower",
        invariance="node-wise",
        cost="weights",
        formula="√ Σ over paths of Π w²",
        claim="Jiang et al. 2020: positively correlated with the generalization gap",
        weakness="ignores signs that cancel; defined for piecewise linear networks only",
        needs="a network of ReLU, pooling and BatchNorm, without sigmoid gates or attention",
        source="Neyshabur et al. 2015; Jiang et al. 2020; the root is taken, BatchNorm folded",
    ),
)
