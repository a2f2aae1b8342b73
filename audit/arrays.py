"""Shapes and codes that arrays carry between the stages.

Letters in shapes: `n` images, `u` units (channels), `c` classes, `d` features.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float, Int32, Int64, UInt8

#: Birth level of a map whose superlevel sets never enclose a hole. Levels themselves start at 1.
NO_BIRTH: Final = -1

BirthLevels = Int32[np.ndarray, "*batch"]
UnitBirths = Int32[np.ndarray, "n u"]
MapFlags = UInt8[np.ndarray, "n u"]
Labels = Int64[np.ndarray, " n"]
Logits = Float[np.ndarray, "n c"]
Features = Float[np.ndarray, "n d"]
