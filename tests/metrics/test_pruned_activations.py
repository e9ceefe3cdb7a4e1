"""What a pruned activation saves: memory, and the products of the layer that reads it."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import pareq as pq
from pareq.errors import DataError
from pareq.lower.lower import lower
from pareq.metrics.bops import bops, ebops
from pareq.metrics.layer import Layer
from pareq.metrics.memory import activation_bits, largest_activation_bits
from pareq.metrics.probe import cost


class Published(nn.Module):
    """Convolution, mask, tanh, quantizer, convolution, pool, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.act1 = nn.Conv2d(1, 4, 3, padding=1), nn.Tanh()
        self.conv2, self.fc = nn.Conv2d(4, 2, 1), nn.Linear(32, 3)

    def forward(self, x):
        y = self.act1(self.conv1(x))
        return self.fc(F.max_pool2d(F.relu(self.conv2(y)), 2).flatten(1))


def masked(pattern="unstructured", where="conv1:output", to=0.5):
    torch.manual_seed(0)
    mask = pq.Rule(where, pq.PruneActivation(pattern=pattern, window=1), pq.After(2, to=to))
    wide = pq.Rule("act1:output", pq.Uniform(8))
    net = pq.attach(Published(), pq.Recipe(mask, wide), steps=3, example=torch.zeros(2, 1, 8, 8))
    for step in range(4):
        net.set_step(step)
        net.model(torch.randn(4, 1, 8, 8))
    return net


@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
def test_pruned_activations_cost_no_memory_and_no_products(pattern):
    """Half of what conv2 reads is zero for every sample, through tanh and its quantizer."""
    net, x = masked(pattern), torch.zeros(1, 1, 8, 8)
    rows = {row.path: row for row in cost(net, x).rows}
    full = {row.path: replace(row, dead=0) for row in rows.values()}
    assert {path: row.dead for path, row in rows.items()} == {"conv1": 0, "conv2": 128, "fc": 0}
    assert rows["conv2"].input_bits == 8
    assert rows["conv2"].live == 0.5
    part, whole = [rows["conv2"]], [full["conv2"]]
    assert activation_bits(part) == activation_bits(whole) / 2 == 128 * 8
    assert largest_activation_bits(part) == 128 * 8
    assert bops(part, "multiply_only") == bops(whole, "multiply_only") / 2
    saved = bops(whole, "paper") - bops(part, "paper")
    assert saved == pytest.approx(64 * 8 * 0.5 * 32 * 8)  # positions x weights x half x bits
    assert ebops(part) == ebops(whole) / 2


def test_masks_move_with_reshapes_and_pools():
    """A pooled window is dead where all of it is; sums are where both terms are."""
    net, x = masked(where="conv2:output"), torch.zeros(1, 1, 8, 8)
    (mask,) = [m for m in net.model.modules() if isinstance(m, pq.PruneActivation)]
    mask.mask.zero_()
    mask.mask[0, :2, :2] = 1
    assert cost(net, x).rows[-1].dead == 32 - 1


def test_a_mask_that_is_not_engaged_saves_nothing():
    torch.manual_seed(0)
    rule = pq.Rule("conv1:output", pq.PruneActivation(window=1), pq.After(2, to=0.5))
    net = pq.attach(Published(), pq.Recipe(rule), steps=3, example=torch.zeros(2, 1, 8, 8))
    net.set_step(0)
    assert [row.dead for row in cost(net, torch.zeros(1, 1, 8, 8)).rows] == [0, 0, 0]


def test_the_graph_of_integers_counts_the_same_positions():
    """Masked integers are one number for every sample."""
    torch.manual_seed(0)
    rules = (
        pq.Rule("0:output", pq.PruneActivation(window=1), pq.After(1, to=0.5)),
        *(
            pq.Rule(where, pq.Uniform(8), pq.After(1))
            for where in ("*:weight", ":input", "1:output")
        ),
        pq.Rule(":output", pq.Uniform(8), pq.After(1)),
    )
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3))
    x = torch.zeros(2, 1, 6, 6)
    net = pq.attach(model, pq.Recipe(*rules), steps=3, example=x)
    for step in range(4):
        net.set_step(step)
        model(torch.randn(4, 1, 6, 6))
    before, after = cost(net, x).rows, cost(lower(net, x)).rows
    assert [row.dead for row in before] == [0, 54]
    assert after[-1].dead >= 54  # a place may be constant for other reasons too


def test_older_records_have_no_dead_inputs_and_wrong_ones_are_refused():
    row = Layer.dense("fc", 8, 4)
    record = row.as_dict()
    del record["dead"]
    assert Layer.from_dict(record) == row
    with pytest.raises(DataError, match="9 dead of 8 reads"):
        replace(row, dead=9)
