"""Operations that only move elements, and those that compute by channel or element."""

from __future__ import annotations

import math
from typing import Any, Final

from audit.transforms._trace import Call

#: Views, copies and rearrangements.
MOVING: Final = frozenset(
    {
        *("view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t"),
        *("expand", "squeeze", "unsqueeze", "slice", "select", "narrow", "unbind", "flip", "roll"),
        *("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "repeat", "cat"),
        *("unsafe_split_with_sizes", "stack", "index_select", "index", "unfold", "diagonal"),
        *("channel_shuffle", "native_channel_shuffle", "pixel_shuffle", "pixel_unshuffle"),
        *("movedim", "swapaxes", "flatten", "unflatten", "rot90", "repeat_interleave"),
    }
)

#: Copies that leave every element where it is.
COPIES: Final = frozenset(
    {"clone", "alias", "detach", "_to_copy", "contiguous", "lift_fresh", "native_dropout"}
    | {"dropout", "to", "_conj", "positive"}
)

#: Functions with f(s·x) = s·f(x) for s > 0, element by element.
HOMOGENEOUS: Final = COPIES | {"relu", "leaky_relu", "neg", "abs", "rrelu"}

#: Pooling and interpolation: sums and maxima over places of one channel → number of such axes.
SPATIAL: Final = {
    f"{name}{dimensions}d{ending}": dimensions
    for dimensions in (1, 2, 3)
    for name, endings in {
        "max_pool": ("", "_with_indices"),
        "mkldnn_max_pool": ("",),
        "avg_pool": ("",),
        "adaptive_avg_pool": ("",),
        "_adaptive_avg_pool": ("",),
        "adaptive_max_pool": ("",),
        "upsample_nearest": ("",),
        "_upsample_nearest_exact": ("",),
        "reflection_pad": ("",),
        "replication_pad": ("",),
    }.items()
    for ending in endings
} | {
    "upsample_linear1d": 1,
    "upsample_bilinear2d": 2,
    "_upsample_bilinear2d_aa": 2,
    "upsample_bicubic2d": 2,
    "_upsample_bicubic2d_aa": 2,
    "upsample_trilinear3d": 3,
}

#: Sums, means and extremes over axes.
REDUCING: Final = frozenset({"mean", "sum", "amax", "amin", "max", "min", "linalg_vector_norm"})

#: Attention in one operation, by the name of whichever kernel was chosen.
ATTENTION: Final = frozenset(
    {
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_fused_attention_overrideable",
        "_scaled_dot_product_attention_math",
        "_scaled_dot_product_attention_math_for_mps",
        "scaled_dot_product_attention",
    }
)

#: BatchNorm, by the name of whichever kernel was chosen.
BATCH_NORM: Final = frozenset(
    {
        *("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"),
        *("_native_batch_norm_legit", "miopen_batch_norm", "batch_norm"),
    }
)


def reduced_axes(call: Call, ndim: int) -> list[int]:
    """The axes that a reduction sums over."""
    axes = call.arguments.get("dim")
    if axes is None or axes == []:
        return list(range(ndim))
    return [axis % ndim for axis in ([axes] if isinstance(axes, int) else axes)]


def survives_scaling(number: Any) -> bool:
    """Whether a constant is the same after multiplication by any positive factor."""
    return isinstance(number, int | float) and (number == 0 or math.isinf(number))


def is_number(argument: Any) -> bool:
    """Whether an argument is a number of the program, not a tensor."""
    return isinstance(argument, int | float)
