"""Networks from timm: registered architectures, hub models, local folders; published results.

* `resnet18`, `resnet18.a1_in1k`: an architecture, with or without the tag of its weights;
* `hf-hub:organization/model@commit`: a model on the Hugging Face hub, pinned to a commit;
* `local-dir:path`: a folder with timm's `config.json` and, for its own weights, a weights file.
"""

from __future__ import annotations

from audit.plugin import HeldOutEntry, ModelEntry, hookimpl
from audit_timm import fetching, layouts, preparation, pretrained, results, source


@hookimpl
def genaudit_models() -> list[ModelEntry]:
    """Networks from timm, as a source of networks."""
    return [
        ModelEntry(
            name="timm",
            summary="timm: architecture names, hf-hub:organization/model@commit, local-dir:path",
            version=source.version(),
            matches=source.matches,
            names=source.names,
            create=source.create,
            data_config=preparation.data_config,
            digest=source.digest,
            recognises=source.recognises,
            reads=pretrained.reads,
            located=source.located,
            weights_file=fetching.weights_file,
            adapt=layouts.adapt,
            remarks=preparation.remarks,
        )
    ]


@hookimpl
def genaudit_held_out() -> list[HeldOutEntry]:
    """Accuracies from timm's published results files."""
    return [
        HeldOutEntry(
            name="timm_results",
            summary="timm's results-*.csv: top-1 by model name and image size",
            version="1",
            read=results.join,
        )
    ]
