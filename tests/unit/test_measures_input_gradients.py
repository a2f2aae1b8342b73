import numpy as np
import pytest
import timm
import torch
from torch import nn

from audit.conformance import ArrayView, reference_view
from audit.errors import UnavailableError
from audit.plugin import DataConfig
from audit_measures._image_gradients import activations, differentiating, module_call
from audit_measures.input_gradients import InputGradients, input_gradient_norm, jacobian_norm
from audit_measures.normalised_margin import hidden_margin, input_margin


class Scores(nn.Module):
    """Scores that a function makes of the sum of pixels."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images.sum((1, 2, 3)))


def opposite(x):
    return torch.stack([x, -x], 1)


def view_of(function, pixels, labels, std=1.0):
    """One pixel an image; every image stands five times, so that one of them is used."""
    images = torch.tensor(np.repeat(pixels, 5), dtype=torch.float64)[:, None, None, None]
    config = DataConfig((1, 1, 1), (0.0,), (std,))
    return ArrayView(
        Scores(function), images, np.repeat(labels, 5), class_names="abc", data_config=config
    )


def test_input_margin_by_hand():
    # margins 2x = 2 and 6, gradients 2, total variance 1: distances 1 and 3
    found = input_margin(view_of(opposite, [1, 3], [0, 0]))
    numbers = {part: value.value for part, value in found.items()}
    assert numbers == pytest.approx(
        {"": 2, "p25": 1.5, "p50": 2, "p75": 2.5, "mean": 2, "mean_log": np.log(3) / 2}
    )


def test_input_margin_keeps_its_sign():
    found = input_margin(view_of(opposite, [-1, 1], [0, 0]))
    assert (found["p25"].value, found["mean"].value) == pytest.approx((-0.5, 0))
    assert found["mean_log"].value == pytest.approx(0)
    wrong = input_margin(view_of(opposite, [-1, -2], [0, 0]))
    assert wrong["mean_log"].reason == "no image that is used is classified rightly"


def test_input_margin_of_a_flat_network_is_undefined():
    found = input_margin(view_of(lambda x: opposite(0 * x), [1, 3], [0, 0]))
    assert found[""].reason == "the margin's gradient at the input is 0 for 2 of 2 images"


def test_input_margin_of_one_image_repeated_is_undefined():
    found = input_margin(view_of(opposite, [3, 3], [0, 0]))
    assert found[""].reason == "nothing varies at the input over the 2 images used"


def test_input_margin_that_is_not_finite_is_undefined():
    found = input_margin(view_of(lambda x: opposite(x / 0), [1, 3], [0, 0]))
    assert found[""].reason == (
        "the margin or its gradient at the input is not finite for an image"
    )


def test_input_margin_of_one_output_is_unavailable():
    with pytest.raises(UnavailableError) as caught:
        input_margin(view_of(lambda x: x[:, None], [1, 3], [0, 0]))
    assert str(caught.value) == "a margin needs at least two classes; the network has one output"


@pytest.mark.parametrize("measure", [input_margin, input_gradient_norm, jacobian_norm])
def test_gradients_of_a_network_without_them_are_unavailable(measure):
    with pytest.raises(UnavailableError) as caught:
        measure(view_of(lambda x: opposite(x.detach()), [1, 3], [0, 0]))
    assert str(caught.value) == (
        "the scores have no gradient with respect to the images, as in a quantised network; it "
        "needs the network before that"
    )


def changed_in_place():
    """A sum that cannot be differentiated: what was needed for it has been changed."""
    hidden = torch.ones(2, requires_grad=True).relu()
    hidden += 1
    return hidden.sum()


def test_an_operation_without_a_derivative_is_unavailable_and_other_errors_are_raised():
    with pytest.raises(UnavailableError) as caught, differentiating("cpu"):
        raise RuntimeError("derivative for aten::frexp is not implemented\nmore")
    assert str(caught.value) == (
        "the scores cannot be differentiated (derivative for aten::frexp is not implemented); it "
        "needs a network without such operations, not quantised"
    )
    with pytest.raises(UnavailableError) as caught, differentiating("cpu"):
        changed_in_place().backward()
    assert "has been modified by an inplace operation" in str(caught.value)
    with pytest.raises(RuntimeError, match=r"^sizes do not fit$"), differentiating("cpu"):
        raise RuntimeError("sizes do not fit")


class Hidden(nn.Module):
    """A convolution, a ReLU that works in place, a shortcut added in place, and a linear map."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1, device="meta")
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(3, 2, device="meta")
        self.to_empty(device="cpu").double()
        random = np.random.default_rng(0)
        for parameter in self.parameters():
            parameter.data = torch.from_numpy(random.normal(size=tuple(parameter.shape)))

    def after(self, hidden):
        hidden += 1
        return self.head((hidden**2).mean((2, 3)))

    def forward(self, images):
        return self.after(self.act(self.conv(images)))


