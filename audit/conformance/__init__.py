"""Does a plugin keep its contract? The same checks for shipped plugins and for those of others.

Public modules: `measures`, `invariance`, `observation`, `changes`, `setting`, `networks`, `values`,
`views`, `sources`, `engines`, `reporters`.

Every check raises a `PluginError` that says what was required and what was found. None needs
pytest; call them from your own tests::

    from audit.conformance import check_measure
    from my_plugin import MEASURE

    def test_my_measure_keeps_the_contract():
        check_measure(MEASURE)
"""

from __future__ import annotations

from audit.conformance.changes import TRANSFORMS, changed
from audit.conformance.engines import check_engine
from audit.conformance.invariance import check_invariance
from audit.conformance.measures import check_measure
from audit.conformance.networks import ReferenceNetwork, ReferenceResidual
from audit.conformance.observation import Observation, observe
from audit.conformance.reporters import check_reporter
from audit.conformance.setting import Setting, reference_setting, reference_view, setting_of
from audit.conformance.sources import check_dataset, check_model
from audit.conformance.views import ArrayView

__all__ = [
    "check_measure",
    "check_invariance",
    "check_model",
    "check_dataset",
    "check_engine",
    "check_reporter",
    "Observation",
    "observe",
    "TRANSFORMS",
    "changed",
    "Setting",
    "reference_setting",
    "setting_of",
    "ArrayView",
    "ReferenceNetwork",
    "ReferenceResidual",
    "reference_view",
]
