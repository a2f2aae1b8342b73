"""Whether mirror images are given the same class."""

from audit.data.renditions import FLIP
from audit.plugin import PLAIN, MeasureEntry, ScoreReducer, hookimpl


class Agreements(ScoreReducer):
    """Images whose class stays."""

    renditions = (PLAIN, FLIP)

    def __init__(self, view):
        self.n, self.same = len(view.labels), 0

    def update(self, batch, scores):
        if batch.rendition == PLAIN:
            self.plain = scores.argmax(1)
        else:
            self.same += int((scores.argmax(1) == self.plain).sum())


@hookimpl
def genaudit_measures():
    kind = {"version": "1", "direction": "higher", "invariance": "node-wise", "cost": "forward"}
    kind |= {"summary": "mirror images given the same class", "reducers": (Agreements,)}
    share = lambda view: view.reduced(Agreements).same / view.reduced(Agreements).n  # noqa: E731
    return [MeasureEntry(name="flip_agreement", compute=share, **kind)]
