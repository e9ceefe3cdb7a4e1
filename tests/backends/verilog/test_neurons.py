"""Neurons as tables give what their adders give, and are taken where they are smaller."""

import numpy as np
import pytest

from pareq.backends import Verilog, build, verify
from pareq.backends.verilog.circuit import Circuit, Term
from pareq.backends.verilog.estimate import estimate, reduction, tables
from pareq.backends.verilog.native import Native, native
from pareq.backends.verilog.unroll import unroll
from pareq.ir.build import Builder
from pareq.ir.execute import execute
from pareq.numerics.grid import Grid
from tests.backends.networks import perceptron
from tests.backends.verilog.circuits import results
from tests.backends.verilog.programs import icarus
from tests.ir.random_graphs import FAMILIES, random_graph, random_inputs


def few_bits(*, signed=True, kind="requantize", seed=0):
    """Neurons of three inputs of two bits, as requantizations or thresholds."""
    rng, b = np.random.default_rng(seed), Builder()
    x = b.input("x", (6,), Grid(-2, 1) if signed else Grid(0, 2))
    weight = np.zeros((8, 6), dtype=np.int64)
    for row in weight:
        row[rng.choice(6, 3, replace=False)] = rng.integers(-7, 8, 3)
    names = b.constant("w", weight), b.constant("b", rng.integers(-9, 9, 8))
    x = b.op("dense", (x, *names), name="d")
    if kind == "requantize":
        parts = [b.constant(n, np.array([v])) for n, v in (("m", 5), ("o", 7), ("s", 5))]
        x = b.op("requantize", (x, *parts), {"lo": -2, "hi": 1, "even": 1}, scale=1.0)
    else:
        levels = np.sort(rng.integers(-15, 15, (8, 3)), axis=-1)
        parts = [
            b.constant("t", levels),
            b.constant("base", np.zeros(8, dtype=int)),
            b.constant("step", np.ones(8, dtype=int)),
        ]
        x = b.op("threshold", (x, *parts), scale=1.0)
    return b.graph((x,))


def kinds(circuit):
    return [node.kind for node in circuit.nodes]


@pytest.mark.parametrize("kind", ["requantize", "threshold"])
@pytest.mark.parametrize("signed", [True, False])
def test_every_input_gives_what_the_graph_gives(kind, signed):
    graph = few_bits(signed=signed, kind=kind)
    circuit, outputs = unroll(graph, tables=8, most=1000)
    assert "function" in kinds(circuit)
    grid = graph.inputs[0].value.grid
    each = np.arange(grid.lo, grid.hi + 1)
    x = np.stack(np.meshgrid(*[each] * 6), axis=-1).reshape(-1, 6)
    (found,) = results(circuit, outputs, (x,))
    assert np.array_equal(found, execute(graph, x).outputs[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_random_graphs(family):
    graph = random_graph(3, family)
    circuit, outputs = unroll(graph, tables=10, most=100_000)
    x = random_inputs(graph, 60)
    for found, expected in zip(
        results(circuit, outputs, x), execute(graph, *x).outputs, strict=True
    ):
        assert np.array_equal(found, expected)


@icarus
def test_a_design_with_tables_is_simulated(tmp_path):
    graph = few_bits()
    how = Verilog(emitter="native", simulator="icarus")
    artefact = build(graph, how, tmp_path / "net", name="net")
    assert artefact.figures["table_neurons"] > 0
    assert verify(artefact, graph, rows=500).samples == 502


def test_tables_are_taken_only_where_they_are_smaller():
    few = [native(few_bits(), "net", Native(tables=n)).figures for n in (0, 8)]
    assert few[0]["table_neurons"] == 0
    assert few[1]["lut_estimate"] < 0.5 * few[0]["lut_estimate"]
    many = perceptron((8, 10, 4), density=0.9)  # up to 48 bits a neuron: none fits
    figures = [native(many, "net", Native(tables=n)).figures for n in (0, 8)]
    assert figures[0] == figures[1]


def test_estimates_are_those_of_the_parts():
    assert [reduction(bits) for bits in (0, 1, 2, 6, 7, 11, 12)] == [0, 0, 1, 1, 2, 2, 3]
    assert tables([0, 1], 1) == 0  # a wire
    assert tables([3, 3, 3, 3], 2) == 0
    assert tables([n & 1 for n in range(64)], 6) == 0
    assert tables([int(n % 10 < 3) for n in range(64)], 6) == 1
    assert tables([int(n >= 77) for n in range(128)], 7) == 2
    assert tables([int(n % 64 > 40) for n in range(256)], 8) == 1  # two bits change nothing
    assert (
        tables([n * n for n in range(8)], 3) == 4
    )  # the second bit of a square is 0; the first a wire
    circuit = Circuit()
    x = [circuit.input(0, i, 0, 7) for i in range(3)]
    total = circuit.node(Term(tuple(d for term in x for d in term.digits)))
    assert estimate(circuit, range(total + 1)) == 4 + 5  # carry chains of 0..14 and 0..21
    beside = circuit.node(Term((x[0].digits[0], x[1].digits[0].times(3, 1))))
    assert estimate(circuit, [beside]) == 0  # bits beside one another
    assert estimate(circuit, [circuit.clamp(total, 0, 15)]) == 4 + 0
    assert estimate(circuit, [circuit.product(total, beside)]) == 5 * 6
