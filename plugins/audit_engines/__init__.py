"""Built-in engines: processes on this machine."""

from __future__ import annotations

from audit.plugin import EngineEntry, hookimpl
from audit_engines import local


@hookimpl
def genaudit_engines() -> list[EngineEntry]:
    """The engines that come with genaudit."""
    return [
        EngineEntry(
            name="local",
            summary="processes on this machine, one math thread each",
            version="1",
            run=local.run,
            options=local.OPTIONS,
            watched=True,
            n_devices=local.n_devices,
        )
    ]
