"""How far scores move when weights are perturbed."""

import torch

from audit.plugin import MeasureEntry, hookimpl


def weight_noise(view):
    """Mean change of the first batch's scores when every weight is multiplied by 1 ± 1%."""
    noisy, rng = view.private_copy(), view.generator("weight_noise")
    images, _ = next(view.batches())
    with torch.no_grad():
        for weight in noisy.parameters():
            signs = torch.from_numpy(rng.choice([-1.0, 1.0], tuple(weight.shape)))
            weight.mul_(1 + 0.01 * signs.to(weight))
        return float((view.scores(images, noisy) - view.scores(images)).abs().mean())


@hookimpl
def genaudit_measures():
    kind = {"version": "1", "direction": "lower", "invariance": "node-wise", "cost": "forward"}
    kind |= {"summary": "change of scores under 1% noise on weights"}
    moves = ("permutation", "folding", "image-order", "batch-size", "duplicates")
    kind["varies_with"] = (*moves, "relabelling")
    return [MeasureEntry(name="weight_noise", compute=weight_noise, **kind)]
