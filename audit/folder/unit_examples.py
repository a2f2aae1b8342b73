"""What `unit_examples.json` must hold (`audit.runs.kept_examples`), checked before it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from audit.errors import DataError
from audit.files import MOST_IN_TABLE
from audit.folder.json_files import Count, Finite, Form, Text, check_form, read_json
from audit.folder.record import UNIT_EXAMPLES

#: Changes whenever the file would be written otherwise.
VERSION: Final = 1
#: Pixels of a side of a map; each is drawn.
_MOST_PIXELS: Final = 2**14
_REMEDY: Final = "remove it; `genaudit run` writes it anew"

_Side = Annotated[int, Field(ge=1, le=_MOST_PIXELS)]
_Vertex = Annotated[int, Field(ge=0, le=_MOST_PIXELS)]
_Place = Annotated[Finite, Field(ge=0, le=_MOST_PIXELS)]
_Point = Annotated[list[_Place], Field(min_length=2, max_length=2)]


class ShownForm(Form):
    """An image, the map of it, and where the birth lies."""

    image: Text
    map: Text
    level: Annotated[int, Field(ge=-1, le=2**63 - 1)]
    outline: list[Annotated[list[_Point], Field(min_length=2, max_length=2)]] = Field(
        default_factory=list
    )
    present: Text = ""
    edges: list[Annotated[list[_Vertex], Field(min_length=2, max_length=2)]] | None = None
    cycle: list[_Vertex] | None = None

    @model_validator(mode="after")
    def _whole(self) -> ShownForm:
        """A cycle is drawn among edges."""
        if (self.cycle is None) != (self.edges is None):
            raise PydanticCustomError("whole", "an object with both edges and cycle, or neither")
        return self


class UnitForm(Form):
    """A unit and what is shown of it; `births` are birth levels and the images of each."""

    layer: Text
    unit: Count
    class_name: Text
    filtration: Literal["clique", "cubical"]
    stable: bool
    height: _Side
    width: _Side
    n_images: Count
    feature_entropy: float
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    births: Annotated[
        list[list[Annotated[int, Field(ge=1, le=2**63 - 1)]]], Field(min_length=2, max_length=2)
    ]
    shown: Annotated[list[ShownForm], Field(min_length=1)]

    @model_validator(mode="after")
    def _paired(self) -> UnitForm:
        """Each birth level has a count."""
        levels, counts = self.births
        if len(levels) != len(counts):
            raise PydanticCustomError("paired", "an object with a count for each birth level")
        return self


class ExamplesForm(Form):
    """The whole file."""

    checkpoint: Text
    weights_digest: Text | None
    sample: Text
    units: list[UnitForm]


def check_examples(folder: Path) -> dict[str, Any] | None:
    """What a folder keeps of units, held to its form.

    Returns:
        The content as it stands; None where there is no such file, or one of another version.

    Raises:
        DataError: It cannot be read, or does not fit its form.
    """
    path = folder / UNIT_EXAMPLES
    try:
        content = read_json(path, MOST_IN_TABLE)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; {_REMEDY}") from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        return None
    check_form(ExamplesForm, content, path, _REMEDY)
    return content
