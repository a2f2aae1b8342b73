"""The claims of the method, one module each.

- `random_units`, `rescaling`, `depth`, `training`, `generalization`, `ablation`: each has a
  `CLAIM`, in the order in which the method states them.
"""

from __future__ import annotations

from typing import Final

from audit.reproduction.claim import Claim
from audit.reproduction.claims import (
    ablation,
    depth,
    generalization,
    random_units,
    rescaling,
    training,
)

#: Every claim by name.
CLAIMS: Final[dict[str, Claim]] = {
    module.CLAIM.name: module.CLAIM
    for module in (random_units, rescaling, depth, training, generalization, ablation)
}
