"""Which layers give feature maps, and how their outputs are read as such.

- `spec`: a layer, and how its output is read. `reading`: which readings are sound.
- `stages`: the ends of a network's stages, as timm names them; `structure`: the same from what a
  forward pass shows.
- `choose`: presets, names and patterns.
"""

from audit.network.layers.choose import PRESETS, ChosenLayers, choose_layers
from audit.network.layers.spec import MIN_SIDE, LayerSpec, Reading

__all__ = ["MIN_SIDE", "PRESETS", "ChosenLayers", "LayerSpec", "Reading", "choose_layers"]
