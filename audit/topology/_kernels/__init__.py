"""Birth levels compiled for processors: one call per batch, nothing shared between calls.

Both filtrations read order-preserving integer keys, keep scratch in proportion to one map, sort no
more than the birth needs, and stop at the birth. They hold no lock and release the interpreter, so
that `audit.topology._cpu` runs them side by side on parts of a batch.
"""

from audit.topology._kernels.betti import betti_curves
from audit.topology._kernels.clique import clique_births
from audit.topology._kernels.cubical import cubical_births

__all__ = ["betti_curves", "clique_births", "cubical_births"]
