"""Curvature of the training loss, by Hessian–vector products of the `curvlinops` package."""

from __future__ import annotations

import importlib
import math
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from audit.errors import UnavailableError
from audit.plugin import MeasureEntry, Part, TrainView, Value
from audit_measures._changed_weights import Share, images_at, with_labels
from audit_measures._gradient_sums import refuse_without_gradients

if TYPE_CHECKING:
    from torch import Tensor

_SHARE: Final = Share(1 / 10, least=16, most=64)
_N_PROBES: Final = 10


class _Scores(nn.Module):
    """A network that returns class scores and nothing else."""

    def __init__(self, view: TrainView) -> None:
        super().__init__()
        self.network = view.private_copy()
        self._view = view

    def forward(self, images: Tensor) -> Tensor:
        """Class scores, shape (b, c)."""
        return self._view.scores(images, self.network)


def _library() -> Any:
    """The package.

    Raises:
        UnavailableError: It is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports itself
            return importlib.import_module("curvlinops")
    except ImportError:
        raise UnavailableError(
            "needs the package curvlinops: pip install 'genaudit[curvature]'"
        ) from None


def hessian_trace(view: TrainView) -> dict[str, Value | float]:
    """Trace of the Hessian of the mean training loss, estimated by Hutchinson's method.

    The mean of vᵀHv over ten vectors v of random signs, the same for every checkpoint of one
    architecture; H is taken with respect to all parameters as they are stored, in eval mode, on a
    tenth of the sample, at least 16 and at most 64 images. Mostly positive at the end of training,
    but not bounded below.

    Undefined where the outputs or a product are not finite.

    Returns:
        "" is the estimate; `relative_error` its standard error over its magnitude, over these ten
        vectors: differences below it say nothing.

    Source:
        Hutchinson, 1989; Yao et al., PyHessian, IEEE Big Data 2020; products by `curvlinops`,
        or by two backward passes where torch has no forward mode for an operation.

    Example:
        The loss ½(2x² + 4y²) has the trace 6, exactly, from any vector of signs.
    """
    library = _library()
    refuse_without_gradients(view.module)
    network = _Scores(view)
    parameters = [p for p in network.parameters() if p.requires_grad]
    rows = _SHARE.rows(len(view.labels))
    batches = images_at(view, rows)
    labels = torch.from_numpy(view.labels[rows]).to(batches[0].device)
    data = with_labels(batches, labels)
    loss = nn.CrossEntropyLoss()
    vectors = (_signs(view, probe, parameters) for probe in range(_N_PROBES))
    # the fused kernels of attention can be differentiated once only
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of what torch does for forward-mode
        hessian = library.HessianLinearOperator(
            network, loss, parameters, data, check_deterministic=False, num_data=len(rows)
        )
        products = _Products(network, parameters, data, hessian)
        found = [_inner(products.of(vector), vector) for vector in vectors]
    return _estimate(np.array(found))


class _Products:
    """Products with the Hessian: the library's, or by two backward passes where it has none.

    The library differentiates the gradient in forward mode, which torch lacks for some operations,
    such as that of SiLU.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: list[nn.Parameter],
        data: list[tuple[Tensor, Tensor]],
        hessian: Any,
    ) -> None:
        self._network, self._parameters, self._data = network, parameters, data
        self._hessian: Any = hessian

    def of(self, vector: list[Tensor]) -> list[Tensor]:
        """H·v, in the shape of the parameters."""
        if self._hessian is not None:
            try:
                found: list[Tensor] = self._hessian @ vector
                return found
            except (RuntimeError, NotImplementedError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self._hessian = None
        return self._twice_backward(vector)

    def _twice_backward(self, vector: list[Tensor]) -> list[Tensor]:
        """The gradient of gradient · v."""
        n = sum(len(labels) for _, labels in self._data)
        total = [torch.zeros_like(parameter) for parameter in self._parameters]
        for images, labels in self._data:
            loss = functional.cross_entropy(self._network(images), labels, reduction="sum") / n
            slopes = torch.autograd.grad(
                loss, self._parameters, create_graph=True, materialize_grads=True
            )
            pairs = zip(slopes, vector, strict=True)
            along = torch.stack([(slope * v).sum() for slope, v in pairs]).sum()
            products = torch.autograd.grad(along, self._parameters, materialize_grads=True)
            total = [a + b for a, b in zip(total, products, strict=True)]
        return total


def _signs(view: TrainView, probe: int, parameters: list[nn.Parameter]) -> list[Tensor]:
    """A vector of random signs, in the shape of the parameters."""
    generator = view.generator(f"hessian trace {probe}")
    return [
        torch.from_numpy(generator.choice([-1.0, 1.0], tuple(p.shape))).to(p) for p in parameters
    ]


def _inner(left: list[Tensor], right: list[Tensor]) -> float:
    """The inner product of two vectors in the shape of the parameters, in float64."""
    pairs = zip(left, right, strict=True)
    return math.fsum(float((product.double() * v.double()).sum().detach()) for product, v in pairs)


def _estimate(found: np.ndarray) -> dict[str, Value | float]:
    """Mean, and standard error of the mean over its magnitude."""
    if not np.isfinite(found).all():
        value = Value.undefined("a product with the Hessian is not finite")
        return {"": value, "relative_error": value}
    mean = float(found.mean())
    error = float(found.std(ddof=1)) / math.sqrt(len(found))
    flat = Value.undefined("the trace is 0")
    return {"": mean, "relative_error": error / abs(mean) if mean else flat}


MEASURES = (
    MeasureEntry(
        name="hessian_trace",
        summary="trace of the Hessian of the training loss, by ten random vectors",
        compute=hessian_trace,
        version="1",
        direction="lower",
        invariance="none",
        varies_with=("permutation", "folding", "image-order", "duplicates", "relabelling"),
        cost="backward",
        formula="mean_v vᵀHv, v random signs",
        claim=(
            "Keskar et al., ICLR 2017: flat minima generalize better; the trace measures "
            "flatness, at the scale of the weights"
        ),
        weakness="depends on the scale of weights: rescaling around a ReLU moves it at will",
        needs="the package curvlinops (extra `curvature`); weights in float32 or float64",
        source="Hutchinson 1989; PyHessian 2020; Hessian–vector products by curvlinops",
        parts=(Part(name="relative_error", summary="standard error of the estimate, relative"),),
        passes=_N_PROBES * 6 / 10,
        default=False,
    ),
)
