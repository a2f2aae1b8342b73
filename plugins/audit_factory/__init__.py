"""Networks from any Python function: `package.module:callable`.

The module is imported, so its code runs: refer only to code you trust. It is looked for wherever
Python looks, then in the current folder, with those modules that its import statements name: what
else lies there is not run.
"""

from __future__ import annotations

from audit.plugin import ModelEntry, hookimpl
from audit_factory import source, torchvision_models


@hookimpl
def genaudit_models() -> list[ModelEntry]:
    """Functions that return a network."""
    return [
        ModelEntry(
            name="factory",
            summary="any function that returns a torch module: package.module:callable",
            version="2",
            matches=source.matches,
            names=tuple,
            create=source.create,
            data_config=source.data_config,
            digest=source.digest,
            recognises=source.recognises,
            weights_file=source.weights_file,
            adapt=torchvision_models.adapt,
            remarks=torchvision_models.remarks,
        )
    ]
