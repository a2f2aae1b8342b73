"""Arithmetic that does not depend on the machine."""

import pytest
import torch

from audit.network.threads import all_of_float32, one_math_thread


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with one_math_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_float32_is_whole_within_and_as_it_was_afterwards():
    backends = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)

    def precisions():
        return [backend.fp32_precision for backend in backends]

    before = precisions()
    assert "tf32" in before
    with all_of_float32():
        assert set(precisions()) == {"ieee"}
    assert precisions() == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_convolutions_on_a_device_keep_the_digits_of_float32():
    images = torch.randn(8, 64, 16, 16, dtype=torch.float64)
    weight = torch.randn(64, 64, 3, 3, dtype=torch.float64)
    exact = torch.nn.functional.conv2d(images, weight)
    with all_of_float32():
        found = torch.nn.functional.conv2d(images.float().cuda(), weight.float().cuda()).cpu()
    assert (found - exact).abs().max() / exact.abs().max() < 1e-5
