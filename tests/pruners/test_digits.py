"""The score of signed digits: what a multiplication costs, and what falls by it."""

import numpy as np
import pytest
import torch
from torch import nn

from pareq.attach.attach import attach
from pareq.backends.verilog.digits import count_digits
from pareq.operators.base import Surroundings
from pareq.operators.schedule import After
from pareq.pruners import SCORES, Prune, digits, per_digit, per_table
from pareq.quantizers import FixedPoint
from pareq.recipe.recipe import Recipe, Rule


def test_digits_are_those_that_the_verilog_back_end_adds():
    numbers = torch.arange(-600, 600)
    assert digits(numbers).tolist() == [count_digits(np.array([n])) for n in numbers.tolist()]
    assert digits(torch.zeros(0, dtype=torch.int64)).tolist() == []
    large = torch.tensor([2**60 - 1, 0x555555555555555, 2**59 + 1])
    assert digits(large).tolist() == [count_digits(np.array([n])) for n in large.tolist()]


def test_a_power_of_two_is_worth_more_than_a_larger_weight_of_many_digits():
    weights = torch.tensor([64.0, 85.0, 127.0, 1.0, 0.2, 0.0]) / 128
    found = per_digit(weights, 8) * 128
    assert found.tolist() == pytest.approx([64, 85 / 4, 127 / 2, 1, 0.2, 0])
    coarse = per_digit(weights, 4) * 128  # 85 is 5.3 steps of 16, so 5: two digits
    assert coarse.tolist() == pytest.approx([64, 85 / 2, 127, 1, 0.2, 0])


@pytest.mark.parametrize("name", ["digits4", "digits6", "digits8", "hardware"])
def test_order_does_not_depend_on_sign_place_or_powers_of_two(name):
    weights = torch.randn(7, 9, generator=torch.Generator().manual_seed(0))
    score = SCORES[name]
    found = score(weights)
    assert torch.equal(score(-weights), found)
    assert torch.equal(score(weights / 8), found / 8)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    assert torch.equal(score(weights[order]), found[order])
    assert (found <= weights.abs()).all()


@pytest.mark.parametrize("x", [torch.zeros(3, 2), torch.zeros(0, 4), torch.full((2,), 1e-40)])
def test_edges(x):
    assert torch.equal(per_digit(x, 6), x)


def test_nan_stays_nan_so_that_pruning_refuses_it():
    assert per_digit(torch.tensor([1.0, torch.nan]), 6).isnan().tolist() == [False, True]


def test_hardware_counts_the_operand_and_what_falls_with_the_last_weight():
    """Two neurons of two inputs of 4 bits: 64 is one digit, 85 four (1010101b)."""
    x = torch.tensor([[64.0, 85.0], [64.0, 127.0]])
    layer = Surroundings(FixedPoint(8), FixedPoint(4))
    whole = per_table(x, torch.ones(2, 2), layer)
    assert whole[0].tolist() == pytest.approx([64 / (4 * 2), 85 / (4 * 5)])
    lonely = per_table(x, torch.tensor([[1.0, 0.0], [1.0, 1.0]]), layer)
    assert lonely[0, 0].item() == pytest.approx(64 / (4 * (1 + 1 / 2 + 1)))
    assert lonely[1, 1].item() == pytest.approx(127 / (4 * (2 + 1 + 1 / 2)))
    assert torch.equal(per_table(x, torch.ones(2, 2), Surroundings(None, FixedPoint(8))) * 2, whole)
    assert per_table(x[0], torch.ones(2), layer).tolist() == pytest.approx([16, 85 / 16])


def test_hardware_takes_more_from_the_layer_with_wider_inputs():
    """Of two equal layers, the one that reads 8 bits loses what costs twice as much."""

    def left(score):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))
        with torch.no_grad():
            model[2].weight.copy_(model[0].weight)
        rules = [
            Rule("*:weight", Prune(score), After(0, to=0.5)),
            Rule("0:input", FixedPoint(8), After(1)),
            Rule("*:output", FixedPoint(4, signed=False), After(1)),
        ]
        net = attach(model, Recipe(*rules), example=torch.zeros(1, 32))
        net.set_step(0)
        return [int(layer.weight.count_nonzero()) for layer in (model[0], model[2])]

    assert left("magnitude") == [512, 512]
    first, second = left("hardware")
    assert first + second == 1024
    assert first < 400


def test_pruning_by_digits_leaves_cheaper_weights_at_the_same_density():
    def left(score):
        torch.manual_seed(0)
        net = attach(nn.Linear(64, 64), Recipe(Rule("*:weight", Prune(score), After(0, to=0.7))))
        net.set_step(1)
        weight = net.model.weight.detach()
        top = 2.0 ** np.ceil(np.log2(float(weight.abs().max())))
        return int((weight == 0).sum()), int(digits(torch.round(weight / top * 32).long()).sum())

    zero, plain = left("magnitude")
    assert zero == round(0.7 * 64 * 64)
    for score in ("digits6", "hardware"):
        same, cheaper = left(score)
        assert same == zero
        assert cheaper < 0.85 * plain
