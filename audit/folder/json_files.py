"""JSON files of an output folder, which may come from a stranger: read, and held to a form.

A form is a pydantic model of what code reads. What a file holds besides is left to it, and what
is read is handed on as it stands: a form refuses, and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import pydantic

from audit.errors import DataError
from audit.files import plain_text
from audit.notations import json_of
from audit.shown import bounded, one_line

#: Lists and objects within each other; whoever writes or draws what was read recurses as deep.
MOST_DEEP: Final = 64
#: Characters of a place and of a value in a message.
_MOST_SHOWN: Final = 120

#: Any text, lone surrogates of paths that are not UTF-8 among it, which pydantic's own refuses.
Text = pydantic.InstanceOf[str]
#: A whole number from 0 that fits a machine's word.
Count = Annotated[int, pydantic.Field(ge=0, le=2**63 - 1)]
#: A number that is neither infinite nor NaN.
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class Form(pydantic.BaseModel):
    """What a JSON object must hold; its defaults stand for what older files lack.

    Types are as JSON has them: a text of digits is no number, and true is none either.
    """

    model_config = pydantic.ConfigDict(strict=True, extra="ignore", protected_namespaces=())


def read_json(path: Path, most: int) -> Any:
    """The value that a file of JSON holds.

    Args:
        path: A plain file.
        most: Bytes that it may have.

    Raises:
        OSError: It cannot be read, is no plain file, or is larger.
        ValueError: It is no JSON in UTF-8, or is nested deeper than `MOST_DEEP`.
    """
    content = json_of(plain_text(path, most))
    _check_depth(content)
    return content


def _check_depth(content: Any) -> None:
    """Refuse what is nested too deep, without recursion."""
    level = [content]
    for _ in range(MOST_DEEP + 1):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {MOST_DEEP} levels deep")


def check_form(form: type[Form], content: object, path: Path, remedy: str) -> None:
    """Refuse what does not fit a form.

    Args:
        form: What is expected.
        content: What was read.
        path: Where it was read from.
        remedy: What to do, such as "`genaudit run` writes it anew".

    Raises:
        DataError: It does not fit; the message says which place does not, what was expected there
            and what was found.
    """
    try:
        form.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{path} cannot be read: {_sentence(first)}; {remedy}") from error


def _sentence(error: Mapping[str, Any]) -> str:
    """What does not fit, and where."""
    place = _place(error["loc"])
    if error["type"] == "missing":
        return f"{place} is missing"
    return f"{place} must be {_expected(error)}, found {_found(error['input'])}"


def _place(location: Sequence[str | int]) -> str:
    """A place such as measures.path_norm.parts[0].direction."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return bounded(one_line("".join(parts).removeprefix(".")), _MOST_SHOWN) or "the file"


#: Kind of error, as pydantic names it → what was expected.
_EXPECTED: Final = {
    "is_instance_of": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "literal_error": "{expected}",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


def _expected(error: Mapping[str, Any]) -> str:
    """What was expected, in words."""
    words = _EXPECTED.get(error["type"])
    return words.format(**error.get("ctx", {})) if words else str(error["msg"])


def _found(value: Any) -> str:
    """What was found, in words of limited length."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    return bounded(one_line(json.dumps(value, ensure_ascii=False)), _MOST_SHOWN)
