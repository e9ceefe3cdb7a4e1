"""The reference executor: exact, or an error; registers of P bits behave as registers do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pareq.errors import GraphError, GridError
from pareq.ir.build import Builder
from pareq.ir.execute import Accumulator, dequantize_outputs, evaluate, execute, quantize_inputs
from pareq.ir.graph import Graph, Op, Value
from pareq.numerics.grid import Grid
from pareq.numerics.rounding import wrap
from tests.ir.random_graphs import graphs, random_inputs


def perceptron(weight, bias, bits=4):
    """One dense layer as a graph."""
    b = Builder()
    w = np.asarray(weight)
    x = b.input("x", (w.shape[1],), Grid.fixed_point(bits, 2), rounding="half_up")
    y = b.op("dense", (x, b.constant("w", w, 0.5), b.constant("b", bias)), name="fc")
    return b.graph((y,))


def test_real_in_real_out():
    graph = perceptron([[1, -2], [3, 0]], [4, 0])
    x = np.array([[0.125, 0.6], [-9.0, 9.0]])
    n = quantize_inputs(graph, x)
    assert n[0].tolist() == [[1, 2], [-8, 7]]
    (y,) = execute(graph, *n).outputs
    assert y.tolist() == [[1 - 4 + 4, 3], [-8 - 14 + 4, -24]]
    np.testing.assert_array_equal(evaluate(graph, x)[0], y * 0.125)
    np.testing.assert_array_equal(dequantize_outputs(graph, [y])[0], y * 0.125)


@settings(max_examples=10, deadline=None)
@given(graphs(), st.integers(1, 7))
def test_batches_do_not_matter(graph, batch):
    inputs = random_inputs(graph, 9)
    whole = execute(graph, *inputs, batch=9)
    parts = execute(graph, *inputs, batch=batch)
    for a, b in zip(whole.outputs, parts.outputs, strict=True):
        np.testing.assert_array_equal(a, b)
    empty = execute(graph, *(n[:0] for n in inputs))
    assert [y.shape[0] for y in empty.outputs] == [0] * len(graph.outputs)


def test_outputs_may_be_inputs_and_constants():
    b = Builder()
    x, c = b.input("x", (2,), Grid(0, 3)), b.constant("c", [1, 2])
    done = execute(b.graph((x, c)), np.array([[0, 3]] * 5))
    assert done.outputs[0].tolist() == [[0, 3]] * 5
    assert done.outputs[1].tolist() == [[1, 2]] * 5


@pytest.mark.parametrize(
    ("n", "fact"),
    [
        (np.array([[8, 0]]), r"input 'x': value 8 at \[0, 0\], expected -8\.\.7"),
        (np.array([[0, 0], [0, -9]]), r"value -9 at \[1, 1\]"),
        (np.array([[0.0, 0.0]]), "float64, expected integers"),
        (np.array([0, 0]), r"shape is \(2,\), expected \(N, 2\)"),
        (np.array([[0, 0, 0]]), r"expected \(N, 2\)"),
        (np.array([[True, False]]), "bool"),
    ],
)
def test_inputs_off_the_grid_are_refused(n, fact):
    with pytest.raises(GraphError, match=fact):
        execute(perceptron([[1, 1]], [0]), n)


def test_the_number_of_inputs_counts():
    graph = perceptron([[1, 1]], [0])
    with pytest.raises(GraphError, match="got 0 inputs, expected 1"):
        execute(graph)
    with pytest.raises(GraphError, match="got 2 inputs"):
        quantize_inputs(graph, [0.0], [0.0])
    with pytest.raises(GridError, match="NaN"):
        evaluate(graph, [[np.nan, 0.0]])
    b = Builder()
    x, y = b.input("x", (1,), Grid(0, 3)), b.input("y", (1,), Grid(0, 3))
    with pytest.raises(GraphError, match="samples"):
        execute(b.graph((x, y)), [[1]], [[1], [1]])
    assert evaluate(graph, [[np.inf, -np.inf]])[0].shape == (1, 1)


def test_an_overflow_names_op_index_and_value():
    graph = perceptron([[1, 1]], [0])
    narrow = Op("dense", graph.ops[0].inputs, Value("fc", (1,), Grid(-16, 13, 0.125)))
    unchecked = Graph(graph.inputs, graph.constants, (narrow,), graph.outputs)
    assert execute(unchecked, [[6, 7]]).outputs[0].tolist() == [[13]]
    with pytest.raises(GraphError, match=r"op 'fc': value 14 at \[300, 0\], expected -16\.\.13"):
        execute(unchecked, np.concatenate([np.zeros((300, 2), np.int64), [[7, 7]]]))


def test_wrap_and_saturate_of_a_sum_in_order():
    """100 + 7*20 - 7*30 in 8 bits: wraps to 30 as it should, saturates at 127 on the way."""
    graph = perceptron([[20, -30]], [100])
    n = [[7, 7]]
    wide = execute(graph, n, accumulator=Accumulator(8))
    assert wide.outputs[0].tolist() == [[30]]
    assert wide.overflows["fc"].values == 0
    assert execute(graph, n, accumulator=Accumulator(8, "wrap")).outputs[0].tolist() == [[30]]
    clipped = execute(graph, n, accumulator=Accumulator(8, "saturate"))
    assert clipped.outputs[0].tolist() == [[127 - 210]]
    assert clipped.overflows["fc"].values == 1


def _register(terms, bits):
    lo, hi = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    total = 0
    for term in terms:
        total = min(max(total + int(term), lo), hi)
    return total


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_a_saturating_convolution_term_by_term(seed, bits):
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 3))
    weight, bias = rng.integers(-9, 10, (4, 2 // groups, 2)), rng.integers(-50, 50, 4)
    b = Builder()
    x = b.input("x", (2, 5), Grid(-8, 7))
    geometry = {"stride": (2,), "padding": (1, 0), "dilation": (1,), "groups": groups, "fill": 3}
    y = b.op("conv", (x, b.constant("w", weight), b.constant("b", bias)), geometry, name="conv")
    graph = b.graph((y,))
    n = rng.integers(-8, 8, (3, 2, 5))
    (found,) = execute(graph, n, accumulator=Accumulator(bits, "saturate")).outputs
    padded = np.pad(n, ((0, 0), (0, 0), (1, 0)), constant_values=3)
    for sample, out, at in np.ndindex(*found.shape):
        first = out // (4 // groups) * (2 // groups)
        terms = [bias[out]]
        for channel in range(2 // groups):
            window = padded[sample, first + channel, 2 * at : 2 * at + 2]
            terms += list(window * weight[out, channel])
        assert found[sample, out, at] == _register(terms, bits)


@settings(max_examples=15, deadline=None)
@given(graphs(("mlp", "conv2d", "residual", "mixed")), st.integers(3, 40))
def test_registers_wide_enough_change_nothing(graph, bits):
    """Where no partial sum can overflow all modes agree; wrapping needs the final sum only."""
    inputs = random_inputs(graph, 5)
    names = [op.name for op in graph.ops]
    exact = execute(graph, *inputs, keep=names)
    wide = execute(graph, *inputs, accumulator=Accumulator(bits))
    first = next(iter(graph.ops))
    for op in graph.ops:
        if op.name not in wide.overflows:
            continue
        values = exact.kept[op.name]
        lo, hi = Accumulator(bits).limits
        count = wide.overflows[op.name]
        assert count.values == ((values < lo) | (values > hi)).sum()
        assert (count.lowest, count.highest) == (values.min(), values.max())
        assert count.total == values.size
    if first.name in wide.overflows:
        wrapped = execute(
            graph, *inputs, accumulator=Accumulator(bits, "wrap"), keep=[first.name]
        ).kept[first.name]
        np.testing.assert_array_equal(
            wrapped, wrap(exact.kept[first.name], *Accumulator(bits).limits)
        )
    for mode in ("wrap", "saturate"):
        safe = execute(graph, *inputs, accumulator=Accumulator(40, mode))
        assert all(count.values == 0 for count in safe.overflows.values())
        for a, b in zip(safe.outputs, exact.outputs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("bits", "mode"), [(0, "wide"), (63, "wide"), (8, "wrapped")])
def test_registers_without_meaning_are_refused(bits, mode):
    with pytest.raises(GraphError, match="accumulator"):
        Accumulator(bits, mode)


def test_overaware_accumulators_of_the_literature():
    """Colbert et al. 2023: 512 products of 8-bit numbers, 255 * 127 * 512 needs 25 bits, not 26."""
    b = Builder()
    x = b.input("x", (512,), Grid(0, 255))
    y = b.op("dense", (x, b.constant("w", np.full((1, 512), 127)), b.constant("b", [0])))
    graph = b.graph((y,))
    assert graph.value(y).grid.hi == 255 * 127 * 512
    n = np.full((1, 512), 255)
    assert execute(graph, n, accumulator=Accumulator(25, "wrap")).overflows[y].values == 0
    assert execute(graph, n, accumulator=Accumulator(24, "wrap")).overflows[y].values == 1
