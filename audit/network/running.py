"""How a network is run: its memory format, its precision, how many images at a time, how it ends.

Channels last is the order of axes in memory in which convolutions are fastest, on processors and on
CUDA devices; a network of which a part needs the usual order stays in it. All is decided by rule
and not by the clock, as results may differ in their last bits.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import torch
from torch import nn

from audit.network.scores import class_scores

if TYPE_CHECKING:
    from torch import Tensor

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]
#: A single convolution (as transformers cut an image into patches with) gains nothing.
_LEAST_CONVOLUTIONS: Final = 2
#: Four times the largest activation of a batch stays below this, by device class.
_MOST_BYTES: Final = {"cpu": 512 << 20, "cuda": 4 << 30}
_LARGEST_BATCH: Final = {"cpu": 64, "cuda": 256}
#: How torch words what its allocators raise as a plain RuntimeError.
_OUT_OF_MEMORY: Final = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def lay_out(module: nn.Module, images: Tensor) -> torch.memory_format:
    """Lay a network out in the memory format in which it runs, and say which that is.

    Channels last where it has two or more 2-D convolutions and runs on images laid out so; what is
    not written for it (`view` of an activation) raises, and such a network stays as it is.

    Args:
        module: The network, in eval mode; the layout of its weights changes, no value does.
        images: A batch to try it on, shape (b, channels, height, width).

    Example:
        >>> convolutions = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 4, 3), nn.Flatten())
        >>> lay_out(convolutions, torch.zeros(1, 1, 8, 8))
        torch.channels_last
    """
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    if len(convolutions) < _LEAST_CONVOLUTIONS:
        return torch.contiguous_format
    for layout in (torch.channels_last, torch.contiguous_format):
        for convolution in convolutions:
            weight: Any = convolution.weight
            if isinstance(weight, nn.Parameter):
                weight.data = weight.data.contiguous(memory_format=layout)
        if layout == torch.contiguous_format or _runs(module, images, layout):
            break
    return layout


def _runs(module: nn.Module, images: Tensor, layout: torch.memory_format) -> bool:
    """Whether a network takes images laid out so."""
    with torch.inference_mode():
        try:
            class_scores(module(images.clone(memory_format=layout)))
        except Exception:  # noqa: BLE001  networks may raise anything; as they are, they say it again
            return False
    return True


@contextlib.contextmanager
def arithmetic(precision: Precision, device: str) -> Iterator[None]:
    """Inference without gradients; by autocast where a reduced precision is asked for.

    Args:
        precision: "float32" as it is; else what autocast computes convolutions and products in.
        device: "cpu" or "cuda".
    """
    with torch.inference_mode():
        if precision == "float32":
            yield
        else:
            with torch.autocast(device, getattr(torch, precision)):
                yield


def batch_size_for(module: nn.Module, images: Tensor, device: str) -> int:
    """Images per forward pass by the memory of activations: a power of two.

    Args:
        module: The network, in eval mode.
        images: A batch to try it on, shape (b, channels, height, width).
        device: "cpu" or "cuda".
    """
    largest = images.nbytes

    def see(part: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, torch.Tensor):
            largest = max(largest, output.nbytes)

    handles = [m.register_forward_hook(see) for m in module.modules() if not any(m.children())]
    try:
        with torch.inference_mode():
            module(images.clone())
    finally:
        for handle in handles:
            handle.remove()
    most = _MOST_BYTES[device] * len(images) // (4 * max(1, largest))
    return min(_LARGEST_BATCH[device], 1 << max(0, most.bit_length() - 1))


def halved(batch_size: int) -> int:
    """Images per forward pass where a process was killed over this many before.

    An engine that tries such a task again says how often by `GENAUDIT_HALVINGS`.

    Args:
        batch_size: Images per forward pass as planned.
    """
    n_halvings = int(os.environ.get("GENAUDIT_HALVINGS", "0"))
    return max(1, batch_size >> n_halvings)


def rows_within(n_bytes: int, device: str) -> int:
    """How many images a part of a network may be given at a time, by the memory of activations.

    Args:
        n_bytes: Of the largest activation in that part of one image.
        device: "cpu" or "cuda".
    """
    return max(1, _MOST_BYTES[device] // (4 * max(1, n_bytes)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the device or in the process.

    Example:
        >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        False
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def release_memory() -> None:
    """Give back what a pass left behind, on the device too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim_heap()


def trim_heap() -> None:
    """Give the system back what activations took of this process's memory, where it can be asked.

    The C library keeps freed blocks for itself: after a pass they would lie beside all that comes
    then.
    """
    with contextlib.suppress(
        OSError, AttributeError, TypeError
    ):  # other libraries have no such call
        ctypes.CDLL(None).malloc_trim(0)
