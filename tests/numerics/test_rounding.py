"""The definition of rounding, on exact fractions, and its two twins."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pareq.errors import GridError
from pareq.numerics.gradients import round_
from pareq.numerics.rounding import divide, fit, round_real, saturate, wrap

EXACT = {
    "half_even": lambda f: round(f),
    "half_up": lambda f: math.floor(f + Fraction(1, 2)),
    "floor": math.floor,
    "toward_zero": math.trunc,
}


@pytest.mark.parametrize("rounding", EXACT)
@given(n=st.integers(-(2**62), 2**62), by=st.integers(1, 2**40))
def test_divide_is_the_exact_quotient(rounding, n, by):
    assert int(divide(n, by, rounding)) == EXACT[rounding](Fraction(n, by))


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("half_even", [-2, 0, 0, 2]),
        ("half_up", [-1, 0, 1, 2]),
        ("floor", [-2, -1, 0, 1]),
        ("toward_zero", [-1, 0, 0, 1]),
    ],
)
def test_the_table_of_the_module(rounding, expected):
    assert divide([-3, -1, 1, 3], 2, rounding).tolist() == expected


@pytest.mark.parametrize("rounding", EXACT)
@given(n=st.integers(-(2**20), 2**20), shift=st.integers(0, 3))
def test_the_float_twins_agree_with_the_integers(rounding, n, shift):
    by = 2**shift
    expected = int(divide(n, by, rounding))
    assert round_real(n / by, rounding) == expected
    assert round_(torch.tensor([n / by]), rounding).item() == expected


@pytest.mark.parametrize("rounding", EXACT)
def test_numbers_next_to_a_tie_are_not_ties(rounding):
    for tie in (0.5, 1.5, -0.5, -1.5, 2.5):
        for x in (np.nextafter(tie, 9), np.nextafter(tie, -9)):
            expected = EXACT[rounding](Fraction(x))
            assert round_real(x, rounding) == expected
            assert round_(torch.tensor([x], dtype=torch.float64), rounding).item() == expected


def test_stochastic_rounding_is_right_on_average_and_keeps_integers():
    rng = np.random.default_rng(0)
    n = np.full(40_000, 5)
    assert abs(divide(n, 4, "stochastic", rng).mean() - 1.25) < 0.02
    assert abs(round_real(n / 4, "stochastic", rng).mean() - 1.25) < 0.02
    assert abs(round_(torch.full((40_000,), 1.25), "stochastic").mean().item() - 1.25) < 0.02
    assert (divide([-8, 0, 12], 4, "stochastic", rng) == [-2, 0, 3]).all()
    assert round_(torch.tensor([-2.0, 0.0, 2.0**23]), "stochastic").tolist() == [-2, 0, 2**23]


@given(n=st.integers(-(2**40), 2**40), bits=st.integers(1, 32))
def test_wrapping_is_what_a_register_does(n, bits):
    lo, hi = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    wrapped = int(wrap(n, lo, hi))
    assert lo <= wrapped <= hi
    assert (wrapped - n) % 2**bits == 0
    assert int(saturate(n, lo, hi)) == max(lo, min(n, hi))


def test_misspelt_names_get_a_suggestion():
    with pytest.raises(GridError) as error:
        divide(1, 2, "half_eve")
    assert str(error.value) == "unknown rounding 'half_eve'; did you mean 'half_even'?"
    with pytest.raises(GridError) as error:
        fit(1, 0, 1, "satturate")
    assert str(error.value) == "unknown overflow 'satturate'; did you mean 'saturate'?"
    with pytest.raises(GridError) as error:
        divide(1, 0)
    assert str(error.value) == "divisor is 0, expected a positive integer"
