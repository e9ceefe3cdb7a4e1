"""The cost of a graph of integers: its layers as they are deployed."""

import numpy as np
import pytest
import torch
from torch import nn

import pareq as pq
from pareq.ir.build import Builder
from pareq.ir.graph import Graph
from pareq.metrics.integers import WEIGHTED, graph_cost
from pareq.numerics.grid import Grid
from tests.ir.random_graphs import FAMILIES, random_graph
from tests.lower.trained import attached


def small() -> Graph:
    """A layer with 3 of 4 weights not zero, and its requantization."""
    b = Builder()
    x = b.input("x", (4,), Grid(-8, 7, 0.25))
    weight = b.constant("w", np.array([[1, -2, 0, 3]]), 0.5)
    y = b.op("dense", (x, weight, b.constant("b", np.array([-5]), 0.125)), name="sum", origin="fc")
    parts = [b.constant(name, np.array([n])) for name, n in (("m", 1), ("o", 2), ("s", 2))]
    bounds = {"lo": 0, "hi": 7, "even": 0}
    z = b.op("requantize", (y, *parts), bounds, name="act", origin="act", scale=0.3)
    return b.graph((z,))


def test_a_layer_is_what_the_graph_holds():
    """Widths are those of the integers that are there, not those of the recipe."""
    cost = graph_cost(small())
    (row,), (rest,) = cost.rows, cost.rest
    assert (row.path, row.kind, row.inputs, row.outputs) == ("fc", "linear", 4, 1)
    assert (row.weight_bits, row.input_bits, row.bias_bits) == (3, 4, 4)
    assert (row.nonzero, row.alive, row.biases, row.biases_alive) == (3, 3, 1, 1)
    assert (row.positions, row.reads, row.effective) == (1, 4, 1 + 1 + 2)
    assert (rest.path, rest.kind, rest.values) == ("act", "requantize", 3)
    assert pq.cost(small()) == cost


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(4))
def test_every_layer_with_weights_is_a_row(family, seed):
    graph = random_graph(seed, family)
    rows = graph_cost(graph).rows
    layers = [op for op in graph.ops if op.kind in WEIGHTED]
    assert len(rows) == len(layers)
    for row, op in zip(rows, layers, strict=True):
        weight = graph.constant(op.inputs[1])
        assert row.weights == weight.size
        assert row.nonzero == np.count_nonzero(weight)
        assert abs(int(weight.min())) < 2**row.weight_bits
        assert int(weight.max()) < 2**row.weight_bits


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ((nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), (6,)),
        ((nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.ReLU()), (2, 7, 7)),
        ((nn.ConvTranspose2d(2, 4, 3, stride=2), nn.ReLU()), (2, 5, 5)),
    ],
    ids=["dense", "conv", "conv_transpose"],
)
def test_it_counts_what_the_network_counts(layers, shape):
    """Multiplications, positions and reads of a network that no pass could make smaller."""
    rules = [pq.Rule("*:input", pq.FixedPoint(8, frac=4)), pq.Rule("*:weight", pq.FixedPoint(8))]
    rules.append(pq.Rule("*:output", pq.FixedPoint(8, signed=False)))
    if len(layers) > 2:
        rules[0] = pq.Rule("0:input", pq.FixedPoint(8, frac=4))
        rules.append(pq.Rule(":output", pq.FixedPoint(8)))
    net = attached(nn.Sequential(*layers), rules, shape)
    real, whole = (
        pq.cost(net, torch.zeros(1, *shape)),
        pq.cost(pq.lower(net, torch.zeros(1, *shape))),
    )
    for a, b in zip(real.rows, whole.rows, strict=True):
        names = ("path", "kind", "inputs", "outputs", "positions", "groups", "reads", "nonzero")
        assert [getattr(a, name) for name in names] == [getattr(b, name) for name in names]
        assert b.weight_bits <= a.weight_bits


def test_a_cost_prints_as_a_table():
    lines = str(pq.cost(small())).splitlines()
    assert [line.split() for line in lines] == [
        ["layer", "weights", "not", "zero", "bits", "BOPs", "EBOPs", "bytes"],
        ["fc", "4", "3", "3", "x", "4", "72", "16", "2"],
        ["all", "4", "3", "72", "16", "2"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_a_model_needs_an_example():
    with pytest.raises(pq.PareqError) as caught:
        pq.cost(nn.Linear(2, 2))
    assert str(caught.value) == (
        "cost: a model is read off a forward pass; give an example, such as x[:1]"
    )
