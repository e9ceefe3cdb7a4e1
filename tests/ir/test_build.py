"""The builder finds shapes, ranges and grids; what it cannot find it asks for."""

import numpy as np
import pytest

from pareq.errors import GraphError
from pareq.ir.build import Builder
from pareq.numerics.grid import Grid


def test_grids_follow_from_the_operands():
    b = Builder()
    x = b.input("x", (2,), Grid(0, 15, 0.5), rounding="half_up")
    w = b.constant("w", [[1, -1], [2, 2]], np.array([[0.5], [0.25]]))
    y = b.op("dense", (x, w, b.constant("b", [3, 4])), origin="fc")
    assert y == "dense"
    value = b.value(y)
    assert (value.grid.lo, value.grid.hi) == (-12, 64)
    np.testing.assert_array_equal(value.grid.scale, [0.25, 0.125])
    assert b.range(y).lo.tolist() == [-12, 4]
    z = b.op("reshape", (y,), {"shape": (2, 1)})
    np.testing.assert_array_equal(b.value(z).grid.scale, [[0.25], [0.125]])
    graph = b.graph((z,), {"recipe": "none"})
    assert graph.inputs[0].rounding == "half_up"
    assert graph.producer(y).origin == "fc"
    assert graph.metadata == {"recipe": "none"}


def test_equal_scales_become_one_number():
    b = Builder()
    x = b.input("x", (2, 3), Grid(0, 3, np.array([[0.5], [0.5]])))
    assert b.value(b.op("clamp", (x,), {"lo": 1, "hi": 2})).grid == Grid(1, 2, 0.5)


def test_taken_names_get_a_number():
    b = Builder()
    names = [b.constant("c", [1]) for _ in range(3)]
    assert names == ["c", "c.2", "c.3"]


def test_scales_are_asked_for_where_they_are_free_only():
    b = Builder()
    x = b.input("x", (2,), Grid(0, 3))
    with pytest.raises(GraphError, match="op 'sum': the scale of this kind does not follow"):
        b.op("sum", (x,), {"axes": (0,)})
    y = b.op("sum", (x,), {"axes": (0,)}, scale=0.5, zero=2)
    assert b.value(y).grid == Grid(0, 6, 0.5, 2)
    with pytest.raises(GraphError, match="follows from its operands"):
        b.op("clamp", (x,), {"lo": 0, "hi": 1}, scale=1.0)


def test_errors_name_the_op():
    b = Builder()
    x = b.input("x", (2,), Grid(0, 3, 1.0, 1))
    with pytest.raises(GraphError, match="op 'act': x has zero 1"):
        b.op("leaky", (x,), {"shift": 1}, name="act")
    with pytest.raises(GraphError, match="op 'clamp': no value 'y'"):
        b.op("clamp", ("y",), {"lo": 0, "hi": 1})
    with pytest.raises(GraphError, match=r"expected -1\.\.0"):
        b.graph((b.op("clamp", (x,), {"lo": 0, "hi": 1}, grid=Grid(-1, 0, 1.0, 1)),))


MEANINGS = [
    ("add", {"shift_a": 0, "shift_b": 1}, "scales after the shifts"),
    ("multiply", {}, "have zeros 0 and 1"),
    ("concat", {"axis": 0}, "zeros"),
]


@pytest.mark.parametrize(("kind", "attributes", "fact"), MEANINGS)
def test_operands_of_different_meaning_are_refused(kind, attributes, fact):
    b = Builder()
    x, y = b.input("x", (2,), Grid(0, 3, 0.5)), b.input("y", (2,), Grid(0, 3, 0.5, 1))
    with pytest.raises(GraphError, match=fact):
        b.op(kind, (x, y), attributes)


def test_sums_over_different_scales_are_refused():
    b = Builder()
    x = b.input("x", (2,), Grid(0, 3, np.array([0.5, 0.25])))
    w = b.constant("w", [[1, 1]])
    with pytest.raises(GraphError, match="varies along axis 0, which is summed"):
        b.op("dense", (x, w, b.constant("b", [0])))
    image = b.input("image", (2, 4), Grid(0, 3, np.array([[0.5], [0.25]])))
    geometry = {"stride": (1,), "padding": (0, 0), "dilation": (1,), "fill": 0}
    kernel, bias = b.constant("kernel", np.ones((2, 1, 3), np.int64)), b.constant("bias", [0, 0])
    each = b.op("conv", (image, kernel, bias), {**geometry, "groups": 2})
    np.testing.assert_array_equal(b.value(each).grid.scale, [[0.5], [0.25]])
    dense = b.constant("dense", np.ones((2, 2, 3), np.int64))
    with pytest.raises(GraphError, match="which is summed"):
        b.op("conv", (image, dense, bias), {**geometry, "groups": 1})
    window = {"kernel": (2,), "stride": (2,), "padding": (0, 0), "dilation": (1,)}
    pooled = b.op("max_pool", (image,), window)
    np.testing.assert_array_equal(b.value(pooled).grid.scale, [[0.5], [0.25]])
    turned = b.op("permute", (image,), {"axes": (1, 0)})
    with pytest.raises(GraphError, match="which is pooled"):
        b.op("max_pool", (turned,), window)
    with pytest.raises(GraphError, match="which is padded"):
        b.op("pad", (image,), {"before": (1, 0), "after": (0, 0), "fill": 0})
