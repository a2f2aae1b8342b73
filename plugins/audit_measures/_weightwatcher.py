"""One run of the `weightwatcher` package on a network, shared by all measures that read it.

The package writes to the standard output, sets up the root logger when it is imported, and draws
from numpy's global random state; all of that is put back as it was.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from audit.errors import UnavailableError
from audit.plugin import TrainView
from audit_measures._folded import refuse_quantised

if TYPE_CHECKING:
    import pandas as pd

_LOGGERS: Final = ("", "weightwatcher", "matplotlib", "RMT_Util")

_tables: WeakKeyDictionary[TrainView, pd.DataFrame] = WeakKeyDictionary()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within it nothing is printed, logged or warned of, and loggers are put back."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers


@contextlib.contextmanager
def _random_state_of(seed: int) -> Iterator[None]:
    """Within it numpy's global random state is that of a seed; it is put back."""
    before = np.random.get_state(legacy=False)
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def _library() -> Any:
    """The package.

    Raises:
        UnavailableError: It is not installed.
    """
    try:
        return importlib.import_module("weightwatcher")
    except ImportError:
        raise UnavailableError(
            "needs the package weightwatcher: pip install 'genaudit[heavy-tail]'"
        ) from None


def layer_table(view: TrainView) -> pd.DataFrame:
    """What the package finds, a row for each layer with ten eigenvalues or more.

    As its own `analyze(randomize=True)`, but for the fit of the Marchenko–Pastur law to the
    shuffled weights, which takes nearly all of its time and on which nothing here depends.

    Raises:
        UnavailableError: The package is not installed, or the network is quantised.
    """
    refuse_quantised(view.module)
    if view in _tables:
        return _tables[view]
    with _quiet():
        library = _library()

        class WithoutFitOfBulk(library.WeightWatcher):  # type: ignore[misc, name-defined]
            def apply_mp_fit(self, *args: Any, **kwargs: Any) -> None:
                """Fit nothing."""

        seed = int(view.generator("weightwatcher").integers(2**32))
        with _random_state_of(seed):
            found: pd.DataFrame = WithoutFitOfBulk(model=view.module).analyze(randomize=True)
    _tables[view] = found
    return found
