"""The score of signed digits: what a multiplication costs, and what falls by it."""

import numpy as np
import pytest
import torch
from torch import nn

from pareq.attach.attach import attach
from pareq.backends.verilog.digits import count_digits
from pareq.operators.schedule import After
from pareq.pruners import SCORES, Prune, digits, per_digit
from pareq.recipe.recipe import Recipe, Rule


def test_digits_are_those_that_the_verilog_back_end_adds():
    numbers = torch.arange(-600, 600)
    assert digits(numbers).tolist() == [count_digits(np.array([n])) for n in numbers.tolist()]
    assert digits(torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_a_power_of_two_is_worth_more_than_a_larger_weight_of_many_digits():
    weights = torch.tensor([64.0, 85.0, 127.0, 1.0, 0.2, 0.0]) / 128
    found = per_digit(weights, 8) * 128
    assert found.tolist() == pytest.approx([64, 85 / 4, 127 / 2, 1, 0.2, 0])
    coarse = per_digit(weights, 4) * 128  # 85 is 5.3 steps of 16, so 5: two digits
    assert coarse.tolist() == pytest.approx([64, 85 / 2, 127, 1, 0.2, 0])


@pytest.mark.parametrize("name", ["digits4", "digits6", "digits8"])
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


def test_pruning_by_digits_leaves_cheaper_weights_at_the_same_density():
    def left(score):
        torch.manual_seed(0)
        net = attach(nn.Linear(64, 64), Recipe(Rule("*:weight", Prune(score), After(0, to=0.7))))
        net.set_step(1)
        weight = net.model.weight.detach()
        top = 2.0 ** np.ceil(np.log2(float(weight.abs().max())))
        return int((weight == 0).sum()), int(digits(torch.round(weight / top * 32).long()).sum())

    (zero, plain), (same, cheaper) = left("magnitude"), left("digits6")
    assert zero == same == round(0.7 * 64 * 64)
    assert cheaper < 0.85 * plain
