"""Networks with other weights that compute the same function: rescaled, folded, permuted.

What a measure must not notice, if it is to judge functions and not the way they are written down.
All work on what a network computes on one image, so on any that runs:

- `folding`: BatchNorm put into the convolution or linear map before it
"""

from __future__ import annotations

from audit.transforms.folding import Folds, fold_batchnorm, folds

__all__ = ["Folds", "fold_batchnorm", "folds"]
