"""Modules that this process imported from files that have changed since."""

from __future__ import annotations

import sys
from types import ModuleType

from audit.errors import ConfigError
from audit_factory.imports import Code

#: Module → what was imported, and the digest of its source when it was first seen here.
_imported: dict[str, tuple[ModuleType, str]] = {}


def refuse_outdated(reference: str, code: Code) -> None:
    """Remember which of these modules are imported by now; refuse one whose file has changed.

    A change between an import by somebody else and the first call for it is not noticed.

    Args:
        reference: Of the function that needs them.
        code: As it now lies on disk.

    Raises:
        ConfigError: A module was imported from another content of its file.
    """
    for name, digest in code.files.items():
        module = sys.modules.get(name)
        if module is None:
            continue
        known, before = _imported.get(name, (None, ""))
        if known is not module:
            _imported[name] = (module, digest)
        elif before != digest:
            raise ConfigError(
                f"model {reference!r}: the file of module {name!r} has changed since this process "
                "imported it; start Python again, so that the network is built by the new code"
            )
