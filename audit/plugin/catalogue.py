"""What is known of measures, for readers: a page for one, and the catalogue of all.

Both are made of what a measure declares and of its docstring, so that neither can fall behind.
"""

from __future__ import annotations

import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from audit.plugin.entries import MeasureEntry

_INTRODUCTION: Final = """\
# The measures

Written by `genaudit measures --markdown`, from what each measure declares; a test holds this page
to it. `genaudit measures NAME` prints one measure with its whole docstring, `genaudit invariance
MODEL` tries every declaration of the column "moves with" on a network of yours.

- **Direction**: which values go with better generalization, and on whose claim. None where nobody
  has shown one.
- **Rescaling**: the rescalings of weights around a ReLU that leave the number as it is: *node-wise*
  (a factor for each unit), *layer-uniform* (one for each layer, in a chain of layers) or none.
- **Moves with**: other changes that keep the network's predictions and move the number all the
  same; it survives all that are not named (see `Change` in [Write a plugin](plugins.md)).
- **Cost**: the dearest thing it needs, and the passes over the sample that it makes on its own;
  what rides on shared passes costs none.
- A measure marked ● is computed by default, one marked ○ when it is named or with `include =
  ["all"]`.

The numbers that stand behind a claim "measured by us" are in [What was measured](evidence.md).

How many images does an entropy need? From counts, as they are, it comes out too low: by 0.9 nats at
50 births of a unit for a class, and by 0.5 at 100. The corrected estimator (Chao, Wang & Jost) is
within 0.13 nats from 20 births on and within 0.08 from 50; trust none below. Births count, not
images: where few maps have one, as under the cubical filtration, the factor 1/ε is what is
uncertain. A nominal 95 % interval over images held the truth in 38 to 88 % of samples: it is a
scale of the doubt (`python -m benchmarks.estimators`).
"""


def measure_page(entry: MeasureEntry) -> str:
    """All that is known of a measure, as text of at most 100 columns."""
    facts = {
        "formula": entry.formula,
        "direction": _with(entry.direction, entry.claim),
        "unit": entry.unit,
        "rescaling": _rescaling(entry),
        "moves with": ", ".join(entry.varies_with) or "none of the other changes",
        "cost": _cost(entry),
        "needs": entry.needs,
        "weakness": entry.weakness,
        "source": entry.source,
        "version": entry.version,
    }
    lines = [f"{entry.name}: {entry.summary}", ""]
    lines += _aligned(facts.items())
    if entry.parts:
        lines += ["", "parts"]
        lines += _aligned(
            (part.name, f"{part.summary}; {_with(part.direction, part.claim)}")
            for part in entry.parts
        )
    doc = inspect.getdoc(function_of(entry.compute))
    if doc:
        lines += ["", doc]
    return "\n".join(lines)


def catalogue(entries: Iterable[MeasureEntry]) -> str:
    """The page on all measures, as Markdown: a table for every family."""
    families: dict[str, list[MeasureEntry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        families.setdefault(function_of(entry.compute).__module__, []).append(entry)
    parts = [_INTRODUCTION]
    for module in sorted(families):
        doc = inspect.getdoc(sys.modules[module]) or module
        parts.append(f"## {_heading(module)}\n\n{doc.partition(chr(10) + chr(10))[0]}\n")
        parts.append(_table(families[module]))
    return "\n".join(parts)


def function_of(compute: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose docstring says what a measure is: without what wraps it."""
    while True:
        if isinstance(compute, functools.partial):
            compute = compute.func
        elif hasattr(compute, "__wrapped__"):
            compute = compute.__wrapped__
        else:
            return compute


def _table(entries: Sequence[MeasureEntry]) -> str:
    """The rows of a family."""
    head = (
        *("measure", "formula", "direction", "rescaling"),
        *("moves with", "cost", "weakness", "source"),
    )
    rows = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for entry in entries:
        mark = "●" if entry.default else "○"
        cells = (
            f"{mark} `{entry.name}`: {entry.summary}",
            entry.formula,
            _with(entry.direction, entry.claim),
            _rescaling(entry),
            ", ".join(entry.varies_with) or "–",
            _cost(entry),
            entry.weakness,
            entry.source,
        )
        rows.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        rows.extend(
            f"| `{entry.name}.{part.name}`: {_cell(part.summary)} | | "
            f"{_cell(_with(part.direction, part.claim))} | | | | | |"
            for part in entry.parts
            if part.judged or part.direction != "none"
        )
    return "\n".join(rows) + "\n"


def _heading(module: str) -> str:
    """A family's name in words, from that of its module."""
    return module.rpartition(".")[2].replace("_", " ").capitalize()


def _rescaling(entry: MeasureEntry) -> str:
    """The rescalings that it survives."""
    return f"{entry.invariance}, in chains" if entry.chains_only else entry.invariance


def _cost(entry: MeasureEntry) -> str:
    """What it costs, in words."""
    own = entry.passes + sum(reducer.passes for reducer in entry.reducers)
    return f"{entry.cost}, {own:g} passes of its own" if own else entry.cost


def _with(direction: str, claim: str) -> str:
    """A direction and who claims it."""
    return f"{direction}: {claim}" if claim else direction


def _cell(text: str) -> str:
    """Text that cannot end a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _aligned(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Names and what they say, in two columns; what says nothing is left out."""
    said = [(name, text) for name, text in pairs if text]
    width = max((len(name) for name, _ in said), default=0) + 2
    lines: list[str] = []
    for name, text in said:
        folded = textwrap.wrap(text, 98 - width) or [""]
        lines += [
            f"  {name:{width}}{folded[0]}",
            *(" " * (width + 2) + line for line in folded[1:]),
        ]
    return lines
