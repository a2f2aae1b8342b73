"""The units of a layer as arrays, and which layers of two networks stand beside each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

#: Where `audit.unit_table` leaves the height and width of each layer's maps: in `attrs`.
SIZES: Final = "sizes"
_NEEDED: Final = ("layer", "unit", "class_name", "n_images", "effective_rate", "feature_entropy")


@dataclasses.dataclass(frozen=True)
class LayerUnits:
    """Numbers of the units of one layer, by class.

    Attributes:
        layer: Its name.
        size: Height and width of the maps that births are of, or None: not known.
        entropy: Shape (c, u), feature entropy in nats; NaN where there is none.
        rate: Shape (c, u), effective rate in [0, 1].
        n_images: Shape (c,), images of each class.
    """

    layer: str
    size: tuple[int, int] | None
    entropy: np.ndarray
    rate: np.ndarray
    n_images: np.ndarray

    def told(self, least_rate: float) -> np.ndarray:
        """Feature entropy (c, u) of units that are born often enough; NaN for the others."""
        return np.where(self.rate >= least_rate, self.entropy, np.nan)


def class_names_of(table: pd.DataFrame) -> list[str]:
    """The classes of a unit table, in its order."""
    return [str(name) for name in table["class_name"].drop_duplicates()]


def layers_of(
    table: pd.DataFrame,
    class_names: Sequence[str],
    sizes: Mapping[str, Sequence[int]] | None = None,
) -> list[LayerUnits]:
    """The layers of a unit table of one network, from shallow to deep.

    Args:
        table: As `audit.unit_table` returns it, or a part of `units.parquet`.
        class_names: The classes that are looked at, in this order.
        sizes: Layer → height and width of its maps; by default what the table says in `attrs`.

    Raises:
        DataError: A column is missing, or the table is of several networks or filtrations, or has
            two rows for one unit and class.
    """
    import pandas as pd

    missing = [name for name in _NEEDED if name not in table]
    if missing:
        raise DataError(f"a unit table has columns {', '.join(_NEEDED)}; missing: {missing}")
    for name in ("checkpoint", "filtration"):
        if name in table and table[name].nunique() > 1:
            several = ", ".join(map(str, table[name].unique()))
            raise DataError(f"a unit table of one {name} is needed; found {several}")
    sizes = table.attrs.get(SIZES) or {} if sizes is None else sizes
    classes = pd.Index(list(class_names))
    found = []
    for layer, group in table.groupby("layer", sort=False, observed=True):
        if group.duplicated(["unit", "class_name"]).any():
            raise DataError(f"layer {layer!r} has two rows for one unit and class")
        wide = group.astype({"class_name": str}).pivot(
            index="class_name", columns="unit", values=list(_NEEDED[3:])
        )
        wide = wide.reindex(classes).astype(np.float64)
        size = sizes.get(str(layer))
        found.append(
            LayerUnits(
                layer=str(layer),
                size=None if size is None else (int(size[0]), int(size[1])),
                entropy=wide["feature_entropy"].to_numpy(),
                rate=wide["effective_rate"].to_numpy(),
                n_images=np.nan_to_num(
                    pd.DataFrame(wide["n_images"]).max(axis=1).to_numpy()
                ).astype(np.int64),
            )
        )
    return found


def pair_layers(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int]]:
    """Which layers stand beside each other, as positions in either list.

    Layers of one name, where both networks have the same names. Else each layer of the network
    with fewer of them and that of the other whose relative depth is nearest: 0 for the first
    layer, 1 for the last, evenly spaced between.

    Example:
        >>> pair_layers(["a", "b"], ["b", "a"])
        [(0, 1), (1, 0)]
        >>> pair_layers(["a", "b", "c"], ["p", "q", "r", "s", "t"])
        [(0, 0), (1, 2), (2, 4)]
    """
    if set(first) == set(second):
        return [(position, second.index(name)) for position, name in enumerate(first)]
    fewer, more = sorted((_depths(len(first)), _depths(len(second))), key=len)
    pairs = [(at, int(np.abs(more - depth).argmin())) for at, depth in enumerate(fewer)]
    return pairs if len(first) <= len(second) else [(b, a) for a, b in pairs]


def _depths(n_layers: int) -> Any:
    """Relative depths of layers; that of a single one is 1."""
    return np.linspace(0, 1, n_layers) if n_layers > 1 else np.ones(n_layers)
