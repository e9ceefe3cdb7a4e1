"""States of layers and what follows from them, on networks whose states are known."""

import json
import math

import pytest
import torch
from torch import nn

from pareq.attach.attach import attach
from pareq.errors import DataError
from pareq.metrics.information import Information, aiq, information, probe_points
from pareq.quantizers import FixedPoint
from pareq.recipe.recipe import Recipe, Rule
from pareq.tasks.networks import mlp


def two_bits() -> tuple[nn.Sequential, torch.Tensor]:
    """A layer of two neurons that are on with the two inputs' signs; 64 points, 16 a quadrant."""
    model = mlp((2, 2, 2), None)
    with torch.no_grad():
        for layer in (model.fc1, model.fc2):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8))
    return model, grid


def test_known_states():
    """Both layers see four states equally often: two bits of two, all that there is."""
    model, x = two_bits()
    found = information(model, x)
    assert [layer.path for layer in found.layers] == ["fc1", "fc2"]
    assert [layer.states for layer in found.layers] == [4, 4]
    assert [layer.entropy for layer in found.layers] == [2.0, 2.0]
    assert found.efficiency == pytest.approx(1.0)
    assert found.corrected_efficiency == pytest.approx(1.0)  # never above all there is
    assert found.cap == pytest.approx(1.0)
    assert found.samples == 64
    assert found.layers[0].coverage == 1.0


def test_a_constant_layer_says_nothing():
    """An efficiency of zero, not an error; one neuron is a layer too."""
    model, x = two_bits()
    with torch.no_grad():
        model.fc1.bias.fill_(5.0)
    assert information(model, x).efficiency == 0.0
    assert information(model, x).aiq(0.9) == 0.0
    single = mlp((2, 1, 2), None)
    assert information(single, x).layers[0].width == 1


def test_zero_is_off():
    """On is above zero; a ReLU's zero is off, and so is exactly zero before it."""
    model, _ = two_bits()
    x = torch.tensor([[0.0, 0.0], [-1.0, -1.0]])
    assert information(model, x).layers[0].states == 1


def test_the_order_of_the_entropy():
    """Order 0 counts states."""
    model, x = two_bits()
    shifted = x + 0.5
    counted = information(model, shifted, alpha=0.0)
    assert counted.layers[0].entropy == 2.0
    assert information(model, shifted).layers[0].entropy < 2.0
    assert counted.alpha == 0.0


def test_points_of_the_published_network():
    """Normalisations where there are any, else the layers; always the scores."""
    with_norm, without = mlp((16, 64, 32, 32, 5), {}), mlp((16, 64, 32, 32, 5), None)
    assert probe_points(with_norm) == ("bn1", "bn2", "bn3", "fc4")
    assert probe_points(without) == ("fc1", "fc2", "fc3", "fc4")
    assert probe_points(with_norm, "linear") == ("fc1", "fc2", "fc3", "fc4")
    assert probe_points(with_norm, "activation") == ("act1", "act2", "act3", "fc4")
    x = torch.randn(100, 16, generator=torch.Generator().manual_seed(0))
    assert [e.width for e in information(with_norm, x).layers] == [64, 32, 32, 5]
    given = information(with_norm, x, points=("act2",))
    assert [e.path for e in given.layers] == ["act2"]
    assert given.points == "given"


def test_signs_before_and_after_a_quantizer():
    """What a coarse grid rounds to zero is on before it and off behind it."""
    model, _ = two_bits()
    rule = Rule("*:output", FixedPoint(bits=2, frac=0, signed=False))
    net = attach(model, Recipe(rule), example=torch.zeros(2, 2))
    net.set_step(0)
    x = torch.tensor([[0.3, 0.3], [-1.0, -1.0]])
    assert information(net, x).layers[0].states == 2
    assert information(net, x, points="activation").layers[0].states == 1


def test_a_convolution_counts_every_place():
    """And the mode of the model is put back."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU())
    model.train()
    x = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    assert [e.width for e in information(model, x).layers] == [2 * 16]
    assert all(m.training for m in model.modules())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_aiq_is_a_weighted_mean():
    """Schaub & Hotaling: beta 0 is the efficiency, a large one the quality."""
    assert aiq(0.3, 0.9, beta=0) == pytest.approx(0.3)
    assert aiq(0.3, 0.9) == pytest.approx((0.3 * 0.81) ** (1 / 3))
    assert aiq(0.3, 0.9, beta=1e6) == pytest.approx(0.9, abs=1e-5)


def test_back_from_json():
    """With the derived figures beside the fields."""
    model, x = two_bits()
    found = information(model, x + 0.5)
    text = json.dumps(found.as_dict())
    assert Information.from_dict(json.loads(text)) == found
    assert json.loads(text)["efficiency"] == found.efficiency
    assert math.isclose(json.loads(text)["cap"], found.cap)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: information(m, x[:0]), "information: there are no inputs, got shape (0, 2)"),
        (lambda m, x: information(m, x, points="ends"), "unknown points 'ends'; expected one of"),
        (lambda m, x: information(m, x, points=("fc9",)), "no module 'fc9'; did you mean 'fc"),
        (lambda m, x: information(nn.ReLU(), x), "the model has no linear layer or convolution"),
        (lambda m, x: information(m, x * math.nan), "the output of fc1 is not finite"),
        (lambda m, x: aiq(1.2, 0.5), "aiq: efficiency must be in 0..1, got 1.2"),
        (lambda m, x: aiq(0.2, 0.5, -1), "aiq: beta must be 0 or more, got -1"),
        (lambda m, x: Information.from_dict({}), "information: is not what as_dict gave"),
    ],
)
def test_what_has_no_states_is_refused(call, message):
    model, x = two_bits()
    with pytest.raises(DataError) as caught:
        call(model, x)
    assert message in str(caught.value)
