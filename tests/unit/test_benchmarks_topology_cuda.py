"""The benchmark of the CUDA kernels runs, here on the simulator and a very small workload."""

import numpy as np
import pytest
import torch

from benchmarks import topology_cuda

pytestmark = pytest.mark.usefixtures("cuda_device")


@pytest.mark.skipif(torch.cuda.is_available(), reason="measured by the benchmark itself")
def test_every_part_reports_what_it_promises(monkeypatch):
    monkeypatch.setattr(topology_cuda, "DEVICE", "cpu")
    monkeypatch.setattr(topology_cuda, "SIDES", (7,))
    rectified = np.maximum(np.random.default_rng(0).standard_normal((3, 7, 7)), 0)
    maps = {7: rectified.astype(np.float32)}
    monkeypatch.setattr(topology_cuda, "trained_maps", lambda sides, pixels: (maps, 0.9))
    monkeypatch.setattr(topology_cuda, "PRECISIONS", topology_cuda.PRECISIONS[-1:])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(topology_cuda, "read_bytes_per_second", lambda: 1e9)
    exact = topology_cuda.mismatches(60, more_sides=(1, 4))
    speed = topology_cuda.speeds(100, 1)
    forwards = topology_cuda.forwards(1, 1)
    assert {row["filtration"] for row in exact} == {"cubical", "clique"}
    assert not any(row["different"] for row in exact)
    assert {row["maps"] for row in speed} == {"white noise", "trained ReLU"}
    assert [row["n_maps_per_image"] for row in forwards] == [64 + 256 + 512 + 1024 + 2048] * 2
    results = {"device": "a simulator", "cuda": "none", "versions": topology_cuda.versions([])}
    text = topology_cuda.table(results | {"exactness": exact, "speed": speed, "resnet50": forwards})
    assert "0 of " in text
    assert "ResNet-50" in text


def test_without_a_device_it_says_so(monkeypatch):
    monkeypatch.setattr("sys.argv", ["topology_cuda"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device: torch"):
        topology_cuda.main()
