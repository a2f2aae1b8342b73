"""Gradients of single images, against an ordinary backward pass for each."""

import pytest
import torch
from torch import nn

from audit.network import gradients
from audit.network.gradients import image_gradients


class Network(nn.Module):
    """Convolution, BatchNorm, a head, and a parameter that takes no part; scores come first."""

    def __init__(self, inplace=False, odd=False):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.relu, self.head = nn.ReLU(inplace=inplace), nn.Linear(3, 4)
        self.idle = nn.Parameter(torch.ones(5))
        self.odd = odd

    def forward(self, images):
        maps = self.relu(self.norm(self.conv(images)))
        features = maps.mean((2, 3))
        if self.odd and float(features.sum()) > 1e9:  # data-dependent: has no batched form
            features = features * 0
        return self.head(features), maps


def make(**kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(**kind).double().eval().requires_grad_(False)
        network.norm.running_mean.normal_()
        images, labels = torch.rand(7, 2, 6, 6).double(), torch.randint(0, 4, (7,))
    return network, images, labels


def by_hand(network, images, labels):
    found = []
    for image, label in zip(images, labels, strict=True):
        weights = {n: p.clone().requires_grad_() for n, p in network.named_parameters()}
        output, _ = torch.func.functional_call(network, weights, (image[None],))
        loss = nn.functional.cross_entropy(output, label[None])
        grads = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        found.append(dict(zip(weights, grads, strict=True)))
    return {name: torch.stack([one[name] for one in found]) for name in found[0]}


@pytest.mark.parametrize("kind", [{}, {"inplace": True}, {"odd": True}])
@pytest.mark.parametrize("most_bytes", [1, 2000, 1 << 28])
def test_image_gradients_are_those_of_a_backward_pass_for_each(monkeypatch, kind, most_bytes):
    monkeypatch.setattr(gradients, "_MOST_BYTES", most_bytes)
    singly = []
    one_by_one = gradients._one_by_one
    monkeypatch.setattr(
        gradients, "_one_by_one", lambda *given: singly.append(1) or one_by_one(*given)
    )
    network, images, labels = make(**kind)
    parts = list(image_gradients(network, images, labels))
    rows = [index for part, _ in parts for index in range(7)[part]]
    assert rows == list(range(7))
    for name, expected in by_hand(network, images, labels).items():
        found = torch.cat([one[name] for _, one in parts])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert bool(singly) == bool(kind.get("odd"))
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("batched", [True, False])
def test_a_network_without_parameters_has_no_gradients(batched):
    class Bare(nn.Module):
        def forward(self, images):
            if not batched:
                float(images.sum())
            return images.mean((2, 3))

    [(part, found)] = image_gradients(Bare(), torch.rand(3, 4, 2, 2), torch.zeros(3).long())
    assert (part, found) == (slice(0, 3), {})
