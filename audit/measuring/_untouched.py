"""What a measure must leave as it was: the network, and settings of the whole process."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from audit.network.digests import fingerprints
from audit.network.plain import modes_of


class Untouched:
    """A network and settings of torch as they are now.

    Args:
        module: The network.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._before = self._state()

    def changed(self) -> list[str]:
        """What is no longer as it was, in words; settings of the process are put back."""
        after = self._state()
        names = dict.fromkeys((*self._before, *after))
        found = [name for name in names if self._before.get(name) != after.get(name)]
        torch.set_default_dtype(self._before[_DTYPE])
        torch.set_grad_enabled(self._before[_GRADIENTS])
        return found

    def _state(self) -> dict[str, Any]:
        """Name → what must stay."""
        state: dict[str, Any] = {
            f"weight {name}": value for name, value in fingerprints(self._module).items()
        }
        state |= modes_of(self._module)
        state[_DTYPE] = torch.get_default_dtype()
        state[_GRADIENTS] = torch.is_grad_enabled()
        return state


_DTYPE, _GRADIENTS = "default dtype of torch", "gradient mode of torch"
