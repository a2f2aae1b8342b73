"""How much of a network's feature maps is active."""

from audit.plugin import MapReducer, MeasureEntry, Part, hookimpl


class ActivePixels(MapReducer):
    """Pixels above zero, and all pixels, of each layer."""

    def __init__(self, view):
        self.counts = {layer.name: [0, 0] for layer in view.layers}

    def update(self, batch, layer, maps):
        self.counts[layer.name][0] += int((maps > 0).sum())
        self.counts[layer.name][1] += maps.numel()


def active_share(view):
    """Share of pixels above zero, of each layer and averaged over layers; in [0, 1]."""
    shares = [n / total for n, total in view.reduced(ActivePixels).counts.values()]
    return {"": sum(shares) / len(shares)} | {f"layer_{k + 1}": s for k, s in enumerate(shares)}


@hookimpl
def genaudit_measures():
    kind = {"version": "1", "direction": "none", "invariance": "node-wise", "cost": "forward"}
    kind |= {"reducers": (ActivePixels,), "parts": (Part(name="layer_*", summary="of a layer"),)}
    return [MeasureEntry(name="active_share", summary="active", compute=active_share, **kind)]
