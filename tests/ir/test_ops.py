"""Each kind computes what torch computes on the same integers, and reaches what it says."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as fn

from pareq.errors import GraphError
from pareq.ir import kernels
from pareq.ir.attributes import Attributes
from pareq.ir.execute import execute
from pareq.ir.ops import KINDS
from pareq.ir.reach import Range
from tests.ir.random_graphs import graphs, random_inputs


def run(kind, attributes, x, *constants):
    """Run a kind on a batch and constants; the shape rule agrees with the result."""
    given_ = Attributes(attributes)
    fixed = [np.asarray(c) for c in constants]
    out = KINDS[kind].run(given_, [np.asarray(x), *(c[None] for c in fixed)])
    shapes = [np.shape(x)[1:], *(c.shape for c in fixed)]
    assert KINDS[kind].shape(given_, shapes) == out.shape[1:]
    return out


def close(found, tensor):
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, tensor.numpy().astype(np.int64))


def integers(rng, *shape, top=9):
    return rng.integers(-top, top, shape, endpoint=True)


def real(n):
    return torch.as_tensor(n, dtype=torch.float64)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_dense(rng):
    x, w, b = integers(rng, 5, 3, 7), integers(rng, 4, 7), integers(rng, 4)
    close(run("dense", {}, x, w, b), fn.linear(real(x), real(w), real(b)))


CONVOLUTIONS = list(product((1, 2), (1, 2, 4), (1, 2), (0, 1, 2), (1, 2)))


@pytest.mark.parametrize(("rank", "groups", "stride", "padding", "dilation"), CONVOLUTIONS)
def test_conv(rng, rank, groups, stride, padding, dilation):
    x = integers(rng, 2, 4, *(9, 8)[:rank])
    w, b = integers(rng, 8, 4 // groups, *(3, 2)[:rank]), integers(rng, 8)
    torch_conv = fn.conv1d if rank == 1 else fn.conv2d
    expected = torch_conv(real(x), real(w), real(b), stride, padding, dilation, groups)
    attributes = {
        "stride": (stride,) * rank,
        "padding": (padding,) * 2 * rank,
        "dilation": (dilation,) * rank,
        "groups": groups,
        "fill": 0,
    }
    close(run("conv", attributes, x, w, b), expected)


@pytest.mark.parametrize(("rank", "groups", "stride", "padding", "dilation"), CONVOLUTIONS)
def test_conv_transpose(rng, rank, groups, stride, padding, dilation):
    x = integers(rng, 2, 4, *(5, 4)[:rank])
    w, b = integers(rng, 4, 3, *(3, 2)[:rank]), integers(rng, 3 * groups)
    torch_conv = fn.conv_transpose1d if rank == 1 else fn.conv_transpose2d
    more = stride - 1
    expected = torch_conv(real(x), real(w), real(b), stride, padding, more, groups, dilation)
    attributes = {
        "stride": (stride,) * rank,
        "padding": (padding,) * rank + (padding - more,) * rank,
        "dilation": (dilation,) * rank,
        "groups": groups,
        "fill": 0,
    }
    close(run("conv_transpose", attributes, x, w, b), expected)


@pytest.mark.parametrize("kind", ["conv", "conv_transpose"])
def test_a_zero_point_in_the_bias_equals_real_zero_padding(rng, kind):
    zero, x = 3, integers(rng, 2, 4, 6, 5)
    w, b = integers(rng, 4, 4, 3, 3), integers(rng, 4)
    attributes = {"stride": (2, 1), "padding": (1, 0, 1, 2), "dilation": (1, 1), "groups": 1}
    direct = run(kind, {**attributes, "fill": 0}, x - zero, w, b)
    axes = (1, 2, 3) if kind == "conv" else (0, 2, 3)
    folded = run(kind, {**attributes, "fill": zero}, x, w, b - zero * w.sum(axis=axes))
    np.testing.assert_array_equal(folded, direct)


def test_wide_sums_leave_float64_and_stay_exact():
    x = np.array([[2**40, 3, -(2**40)]])
    w = np.array([[2**20, 1, 2**20 - 1]])
    assert run("dense", {}, x, w, [5])[0, 0] == 2**40 + 3 + 5
    geometry = {"stride": (1,), "padding": (0, 0), "dilation": (1,), "groups": 1, "fill": 0}
    assert run("conv", geometry, x[:, :, None], w[:, :, None], [5])[0, 0, 0] == 2**40 + 8


def test_sums_beyond_int64_are_refused():
    x = np.array([[2**40]])
    with pytest.raises(GraphError, match=r"2\^70"):
        run("dense", {}, x, [[2**30]], [0])
    with pytest.raises(GraphError, match="int64"):
        run("multiply", {}, x, [2**30])
    with pytest.raises(GraphError, match="int64"):
        run("leaky", {"shift": 40}, x)
    with pytest.raises(GraphError, match="int64"):
        run("requantize", {"lo": 0, "hi": 1, "even": 0}, x, [2**30], [0], [3])
    shifts = {"shift_a": 30, "shift_b": 0}
    with pytest.raises(GraphError, match="int64"):
        run("add", shifts, x, [1])
    with pytest.raises(GraphError, match="int64"):
        run("sum", {"axes": (0,)}, np.full((1, 4), 2**61))


def test_requantize_rounds_down_or_to_even():
    x = np.arange(-20, 21)[:, None]
    plain = run("requantize", {"lo": -4, "hi": 3, "even": 0}, x, [3], [1], [2])
    np.testing.assert_array_equal(plain, np.clip(np.floor((3 * x + 1) / 4), -4, 3))
    even = run("requantize", {"lo": -9, "hi": 9, "even": 1}, x, [1], [0], [1])
    np.testing.assert_array_equal(even, np.clip(np.rint(x / 2), -9, 9))
    with pytest.raises(GraphError, match=r"expected 1\.\.62"):
        run("requantize", {"lo": 0, "hi": 1, "even": 1}, x, [1], [0], [0])


def test_threshold_counts(rng):
    x = integers(rng, 6, 3, 4, top=20)
    at = np.sort(integers(rng, 3, 1, 5, top=15), axis=-1)
    base, step = integers(rng, 3, 1), np.array([[1], [-1], [1]])
    found = run("threshold", {}, x, at, base, step)
    count = (x[..., None] >= at).sum(axis=-1)
    np.testing.assert_array_equal(found, base + step * count)


def test_table_per_channel(rng):
    x, entries = integers(rng, 4, 3, 5, top=3), integers(rng, 3, 1, 7)
    found = run("table", {"first": -3}, x, entries)
    expected = np.stack([entries[c, 0][x[:, c] + 3] for c in range(3)], axis=1)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(GraphError, match=r"value 9 is outside the table, expected -3\.\.3"):
        run("table", {"first": -3}, np.full((1, 3, 1), 9), entries)


def test_arithmetic_of_two_operands(rng):
    a, b = integers(rng, 4, 3, 5), integers(rng, 4, 3, 5)
    shifts = Attributes({"shift_a": 2, "shift_b": 1})
    np.testing.assert_array_equal(kernels.add(shifts, [a, b]), 4 * a + 2 * b)
    np.testing.assert_array_equal(kernels.subtract(shifts, [a, b]), 4 * a - 2 * b)
    np.testing.assert_array_equal(run("multiply", {}, a, [2, 3, 4, 5, 6]), a * [2, 3, 4, 5, 6])


def test_pieces_of_activations(rng):
    x = integers(rng, 4, 6)
    leaky = run("leaky", {"shift": 3}, x)
    close(leaky, 8 * fn.leaky_relu(real(x), 2.0**-3))
    close(run("clamp", {"lo": 0, "hi": 6}, x), fn.relu6(real(x)))
    keep = np.array([1, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(run("mask", {"fill": 2}, x, keep), np.where(keep, x, 2))


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(2, 2, 0, 1), (3, 2, 1, 2)])
def test_max_pool(rng, kernel, stride, padding, dilation):
    x = integers(rng, 3, 2, 9, 8) - 20
    attributes = {
        "kernel": (kernel,) * 2,
        "stride": (stride,) * 2,
        "padding": (padding,) * 4,
        "dilation": (dilation,) * 2,
    }
    expected = fn.max_pool2d(real(x), kernel, stride, padding, dilation)
    close(run("max_pool", attributes, x), expected)


def test_sum_pool_is_the_average_times_the_count(rng):
    x = integers(rng, 3, 2, 9, 8)
    attributes = {"kernel": (2, 3), "stride": (2, 1), "padding": (1, 1, 1, 1), "fill": 0}
    expected = fn.avg_pool2d(real(x), (2, 3), (2, 1), 1, divisor_override=1)
    close(run("sum_pool", attributes, x), expected)


def test_moves(rng):
    x = integers(rng, 3, 2, 4, 5)
    close(run("sum", {"axes": (1, 2)}, x), real(x).sum((2, 3), keepdim=True))
    close(run("reshape", {"shape": (8, 5)}, x), real(x).reshape(3, 8, 5))
    close(run("permute", {"axes": (2, 0, 1)}, x), real(x).permute(0, 3, 1, 2))
    cut = {"start": (0, 1, 0), "stop": (1, 4, 5), "step": (1, 2, 3)}
    close(run("slice", cut, x), real(x)[:, 0:1, 1:4:2, 0:5:3])
    around = {"before": (0, 1, 0), "after": (0, 2, 3), "fill": -7}
    close(run("pad", around, x), fn.pad(real(x), (0, 3, 1, 2), value=-7))
    joined = kernels.concat(Attributes({"axis": 1}), [x, x, np.zeros((1, 2, 1, 5), dtype=np.int64)])
    assert joined.shape == (3, 2, 9, 5)


def test_top_k_takes_the_lowest_index_at_a_tie():
    x = np.array([[3, 9, 9, -(2**63), 1]])
    assert run("top_k", {"axis": 0, "k": 3}, x).tolist() == [[1, 2, 0]]
    assert run("top_k", {"axis": 0, "k": 1}, x)[0, 0] == np.argmax(x)


@pytest.mark.parametrize(
    ("kind", "attributes", "shapes", "fact"),
    [
        ("dense", {}, [(3,), (2, 4), (2,)], "3 features"),
        ("dense", {}, [(3,), (2, 3), (3,)], "bias"),
        ("requantize", {"lo": 2, "hi": 1, "even": 0}, [(3,)] * 4, "above"),
        ("requantize", {"lo": 0, "hi": 1, "even": 2}, [(3,)] * 4, "0 or 1"),
        ("requantize", {"lo": 0, "hi": 1, "even": 0}, [(3,), (2,), (3,), (3,)], "multiplier"),
        ("threshold", {}, [(3,), (3, 2), (1,), (3,)], "same channels"),
        ("table", {"first": 0}, [(3,), (2, 4)], "table"),
        ("add", {"shift_a": 0, "shift_b": -1}, [(3,), (3,)], "shift_b"),
        ("multiply", {}, [(3,), (2,)], "not alike"),
        ("concat", {"axis": 0}, [(3, 2), (3, 3)], "axis 0"),
        ("concat", {"axis": 2}, [(3, 2)], "an axis of"),
        ("sum", {"axes": (0, 0)}, [(3, 2)], "different axes"),
        ("reshape", {"shape": (4,)}, [(3,)], "does not hold"),
        ("permute", {"axes": (0, 0)}, [(3, 2)], "no permutation"),
        ("slice", {"start": (2,), "stop": (2,), "step": (1,)}, [(3,)], "empty"),
        ("pad", {"before": (-1,), "after": (0,), "fill": 0}, [(3,)], "negative"),
        ("top_k", {"axis": 0, "k": 4}, [(3,)], r"1\.\.3"),
    ],
)
def test_shapes_without_meaning_are_refused(kind, attributes, shapes, fact):
    with pytest.raises(GraphError, match=fact):
        KINDS[kind].shape(Attributes(attributes), shapes)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"groups": 3}, "do not fit"),
        ({"groups": 0}, "groups"),
        ({"stride": (0,)}, "stride"),
        ({"stride": (1, 1)}, "expected 1 integers"),
        ({"padding": (-1, 0)}, "padding"),
        ({"padding": (10**9, 0)}, "padding"),
        ({"dilation": (9,)}, "larger than the padded input"),
    ],
)
def test_convolutions_without_meaning_are_refused(changes, fact):
    plain = {"stride": (1,), "padding": (0, 0), "dilation": (1,), "groups": 1, "fill": 0}
    with pytest.raises(GraphError, match=fact):
        KINDS["conv"].shape(Attributes({**plain, **changes}), [(2, 8), (4, 2, 3), (4,)])


def test_a_pool_of_padding_only_is_refused():
    attributes = {"kernel": (2,), "stride": (1,), "padding": (2, 0), "dilation": (1,)}
    with pytest.raises(GraphError, match="no sample"):
        KINDS["max_pool"].shape(Attributes(attributes), [(1, 5)])


@settings(max_examples=25, deadline=None)
@given(graphs(), st.integers(0, 99))
def test_no_value_leaves_its_range(graph, seed):
    names = tuple(op.name for op in graph.ops)
    kept = execute(graph, *random_inputs(graph, 30, seed), keep=names).kept
    for name, reach in graph.ranges().items():
        if name in kept:
            assert (kept[name] >= reach.lo).all(), name
            assert (kept[name] <= reach.hi).all(), name


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ranges_of_one_op_are_exact(seed):
    """Every combination of three inputs in small intervals: the ends are met, and never left."""
    rng = np.random.default_rng(seed)
    lo = rng.integers(-2, 1, 3)
    reach = Range(lo, lo + rng.integers(0, 3, 3))
    axes = (np.arange(a, b + 1) for a, b in zip(reach.lo, reach.hi, strict=True))
    x = np.array(list(product(*axes)))
    two = Range(np.array([-1, 0, 2]), np.array([-1, 0, 2]))
    cases = {
        "dense": ({}, rng.integers(-5, 6, (4, 3)), rng.integers(-5, 6, 4)),
        "requantize": ({"lo": -3, "hi": 9, "even": 1}, rng.integers(-5, 6, 3), two.lo, np.ones(3)),
        "threshold": ({}, np.sort(rng.integers(-3, 4, (3, 2))), two.lo, rng.choice([-1, 1], 3)),
        "table": ({"first": -2}, rng.integers(-9, 9, (3, 6))),
        "multiply": ({}, rng.integers(-3, 4, 3)),
        "subtract": ({"shift_a": 1, "shift_b": 2}, two.lo),
        "mask": ({"fill": 1}, rng.integers(0, 2, 3)),
        "leaky": ({"shift": 1},),
        "sum": ({"axes": (0,)},),
    }
    for kind, (attributes, *constants) in cases.items():
        given_, fixed = Attributes(attributes), [np.asarray(c, dtype=np.int64) for c in constants]
        results = KINDS[kind].run(given_, [x, *(c[None] for c in fixed)])
        found = KINDS[kind].reach(given_, [reach, *(Range(c, c) for c in fixed)])
        np.testing.assert_array_equal(found.lo, results.min(axis=0), kind)
        np.testing.assert_array_equal(found.hi, results.max(axis=0), kind)


def test_range_of_a_padded_convolution_is_exact(rng):
    geometry = {"stride": (1,), "padding": (1, 1), "dilation": (1,), "groups": 1, "fill": 1}
    w, b = integers(rng, 2, 1, 2), integers(rng, 2)
    x = np.array(list(product(range(-1, 3), repeat=3)))[:, None]
    results = run("conv", geometry, x, w, b)
    whole = Range(x.min(axis=0), x.max(axis=0))
    found = KINDS["conv"].reach(Attributes(geometry), [whole, Range(w, w), Range(b, b)])
    np.testing.assert_array_equal(found.lo, results.min(axis=0))
    np.testing.assert_array_equal(found.hi, results.max(axis=0))
