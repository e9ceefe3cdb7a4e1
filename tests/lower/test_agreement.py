"""Integers equal float64 everywhere; where float32 differs, the first difference is a tie."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import pareq as pq
from pareq.errors import LoweringError
from pareq.lower.agreement import Agreement, agreement
from pareq.lower.lower import lower
from pareq.tasks.networks import mlp
from tests.lower.trained import attached, inputs

WIDE = [
    pq.Rule(":input", pq.FixedPoint(12, frac=8)),
    pq.Rule("*:weight", pq.FixedPoint(12)),
    pq.Rule("*:output", pq.FixedPoint(12, signed=False)),
    pq.Rule(":output", pq.FixedPoint(14)),
]


def test_ties_explain_every_difference_of_float32():
    """Batch norm, 12 bits: float32 sums lose enough to cross ties, float64 ones do not."""
    net = attached(mlp((16, 32, 5), {"affine": True}), WIDE, (16,))
    x = inputs((16,), 4000)
    found = agreement(net, lower(net, x[:1]), x)
    assert (found.rows, found.outputs) == (8003, 8003 * 5)
    assert found.exact
    assert found.float32_differ > 0
    assert found.explained_by_ties == found.float32_differ
    assert found.unexplained == 0
    assert 0 < found.farthest < 0.01


def test_few_bits_leave_nothing_to_explain():
    rules = [
        pq.Rule(":input", pq.FixedPoint(4, frac=2)),
        pq.Rule("*:weight", pq.FixedPoint(4)),
        pq.Rule("*:bias", pq.FixedPoint(6)),
        pq.Rule("*:output", pq.FixedPoint(4, signed=False)),
    ]
    net = attached(mlp((6, 5, 3), None), rules, (6,))
    x = inputs((6,), 500).numpy()
    assert agreement(net, lower(net, torch.zeros(1, 6)), x) == Agreement(1003, 3009, 0, 0, 0, 0.0)


class Odd(nn.Module):
    """Another function in float32, as no network should be."""

    def __init__(self, shift):
        super().__init__()
        self.fc, self.shift = nn.Linear(4, 3), shift

    def forward(self, x):
        return self.fc(x) + (self.shift if x.dtype == torch.float32 else 0.0)


@pytest.mark.parametrize(("rule", "farthest"), [(":output", 5.0), ("fc:output", 0.0)])
def test_a_difference_that_is_no_tie_is_not_explained(rule, farthest):
    """The sum is off by five steps in front of the last quantizer, or behind it."""
    grid = pq.FixedPoint(24, frac=4)
    rules = [
        pq.Rule(":input", pq.FixedPoint(6, frac=4)),
        pq.Rule("*:weight", pq.FixedPoint(6, frac=4)),
        pq.Rule(rule, grid),
    ]
    net = attached(Odd(5 / 16), rules, (4,), steps=1)
    x = torch.randn(300, 4)
    found = agreement(net, lower(net, x[:1]), x)
    assert found.exact
    assert found.explained_by_ties == 0
    assert found.unexplained == found.float32_differ > 800
    assert found.farthest == pytest.approx(farthest, abs=1e-3)


def test_a_graph_of_another_network_differs_in_float64():
    net = attached(mlp((16, 8, 5), None), WIDE, (16,))
    x = inputs((16,), 50)
    graph = lower(net, x[:1])
    constants = [
        replace(each, data=np.zeros_like(each.data)) if each.name == "fc1.weight" else each
        for each in graph.constants
    ]
    found = agreement(net, replace(graph, constants=tuple(constants)).check(), x)
    assert not found.exact
    assert found.float64_differ <= found.float32_differ + 20


def test_a_weight_at_a_tie_explains_all_that_follows():
    """3.5 steps of 0.1, less the last bit: float32 gives 4 steps, float64 gives 3."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.7, 0.3499999940395355]]))
    recipe = pq.Recipe(
        pq.Rule(":input", pq.FixedPoint(6, frac=4)),
        pq.Rule("*:weight", pq.LearnedScale(4, signed=True, initial=0.7, domain="linear")),
        pq.Rule(":output", pq.FixedPoint(12, frac=9)),
    )
    net = pq.attach(model, recipe)
    net.set_step(0)
    x = torch.randn(100, 2)
    found = agreement(net, lower(net, x[:1]), x)
    assert found.exact
    assert found.explained_by_ties == found.float32_differ > 50


def test_several_results_and_a_layer_called_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act = nn.Linear(5, 5), nn.ReLU()

        def forward(self, x):
            y = self.act(self.fc(self.act(self.fc(x))))
            return y, y.argmax(1)

    rules = [r for r in WIDE if r.where != ":output"]
    net = attached(Twice(), rules, (5,))
    x = inputs((5,), 300)
    found = agreement(net, lower(net, x[:1]), x)
    assert found.exact
    assert found.outputs == 603 * 6
    assert found.unexplained == 0


def test_what_does_not_fit_is_refused():
    net = attached(mlp((6, 5, 3), None), WIDE, (6,))
    graph = lower(net, torch.zeros(1, 6))
    with pytest.raises(LoweringError, match=r"expected \(N, ...\), N >= 1"):
        agreement(net, graph, np.zeros((0, 6)))
    other = attached(mlp((6, 5, 2), None), WIDE, (6,))
    with pytest.raises(LoweringError, match="agreement: the network gives"):
        agreement(other, graph, np.zeros((3, 6)))
