"""A grid: which integers, which reals, and both edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pareq.errors import GridError
from pareq.numerics.grid import Grid, integer_range


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "expected"),
    [
        (1, False, False, (0, 1)),
        (1, True, False, (-1, 0)),
        (6, True, False, (-32, 31)),
        (6, True, True, (-31, 31)),
        (6, False, False, (0, 63)),
        (32, True, False, (-(2**31), 2**31 - 1)),
    ],
)
def test_integer_ranges(bits, signed, narrow, expected):
    assert integer_range(bits, signed=signed, narrow=narrow) == expected
    lo, hi = expected
    assert Grid(lo, hi).bits == bits


@pytest.mark.parametrize("bits", [0, -1, 33])
def test_bits_outside_1_to_32(bits):
    with pytest.raises(GridError) as error:
        integer_range(bits)
    assert str(error.value) == f"bits must be in 1..32, got {bits}"


def test_both_edges_saturate():
    grid = Grid.fixed_point(6, 4)
    assert grid.limits == (-2.0, 1.9375)
    x = [-np.inf, -1e300, -2.1, -2.0, 1.9375, 1.94, 1e300, np.inf]
    assert grid.quantize(x).tolist() == [-32, -32, -32, -32, 31, 31, 31, 31]
    assert grid.quantize(x[1:4], overflow="saturate").tolist() == [-32, -32, -32]
    assert grid.quantize([2.0, -2.0625], overflow="wrap").tolist() == [-32, 31]


@given(
    bits=st.integers(1, 16),
    frac=st.integers(-8, 20),
    signed=st.booleans(),
    data=st.data(),
)
def test_every_integer_of_a_grid_comes_back(bits, frac, signed, data):
    grid = Grid.fixed_point(bits, frac, signed=signed)
    n = data.draw(st.integers(grid.lo, grid.hi))
    assert grid.quantize(grid.dequantize(n)) == n
    assert grid.frac == frac
    assert grid.holds(grid.dequantize(n))
    assert not grid.holds(grid.dequantize(n) + 2.0 ** (-frac - 2))


@given(x=st.floats(-3, 3), zero=st.integers(-5, 5))
def test_rounding_error_is_at_most_half_a_step(x, zero):
    grid = Grid(-300, 300, 0.03, zero)
    assert abs(grid.dequantize(grid.quantize(x)) - x) <= 0.015 * (1 + 1e-12)


def test_a_scale_per_channel():
    grid = Grid(-8, 7, np.array([[0.5], [0.25]]))
    assert grid.quantize([[1.0, 9.0], [1.0, -9.0]]).tolist() == [[2, 7], [4, -8]]
    assert grid.frac is None
    assert grid == Grid(-8, 7, np.array([[0.5], [0.25]]))
    assert grid != Grid(-8, 7, np.array([[0.5], [0.5]]))
    assert hash(grid) == hash(Grid(-8, 7, np.array([[0.5], [0.25]])))


def test_the_scale_cannot_be_changed_from_outside():
    scale = np.array([0.5])
    grid = Grid(0, 1, scale)
    scale[0] = 9.0
    assert grid.scale == 0.5
    with pytest.raises(ValueError, match="read-only"):
        grid.scale[0] = 1.0


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Grid(3, 2), "grid holds nothing: lo = 3 is above hi = 2"),
        (lambda: Grid(0, 1, 0.0), "scale must be positive and finite, got 0.0"),
        (lambda: Grid(0, 1, float("nan")), "scale must be positive and finite, got nan"),
        (lambda: Grid(0, 1).quantize([0.0, float("nan")]), "1 of 2 values are NaN"),
        (
            lambda: Grid(0, 1).quantize([1e30], overflow="wrap"),
            "values beyond 2^62 steps cannot be wrapped; saturate, or raise the scale",
        ),
        (
            lambda: integer_range(1, narrow=True),
            "a signed narrow range of 1 bit holds only zero; use 2 bits or more",
        ),
    ],
)
def test_what_no_grid_can_hold(make, line):
    with pytest.raises(GridError) as error:
        make()
    assert str(error.value) == line
