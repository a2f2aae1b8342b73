"""Built-in engines: processes on this machine, and a Ray cluster."""

from __future__ import annotations

from audit.plugin import EngineEntry, hookimpl
from audit_engines import local
from audit_engines.on_ray import engine as ray_engine
from audit_engines.on_ray.options import OPTIONS as RAY_OPTIONS


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
        ),
        EngineEntry(
            name="ray",
            summary="a Ray cluster, one process per task, one math thread each (genaudit[ray])",
            version="1",
            run=ray_engine.run,
            options=RAY_OPTIONS,
            watched=True,
            n_devices=ray_engine.n_devices,
            elsewhere=True,
        ),
    ]
