"""The maps that births are measured on: white noise, and what a small trained network gives."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

_TRAINED_ON = 1536
_EPOCHS = 8
_SIDE = 56


def white_noise(side: int, count: int) -> np.ndarray:
    """Independent standard normal pixels (count, side, side) float32."""
    return np.random.default_rng(0).standard_normal((count, side, side), np.float32)


def trained_maps(sides: list[int], pixels: int) -> tuple[dict[int, np.ndarray], float]:
    """Post-ReLU maps of a network trained here in seconds, and its accuracy on other images.

    Four stages of convolution, ReLU and pooling see scikit-learn's digits enlarged to 56 × 56,
    and so have maps of sides 56, 28, 14 and 7. Larger maps are those of the first stage on the
    same digits enlarged further. Enlarged digits are smoother than photographs.

    Args:
        sides: Sides wanted; those that no stage has are left out.
        pixels: About how many pixels of each side.

    Returns:
        Maps (m, side, side) float32 by side, and the accuracy in [0, 1] on images not trained on.
    """
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float()[:, None]
    labels = torch.from_numpy(digits.target)
    stages = torch.nn.ModuleList(
        torch.nn.Sequential(torch.nn.Conv2d(before, after, 3, padding=1), torch.nn.ReLU())
        for before, after in ((1, 8), (8, 16), (16, 32), (32, 64))
    )
    head = torch.nn.Linear(64 * (_SIDE // 8) ** 2, 10)
    optimizer = torch.optim.Adam([*stages.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(_EPOCHS):
        for start in range(0, _TRAINED_ON, 64):
            batch = slice(start, start + 64)
            logits = head(_outputs(stages, images[batch], _SIDE)[-1].flatten(1))
            loss = torch.nn.functional.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    others, truth = images[_TRAINED_ON:], labels[_TRAINED_ON:]
    with torch.no_grad():
        outputs = _outputs(stages, others, _SIDE)
        accuracy = (head(outputs[-1].flatten(1)).argmax(1) == truth).float().mean().item()
        outputs += [
            _outputs(stages[:1], others[: 1 + pixels // side**2], side)[0]
            for side in sides
            if side > _SIDE
        ]
    by_side = {output.shape[-1]: output for output in outputs}
    return {side: _some(by_side[side], pixels) for side in sides if side in by_side}, accuracy


def _outputs(stages: torch.nn.ModuleList, images: torch.Tensor, side: int) -> list[torch.Tensor]:
    """What each stage gives, after its ReLU, for images enlarged to a side."""
    batch = torch.nn.functional.interpolate(images, (side, side), mode="bilinear")
    outputs = []
    for stage in stages:
        batch = stage(batch)
        outputs.append(batch)
        batch = torch.nn.functional.max_pool2d(batch, 2)
    return outputs


def _some(output: torch.Tensor, pixels: int) -> np.ndarray:
    """So many pixels' worth of an output's maps (m, side, side), at least 64, in random order."""
    side = output.shape[-1]
    flat = output.reshape(-1, side, side).numpy()
    order = np.random.default_rng(0).permutation(len(flat))
    return np.ascontiguousarray(flat[order[: max(64, pixels // side**2)]])
