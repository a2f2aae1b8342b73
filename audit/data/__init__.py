"""A training set becomes tensors.

- `images`: decoding, the same for every dataset.
- `transform`: resizing, cropping and normalizing, as timm prepares images for evaluation.
- `sample`: which training images are looked at.
"""
