"""Which layers of an architecture are audited, and what each of them costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import torch

from audit.data.transform import resolve_data_config
from audit.errors import ConfigError
from audit.network.forward import stream_maps
from audit.network.layers import choose_layers
from audit.network.plain import frozen, plain
from audit.network.threads import all_of_float32, one_math_thread
from audit.plugin.registry import installed
from audit.topology import birth_levels

if TYPE_CHECKING:
    from torch import Tensor

_IMAGES: Final = 2
_RUNS: Final = 3


def layer_table(
    model: str,
    layers: str | Sequence[str] = "stages",
    *,
    model_args: Mapping[str, Any] | None = None,
    transform: Mapping[str, Any] | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The layers of an architecture whose feature maps would be taken.

    The architecture is built with random weights and shown images of noise.

    Args:
        model: A reference that a model source understands, such as "resnet50".
        layers: Presets, names or patterns, as in `[measures] layers`.
        model_args: Passed on to the model.
        transform: Overrides of its data configuration, such as `input_size`.

    Returns:
        One row per layer, in order of execution: layer, units, height, width, layout, megabytes
        (of one image's maps in float32) and births_ms (processor time of both filtrations on one
        image, measured here). And input_size, forward_ms (of one image, measured here), and notes
        on what is left out.

    Raises:
        ConfigError: An unknown model, layer or transform.
        UnavailableError: The architecture has no feature maps.
    """
    source = installed().model_source(model)
    args = dict(model_args or {})
    with one_math_thread(), all_of_float32():
        module = frozen(plain(source.create(model, args, False)))
        config = resolve_data_config(source, module, args, transform or {})
        generator = torch.Generator().manual_seed(0)
        images = _noise((_IMAGES, *config.input_size), generator)
        wanted = (layers,) if isinstance(layers, str) else tuple(layers)
        chosen = choose_layers(module, images, wanted)
        rows: list[dict[str, Any]] = []

        def consume(index: int, maps: Tensor) -> None:
            rows.append(_row(chosen.specs[index], maps))

        stream_maps(module, chosen.specs, images.clone(), consume)
        with torch.inference_mode():
            forward = _milliseconds(lambda: module(images.clone()))
    about = {
        "input_size": list(config.input_size),
        "forward_ms": forward,
        "notes": list(chosen.notes),
    }
    return pd.DataFrame(rows), about


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Images of noise.

    Raises:
        ConfigError: They are larger than memory.
    """
    try:
        return torch.randn(shape, generator=generator)
    except (RuntimeError, MemoryError, TypeError, OverflowError) as error:
        size = " × ".join(map(str, shape[1:]))
        raise ConfigError(f"images of {size} are too large for this machine's memory") from error


def _row(spec: Any, maps: Tensor) -> dict[str, Any]:
    """What is told of one layer."""
    layer = spec.layer
    values = maps.float().contiguous().numpy()
    filtrations = ("cubical", "clique") if layer.height == layer.width else ("cubical",)
    return {
        "layer": layer.name,
        "units": layer.units,
        "height": layer.height,
        "width": layer.width,
        "layout": spec.reading.description,
        "megabytes": round(values.nbytes / len(values) / 1e6, 3),
        "births_ms": _milliseconds(
            lambda: [birth_levels(values, filtration=filtration) for filtration in filtrations]
        ),
    }


def _milliseconds(call: Callable[[], object]) -> float:
    """Processor time of a call on all images, for one of them; the least of a few."""
    call()
    spent = []
    for _ in range(_RUNS):
        started = time.process_time()
        call()
        spent.append(time.process_time() - started)
    return round(1000 * min(spent) / _IMAGES, 3)
