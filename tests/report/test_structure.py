"""A graph as rows: what a reader is told is what the graph holds."""

import math

import numpy as np
import pytest

from pareq.ir.build import Builder
from pareq.ir.graph import Graph
from pareq.metrics.cost import Cost
from pareq.metrics.layer import Layer
from pareq.numerics.grid import Grid
from pareq.report.structure import accumulators, removals, step_text, steps
from tests.ir.random_graphs import FAMILIES, random_graph


def small() -> Graph:
    """Two inputs, one of two outputs gone; 3 of 4 weights not zero."""
    b = Builder()
    x = b.input("x", (4,), Grid(-8, 7, 0.25))
    weight = b.constant("w", np.array([[1, -2, 0, 3]]), 0.5)
    y = b.op("dense", (x, weight, b.constant("b", np.array([5]), 0.125)), name="sum", origin="fc")
    parts = [b.constant(name, np.array([n])) for name, n in (("m", 1), ("o", 2), ("s", 2))]
    bounds = {"lo": 0, "hi": 7, "even": 0}
    z = b.op("requantize", (y, *parts), bounds, name="act", origin="act", scale=0.3)
    return b.graph((z,))


def test_steps():
    """In order, with what can occur and what it is worth."""
    x, fc, act = steps(small())
    assert (x.kind, x.reads, x.size, x.bits, x.range, x.grid) == (
        *("input", (), "4", 4),
        *("\u22128..7", "2^-2"),
    )
    assert (fc.path, fc.kind, fc.reads, fc.constants) == ("fc", "dense", ("x",), "3 of 4 weights")
    assert (fc.low, fc.high, fc.bits) == (5 - 8 - 14 - 24, 5 + 7 + 16 + 21, 7)
    assert (act.path, act.reads, act.grid, act.bits, act.range) == (
        "act",
        ("sum",),
        "0.3",
        3,
        "0..7",
    )


def test_accumulators_are_sums_the_widest_first():
    assert [step.path for step in accumulators(small())] == ["fc"]
    for family in FAMILIES:
        graph = random_graph(3, family)
        widths = [step.bits for step in accumulators(graph)]
        assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(5))
def test_every_op_has_a_row_that_holds_its_integers(family, seed):
    """The width is the narrowest word of the range."""
    graph = random_graph(seed, family)
    found = steps(graph)
    assert [step.name for step in found] == [e.name for e in (*graph.inputs, *graph.ops)]
    for step in found:
        low, high = graph.ranges()[step.name].limits
        assert (step.low, step.high) == (low, high)
        least = math.ceil(math.log2(high - low + 1)) if high > low else 0
        assert step.bits >= max(least, 1)
        assert math.prod(step.shape) == graph.ranges()[step.name].lo.size


def test_what_a_step_is_worth():
    assert step_text(Grid(0, 1, 0.5)) == "2^-1"
    assert step_text(Grid(0, 1, 4.0)) == "2^2"
    assert step_text(Grid(0, 1, 0.1)) == "0.1"
    assert step_text(Grid(0, 1, np.array([0.1, 0.5]))) == "0.1 to 0.5"


def test_removals_count_channels_and_weights():
    """Against the network; a layer that is gone altogether has nothing left."""
    before = Cost((Layer.dense("fc", 4, 2), Layer.dense("lost", 2, 3)))
    fc, lost = removals(small(), before)
    assert (fc.outputs, fc.weights, fc.kept, fc.channels, fc.zeros) == ((2, 1), (8, 4), 3, 1, 5)
    assert (lost.outputs, lost.weights, lost.kept, lost.zeros) == ((3, 0), (6, 0), 0, 6)
