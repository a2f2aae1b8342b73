"""Whether predictions stay when training images are altered in ways that keep their class."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import softmax

from audit.plugin import DataConfig, MeasureEntry, TrainView, Value

if TYPE_CHECKING:
    from torch import Tensor

#: Weight of a changed prediction under each augmentation, in the order of `augmented`.
WEIGHTS = {
    "flip": 6.0,
    "saturation": 1.0,
    "centre_crop": 2.0,
    "sobel": 3.0,
    "brightness": 1.0,
    "flip_saturation": 12.0,
    "erase": 2.0,
}
_GREY = (0.2989, 0.587, 0.114)


class Draws(NamedTuple):
    """What is random, drawn before the first batch so that batches do not matter.

    Attributes:
        saturation: Shape (n,), factors in [0.6, 1.6).
        flip_saturation: Likewise, for the flipped image.
        boxes: Shape (n, 4): top, left, height, width of the erased rectangle, in pixels.
    """

    saturation: np.ndarray
    flip_saturation: np.ndarray
    boxes: np.ndarray


def draw(generator: np.random.Generator, n: int, height: int, width: int) -> Draws:
    """Draw saturation factors and rectangles for n images."""
    area = height * width
    low = max(1, round((0.02 * area * 0.3) ** 0.5))
    high = round((0.4 * area / 0.3) ** 0.5)
    sides = [generator.integers(low, max(low + 1, min(high, side)), n) for side in (height, width)]
    corners = [
        generator.integers(0, np.maximum(side - size, 1))
        for side, size in zip((height, width), sides, strict=True)
    ]
    return Draws(
        saturation=generator.uniform(0.6, 1.6, n),
        flip_saturation=generator.uniform(0.6, 1.6, n),
        boxes=np.stack([*corners, *sides], axis=1),
    )


def _saturate(pixels: Tensor, factors: np.ndarray) -> Tensor:
    """Blend each image with its grey version; a grey image stays as it is."""
    if pixels.shape[1] == 1:
        return pixels
    factor = pixels.new_tensor(factors)[:, None, None, None]
    grey = (pixels * pixels.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
    return (grey + factor * (pixels - grey)).clamp(0, 1)


def _centre_crop(pixels: Tensor) -> Tensor:
    """Cut off 5% at each side (at least one pixel) and enlarge what is left."""
    from torch.nn import functional

    height, width = pixels.shape[-2:]
    top, left = (max(1, int(side * 0.05)) if side > 2 else 0 for side in (height, width))
    inner = pixels[..., top : height - top, left : width - left]
    return functional.interpolate(inner, (height, width), mode="bilinear", align_corners=False)


def _sobel(pixels: Tensor) -> Tensor:
    """Horizontal gradient of each channel, / 4 + 1/2."""
    from torch.nn import functional

    kernel = pixels.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    channels = pixels.shape[1]
    mode = "reflect" if min(pixels.shape[-2:]) > 1 else "replicate"
    padded = functional.pad(pixels, (1, 1, 1, 1), mode=mode)
    weight = kernel.expand(channels, 1, 3, 3)
    return (functional.conv2d(padded, weight, groups=channels) / 4 + 0.5).clamp(0, 1)


def _erase(pixels: Tensor, boxes: np.ndarray) -> Tensor:
    """Set one rectangle of each image to black."""
    erased = pixels.clone()
    for image, (top, left, height, width) in zip(erased, boxes.tolist(), strict=True):
        image[:, top : top + height, left : left + width] = 0
    return erased


def augmented(pixels: Tensor, draws: Draws) -> dict[str, Tensor]:
    """The seven versions of a batch of images with pixels in [0, 1], by name."""
    flipped = pixels.flip(-1)
    return {
        "flip": flipped,
        "saturation": _saturate(pixels, draws.saturation),
        "centre_crop": _centre_crop(pixels),
        "sobel": _sobel(pixels),
        "brightness": (pixels + 0.5).clamp(0, 1),
        "flip_saturation": _saturate(flipped, draws.flip_saturation),
        "erase": _erase(pixels, draws.boxes),
    }


def _altered_outputs(view: TrainView, logits: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs (n, c) in float64 on each version of the training sample.

    A version that is the image itself, or another version, is not computed again.
    """
    import torch

    config: DataConfig = view.data_config
    draws: Draws | None = None
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in WEIGHTS}
    start = 0
    with torch.inference_mode():
        for images, _ in view.batches():
            if draws is None:
                generator = view.generator("augmentation_consistency")
                draws = draw(generator, len(view.labels), *images.shape[-2:])
            rows = slice(start, start + len(images))
            start += len(images)
            mean, std = (images.new_tensor(v)[:, None, None] for v in (config.mean, config.std))
            batch = Draws(*(field[rows] for field in draws))
            pixels = (images * std + mean).clamp(0, 1)
            versions = augmented(pixels, batch)
            known = {id(pixels): logits[rows]}
            for name, version in versions.items():
                if id(version) not in known:
                    output = view.module((version - mean) / std)
                    output = output[0] if isinstance(output, (tuple, list)) else output
                    known[id(version)] = output.double().cpu().numpy()
                outputs[name].append(known[id(version)])
    return {name: np.concatenate(parts) for name, parts in outputs.items()}


