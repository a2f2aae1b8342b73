import numpy as np
import pytest
import torch
from sklearn.metrics import davies_bouldin_score
from torch import nn

from audit.conformance import ArrayView, ReferenceNetwork, reference_view
from audit_measures import _features
from audit_measures._pooled_maps import FirstMaps, PooledMaps
from audit_measures.dbi_mixup import dbi_mixup
from audit_measures.label_smoothness import label_smoothness, label_variation
from audit_measures.mixup import mixup_accuracy


def maps_of(view, layer):
    """The live maps of one layer, by a hook."""
    kept = []
    handle = view.module.get_submodule(layer).register_forward_hook(
        lambda part, given, output: kept.append(output)
    )
    for images, _ in view.batches():
        view.scores(images)
    handle.remove()
    return torch.cat(kept).double()


def test_pooled_maps_are_spatial_means_in_the_order_of_the_sample():
    view = reference_view()
    kept = view.reduced(PooledMaps)
    for layer in view.layers:
        expected = maps_of(view, layer.name).mean((2, 3)).numpy()
        np.testing.assert_allclose(kept.of(layer.name), expected, rtol=1e-9)


def test_first_maps_are_maxima_on_a_grid_of_the_first_layer():
    view = reference_view()
    kept = view.reduced(FirstMaps)
    maps = maps_of(view, view.layers[0].name)
    side = maps.shape[-1] // 4
    expected = nn.functional.max_pool2d(maps, side).flatten(1).numpy()
    np.testing.assert_array_equal(kept.of(kept.first), expected)


@pytest.mark.parametrize("kind", [PooledMaps, FirstMaps])
def test_pooled_maps_hold_a_bounded_number_of_images(kind, monkeypatch):
    monkeypatch.setattr("audit_measures._pooled_maps.spaced", lambda n: _features.spaced(n, most=5))
    view = reference_view()
    kept = view.reduced(kind)
    assert kept.rows.tolist() == [0, 4, 9, 14, 19]
    assert len(kept.of(view.layers[0].name)) == 5


def test_dbi_mixup_is_the_index_times_the_mixed_error():
    view = reference_view()
    kept = view.reduced(FirstMaps)
    index = davies_bouldin_score(kept.of(kept.first), view.labels)
    found = dbi_mixup(view)
    assert found["davies_bouldin"].value == pytest.approx(index, rel=1e-9)
    assert found[""].value == pytest.approx(index * (1 - mixup_accuracy(view)), rel=1e-9)


def view_like(network=None, labels=None, images=None):
    view = reference_view()
    return ArrayView(
        network or ReferenceNetwork(),
        view._images if images is None else images,
        view.labels if labels is None else labels,
        class_names="abc",
        data_config=view.data_config,
    )


def test_dbi_mixup_without_two_classes_or_pairs_is_undefined():
    found = dbi_mixup(view_like(labels=np.zeros(24, int)))
    reason = "two classes are needed; the training sample has 1"
    assert {part: value.reason for part, value in found.items()} == {
        "": reason,
        "davies_bouldin": reason,
    }
    images = reference_view()._images[:3]
    found = dbi_mixup(view_like(labels=[0, 1, 2], images=images))
    assert found[""].reason == "every class has a single image: nothing varies within classes"


def test_dbi_mixup_of_a_first_layer_that_is_the_same_for_all_images_is_undefined():
    network = ReferenceNetwork()
    network.conv1.weight.data.zero_()
    found = dbi_mixup(view_like(network))
    name = reference_view().layers[0].name
    assert found["davies_bouldin"].reason == (
        f"the maps of {name} are the same for all 24 training images"
    )


def plain_variation(features, labels, k):
    """The same by loops over a dense matrix, from the paper's construction."""
    n = len(features)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similar = unit @ unit.T
    graph = np.zeros((n, n))
    for i in range(n):
        order = [j for j in np.argsort(-similar[i]) if j != i][:k]
        for j in order:
            graph[i, j] = max(similar[i, j], 0)
    graph = (graph + graph.T) / 2
    degree = graph.sum(1)
    graph /= np.sqrt(np.outer(degree, degree))
    crossing = sum(graph[i, j] for i in range(n) for j in range(n) if labels[i] != labels[j])
    return crossing / graph.sum()


def test_label_variation_is_the_graphs_built_plainly():
    random = np.random.default_rng(0)
    labels = np.arange(40) % 3
    features = random.normal(size=(40, 6)) + random.normal(size=(3, 6))[labels]
    value = label_variation(features, labels)
    assert value.value == pytest.approx(plain_variation(features, labels, 10), rel=1e-9)


def test_label_variation_of_classes_at_right_angles_is_zero():
    labels = np.array([0, 0, 1, 1])
    assert label_variation(np.eye(2)[labels], labels).value == 0


def test_label_variation_of_features_that_know_nothing_is_about_chance():
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, 400)
    value = label_variation(random.normal(size=(400, 8)), labels).value
    assert value == pytest.approx(0.75, abs=0.05)


def test_label_variation_of_opposite_images_is_undefined():
    value = label_variation(np.array([[1.0], [-1.0]]), np.array([0, 1]))
    assert value.reason == "the features of no two training images are alike"


def test_label_smoothness_gives_each_layer_and_the_penultimate_features():
    view = reference_view()
    found = label_smoothness(view)
    kept = view.reduced(PooledMaps)
    layers = [plain_variation(kept.of(layer.name), view.labels, 10) for layer in view.layers]
    for position, expected in enumerate(layers, start=1):
        assert found[f"layer_{position}"].value == pytest.approx(expected, rel=1e-9)
    assert found[""].value == pytest.approx(np.mean(layers), rel=1e-9)
    penultimate = plain_variation(view.features().astype(float), view.labels, 10)
    assert found["penultimate"].value == pytest.approx(penultimate, rel=1e-9)


def test_label_smoothness_of_a_single_class_is_undefined():
    found = label_smoothness(view_like(labels=np.zeros(24, int)))
    assert found["last"].reason == "two classes are needed; the training sample has 1"
    assert found[""].reason == (
        "no layer has a value: two classes are needed; the training sample has 1"
    )


def test_label_smoothness_of_a_network_without_a_linear_layer_has_its_layers():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1, device="meta").to_empty(device="cpu")
            self.conv.weight.data = torch.from_numpy(
                np.random.default_rng(0).normal(size=(3, 3, 3, 3))
            ).float()
            self.conv.bias.data.zero_()
            self.act = nn.ReLU()

        def forward(self, images):
            return self.act(self.conv(images)).mean((2, 3))

    found = label_smoothness(view_like(Pooled()))
    assert found[""].status == "ok"
    assert found["penultimate"].status == "unavailable"
    assert found["penultimate"].reason == (
        "Pooled has no penultimate features: they are the input of its last linear layer, one "
        "vector for each image, and no linear layer is given that"
    )
