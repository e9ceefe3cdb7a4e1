"""Rising functions on wide accumulators: thresholds, and where rounding errors could break them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import pareq as pq
from pareq.errors import LoweringError
from pareq.lower.agreement import agreement
from pareq.lower.lower import lower
from pareq.lower.plateau import check_plateaus
from pareq.lower.requantize import thresholds
from pareq.pruners import PruneActivation
from pareq.recipe.presets import find_recipe
from pareq.recipe.recipe import Recipe
from pareq.tasks.superres import SuperResolution
from pareq.train.loop import train
from pareq.train.trial import network
from tests.lower.trained import lowered

WIDE = [pq.Rule(":input", pq.FixedPoint(10, frac=5)), pq.Rule("*:weight", pq.FixedPoint(10))]


@pytest.mark.parametrize("function", [nn.Tanh, nn.Sigmoid, nn.Hardsigmoid])
@pytest.mark.parametrize("rounding", ["toward_zero", "half_even"])
def test_a_rising_function_on_a_wide_accumulator_becomes_thresholds(function, rounding):
    """2^24 sums: no table could hold them."""
    rules = [*WIDE, pq.Rule("1:output", pq.FixedPoint(6, rounding=rounding))]
    graph = lowered(nn.Sequential(nn.Linear(16, 3), function()), rules, (16,))
    reach = graph.ranges()[graph.ops[0].name].limits
    assert reach[1] - reach[0] > 2**16
    assert [op.kind for op in graph.ops] in (["dense", "threshold"], ["dense", "requantize"])


def test_a_falling_layer_still_has_thresholds():
    """1 - x in front of tanh: the function of the accumulator falls."""

    class Falls(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act = nn.Linear(16, 3), nn.Tanh()

        def forward(self, x):
            return self.act(self.fc(x) * -0.7)

    rules = [*WIDE, pq.Rule("act:output", pq.FixedPoint(6))]
    assert "threshold" in {op.kind for op in lowered(Falls(), rules, (16,)).ops}


def test_a_function_that_falls_and_rises_is_still_refused():
    rules = [*WIDE, pq.Rule("1:output", pq.FixedPoint(6))]
    with pytest.raises(LoweringError, match="a table would have"):
        lowered(nn.Sequential(nn.Linear(16, 3), nn.SiLU()), rules, (16,))


def test_a_mask_in_front_of_the_function_becomes_one_behind_it():
    """As published: convolution, mask, tanh, quantizer; and sigmoid fills with 0.5, not 0."""
    mask = pq.Rule("0@Conv2d:output", PruneActivation(window=2), pq.After(3, to=0.5))
    for function, fill in ((nn.Tanh(), 0), (nn.Sigmoid(), 16)):
        rules = [*WIDE, mask, pq.Rule("1:output", pq.FixedPoint(6, frac=5, signed=False))]
        model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), function)
        graph = lowered(model, rules, (2, 4, 4), 60)
        masks = [op for op in graph.ops if op.kind == "mask"]
        assert [op.attributes["fill"] for op in masks] == [fill]
        assert graph.ops[1].kind == "threshold"
        table = graph.constant(graph.ops[1].inputs[1])
        assert table.shape[:-1] in ((3, 1, 1), (1, 1, 1))  # a row a channel, not one a place


def curve(real):
    """What rounds a real function of integers to integers, and the function itself."""
    return (lambda acc: np.floor(real(acc)).astype(np.int64)), real


def test_what_turns_back_near_a_threshold_is_refused():
    """0.5 at 100, a hair less at 102: bisection alone would not see it."""

    def real(acc):
        y = 1 + (acc - 100) * 1e-17
        return np.where(acc == 102, np.nextafter(1.0, 0), np.where(acc < 100, 0.25, y))

    function, real = curve(real)
    low, high = np.array([0]), np.array([1000])
    steps = thresholds(lambda acc: np.where(acc >= 100, 1, 0), low, high)
    with pytest.raises(
        LoweringError, match="channel 0: the function turns back at accumulator 102"
    ):
        check_plateaus(function, real, steps, low, high)


def test_a_plateau_that_rises_is_looked_at_and_accepted():
    """tanh reaches 1 exactly at some accumulator; all around it its reals are within an ulp."""
    gain = 2.0**-10

    def real(acc):
        return np.tanh(acc * gain) * 64

    function, real = curve(real)
    low, high = np.array([-40_000]), np.array([40_000])
    steps = thresholds(function, low, high)
    assert steps.at.max() > 18 / gain  # the last threshold lies where tanh saturates
    check_plateaus(function, real, steps, low, high)


def test_too_long_a_plateau_is_refused():
    function, real = curve(lambda acc: np.where(acc >= 0, 1.0, np.nextafter(1.0, 0)))
    low, high = np.array([-(2**40)]), np.array([2**40])
    steps = thresholds(function, low, high)
    with pytest.raises(LoweringError, match="accumulators lie where the function is flat"):
        check_plateaus(function, real, steps, low, high)


@pytest.mark.parametrize(
    "name",
    ["espcn-pq", *(pytest.param(n, marks=pytest.mark.slow) for n in ("espcn-qp", "espcn-q"))],
)
def test_the_published_recipes_of_espcn_lower_bit_for_bit(name):
    """Trained briefly, at small widths; hyperbolic tangents on the accumulators, as published."""
    task = SuperResolution(data="sample", widths=(4, 3), stride=60)
    recipe = find_recipe(name)
    training = replace(recipe.training, epochs=20, batch_size=9, patience=None, learning_rate=3e-3)
    net = network(task, Recipe(*recipe.rules, training=training))
    torch.set_num_threads(1)
    train(net, task)
    graph = lower(net, task.example)
    found = agreement(net, graph, task.load().test.x)
    assert found.exact
    assert found.unexplained == 0
    kinds = [op.kind for op in graph.ops]
    assert kinds.count("threshold") == 2
    assert ("mask" in kinds) == (name != "espcn-q")
