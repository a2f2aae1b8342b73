"""A copy of a network in training to look at, and stretches of code that leave no trace."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from audit.errors import CheckpointError
from audit.network.plain import frozen, plain

#: Hooks of these modules compute weights (pruning, weight and spectral norm); others only look on.
_COMPUTE_WEIGHTS: Final = "torch.nn.utils."
_HOOKS: Final = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
)


def copied(model: nn.Module) -> nn.Module:
    """A copy of a network, in eval mode and float32, its parameters without gradients.

    The network itself is not run and not changed: neither its modes, gradients and statistics nor
    what its hooks have seen. Hooks that compute weights come along, all others stay behind.

    Args:
        model: A network in training, compiled or wrapped as it may be.

    Raises:
        CheckpointError: It cannot be copied.
    """
    memo: dict[int, Any] = {}
    for part in model.modules():
        for value in vars(part).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()  # a computed weight, in a graph
        for hook in _onlookers(part):
            memo[id(hook)] = _look_away
    try:
        network = plain(copy.deepcopy(model, memo))
    except (TypeError, RuntimeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{type(model).__name__} cannot be copied, so that it cannot be followed: "
            f"{type(error).__name__}: {error}; `genaudit trajectory` reads its checkpoints instead"
        ) from error
    for part in network.modules():
        _leave_onlookers(part)
    return frozen(network.float())


def _onlookers(part: nn.Module) -> Iterator[Any]:
    """The hooks of a module that compute no weights."""
    for kind in _HOOKS:
        for hook in getattr(part, kind, {}).values():
            if not type(hook).__module__.startswith(_COMPUTE_WEIGHTS):
                yield hook


def _leave_onlookers(part: nn.Module) -> None:
    """Take the hooks off a module that compute no weights."""
    for kind in _HOOKS:
        hooks = getattr(part, kind, {})
        for key, hook in list(hooks.items()):
            if not type(hook).__module__.startswith(_COMPUTE_WEIGHTS):
                del hooks[key]


def _look_away(*given: Any, **named: Any) -> None:
    """What stands for a hook until it is taken off."""


def device_of_network(model: nn.Module) -> torch.device:
    """Where a network lies: the device of its first parameter or buffer, else the processor."""
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


@contextlib.contextmanager
def same_randomness(seed: int) -> Iterator[None]:
    """Draw from generators of one's own: those of Python, NumPy and torch go on as before.

    Args:
        seed: What they start from within the block.
    """
    in_use: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count() if in_use else 0)
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(devices)):
        # not torch.manual_seed, which seeds devices too that nobody uses yet, and for good
        torch.default_generator.manual_seed(seed)
        for device in devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
