"""The one door to matplotlib, which is an extra."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from audit.errors import AuditError, ConfigError
from audit.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours that are told apart in print and by the colour-blind (Okabe & Ito 2008).
FIRST: Final = "#0072b2"
SECOND: Final = "#d55e00"
QUIET: Final = "#6d7680"
#: Forms in which a figure is written.
FORMATS: Final = ("svg", "png", "pdf")
#: Dots per inch of forms made of pixels.
_DPI: Final = 150
#: Of letters, in points.
SMALL: Final = 8


def new_figure(width: float, height: float) -> Figure:
    """An empty figure that belongs to no window, and shows itself in a notebook.

    Args:
        width: In inches.
        height: In inches.

    Raises:
        AuditError: matplotlib is not installed.
    """
    try:
        module = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise AuditError(
            'figures are drawn by matplotlib; install it with pip install "genaudit[figures]"'
        ) from error

    class ShownFigure(module.Figure):  # type: ignore[misc, name-defined]
        """A figure that a notebook shows without pyplot."""

        def _repr_png_(self) -> bytes:
            return figure_bytes(self, "png", dpi=_DPI)

    figure: Figure = ShownFigure(figsize=(width, height), layout="constrained")
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as its file name says; the same figure gives the same file.

    Args:
        figure: What `audit.plot_unit` returned, or another.
        path: Where to, such as unit.svg or unit.png.

    Returns:
        The path.

    Raises:
        ConfigError: A suffix that is no format of figures.
        StoreError: The file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ConfigError(
            f"{path}: figures are written as {', '.join(FORMATS)}; found the suffix {path.suffix!r}"
        )
    write_atomically(path, figure_bytes(figure, suffix, dpi=_DPI))
    return path


def figure_bytes(figure: Figure, form: str, **options: Any) -> bytes:
    """The figure in a form, without dates and drawn numbers: equal figures give equal bytes.

    Args:
        figure: Of matplotlib.
        form: As matplotlib names it, such as "svg".
        options: What else `savefig` takes, such as `dpi`.

    Raises:
        ValueError: matplotlib does not know the form.
    """
    import matplotlib as mpl

    buffer = io.BytesIO()
    if form in ("svg", "pdf"):
        options["metadata"] = {"Date" if form == "svg" else "CreationDate": None}
    with mpl.rc_context({"svg.hashsalt": "genaudit", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=form, **options)
    return buffer.getvalue()
