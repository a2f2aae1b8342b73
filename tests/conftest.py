"""What every test runs under."""

import os

import pytest
import torch

# Small networks on shared cores: one math thread is the fastest, and gives repeatable sums.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Keep tests away from the user's store."""
    os.environ["GENAUDIT_CACHE"] = str(tmp_path_factory.mktemp("store"))
