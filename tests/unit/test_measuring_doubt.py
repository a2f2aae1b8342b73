"""What makes a network doubtful, what does not, and what the user is told to look at."""

import copy

import numpy as np
import pytest
import timm
import torch
from numbered_classes import NATURAL, PLAIN, drawings, trained
from torch import nn

from audit.measuring._evidence import N_IMAGES, first_norm, fresh_head, gather
from audit.measuring.doubt import find_doubts
from audit.plugin import DataConfig

CONFIG = DataConfig((1, 32, 32), (0.5,), (0.5,))


def prepared(mean=0.5, std=0.5):
    """All drawings, and their labels in natural order."""
    images = [np.asarray(image) for of in drawings().values() for image in of]
    pixels = torch.from_numpy(np.stack(images)).float()[:, None] / 255
    labels = np.repeat(np.arange(12), len(images) // 12)
    return (pixels - mean) / std, labels


def doubts_of(module, mean=0.5, std=0.5, declared=CONFIG, order=NATURAL, labels=None):
    """The doubts about a network that is shown images prepared with this mean and std."""
    images, right = prepared(mean, std)
    module = module.eval()
    with torch.inference_mode():
        logits = module(images).numpy()
    few = images[:: max(1, len(images) // N_IMAGES)]
    config = DataConfig((1, 32, 32), (mean,), (std,))
    evidence = gather(module, few, config, declared, 12)
    labels = right if labels is None else labels
    return find_doubts(logits, labels, order, order, evidence)


def kinds(doubts):
    return [doubt.kind for doubt in doubts]


def scores(predictions, n_classes):
    """Scores whose highest is at the predictions."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 0.5, (len(predictions), n_classes)).astype(np.float32)
    return noise + np.eye(n_classes, dtype=np.float32)[predictions]


def answers(n_right, n, n_classes=10):
    """Predictions and labels of which so many agree; the wrong ones are spread at random."""
    labels = np.arange(n) % n_classes
    rng = np.random.default_rng(1)
    wrong = (labels + rng.integers(1, n_classes, n)) % n_classes
    return np.where(np.arange(n) < n_right, labels, wrong), labels


def found(predictions, labels, n_classes=10, order=None):
    order = order or [chr(97 + k) for k in range(n_classes)]
    return find_doubts(scores(predictions, n_classes), labels, order, order, {})


def test_a_trained_network_is_not_doubtful():
    assert doubts_of(trained()) == ()


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_convnext"])
def test_a_network_that_was_never_trained_is_doubtful(architecture):
    torch.manual_seed(0)
    size = {"img_size": 32} if architecture == "test_vit" else {}
    module = timm.create_model(architecture, num_classes=12, in_chans=1, **size)
    found = doubts_of(module)
    assert found[0].kind == "untrained"
    assert "looks freshly initialised" in found[0].reason
    assert set(kinds(found)) & {"chance", "one_class"}


def test_a_fresh_head_on_a_trained_network_is_named():
    module = copy.deepcopy(trained())
    torch.manual_seed(1)
    module.reset_classifier(12)
    [first, *rest] = doubts_of(module)
    assert first.kind == "untrained"
    assert first.reason == (
        "the head (fc) looks freshly initialised: its weights are spread as they are drawn before "
        "training: check that the weights are those of training"
    )
    assert kinds(rest) == ["chance"]
    assert rest[0].reason.endswith(
        "for the likely cause see the other reasons; a network that has learned nothing of these "
        "labels, such as one trained on random labels, looks the same"
    )


def test_trained_heads_are_not_fresh():
    assert fresh_head(trained(), 12) is None
    assert fresh_head(nn.Sequential(nn.Conv2d(1, 3, 3)), 12) is None


def test_a_bias_of_zero_is_a_fresh_head():
    head = nn.Linear(64, 12)
    nn.init.normal_(head.weight, std=0.5)
    assert fresh_head(nn.Sequential(head), 12) is None
    nn.init.zeros_(head.bias)
    assert fresh_head(nn.Sequential(head), 12) == {"name": "0", "why": "its bias is zero"}


def test_pixels_of_another_range_are_seen_by_the_first_normalisation():
    module = trained(mean=0.0, std=1 / 255)  # trained on pixels in 0…255
    assert doubts_of(module, 0.0, 1 / 255) == ()
    [first, *_] = doubts_of(module)
    assert first.kind == "input"
    assert first.reason.startswith("the first normalisation (conv1.1) is given activations whose ")
    assert first.reason.endswith(
        "check mean and std of transform (now mean 0.5, std 0.5; pixels are scaled to 0…1 before) "
        "and the channels against the training's, such as pixels in 0…255"
    )


def test_an_unusual_preparation_that_the_network_was_trained_with_is_no_doubt():
    module = trained(mean=0.0, std=1 / 255)
    declared = DataConfig((1, 32, 32), (0.449,), (0.226,))
    assert doubts_of(module, 0.0, 1 / 255, declared) == ()


def test_a_preparation_far_from_the_declared_is_doubtful_without_a_normalisation():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(1024, 32), nn.ReLU(), nn.Linear(32, 12))
    [first] = [doubt for doubt in doubts_of(module, 0.0, 1 / 255) if doubt.kind == "input"]
    assert first.reason.startswith(
        "the images are prepared far from what the network declares (mean 0.5, std 0.5); prepared "
    )
    [first] = [doubt for doubt in doubts_of(module, 123.0, 58.0, None) if doubt.kind == "input"]
    assert first.reason.startswith("the images are prepared unlike those of any usual training; ")
    assert "input" not in kinds(
        doubts_of(module, 0.0, 1.0, DataConfig((1, 32, 32), (0.5,), (0.23,)))
    )


def test_another_order_of_classes_is_named():
    _, labels = prepared()
    place = [PLAIN.index(name) for name in NATURAL]
    found = doubts_of(trained(), order=PLAIN, labels=np.array(place)[labels])
    assert kinds(found) == ["class_order", "chance"]
    assert found[0].reason.startswith('class_order = "natural" would give train accuracy ')
    assert " instead of 0.08; " in found[0].reason


def test_any_other_order_is_written_out():
    predictions = np.repeat(np.arange(3), 40)
    labels = np.array([2, 0, 1])[predictions]  # output 0 means the third class
    found = find_doubts(scores(predictions, 3), labels, "abc", "abc", {})
    assert found[0].reason == (
        'class_order = ["c", "a", "b"] would give train accuracy 1.00 instead of 0.00; set it if '
        "the network was trained so"
    )


def test_two_swapped_classes_are_found_though_most_answers_are_right():
    predictions = np.repeat(np.arange(10), 30)
    labels = np.array([0, 1, 2, 3, 4, 5, 6, 7, 9, 8])[predictions]
    [doubt] = found(predictions, labels)
    assert doubt.kind == "class_order"
    assert "would give train accuracy 1.00 instead of 0.80" in doubt.reason


def test_many_classes_in_another_order_are_counted():
    predictions = np.repeat(np.arange(40), 10)
    [doubt, _] = found(predictions, (predictions + 1) % 40, 40, [f"{k:02}" for k in range(40)])
    assert doubt.reason.startswith("a class_order in which 40 of 40 classes have another place ")


def test_a_network_that_guesses_has_no_better_order():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        doubts = found(rng.integers(0, 10, 600), np.arange(600) % 10)
        assert "class_order" not in kinds(doubts)


@pytest.mark.parametrize(
    ("n_right", "n", "n_classes", "doubtful"),
    [
        (100, 1000, 10, True),
        (115, 1000, 10, True),
        (125, 1000, 10, False),  # above chance
        (0, 1000, 10, True),
        (300, 1000, 10, False),  # noisy labels
        (1, 10, 10, True),  # halfway to perfect would be 5.5
        (2, 10, 10, False),
        (1, 3, 3, False),  # too few images to tell
        (5, 10, 2, False),
        (12, 24, 3, False),
        (8, 24, 3, True),
        (500, 1000, 2, True),
    ],
)
def test_chance_is_not_mistaken_in_small_samples(n_right, n, n_classes, doubtful):
    predictions, labels = answers(n_right, n, n_classes)
    assert (predictions == labels).sum() == n_right
    assert ("chance" in kinds(found(predictions, labels, n_classes))) is doubtful


def test_accidents_are_as_rare_as_is_said():
    """Networks halfway between chance and perfect, on samples of many sizes."""
    rng = np.random.default_rng(0)
    n_doubted = 0
    for _ in range(2000):
        n_classes = int(rng.integers(2, 12))
        n = n_classes * int(rng.integers(1, 8))
        labels = np.arange(n) % n_classes
        right = rng.random(n) < (1 + 1 / n_classes) / 2
        wrong = (labels + rng.integers(1, n_classes, n)) % n_classes
        doubts = found(np.where(right, labels, wrong), labels, n_classes)
        n_doubted += bool({"chance", "one_class"} & set(kinds(doubts)))
    assert n_doubted / 2000 < 0.01


def test_chance_is_that_of_the_commonest_class_where_classes_are_unequal():
    labels = np.array([0] * 180 + [1] * 20)
    doubts = found(np.zeros(200, dtype=int), labels, 2)
    assert kinds(doubts) == ["one_class", "chance"]
    assert "train accuracy 0.90 is not above chance (0.90," in doubts[1].reason


def test_one_class_and_chance_say_what_to_look_at():
    labels = np.arange(200) % 10
    [one, chance] = found(np.full(200, 3), labels)
    likely = (
        "likely causes: the order of classes (class_order), normalisation (mean and std of "
        "transform), channels (RGB or BGR, grey or colour), a head that the weights do not fill; "
        "a network that has learned nothing of these labels, such as one trained on random labels, "
        "looks the same"
    )
    assert one.reason == f"all 200 training images get the same answer; {likely}"
    assert chance.reason == (
        "train accuracy 0.10 is not above chance (0.10, that of always giving the commonest "
        "class); a network that is right on 55% of its training images gives so few right answers "
        f"among 200 with a probability below 0.01; {likely}"
    )


def test_scores_that_do_not_depend_on_the_image_are_named():
    labels = np.arange(60) % 3
    row = np.array([[0.3, 0.1, 0.2]], dtype=np.float32)
    [first, *_] = find_doubts(np.repeat(row, 60, 0), labels, "abc", "abc", {})
    assert first.reason.startswith("the scores are the same for every training image; ")
    column = np.linspace(1, 2, 60, dtype=np.float32)[:, None].repeat(3, 1)
    [first, *_] = find_doubts(column, labels, "abc", "abc", {})
    assert first.reason.startswith("every class gets the same score on each training image; ")
    one = find_doubts(row, np.array([0]), "abc", "abc", {})
    assert one == ()


def test_the_first_normalisation_is_reached_without_running_the_rest():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.late = nn.BatchNorm2d(2)  # registered first, reached second
            self.early = nn.BatchNorm2d(1)

        def forward(self, images):
            self.early(images)
            raise AssertionError("the rest was run")

    module = Network().eval()
    images, _ = prepared()
    assert first_norm(module, images) == {"name": "early", "fresh": True}
    with torch.no_grad():
        module.early.running_mean.fill_(float(images.mean()) + 2 * float(images.std()))
        module.early.running_var.fill_(float(images.var()) / 16)
    norm = first_norm(module, images)
    assert norm["scale"] == pytest.approx(4, rel=1e-3)
    assert norm["shift"] == pytest.approx(8, rel=1e-3)
    assert not any(part._forward_pre_hooks for part in module.modules())
    assert first_norm(nn.Sequential(nn.Flatten()), images) is None
    assert first_norm(nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), images) is None
