"""Does a plugin keep its contract? The same checks for the plugins that come along and for others'.

Every check raises a `PluginError` that says what was required and what was found. None needs
pytest; call them from your own tests::

    from audit.conformance import check_measure
    from my_plugin import MEASURE

    def test_my_measure_keeps_the_contract():
        check_measure(MEASURE)
"""

from __future__ import annotations

from audit.conformance.engines import check_engine
from audit.conformance.measures import check_invariance, check_measure
from audit.conformance.reporters import check_reporter
from audit.conformance.sources import check_dataset, check_model
from audit.conformance.views import ArrayView, ReferenceNetwork, reference_view, rescaled

__all__ = [
    "check_measure",
    "check_invariance",
    "check_model",
    "check_dataset",
    "check_engine",
    "check_reporter",
    "ArrayView",
    "ReferenceNetwork",
    "reference_view",
    "rescaled",
]
