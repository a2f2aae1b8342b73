"""How a tensor in a network is read as feature maps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from audit.network.places import Place
from audit.plugin import Layer

if TYPE_CHECKING:
    from torch import Tensor, nn

#: "NLC" is a sequence of tokens in the order of the image's rows; "tokens" has them in another
#: order, which is then known.
Layout: TypeAlias = Literal["NCHW", "NHWC", "NLC", "tokens"]

#: A 4-cycle needs four rows, and a hole needs three; smaller maps have no topology.
MIN_SIDE: Final = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """A way to read a tensor as feature maps.

    Attributes:
        layout: Order of the tensor's axes.
        height: Of the map, in pixels.
        width: Of the map, in pixels.
        units: Number of channels.
        prefix: Tokens before the grid (class tokens); 0 unless `layout` is "NLC".
        order: Of "tokens": where the token of each pixel lies, row by row; else empty.
    """

    layout: Layout
    height: int
    width: int
    units: int
    prefix: int = 0
    order: tuple[int, ...] = ()

    def maps(self, tensor: Tensor) -> Tensor:
        """Feature maps, shape (n, units, height, width); a view of the tensor where one exists."""
        if self.layout == "NCHW":
            return tensor
        if self.layout == "NHWC":
            return tensor.permute(0, 3, 1, 2)
        if self.layout == "NLC":
            tokens = tensor[:, self.prefix : self.prefix + self.height * self.width]
        else:
            tokens = tensor.reshape(len(tensor), -1, self.units)[:, list(self.order)]
        grid = tokens.reshape(-1, self.height, self.width, self.units)
        return grid.permute(0, 3, 1, 2)

    @property
    def unit_axis(self) -> int:
        """The axis of the tensor that counts units."""
        return 1 if self.layout == "NCHW" else -1

    @property
    def description(self) -> str:
        """Such as "NLC, 1 prefix token"."""
        if self.layout == "tokens":
            return "NLC, reordered"
        plural = "s" if self.prefix > 1 else ""
        return self.layout + (f", {self.prefix} prefix token{plural}" if self.prefix else "")

    @property
    def is_map(self) -> bool:
        """Whether the maps are large enough for a topology, of more than one unit."""
        return min(self.height, self.width) >= MIN_SIDE and self.units > 1


@dataclasses.dataclass(frozen=True, slots=True)
class LayerSpec:
    """Where feature maps are taken, and how.

    Attributes:
        place: Where in the forward pass.
        reading: How the tensor there is read.
        norm: Path of a normalization of the network's that is applied to the tensor first; "" for
            none.
    """

    place: Place
    reading: Reading
    norm: str = ""

    @property
    def name(self) -> str:
        """Of the place; a normalization that is applied to it stands behind "|"."""
        return f"{self.place.name}|{self.norm}" if self.norm else self.place.name

    @property
    def layer(self) -> Layer:
        """The layer as measures are told of it."""
        return Layer(self.name, self.reading.height, self.reading.width, self.reading.units)

    def maps(self, module: nn.Module, tensor: Tensor) -> Tensor:
        """The tensor as feature maps, shape (n, units, height, width).

        Args:
            module: The network.
            tensor: What came out of the place.
        """
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        if self.norm:
            # not a call of the module, which would be counted as one and could have hooks
            tensor = module.get_submodule(self.norm).forward(tensor)
        return self.reading.maps(tensor)
