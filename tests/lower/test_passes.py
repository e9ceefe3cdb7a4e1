"""Every pass keeps the function; each also does what it is for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pareq.ir.build import Builder
from pareq.ir.execute import execute
from pareq.ir.meaning import meaning_of
from pareq.lower import passes
from pareq.lower.emit import emit
from pareq.lower.transfer import Transfer
from pareq.numerics.grid import Grid
from tests.ir.random_graphs import graphs, random_inputs

NAMES = [each.__name__ for each in passes.PASSES]


def same_function(before, after, count=40):
    """Equal outputs on extremes and random inputs, under the same names, scales and zeros."""
    after.check()
    assert after.outputs == before.outputs
    assert after.inputs == before.inputs
    assert after.metadata == before.metadata
    inputs = random_inputs(before, count)
    pairs = zip(execute(before, *inputs).outputs, execute(after, *inputs).outputs, strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)
    for name in before.outputs:
        a, b = before.value(name), after.value(name)
        assert a.shape == b.shape
        assert meaning_of(a.shape, a.grid).matches(meaning_of(b.shape, b.grid))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(graph=graphs())
def test_a_pass_keeps_the_function(name, graph):
    same_function(graph, getattr(passes, name)(graph))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(graphs())
def test_three_hundred_random_networks_keep_their_function(graph):
    same_function(graph, passes.simplify(graph))


@settings(max_examples=15, deadline=None)
@given(graphs())
def test_all_passes_keep_the_function_and_end(graph):
    small = passes.simplify(graph)
    same_function(graph, small)
    assert passes.simplify(small) == small
    assert len(small.ops) <= len(graph.ops)
    for op in small.ops:
        reach, grid = small.ranges()[op.name], op.output.grid
        assert reach.limits == (grid.lo, grid.hi)
        assert not reach.constant.all()


@settings(max_examples=10, deadline=None)
@given(graphs(), st.permutations(NAMES))
def test_passes_keep_the_function_in_any_order(graph, order):
    after = graph
    for name in order:
        after = getattr(passes, name)(after).check()
    same_function(graph, after)


def dense(b, x, weight, bias, name):
    return b.op(
        "dense", (x, b.constant(f"{name}.w", weight), b.constant(f"{name}.b", bias)), name=name
    )


def relu(b, x, name, grid=None):
    count = b.value(x).shape[0]
    gain, offset = np.full(count, 0.25), np.zeros(count)
    to = grid or Grid(0, 15)
    return emit(b, x, Transfer(gain, offset, to, "half_up", slope=0.0), name=name)


def two_layers(first, bias, second):
    b = Builder()
    x = b.input("x", (len(first[0]),), Grid(-8, 7))
    hidden = relu(b, dense(b, x, np.array(first), np.array(bias), "fc1"), "act")
    return b.graph((dense(b, hidden, np.array(second), np.zeros(len(second), np.int64), "fc2"),))


def test_a_dead_channel_goes_with_its_weights():
    """Channel 0 is always below zero, 1 is constant, 2 is not read; 3 stays."""
    graph = two_layers(
        [[1, 1], [0, 0], [3, 2], [1, 5]], [-400, 20, 0, 1], [[3, 2, 0, 1], [-1, 4, 0, 2]]
    )
    small = passes.simplify(graph)
    same_function(graph, small)
    assert small.value("fc1").shape == small.value("act").shape == (1,)
    assert small.constant("fc1.w").tolist() == [[1, 5]]
    assert small.constant("fc2.w").tolist() == [[1], [2]]
    assert small.constant("fc2.b").tolist() == [2 * 5, 4 * 5]  # the constant channel is 5


def test_zero_weights_remove_a_whole_layer():
    graph = two_layers([[1, 2], [3, 4]], [0, 0], [[0, 0], [0, 0]])
    small = passes.simplify(graph)
    assert small.ops == ()
    assert small.constant("fc2").tolist() == [0, 0]
    same_function(graph, small)


def test_scales_per_channel_are_cut_too():
    b = Builder()
    x = b.input("x", (2,), Grid(-8, 7))
    w = b.constant("w", [[1, 2], [3, 4], [5, 6]], np.array([[0.5], [0.25], [0.125]]))
    y = b.op("dense", (x, w, b.constant("b", [0, 0, 0])), name="fc1")
    to = Grid(0, 7, np.array([1.0, 2.0, 4.0]))
    y = emit(b, y, Transfer(np.array([0.5, 0.25, 0.125]), np.zeros(3), to), name="act")
    y = emit(b, y, Transfer(np.array([1.0, 2.0, 4.0]), np.zeros(3), Grid(0, 3, 8.0)), name="one")
    graph = b.graph((dense(b, y, np.array([[1, 0, 1]]), np.array([0]), "fc2"),))
    small = passes.drop_channels(graph)
    same_function(graph, small)
    np.testing.assert_array_equal(small.value("fc1").grid.scale, [0.5, 0.125])
    np.testing.assert_array_equal(small.value("act").grid.scale, [1.0, 4.0])


def test_a_residual_sum_keeps_channels_that_either_side_needs():
    b = Builder()
    x = b.input("x", (3,), Grid(-8, 7))
    left = relu(b, dense(b, x, np.eye(3, dtype=np.int64), np.zeros(3, np.int64), "a"), "left")
    right = relu(
        b, dense(b, left, 2 * np.eye(3, dtype=np.int64), np.zeros(3, np.int64), "b"), "right"
    )
    both = b.op("add", (left, right), {"shift_a": 0, "shift_b": 0}, name="both")
    graph = b.graph((dense(b, both, np.array([[1, 0, 2]]), np.array([0]), "c"),))
    small = passes.simplify(graph)
    same_function(graph, small)
    assert small.value("both").shape == (2,)
    assert small.value("left").shape == (2,)


def test_channels_of_depthwise_convolutions_go_together():
    rng = np.random.default_rng(0)
    b = Builder()
    x = b.input("x", (2, 6), Grid(-8, 7))
    geometry = {"stride": (1,), "padding": (1, 1), "dilation": (1,), "fill": 0}

    def conv(x, shape, groups, name):
        w = b.constant(f"{name}.w", rng.integers(-4, 5, shape))
        c = b.constant(f"{name}.b", np.zeros(shape[0], np.int64))
        y = b.op("conv", (x, w, c), {**geometry, "groups": groups}, name=name)
        return emit(
            b, y, Transfer(np.full(shape[0], 0.1), np.zeros(shape[0]), Grid(0, 7)), name=f"{name}.q"
        )

    y = conv(conv(x, (4, 2, 3), 1, "point"), (4, 1, 3), 4, "depth")
    y = b.op("reshape", (y,), {"shape": (24,)}, name="flat")
    w = rng.integers(1, 5, (2, 24))
    w[:, 6:12] = 0
    graph = b.graph((dense(b, y, w, np.zeros(2, np.int64), "head"),))
    small = passes.drop_channels(graph)
    same_function(graph, small)
    assert small.value("point").shape == (3, 6)
    assert small.producer("depth").attributes["groups"] == 3
    assert small.value("flat").shape == (18,)


def test_two_requantizations_become_one():
    b = Builder()
    x = b.input("x", (3,), Grid(-128, 127))
    first = emit(b, x, Transfer(np.full(3, 0.5), np.zeros(3), Grid(-64, 63), "floor"), name="one")
    second = emit(
        b, first, Transfer(np.full(3, 0.25), np.zeros(3), Grid(-16, 15), "floor"), name="two"
    )
    graph = b.graph((b.op("clamp", (second,), {"lo": 0, "hi": 9}, name="relu"),))
    small = passes.simplify(graph)
    same_function(graph, small, 300)
    assert [op.kind for op in small.ops] == ["requantize"]
    assert [int(small.constant(name)[0]) for name in small.ops[0].inputs[1:]] == [1, 0, 3]
    assert small.ops[0].attributes == {"lo": 0, "hi": 9, "even": 0}


def test_a_requantization_that_something_else_reads_stays():
    b = Builder()
    x = b.input("x", (3,), Grid(-128, 127))
    first = emit(b, x, Transfer(np.full(3, 0.5), np.zeros(3), Grid(-64, 63), "floor"), name="one")
    second = b.op("clamp", (first,), {"lo": 0, "hi": 9}, name="relu")
    for outputs in ((first, second), (second, b.op("clamp", (first,), {"lo": 0, "hi": 5}))):
        graph = b.graph(outputs)
        assert passes.merge_requantize(graph) == graph
        same_function(graph, passes.simplify(graph))


def test_double_rounding_without_constants_stays_two_ops():
    b = Builder()
    x = b.input("x", (1,), Grid(-600, 600))
    to = Grid(-1000, 1000)
    first = emit(b, x, Transfer([0.4], [0.0], to, "half_even"), name="one")
    second = emit(b, first, Transfer([0.5], [0.0], to, "half_even"), name="two")
    graph = b.graph((second,))
    assert [op.kind for op in graph.ops] == ["requantize", "requantize"]
    assert passes.merge_requantize(graph) == graph


@pytest.mark.parametrize(
    ("even", "expected"),
    [(0, [[3, 1], [1, 0], [2, 0]]), (1, [[12, 2], [7, 1], [4, 1]])],
)
def test_shifts_lose_common_factors(even, expected):
    b = Builder()
    x = b.input("x", (2,), Grid(-50, 50))
    parts = [b.constant(n, v) for n, v in (("m", [12, 8]), ("o", [7, 4]), ("s", [4, 3]))]
    how = {"lo": -99, "hi": 99, "even": even}
    graph = b.graph((b.op("requantize", (x, *parts), how, scale=1.0),))
    small = passes.reduce_shifts(graph)
    same_function(graph, small, 400)
    assert [small.constant(name).tolist() for name in ("m", "o", "s")] == expected


def test_what_changes_nothing_is_read_past():
    b = Builder()
    x = b.input("x", (2, 2), Grid(-8, 7))
    y = b.op("clamp", (x,), {"lo": -8, "hi": 9})
    y = b.op("mask", (y, b.constant("keep", [[1, 1]])), {"fill": 0})
    y = b.op("reshape", (y,), {"shape": (2, 2)})
    y = b.op("permute", (y,), {"axes": (0, 1)})
    y = b.op("leaky", (y,), {"shift": 0})
    y = b.op("pad", (y,), {"before": (0, 0), "after": (0, 0), "fill": 3})
    y = b.op("slice", (y,), {"start": (0, 0), "stop": (2, 2), "step": (1, 1)})
    y = b.op("concat", (y,), {"axis": 0})
    parts = [b.constant(n, [[v]]) for n, v in (("m", 4), ("o", 3), ("s", 2))]
    y = b.op("requantize", (y, *parts), {"lo": -8, "hi": 7, "even": 0}, scale=1.0)
    graph = b.graph((b.op("clamp", (y,), {"lo": 0, "hi": 3}, name="last"),))
    small = passes.drop_unused(passes.drop_identities(graph))
    same_function(graph, small)
    assert [op.name for op in small.ops] == ["last"]
    assert small.ops[0].inputs == ("x",)


def test_a_change_of_scale_is_no_identity():
    b = Builder()
    x = b.input("x", (2,), Grid(-8, 7))
    parts = [b.constant(n, [v]) for n, v in (("m", 1), ("o", 0), ("s", 0))]
    y = b.op("requantize", (x, *parts), {"lo": -8, "hi": 7, "even": 0}, scale=0.5)
    graph = b.graph((b.op("leaky", (y,), {"shift": 1}),))
    assert len(passes.drop_identities(graph).ops) == 2


def test_equal_things_are_kept_once():
    b = Builder()
    x = b.input("x", (2,), Grid(-8, 7))
    eye = np.eye(2, dtype=np.int64)
    a, c = (relu(b, dense(b, x, eye, np.zeros(2, np.int64), n), f"{n}.act") for n in ("fc1", "fc2"))
    graph = b.graph((b.op("add", (a, c), {"shift_a": 0, "shift_b": 0}, name="sum"),))
    small = passes.drop_unused(passes.share(graph))
    same_function(graph, small)
    assert [op.name for op in small.ops] == ["fc1", "fc1.act", "sum"]
    assert small.ops[-1].inputs == ("fc1.act", "fc1.act")


def test_unused_things_go():
    graph = two_layers([[1, 2]], [0], [[1]])
    less = replace(graph, outputs=("fc1",))
    small = passes.drop_unused(less)
    assert [op.name for op in small.ops] == ["fc1"]
    assert {each.name for each in small.constants} == {"fc1.w", "fc1.b"}
    assert small.inputs == graph.inputs


def test_padding_keeps_a_constant_channel_that_is_not_the_fill():
    """Channel 0 is 5 inside and 0 in the padding: it may not move into the bias."""
    b = Builder()
    x = b.input("x", (1, 4), Grid(-8, 7))
    five = b.op("mask", (x, b.constant("none", np.zeros((1, 1), np.int64))), {"fill": 5})
    both = b.op("concat", (five, x), {"axis": 0})
    w, c = b.constant("w", [[[1, 2, 3], [1, 1, 1]]]), b.constant("b", [0])
    geometry = {"stride": (1,), "padding": (1, 1), "dilation": (1,), "groups": 1, "fill": 0}
    graph = b.graph((b.op("conv", (both, w, c), geometry, name="conv"),))
    assert passes.absorb_constants(graph) == graph
    same_function(graph, passes.simplify(graph))
    moved = passes.absorb_constants(
        replace(graph, ops=(*graph.ops[:-1], _with(graph.ops[-1], fill=5))).check()
    )
    assert moved.constant("w").tolist() == [[[0, 0, 0], [1, 1, 1]]]
    assert moved.constant("b").tolist() == [30]


def _with(op, **attributes):
    return replace(op, attributes=type(op.attributes)({**op.attributes, **attributes}))
