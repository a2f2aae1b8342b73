"""What every test runs under."""

import os
import signal
import sys
import threading

import pytest
import torch
from programs import end_everything

# Small networks on shared cores: one math thread is the fastest, and gives repeatable sums.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell without job control starts what runs in the background with interrupts ignored, and every
# program that a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where there is no CUDA device, numba's simulator runs the source of the kernels.
if not torch.cuda.is_available():
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Keep tests away from the user's store, and from what is kept for buckets."""
    os.environ["GENAUDIT_CACHE"] = str(tmp_path_factory.mktemp("store"))
    os.environ["GENAUDIT_LOCAL"] = str(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server on this machine; the environment leads to it."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'genaudit[test]'")
    pytest.importorskip("moto", reason="moto is not installed: pip install 'genaudit[test]'")
    from s3_server import S3Server

    with pytest.MonkeyPatch.context() as patch:
        server = S3Server(patch)
        yield server
        server.stop()


@pytest.fixture(scope="session")
def gs_server(tmp_path_factory):
    """A server of Google Cloud Storage on this machine; the environment leads to it."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed: pip install 'genaudit[test]'")
    pytest.importorskip(
        "gcp_storage_emulator",
        reason="gcp-storage-emulator is not installed: pip install 'genaudit[test]'",
    )
    from gcs_server import GoogleServer

    with pytest.MonkeyPatch.context() as patch:
        server = GoogleServer(patch, tmp_path_factory.mktemp("gcloud"))
        yield server
        server.stop()


@pytest.fixture(params=["s3", "gs"])
def bucket_server(request):
    """A server of buckets on this machine, of either kind."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def new_bucket(tmp_path, monkeypatch):
    """A function from a server to a bucket of the test's own; the local tier is its own too."""
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "local"))
    return lambda server: server.new_bucket()


@pytest.fixture
def bucket(bucket_server, new_bucket):
    """A bucket of the test's own, on either server, and a local tier of its own."""
    return new_bucket(bucket_server)


@pytest.fixture(autouse=True)
def no_leftovers():
    """However a test ends, end what it started: it must not reach another test."""
    yield
    end_everything()


def share_one_array(patch):
    """Let the threads of a simulated block have one shared array, not two.

    numba-cuda's simulator, up to 0.30.4, looks an array up and makes it where it is not there,
    without a lock between: threads that come at once have one each, and a kernel never ends.
    """
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    lock, make = threading.Lock(), FakeCUDAShared.array

    def array(self, *arguments, **options):
        frame = sys._getframe(1)
        line = frame.f_code.co_filename, frame.f_lineno
        with lock:
            every = self._allocations
            self._allocations = every.setdefault(line, {})
            try:
                return make(self, *arguments, **options)
            finally:
                self._allocations = every

    patch.setattr(FakeCUDAShared, "array", array)


@pytest.fixture(scope="module")
def cuda_device():
    """A CUDA device, or numba's simulator of one: slow, the less so the fewer threads a block."""
    if torch.cuda.is_available():
        yield
        return
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # each barrier waits for the interpreter to change threads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audit.topology._cuda._MOST_THREADS", 1)
        share_one_array(patch)
        yield
    sys.setswitchinterval(interval)
