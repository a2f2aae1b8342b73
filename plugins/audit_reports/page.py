"""`report.html`: one page that needs nothing but itself.

No script, font, image or style is loaded from anywhere, and a content security policy in the page
holds the browser to it. Everything that comes from outside the program is escaped.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from audit.plugin import AuditResult
from audit_reports import wording
from audit_reports.belief import belief
from audit_reports.depth import depth
from audit_reports.everything import everything
from audit_reports.headline import facts, headline
from audit_reports.output import write_text
from audit_reports.provenance import provenance
from audit_reports.ranked import ranked
from audit_reports.scatters import scatters
from audit_reports.tables import Tables
from audit_reports.units import units

FILE_NAME: Final = "report.html"
#: The heading unless another is given.
TITLE: Final = "Which of these networks generalizes best?"

#: Characters that no HTML page may hold.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
#: Marks that change the direction of what stands around them, and are not seen.
_DIRECTION: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def write(result: AuditResult, folder: Path, title: str = TITLE) -> Path:
    """Write `report.html` into a folder.

    Args:
        result: The audit.
        folder: The output folder.
        title: The heading.

    Returns:
        The file.

    Raises:
        StoreError: It cannot be written.
    """
    return write_text(folder / FILE_NAME, render(result, title))


def render(result: AuditResult, title: str = TITLE) -> str:
    """The page as text; the same audit gives the same page."""
    tables = Tables.of(result)
    templates = environment()
    script = _asset("report.js")
    text = templates.get_template("report.html").render(
        title=title,
        style=_asset("report.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        answer=headline(tables),
        facts=facts(tables),
        ranked=ranked(tables),
        belief=belief(tables),
        scatters=scatters(tables),
        depth=depth(tables),
        units=units(tables, result.output),
        everything=everything(tables),
        provenance=provenance(tables),
    )
    text = _DIRECTION.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


@functools.cache
def environment() -> jinja2.Environment:
    """The templates, escaping on, undefined names an error."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("audit_reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        wording.name,
        wording.breakable,
        wording.count,
        wording.fixed,
        wording.listing,
    ):
        templates.filters[function.__name__] = function
    return templates


@functools.cache
def _asset(file_name: str) -> Markup:
    """A file of the package, to go into the page as it is."""
    return Markup((Path(__file__).parent / "templates" / file_name).read_text("utf-8"))
