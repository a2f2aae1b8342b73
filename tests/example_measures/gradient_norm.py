"""How much single images pull at the weights."""

from audit.plugin import PLAIN, GradientReducer, MeasureEntry, hookimpl


class SquaredNorms(GradientReducer):
    """Squared norms of the gradients of every fourth image's loss."""

    renditions = (PLAIN.on(1 / 4),)

    def __init__(self, view):
        self.total, self.n = 0.0, 0

    def update(self, batch, gradients):
        self.total += sum(float(g.double().square().sum()) for g in gradients.values())
        self.n += len(batch.images)


@hookimpl
def genaudit_measures():
    kind = {"version": "1", "direction": "lower", "invariance": "none", "cost": "backward"}
    kind |= {"summary": "mean squared norm of gradients", "reducers": (SquaredNorms,)}
    kind |= {"varies_with": ("folding", "image-order", "duplicates")}
    mean = lambda view: view.reduced(SquaredNorms).total / view.reduced(SquaredNorms).n  # noqa: E731
    return [MeasureEntry(name="gradient_norm", compute=mean, **kind)]
