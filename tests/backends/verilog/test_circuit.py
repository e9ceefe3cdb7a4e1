"""Circuits compute what the graph does, within ranges that are exact; sharing changes no sum."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pareq.backends.verilog.circuit import Circuit, Digit, Term
from pareq.backends.verilog.digits import count_digits, signed_digits
from pareq.backends.verilog.sharing import plan
from pareq.backends.verilog.unroll import EMITTERS, unroll
from pareq.errors import BackendError
from pareq.ir.build import Builder
from pareq.ir.execute import execute
from pareq.ir.ops import KINDS
from pareq.lower.passes import simplify
from pareq.numerics.grid import Grid
from tests.backends.networks import convolutions, perceptron, tagger
from tests.backends.verilog.circuits import results
from tests.ir.random_graphs import FAMILIES, graphs, random_graph, random_inputs

MOST = 100_000


def check(graph, rows=100, **how):
    circuit, outputs = unroll(graph, most=MOST, **how)
    x = random_inputs(graph, rows)
    for found, expected in zip(
        results(circuit, outputs, x), execute(graph, *x).outputs, strict=True
    ):
        assert np.array_equal(found, expected)
    return circuit


def test_every_kind_of_op_has_an_emitter():
    assert set(EMITTERS) == set(KINDS)


@given(st.integers(-(2**40), 2**40))
def test_signed_digits_add_up_and_are_not_adjacent(number):
    digits = signed_digits(number)
    assert sum(sign << shift for shift, sign in digits) == number
    shifts = [shift for shift, _ in digits]
    assert all(b - a > 1 for a, b in pairwise(shifts))
    assert count_digits(np.array([number])) == len(digits)


def replay(made, inputs):
    """The matrix that a plan computes."""
    signals = list(np.eye(inputs, dtype=np.int64))
    for pair in made.pairs:
        left, right = signals[pair.left] << pair.up, signals[pair.right] << pair.over
        signals.append(left + pair.sign * right)
    return np.array(
        [
            sum((sign * (signals[i] << shift) for i, shift, sign in row), np.zeros(inputs, int))
            for row in made.rows
        ]
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 0, 1]))
def test_a_plan_gives_the_matrix_with_fewer_adders(seed, deeper):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 9, 2))
    weight = rng.integers(-200, 200, shape) * (rng.random(shape) < 0.7)
    made = plan(weight.tolist(), [6] * shape[1], deeper=deeper)
    assert np.array_equal(replay(made, shape[1]), weight)
    plain = sum(max(count_digits(row) - 1, 0) for row in weight)
    assert len(made.pairs) + sum(max(len(row) - 1, 0) for row in made.rows) <= plain


def depths(made, inputs):
    """The fewest adder levels of each output."""
    levels = [0] * inputs
    for pair in made.pairs:
        levels.append(max(levels[pair.left], levels[pair.right]) + 1)
    loads = [sum(1 << levels[i] for i, _, _ in row) for row in made.rows]
    return [max(load - 1, 0).bit_length() for load in loads]


@pytest.mark.parametrize(("deeper", "levels"), [(0, 2), (1, 3), (None, 3)])
def test_sharing_costs_no_more_levels_than_allowed(deeper, levels):
    weight = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]])
    made = plan(weight.tolist(), [6] * 4, deeper=deeper)
    assert np.array_equal(replay(made, 4), weight)
    assert max(depths(made, 4)) == levels


def test_equal_rows_are_added_once():
    made = plan([[1, 3, 5], [2, 6, 10], [-1, -3, -5]], [4, 4, 4])
    assert len(made.pairs) == 4
    assert [len(row) for row in made.rows] == [1, 1, 1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [True, False])
def test_random_graphs(family, share):
    graph = random_graph(5, family)
    check(graph, share=share)
    check(simplify(graph), share=share, deeper=0)


@pytest.mark.slow
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(graph=graphs(), simpler=st.booleans())
def test_200_random_graphs(graph, simpler):
    check(simplify(graph) if simpler else graph)


NETWORKS = {
    "tagger": tagger,
    "free": lambda: perceptron((16, 21, 12, 5), free=True),
    "few bits": lambda: tagger(bits=2, free=True),
    "three bits": lambda: perceptron((16, 12, 5), bits=3, free=True, density=0.9, quantized=True),
    "even": lambda: perceptron((9, 20, 8), rounding="half_even", signed=True, quantized=True),
    "wide": lambda: perceptron((9, 20, 8), bits=11, free=True, density=0.6),
    "conv": lambda: convolutions((2, 4), size=(6, 7), bits=5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    check(NETWORKS[name](), 400)


def test_sharing_saves_adders_and_levels_stay():
    def adders(**how):
        circuit, outputs = unroll(tagger(), most=MOST, **how)
        levels = max(circuit.ready[n] for nodes in outputs for n in nodes.ravel()) / 2
        return sum(node.kind == "sum" for node in circuit.nodes), levels

    (shared, _), (plain, fewest), (kept, levels) = adders(), adders(share=False), adders(deeper=0)
    assert shared < 0.75 * plain
    assert kept < 0.8 * plain
    assert levels <= fewest + 2


@pytest.mark.parametrize("count", [3, 40, 300])
def test_thresholds_are_searched_by_halves(count):
    rng, b = np.random.default_rng(count), Builder()
    x = b.input("x", (2, 3), Grid(-3000, 3000))
    levels = np.sort(rng.integers(-3200, 3200, (2, 1, count)), axis=-1)
    levels[0, 0, 1] = levels[0, 0, 0]
    names = [b.constant("levels", levels)]
    names += [b.constant("base", np.array([[5], [-5]])), b.constant("step", np.array([[1], [-1]]))]
    graph = b.graph((b.op("threshold", (x, *names), scale=1.0),))
    circuit = check(graph, 3000)
    if count > 3:
        searches = sum(node.kind == "ahead" for node in circuit.nodes)
        assert searches <= 6 * count.bit_length()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_ties_of_top_k_go_to_the_lowest_index(k):
    b = Builder()
    x = b.input("x", (2, 5), Grid(0, 1))
    graph = b.graph((b.op("top_k", (x,), {"axis": 1, "k": k}, scale=1.0),))
    circuit, outputs = unroll(graph, most=MOST)
    n = (np.arange(1024)[:, None] >> np.arange(10) & 1).reshape(1024, 2, 5)
    assert np.array_equal(results(circuit, outputs, [n])[0], execute(graph, n).outputs[0])


def test_ranges_are_those_of_the_sum_not_of_its_parts():
    circuit = Circuit()
    (x,) = circuit.input(0, 0, 0, 31).digits
    seven = circuit.node(Term((x.times(3, 1), x.times(0, -1))))
    assert (circuit.nodes[seven].lo, circuit.nodes[seven].hi) == (0, 7 * 31)
    nothing = circuit.node(Term((Digit(seven, 0, 1), x.times(3, -1), x)))
    assert circuit.nodes[nothing].kind == "constant"


def test_a_network_too_large_to_unroll_is_named_with_its_count():
    graph = convolutions((3, 8, 16), size=(9, 10))
    with pytest.raises(BackendError, match=r"takes \d+ sums .* \('d.2' alone \d+\), expected 900"):
        unroll(graph, most=900)
