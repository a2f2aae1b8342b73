"""What `birth_levels` accepts, and how each kind of array reaches the kernels exactly."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

import numpy as np

from audit.errors import DataError

if TYPE_CHECKING:
    import torch

#: What a kernel writes for a map that holds NaN or an infinity; never seen outside this package.
NOT_FINITE: Final = -2

#: Largest magnitude up to which float64 holds every integer.
LARGEST_EXACT_INTEGER: Final = 2**53


class Maps(NamedTuple):
    """Feature maps in memory, and the type in which their values are exact."""

    array: np.ndarray  # (…, h, w); bfloat16 is carried as its uint16 bits
    exact: type[np.float32 | np.float64]
    bfloat16: bool = False

    def chunk(self, rows: np.ndarray) -> np.ndarray:
        """Part of `array` as a C-contiguous, read-only array of type `exact`."""
        if self.bfloat16:
            rows = (rows.astype(np.uint32) << 16).view(np.float32)
        chunk = np.ascontiguousarray(rows, dtype=self.exact).view()
        chunk.flags.writeable = False
        return chunk


def is_tensor(maps: object) -> TypeGuard[torch.Tensor]:
    """Whether this is a torch tensor, found without importing torch."""
    torch_module = sys.modules.get("torch")
    return torch_module is not None and isinstance(maps, torch_module.Tensor)


def check_shape(shape: tuple[int, ...], filtration: str) -> None:
    """Refuse a shape that holds no feature maps, or none the filtration is defined on.

    Raises:
        DataError: Fewer than two dimensions, maps without pixels, or maps that are not square
            under the clique filtration.
    """
    if len(shape) < 2:
        raise DataError(
            f"feature maps need at least two dimensions (…, h, w); found shape {tuple(shape)}"
        )
    if 0 in shape[-2:]:
        raise DataError(f"feature maps need at least one pixel; found shape {tuple(shape)}")
    if filtration == "clique" and shape[-1] != shape[-2]:
        raise DataError(
            f"the clique filtration needs square feature maps; found shape {tuple(shape)}; "
            'use filtration="cubical" for maps of any shape'
        )


def from_numpy(maps: Any) -> Maps:
    """Feature maps of an array of any real type that float32 or float64 holds exactly.

    float16, float32, booleans and integers of 8 or 16 bits become float32; float64 and wider
    integers become float64.

    Raises:
        DataError: Complex, object or extended-precision values, or integers beyond ±2⁵³.
    """
    array = np.asarray(maps)
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "fbiu" or (kind == "f" and size > 8):
        raise DataError(
            "feature maps must be real numbers that float64 holds exactly; "
            f"found dtype {array.dtype}"
        )
    if kind in "iu" and size == 8 and array.size:
        largest = max(int(array.max()), -int(array.min()))
        if largest > LARGEST_EXACT_INTEGER:
            raise inexact_integer(largest)
    fits_float32 = size <= 4 if kind == "f" else size <= 2
    return Maps(array, np.float32 if fits_float32 else np.float64)


def from_tensor(maps: torch.Tensor) -> Maps:
    """Feature maps of a tensor on any device, copied to host memory if they are elsewhere.

    Raises:
        DataError: As `from_numpy`; also sparse tensors and tensors without data.
    """
    import torch

    check_tensor(maps)
    tensor = maps.detach().cpu().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return Maps(tensor.view(torch.int16).numpy().view(np.uint16), np.float32, bfloat16=True)
    if tensor.is_floating_point() and tensor.element_size() < 2:  # the 8-bit floats
        tensor = tensor.float()
    return from_numpy(tensor.numpy())


def check_tensor(maps: torch.Tensor) -> None:
    """Refuse tensors whose values cannot be read as a dense array.

    Raises:
        DataError: Sparse, quantized, complex, or on the meta device.
    """
    layout = str(maps.layout).removeprefix("torch.")
    if layout != "strided" or maps.is_quantized or maps.is_complex() or maps.device.type == "meta":
        raise DataError(
            "feature maps must be a dense tensor of real numbers; "
            f"found {layout} {maps.dtype} on {maps.device}"
        )


def first_not_finite(maps: Maps, births: np.ndarray) -> DataError:
    """The error that names the first NaN or infinity of a batch that holds one."""
    batch = np.unravel_index(int(np.argmax(births.ravel() == NOT_FINITE)), births.shape)
    feature_map = maps.chunk(maps.array[tuple(batch)])
    pixel = np.unravel_index(int(np.argmin(np.isfinite(feature_map))), feature_map.shape)
    return not_finite(float(feature_map[pixel]), (*map(int, batch), *map(int, pixel)))


def inexact_integer(magnitude: int) -> DataError:
    """The error for an integer that float64 does not hold exactly."""
    return DataError(
        "integer feature maps must lie within ±2**53, where float64 is exact; "
        f"found magnitude {magnitude}"
    )


def not_finite(value: float, index: tuple[int, ...]) -> DataError:
    """The error for a NaN or infinity found at `index`."""
    return DataError(
        f"feature maps must be finite; found {value} at index {index}; "
        "check the weights and the inputs of the layer"
    )
