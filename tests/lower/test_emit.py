"""The op that is emitted equals its transfer, on the axis and with the scales it should have."""

import numpy as np
import pytest

from pareq.errors import LoweringError
from pareq.ir.build import Builder
from pareq.ir.execute import execute
from pareq.ir.reach import Range
from pareq.lower.emit import channel_range, emit
from pareq.lower.transfer import Transfer
from pareq.numerics.grid import Grid


def start(shape, lo=-300, hi=300):
    b = Builder()
    return b, b.input("x", shape, Grid(lo, hi))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor", "toward_zero"])
@pytest.mark.parametrize("shared_shift", [False, True])
def test_every_channel_has_its_own_function(axis, rounding, shared_shift):
    rng = np.random.default_rng(axis)
    shape = (3, 4, 5)
    count = shape[axis]
    scale = rng.uniform(0.5, 2, count)
    grid = Grid(-8, 7, scale, 1)
    transfer = Transfer(rng.normal(0, 0.05, count), rng.normal(0, 1, count), grid, rounding)
    b, x = start(shape)
    y = emit(b, x, transfer, axis=axis, name="q", origin="m", shared_shift=shared_shift)
    graph = b.graph((y,))
    assert graph.ops[0].origin == "m"
    assert graph.value(y).grid.scale.shape == tuple(count if i == axis else 1 for i in range(3))
    n = rng.integers(-300, 301, (50, *shape))
    rows = np.moveaxis(n, axis + 1, 0).reshape(count, -1)
    found = np.moveaxis(execute(graph, n).outputs[0], axis + 1, 0).reshape(count, -1)
    np.testing.assert_array_equal(found, transfer(rows))


def test_one_function_for_a_whole_tensor():
    b, x = start((3, 4))
    transfer = Transfer([0.1], [0.5], Grid(0, 15, np.array([0.5])), "half_up")
    y = emit(b, x, transfer, axis=7)
    graph = b.graph((y,))
    assert graph.value(y).grid == Grid(0, 15, 0.5)
    assert graph.constant("requantize.multiplier").shape == (1, 1)
    n = np.arange(-300, 300).reshape(50, 3, 4)
    expected = transfer(n.reshape(1, -1)).reshape(n.shape)
    np.testing.assert_array_equal(execute(graph, n).outputs[0], expected)


def test_only_the_reachable_range_counts():
    """A clamp in front lets a smaller shift do."""
    b, x = start((1,), -100_000, 100_000)
    near = b.op("clamp", (x,), {"lo": -20, "hi": 20})
    transfer = Transfer([0.1234567], [0.0], Grid(-8, 7), "half_up")
    shifts = [
        b.range(b.graph((emit(b, each, transfer, name=name),)).ops[-1].inputs[3]).hi.max()
        for name, each in (("far", x), ("near", near))
    ]
    assert shifts[1] < shifts[0]


def test_a_table_where_no_constants_exist():
    b, x = start((2,))
    y = emit(b, x, Transfer([0.25, 0.25], [0.0, 0.0], Grid(-50, 50), "toward_zero"), name="q")
    graph = b.graph((y,))
    assert graph.ops[0].kind == "threshold"
    n = np.arange(-300, 301)[:, None].repeat(2, axis=1)
    np.testing.assert_array_equal(execute(graph, n).outputs[0], np.clip(np.trunc(n / 4), -50, 50))


def test_channels_that_do_not_fit_are_named():
    b, x = start((3, 4))
    transfer = Transfer(np.ones(4), np.zeros(4), Grid(0, 7))
    with pytest.raises(LoweringError, match=r"op 'q': 4 channels for x = \(3, 4\) on axis 0"):
        emit(b, x, transfer, name="q")
    with pytest.raises(LoweringError, match="axis 2"):
        emit(b, x, transfer, axis=2)


def test_ranges_of_channels():
    reach = Range(np.array([[1, 2], [3, -4]]), np.array([[5, 2], [3, 9]]))
    each = channel_range(reach, 0)
    assert (each.lo.tolist(), each.hi.tolist()) == ([1, -4], [5, 9])
    every = channel_range(reach, None)
    assert (every.lo.tolist(), every.hi.tolist()) == ([-4], [9])
