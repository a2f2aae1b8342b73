"""The names of weights in a file, set against those of a network."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from audit.network.weights import EMA_PREFIXES, WRAPPERS, Weights, listed

if TYPE_CHECKING:
    import torch

#: What training code puts before the names of the network that it wraps.
PREFIXES: Final = (*WRAPPERS, "model.", "net.", "network.", "backbone.", "encoder.")
_COMPILED: Final = "_orig_mod."
#: Words in the names of what training code keeps beside the network that it trains.
_TRAINING_WORDS: Final = re.compile(
    r"(?:.*[_.])?(?:criterions?|loss(?:es)?|metrics?|acc|accuracy|auroc|auc|f1|f1_?score|top_?\d+|"
    r"precision|recall|confusion|confmat|confusion_?matrix|kappa)(?:_?\d+)?(?:_.*)?"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Named:
    """Weights under the names they may have in a network.

    Attributes:
        tensors: Name → tensor.
        stripped: What was taken from the start of each name.
        left: Names that do not begin with it.
    """

    tensors: dict[str, torch.Tensor]
    stripped: str = ""
    left: tuple[str, ...] = ()


def forms(weights: Weights, wanted: Mapping[str, torch.Tensor]) -> Iterator[Named]:
    """The weights under every set of names that they may have in the network, likeliest first.

    The names without what wrappers put before them; then without what training code does, as
    often as it does; each also under a prefix that all names of the network have themselves.
    Compiled parts count as what they are parts of.
    """
    own = [""]
    while longer := next((own[-1] + p for p in PREFIXES if _all_start(wanted, own[-1] + p)), ""):
        own.append(longer)
    places = {name.replace(_COMPILED, ""): name for name in wanted}
    full = {weights.prefix + name: tensor for name, tensor in weights.state_dict.items()}
    for named in sorted(_stripped(Named(full)), key=lambda form: len(form.left)):
        for prefix in own:
            plain = {
                (prefix + name).replace(_COMPILED, ""): tensor
                for name, tensor in named.tensors.items()
            }
            tensors = {places.get(name, name): tensor for name, tensor in plain.items()}
            yield dataclasses.replace(named, tensors=tensors)


def _all_start(names: Mapping[str, object], prefix: str) -> bool:
    return bool(names) and all(name.startswith(prefix) for name in names)


def _stripped(named: Named) -> Iterator[Named]:
    """The names as they are, then without each prefix that some of them have."""
    yield named
    for prefix in (*PREFIXES, *EMA_PREFIXES):
        with_it = {n: t for n, t in named.tensors.items() if n.startswith(prefix) and n != prefix}
        if with_it:
            left = tuple(named.stripped + name for name in named.tensors if name not in with_it)
            inner = {name.removeprefix(prefix): tensor for name, tensor in with_it.items()}
            yield from _stripped(Named(inner, named.stripped + prefix, (*named.left, *left)))


def of_training(names: list[str]) -> bool:
    """Whether names are clearly those of losses and metrics, which are no part of a network."""
    return all(_is_of_training(name) for name in names)


def _is_of_training(name: str) -> bool:
    """Whether the first part of a name has a word for a loss or a metric."""
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    first = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.partition(".")[0]).lower()
    return bool(_TRAINING_WORDS.fullmatch(first))


def is_averaged(name: str) -> bool:
    """Whether a name, or what was taken from its start, is that of averaged weights."""
    for wrapper in (*WRAPPERS, *WRAPPERS):
        name = name.removeprefix(wrapper)
    return name.startswith(EMA_PREFIXES)


def twins(form: Named) -> set[str]:
    """Names beside the network's that are those of the same network under another prefix."""
    found = set()
    for name in form.left:
        rest = name
        while prefix := next((p for p in (*PREFIXES, *EMA_PREFIXES) if rest.startswith(p)), ""):
            rest = rest.removeprefix(prefix)
            if rest in form.tensors:
                found.add(name)
    return found


def naming_notes(form: Named, weights: Weights) -> list[str]:
    """What was done to the names, in words, beyond what the notes of the weights say."""
    notes = []
    more = form.stripped.removeprefix(weights.prefix)
    if form.stripped.startswith(weights.prefix) and more:
        every = "every name" if not form.left else f"{len(form.tensors)} names"
        notes.append(f"stripped {more!r} from {every}, as all names then fit the network")
    if form.left:
        notes.append(
            f"left out {len(form.left)} entries that are no part of the network: "
            f"{listed(list(form.left))}"
        )
    compiled = [n for n in weights.state_dict if _COMPILED in n]
    if compiled and not any(_COMPILED in name for name in form.tensors):
        notes.append(f"left {_COMPILED!r} out of {len(compiled)} names of compiled parts")
    return notes
