"""Networks with other weights: those that compute the same function, and those drawn anew.

What a measure must not notice, if it is to judge functions and not the way they are written down.
All of these read what a network computes on one image, operation by operation, so they hold for any
network that runs; all prove at the end that outputs agree, and beside each stands what it does:

- `scaling`: weights in other scales: `rescale`, and its factors `scales`
- `permutation`: channels in another order: `permute_channels`, and its `orders`; classes in
  another order: `relabel_classes`
- `folding`: BatchNorm put into the map before it: `fold_batchnorm`, and its `folds`
"""

from __future__ import annotations

from audit.transforms.folding import Folds, fold_batchnorm, folds
from audit.transforms.fresh import fresh_network
from audit.transforms.permutation import orders, permute_channels, relabel_classes
from audit.transforms.scaling import How, rescale, scales

__all__ = [
    "Folds",
    "How",
    "fold_batchnorm",
    "folds",
    "fresh_network",
    "orders",
    "permute_channels",
    "relabel_classes",
    "rescale",
    "scales",
]
