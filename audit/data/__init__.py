"""A training set becomes tensors.

- `images`: decoding, the same for every dataset. `pixels`: what pixels of any depth become.
- `transform`: resizing, cropping and normalizing, as timm prepares images for evaluation.
- `split_guard`: the one place where the training split is opened to be measured.
- `duplicates`: training images that are also among held-out ones. `look_alikes`: names of
  classes that a reader takes for one another.
- `sample`: which training images are looked at. `renditions`: the same altered, or mixed.
"""
