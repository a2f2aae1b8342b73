"""Networks as plain Python, whose modules can be looked at one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from audit.errors import CheckpointError

#: Wrappers whose `module` is the network itself.
_WRAPPERS = (
    nn.DataParallel,
    nn.parallel.DistributedDataParallel,
    torch.optim.swa_utils.AveragedModel,
)

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def plain(module: Any) -> nn.Module:
    """The network without wrappers, compiled parts, and the program it was exported to.

    Args:
        module: A network, which may be changed in place; or an exported program.

    Raises:
        CheckpointError: It is something else.
    """
    if isinstance(module, torch.export.ExportedProgram):
        module = _evaluating(module.module())
    while inner := _inside(module):
        module = inner
    if not isinstance(module, nn.Module):
        raise CheckpointError(f"a network must be a torch.nn.Module; found {type(module).__name__}")
    for parent in list(module.modules()):
        if parent.__dict__.get("_compiled_call_impl") is not None:
            parent._compiled_call_impl = None
        for name, child in list(parent.named_children()):
            while inner := _inside(child):
                setattr(parent, name, inner)
                child = inner
    return module


def modes_of(module: nn.Module) -> dict[str, Any]:
    """In words → what a network is set to beside its weights: gradients, modes, and how many hooks.

    Example:
        >>> modes_of(nn.ReLU())
        {'training mode of the network': True, 'hooks of the network': 0}
    """
    modes: dict[str, Any] = {
        f"requires_grad of {name}": parameter.requires_grad
        for name, parameter in module.named_parameters()
    }
    for name, part in module.named_modules():
        path = name or "the network"
        modes[f"training mode of {path}"] = part.training
        modes[f"hooks of {path}"] = sum(len(getattr(part, hooks)) for hooks in _HOOKS)
    return modes


def unwrapped(module: Any) -> nn.Module:
    """The network inside wrappers such as `DataParallel`, as it is: what hooks are put on.

    Raises:
        CheckpointError: It is no network, or a part of it is compiled or TorchScript, which call no
            hooks.
    """
    while isinstance(module, _WRAPPERS):
        module = module.module
    if not isinstance(module, nn.Module):
        raise CheckpointError(f"a network must be a torch.nn.Module; found {type(module).__name__}")
    for path, part in module.named_modules():
        compiled = part.__dict__.get("_compiled_call_impl") is not None
        if compiled or "_orig_mod" in part._modules or isinstance(part, torch.jit.ScriptModule):
            kind = "TorchScript" if isinstance(part, torch.jit.ScriptModule) else "compiled"
            raise CheckpointError(
                f"{path or 'the network'} is {kind}, which passes over hooks; give the network as "
                "it was before"
            )
    return module


def frozen(module: nn.Module) -> nn.Module:
    """The network in eval mode, its parameters without gradients.

    Raises:
        CheckpointError: It is not initialised.
    """
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise CheckpointError(
                f"{name} of {type(module).__name__} has no shape yet: run the network once on an "
                "image before it is handed over"
            )
        if not isinstance(module, torch.jit.ScriptModule):
            parameter.requires_grad_(False)
    return module.eval()


def is_scripted(module: nn.Module) -> bool:
    """Whether a part of a network is TorchScript, of which no forward pass can be watched."""
    return any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())


def _inside(module: Any) -> nn.Module | None:
    """What a wrapper or a compiled module holds; None for a plain one."""
    if isinstance(module, torch.jit.ScriptModule) or not isinstance(module, nn.Module):
        return None
    # the class that torch.compile wraps with is not imported for a look: that would take seconds
    inner = module.module if isinstance(module, _WRAPPERS) else module._modules.get("_orig_mod")
    return inner if isinstance(inner, nn.Module) else None


def _evaluating(module: nn.Module) -> nn.Module:
    """An exported program that takes `eval()` for what it is: it was exported in one mode."""

    def unchanged(mode: bool = False) -> nn.Module:
        return module

    module.eval = unchanged  # type: ignore[method-assign]
    module.train = unchanged  # type: ignore[method-assign]
    return module