def test_hidden_margin_is_the_formula_with_gradients_image_by_image():
    images = torch.from_numpy(np.random.default_rng(1).normal(size=(30, 1, 6, 6)))
    labels = np.arange(30) % 2
    network = Hidden()
    view = ArrayView(network, images, labels, layers=["act"])
    distances, kept = [], []
    for row in range(0, 30, 5):
        hidden = network.act(network.conv(images[row : row + 1])).detach().requires_grad_()
        score = network.after(hidden * 1)[0]
        margin = score[labels[row]] - score[1 - labels[row]]
        (slope,) = torch.autograd.grad(margin, hidden)
        distances.append(float(margin.detach() / slope.norm()))
        kept.append(hidden.detach().flatten().numpy())
    expected = np.array(distances) / np.stack(kept).var(axis=0).sum() ** 0.5
    found = hidden_margin(view)
    assert found["layer_1"].value == pytest.approx(np.median(expected), rel=1e-9)
    assert found["last"].value == found[""].value == found["layer_1"].value
    assert found["p25"].value == pytest.approx(np.percentile(expected, 25), rel=1e-9)
    assert found["mean"].value == pytest.approx(expected.mean(), rel=1e-9)


@pytest.mark.parametrize("batch_size", [1, 7, 24])
def test_gradients_do_not_depend_on_the_batch_size(batch_size):
    view = reference_view()
    other = ArrayView(
        view.module,
        view._images,
        view.labels,
        data_config=view.data_config,
        batch_size=batch_size,
    )
    for measure in (hidden_margin, jacobian_norm):
        before, after = measure(view), measure(other)
        for part, value in before.items():
            number = getattr(value, "value", value)
            assert getattr(after[part], "value", after[part]) == pytest.approx(number, rel=1e-4)


def test_hidden_margin_of_layers_that_are_functions_is_unavailable():
    class Functions(Hidden):
        def forward(self, images):
            return self.after(torch.relu(self.conv(images)) * 1)

    images = torch.from_numpy(np.random.default_rng(1).normal(size=(10, 1, 6, 6)))
    view = ArrayView(Functions(), images, np.arange(10) % 2)
    name = view.layers[-1].name
    assert ":" in name
    with pytest.raises(UnavailableError) as caught:
        hidden_margin(view)
    assert str(caught.value) == f"{name} is a function's output; it needs the output of a module"


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_hidden_margin_has_a_number_at_every_layer_of_timm_networks(name):
    side, size = (64, {"img_size": 64}) if name == "test_vit" else (32, {})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=3, **size)
        images = torch.randn(20, 3, side, side)
    view = ArrayView(network, images, np.arange(20) % 3)
    found = hidden_margin(view)
    layers = [found[f"layer_{position}"].status for position in range(1, len(view.layers) + 1)]
    assert set(layers) == {"ok"}


def test_module_call_reads_the_names_of_layers():
    assert module_call("layer1.0.act2") == ("layer1.0.act2", 0)
    assert module_call("act#3|norm") == ("act", 2)
    assert module_call("layer1.0:relu") is None
    assert module_call(":relu") is None


def test_activations_leave_no_hook_and_count_calls():
    act = nn.ReLU()
    network = nn.Sequential(act, act)
    images = torch.tensor([-1.0, 2.0], requires_grad=True)
    with activations(network, ["0#2"]) as held:
        network(images)
    assert list(held) == ["0#2"]
    assert not act._forward_hooks


def test_input_gradient_norm_by_hand():
    view = view_of(lambda x: torch.stack([x, 0 * x], 1), [0, 0], [0, 0])
    assert input_gradient_norm(view) == pytest.approx(0.5)


def test_input_gradients_are_per_unit_of_pixel_values():
    view = view_of(lambda x: torch.stack([x, 0 * x], 1), [0, 0], [0, 0], std=0.25)
    assert input_gradient_norm(view) == pytest.approx(2)


def test_jacobian_norm_by_hand_within_the_error_of_its_draws():
    view = view_of(opposite, [0] * 150, [0] * 150)
    found = jacobian_norm(view)
    assert found["scores"] == pytest.approx(2**0.5, rel=0.1)
    assert found[""] == pytest.approx(2**0.5 / 2, rel=0.1)
    assert found["scores"] == pytest.approx(2 * found[""], rel=1e-9)


def test_jacobian_norm_is_the_mean_over_the_directions_it_draws():
    view = reference_view()
    kept = view.reduced(InputGradients)
    rows = [0, 5, 10, 15, 20]
    total = []
    for row in rows:
        jacobian = torch.autograd.functional.jacobian(
            lambda image: view.scores(image[None])[0].double(), view._images[row]
        )
        jacobian = jacobian.flatten(1) / 0.25
        drawn = view.generator(f"jacobian {row}").standard_normal((2, 3))
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        along = torch.from_numpy(drawn) @ jacobian.double()
        total.append(3 * float(along.square().sum(1).mean()))
    assert kept.lengths()[2] == pytest.approx(total, rel=1e-5)
    assert jacobian_norm(view)["scores"] == pytest.approx(np.mean(total) ** 0.5, rel=1e-5)


def test_input_gradients_that_are_not_finite_are_undefined():
    view = view_of(lambda x: opposite(x.sqrt()), [0, 1], [0, 0])
    reason = "a gradient is not finite for 1 of 2 images"
    assert input_gradient_norm(view).reason == reason
    assert {value.reason for value in jacobian_norm(view).values()} == {reason}