def augmentation_consistency(view: TrainView) -> Value | dict[str, Value | float]:
    """How far predictions on training images survive seven augmentations; higher is better.

    1 − Σ_a w_a · (share of images whose predicted class changes under a) / Σ_a w_a, in [0, 1], with
    w = 6 mirror, 1 saturation × U[0.6, 1.6), 2 central 90%, 3 horizontal Sobel gradient, 1
    brightness + 0.5, 12 mirror and saturation, 2 black rectangle. Labels are not used.

    Returns:
        "": the above. "published": 1 − the runner-up's penalty / Σ w, where an image whose class
        stays still costs the change of its confidence, |p − p_a|, unweighted; in [0, 1]. Undefined
        where an output is not finite.

    Source:
        Aithal, Kashyap & Subramanyam, Robustness to Augmentations as a Generalization metric,
        arXiv 2101.06459, and their program, second in the NeurIPS 2020 competition; weights as
        there. Deviations: a mean in place of a sum, and its sign turned, so that samples of any
        size compare; pixels are clamped to [0, 1] (theirs may leave it); saturation varies per
        image, not per batch, and blends with grey, where theirs scales HSV saturation; the crop
        takes at least one pixel from each side; all images are used. As there, saturation leaves
        one-channel images as they are, so mirroring carries 18 of 27 parts of the weight.
    """
    logits = np.asarray(view.logits(), np.float64)
    if not len(logits):
        return Value.undefined("the training sample holds no image")
    outputs = _altered_outputs(view, logits)
    for name, values in {"the images as they are": logits, **outputs}.items():
        if not np.isfinite(values).all():
            return Value.undefined(f"the outputs are not finite for {name}")
    predicted, confidence = logits.argmax(1), softmax(logits, axis=1).max(1)
    total = sum(WEIGHTS.values())
    lost = published = 0.0
    for name, weight in WEIGHTS.items():
        changed = outputs[name].argmax(1) != predicted
        shift = np.abs(softmax(outputs[name], axis=1).max(1) - confidence)
        lost += weight * float(changed.mean())
        published += float(np.where(changed, weight, shift).mean())
    return {"": 1 - lost / total, "published": 1 - published / total}


MEASURES = (
    MeasureEntry(
        name="augmentation_consistency",
        summary="weighted share of predictions that survive seven augmentations",
        compute=augmentation_consistency,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        source="Aithal et al., arXiv 2101.06459 (weights 6, 1, 2, 3, 1, 12, 2); "
        "pixels clamped, mean instead of sum, saturation per image",
        baseline=True,
    ),
)
