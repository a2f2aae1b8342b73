"""The most and the least stable units of the first checkpoint, where the run kept examples of them.

All there is to draw lies in `unit_examples.json` beside the tables: images and maps as small
pictures, cycles and outlines as numbers.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from audit.files import MOST_IN_TABLE, plain_text
from audit.notations import json_of
from audit_reports.svg import element, join
from audit_reports.tables import Tables
from audit_reports.wording import fixed

FILE_NAME: Final = "unit_examples.json"
VERSION: Final = 1
#: Pixels of a tile's side, of the gap beside it, and of what stands below the tiles.
_TILE: Final = 64
_GAP: Final = 6
_BARS: Final = 34
_WORDS: Final = 16
#: What may stand as the address of a picture: the picture itself.
_PICTURE: Final = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+")


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit as the template draws it.

    Attributes:
        name: Which one, in words.
        numbers: Its feature entropy and effective rate, in words.
        drawing: Images, maps, where births lie, and the distribution of birth levels.
    """

    name: str
    numbers: str
    drawing: Markup


@dataclasses.dataclass(frozen=True)
class Units:
    """The section as the template draws it.

    Attributes:
        checkpoint: Whose units they are.
        groups: (filtration, class, layer, the most stable units, the least stable ones); empty
            where the run kept none.
    """

    checkpoint: str
    groups: Sequence[tuple[str, str, str, Sequence[Unit], Sequence[Unit]]]


def units(tables: Tables, folder: Path) -> Units:
    """Lay out the examples that lie in a folder, if they are of this audit."""
    content = _read(folder / FILE_NAME)
    if content is None or not _is_current(content, tables):
        return Units("", ())
    by_filtration: dict[str, list[Mapping[str, Any]]] = {}
    for unit in content["units"]:
        by_filtration.setdefault(str(unit["filtration"]), []).append(unit)
    groups = [
        (
            name,
            str(found[0]["class_name"]),
            str(found[0]["layer"]),
            [_unit(unit) for unit in found if unit["stable"]],
            [_unit(unit) for unit in found if not unit["stable"]],
        )
        for name, found in by_filtration.items()
    ]
    return Units(str(content["checkpoint"]), groups)


def _read(path: Path) -> Mapping[str, Any] | None:
    """The examples, or None where there are none that this version can read."""
    try:
        content = json_of(plain_text(path, MOST_IN_TABLE))
    except (OSError, ValueError):
        return None
    known = isinstance(content, Mapping) and content.get("version") == VERSION
    return content if known and content.get("units") else None


def _is_current(content: Mapping[str, Any], tables: Tables) -> bool:
    """Whether examples are of a network and of images of this audit."""
    digests = {
        str(entry.get("checkpoint")): entry.get("weights_digest")
        for entry in tables.entries("checkpoints")
    }
    sample = tables.section("dataset").get("fingerprint")
    own = digests.get(str(content.get("checkpoint")))
    return own == content.get("weights_digest") and sample == content.get("sample")


def _unit(unit: Mapping[str, Any]) -> Unit:
    """One unit."""
    born = sum(unit["births"][1])
    numbers = f"feature entropy {fixed(unit['feature_entropy'], 2)} nats"
    if unit["interval"]:
        lower, upper = (fixed(end, 2) for end in unit["interval"])
        numbers += f" ({lower} to {upper})"
    numbers += f", born on {born} of {unit['n_images']} images"
    name = f"Unit {unit['unit']}"
    return Unit(name, numbers, _drawing(unit, name))


def _drawing(unit: Mapping[str, Any], name: str) -> Markup:
    """A column of tiles for each image, and the distribution below."""
    shown = unit["shown"]
    width = len(shown) * (_TILE + _GAP) - _GAP
    top = 3 * (_TILE + _GAP) + _WORDS
    columns = join(
        element("g", *_column(unit, one), transform=f"translate({at * (_TILE + _GAP)} 0)")
        for at, one in enumerate(shown)
    )
    bars = element("g", *_bars(unit, width), transform=f"translate(0 {top + 4})")
    label = (
        f"{name}: {len(shown)} images of class {unit['class_name']}, the unit's maps of them, and "
        "where each is born; below, how many images are born at each level"
    )
    height = top + 4 + _BARS + 2 * _WORDS
    return element(
        "svg", columns, bars, css="unit", viewBox=f"0 0 {width} {height}", role="img",
        aria_label=label,
    )  # fmt: skip


