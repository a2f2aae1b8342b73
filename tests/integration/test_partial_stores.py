"""A run that finds any part of its values in the store comes to the tables of one that finds none.

Runs are interrupted anywhere, stores are pruned and shared, and measures are added later. Which
entries are there must change no byte of the tables.
"""

import os
import random
import shutil

import pytest

from audit.plugin.registry import installed
from audit.store import Store
from tests.campaigns.kills import differences
from tests.campaigns.small_folder import SmallFolder

#: Measures that ride on a share of a rendition of the sample.
ALONE = sorted(
    entry.name
    for entry in installed().measures.values()
    if any(rendition.share < 1 for reducer in entry.reducers for rendition in reducer.renditions)
)
N_RANDOM = 8 * int(os.environ.get("GENAUDIT_CAMPAIGN", "1"))


class Kept:
    """A folder with a complete store and tables, and what each entry of the store is of."""

    def __init__(self, path):
        self.folder = SmallFolder(path, ("all",))
        # Of the first four seeds, the one whose numbers changed with who rides.
        self.folder.write({"network": {"seed": 3}})
        self.names = {}
        put = Store.put

        def noted(store, key, *args, **options):
            part = "rows" if "rows" in key else key.get("part", "other")
            name = f"measure {key['measure']['name']}" if "measure" in key else part
            self.names[store.path(key).relative_to(store.root)] = name
            return put(store, key, *args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "put", noted)
            self.folder.run("full", "full cache")
        self.tables = self.folder.tables("full")

    def check(self, kept):
        """Run with these entries alone, and compare the tables."""
        for place in ("out", "cache"):
            shutil.rmtree(self.folder.path / place, ignore_errors=True)
        for path in kept:
            target = self.folder.path / "cache" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.folder.path / "full cache" / path, target)
        self.folder.run("out", "cache")
        found = list(differences(self.tables, self.folder.tables("out")))
        assert not found, f"with {sorted(self.names[path] for path in kept)} kept: {found}"

    def of(self, *names):
        """The entries of these names."""
        return {path for path, name in self.names.items() if name in names}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return Kept(tmp_path_factory.mktemp("partial") / "user")


def test_the_store_holds_what_is_left_out_below(kept):
    assert {"rows", "logits", "features", "facts", "cubical"} < set(kept.names.values())
    assert len(set(kept.names.values())) > 30


@pytest.mark.parametrize(
    "names",
    [("logits",), ("logits", "facts", "features"), ("cubical", "clique"), ("features",), ()],
)
def test_products_of_the_pass_alone_are_kept(kept, names):
    kept.check(kept.of(*names))


def test_all_products_of_the_pass_are_kept_and_no_measure(kept):
    kept.check(
        {path for path, name in kept.names.items() if not name.startswith(("measure", "rows"))}
    )


def test_all_but_the_rows_is_kept(kept):
    kept.check(kept.names.keys() - kept.of("rows"))


@pytest.mark.parametrize("measure", ALONE)
def test_all_is_kept_but_one_measure(kept, measure):
    kept.check(kept.names.keys() - kept.of("rows", f"measure {measure}"))


@pytest.mark.parametrize("seed", range(N_RANDOM))
def test_some_entries_are_kept(kept, seed):
    rng = random.Random(seed)
    share = rng.random()
    left = sorted(kept.names.keys() - kept.of("rows"))
    kept.check({path for path in left if rng.random() < share})