def _column(unit: Mapping[str, Any], one: Mapping[str, Any]) -> list[Markup]:
    """An image, the map of it, where the birth lies, and at which level."""
    step = _TILE + _GAP
    place = {"width": _TILE, "height": _TILE, "preserveAspectRatio": "none"}
    parts = [
        element("image", href=_picture(one["image"]), y=0, **place),
        element("image", href=_picture(one["map"]), y=step, css="pixels", **place),
    ]
    outline = _outline(one.get("outline") or (), int(unit["height"]), int(unit["width"]))
    parts.append(element("path", d=outline, css="where", transform=f"translate(0 {step})"))
    if "present" in one:
        parts.append(
            element("image", href=_picture(one["present"]), y=2 * step, css="pixels", **place)
        )
        parts.append(element("path", d=outline, css="where", transform=f"translate(0 {2 * step})"))
    else:
        parts.append(element("rect", y=2 * step, width=_TILE, height=_TILE, css="frame"))
        if "cycle" in one:
            graph = _graph(int(unit["height"]), one["edges"], one["cycle"])
            parts.append(element("g", *graph, transform=f"translate(0 {2 * step})"))
    level = f"level {one['level']}" if one["level"] > 0 else "never born"
    middle = {"x": _TILE / 2, "text_anchor": "middle", "css": "axis"}
    parts.append(element("text", level, y=float(3 * step + _WORDS - 8), **middle))
    return parts


def _picture(address: Any) -> str:
    """The address of a picture, if it is the picture itself; else of none."""
    return address if isinstance(address, str) and _PICTURE.fullmatch(address) else "data:,"


def _outline(pieces: Sequence[Any], height: int, width: int) -> str:
    """Sides of pixels as a path over a tile."""
    across, down = _TILE / width, _TILE / height
    return "".join(
        f"M{a * across:.1f} {b * down:.1f}L{c * across:.1f} {d * down:.1f}"
        for (a, b), (c, d) in pieces
    )


def _graph(n: int, edges: Sequence[Any], cycle: Sequence[int]) -> list[Markup]:
    """Vertices on a circle from the top, clockwise; present edges, and the cycle."""
    middle, radius = _TILE / 2, 0.42 * _TILE

    def at(vertex: int) -> str:
        angle = 2 * math.pi * vertex / n
        return f"{middle + radius * math.sin(angle):.1f} {middle - radius * math.cos(angle):.1f}"

    around = "L".join(at(vertex) for vertex in cycle)
    dots = "".join(f"M{at(vertex)}h0" for vertex in range(n))
    return [
        element("path", d="".join(f"M{at(u)}L{at(v)}" for u, v in edges), css="edges"),
        element("path", d=dots, css="vertices"),
        element("path", d=f"M{around}Z", css="where"),
    ]


def _bars(unit: Mapping[str, Any], width: int) -> list[Markup]:
    """How many images are born at each level."""
    levels, counts = unit["births"]
    if not levels:
        return []
    low, high = min(levels), max(levels)
    room = width / (high - low + 1)
    most = max(counts)
    parts = [
        element(
            "rect",
            x=(level - low) * room + 0.1 * room,
            y=_BARS * (1 - count / most),
            width=0.8 * room,
            height=_BARS * count / most,
            css="cell",
        )
        for level, count in zip(levels, counts, strict=True)
    ]
    parts.append(element("path", d=f"M0 {_BARS}H{width}", css="frame"))
    ends = [(low, 0.0, "start")] + ([(high, float(width), "end")] if high > low else [])
    parts += [
        element("text", str(level), x=x, y=float(_BARS + 12), text_anchor=anchor, css="axis")
        for level, x, anchor in ends
    ]
    words = f"birth level (highest bar: {most} images)"
    parts.append(
        element("text", words, x=width / 2, y=float(_BARS + 25), text_anchor="middle", css="axis")
    )
    return parts
