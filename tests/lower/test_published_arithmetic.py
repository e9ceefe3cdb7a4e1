"""Published integer arithmetic, and how it relates to ours.

Jacob et al. 2018 (section 2.4, appendix B) and gemmlowp: a 32-bit multiplier with a rounding
doubling high product and a rounding right shift. Blott et al. 2018 (FINN-R): batch norm and
quantizer as thresholds. Colbert et al. 2023: bounds on the width of an accumulator.
"""

import math

import numpy as np
import pytest

from pareq.errors import LoweringError
from pareq.ir.build import Builder
from pareq.lower.requantize import Constants, prove, requantize, solve, thresholds
from pareq.lower.transfer import Transfer, batch_norm
from pareq.numerics.grid import Grid


def high_mul(a, b):
    """SaturatingRoundingDoublingHighMul of gemmlowp."""
    if a == b == -(2**31):
        return 2**31 - 1
    product = a * b
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    return abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)


def rounding_divide(x, exponent):
    """RoundingDivideByPOT of gemmlowp: ties away from zero."""
    rest, half = x & (2**exponent - 1), (2**exponent - 1) >> 1
    return (x >> exponent) + (rest > half + (x < 0))


def quantize_multiplier(m):
    """A real multiplier as a 32-bit integer and a power of two."""
    fraction, exponent = math.frexp(m)
    integer = round(fraction * 2**31)
    return (integer // 2, exponent + 1) if integer == 2**31 else (integer, exponent)


def multiply(x, integer, exponent):
    """MultiplyByQuantizedMultiplier, with its two roundings."""
    return rounding_divide(high_mul(x << max(exponent, 0), integer), max(-exponent, 0))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (2**30, 2**30, 536870912),
        (-(2**31), -(2**31), 2147483647),
        (-(2**31), 2**31 - 1, -2147483647),
        (123456789, 2**30, 61728395),
        (-123456789, 2**30, -61728394),
        (1, 2**30, 1),
        (-1, 2**30, 0),
        (3, 2**30, 2),
        (-3, 2**30, -1),
        (5, 1717986918, 4),
        (-5, 1717986918, -4),
    ],
)
def test_high_multiplication(a, b, expected):
    assert high_mul(a, b) == expected


@pytest.mark.parametrize(
    ("x", "exponent", "expected"),
    [
        (12, 3, 2),
        (-12, 3, -2),
        (4, 3, 1),
        (-4, 3, -1),
        (3, 3, 0),
        (-3, 3, 0),
        (11, 3, 1),
        (-11, 3, -1),
        (20, 3, 3),
        (-20, 3, -3),
        (5, 0, 5),
    ],
)
def test_rounding_division(x, exponent, expected):
    assert rounding_divide(x, exponent) == expected


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.5, (1073741824, 0)),
        (0.1, (1717986918, -3)),
        (0.007247427341846, (1992157658, -7)),
        (0.9999999999, (1073741824, 1)),
        (1.5, (1610612736, 1)),
        (3.05e-5, (2146246697, -15)),
    ],
)
def test_multipliers(real, expected):
    assert quantize_multiplier(real) == expected


M = 0.007247427341846


@pytest.mark.parametrize(
    ("x", "expected"), [(1000, 7), (-1000, -7), (69, 1), (-69, -1), (207, 2), (123456, 895)]
)
def test_the_vectors_hold_for_ours_too(x, expected):
    """No vector is a tie, so rounding to nearest gives the same with any rule for ties."""
    assert multiply(x, *quantize_multiplier(M)) == expected
    ours = requantize(Transfer([M], [0.0], Grid(-(2**20), 2**20), "half_up"), [x - 400], [x + 400])
    assert ours(np.array([[x]]))[0, 0] == expected


@pytest.mark.parametrize("real", [3e-4, M, 0.1])
def test_the_single_rounding_variant_is_a_multiply_add_shift(real):
    """(x Q + 2^(30 - s)) >> (31 - s) of TFLite: our form, so the proof accepts and shortens it."""
    integer, exponent = quantize_multiplier(real)
    shift = 31 - exponent
    parts = [np.array([n]) for n in (integer, 1 << (shift - 1), shift)]
    published = Constants(*parts, -128, 127)
    lo, hi = [-(2**15)], [2**15]
    prove(published, published, lo, hi)
    found = solve(thresholds(published, lo, hi), lo, hi)
    assert found.shift[0] < shift
    prove(found, published, lo, hi)


def test_a_multiplier_of_32_bits_is_not_the_real_one():
    """0.1 rounds down to 1717986918 / 2^34, so the tie 5 * 0.1 falls; the proof names it."""
    integer, exponent = quantize_multiplier(0.1)
    shift = 31 - exponent
    parts = [np.array([n]) for n in (integer, 1 << (shift - 1), shift)]
    real = Transfer([0.1], [0.0], Grid(0, 127), "half_up")
    with pytest.raises(LoweringError, match="accumulator 5: integers give 0, float64 gives 1"):
        prove(Constants(*parts, 0, 127), real, [0], [1000])
    ours = requantize(real, [0], [1000])
    assert isinstance(ours, Constants)
    assert ours(np.array([[5]])) == 1


def test_double_rounding_differs_from_single_and_the_proof_says_where():
    """Jacob et al. round twice; at M = 0.37 one accumulator in four comes out different."""
    integer, exponent = quantize_multiplier(0.37)
    values = np.arange(-300, 301)
    twice = np.array([multiply(int(x), integer, exponent) for x in values])

    def published(acc):
        return twice[acc + 300]

    once = Transfer([0.37], [0.0], Grid(-1000, 1000), "half_up")
    different = twice != once(values[None])[0]
    assert 0.2 < different.mean() < 0.3
    first = int(values[different.argmax()])
    with pytest.raises(LoweringError, match=f"accumulator {first}: "):
        prove(published, once, [-300], [300])
    steps = thresholds(published, [-300], [300])
    np.testing.assert_array_equal(steps(values[None])[0], twice)


def test_thresholds_of_finn():
    """T_i = ceil((((i - 1/2) S_o - beta) sigma / gamma + mu) / S_acc), and <= for gamma < 0."""
    rng = np.random.default_rng(0)
    count, levels = 200, 15
    gamma = rng.choice([-1, 1], count) * rng.uniform(0.2, 2, count)
    beta, mean, sigma = rng.normal(0, 1, count), rng.normal(0, 3, count), rng.uniform(0.5, 2, count)
    s_acc, s_out = 0.01, 0.25
    gain, offset = batch_norm(s_acc, 0.0, (mean, sigma**2, 0.0), (gamma, beta))
    transfer = Transfer(gain, offset, Grid(0, levels, s_out), "half_up")
    lo, hi = np.full(count, -3000), np.full(count, 3000)
    acc = np.arange(-3000, 3001)[None].repeat(count, axis=0)
    i = np.arange(1, levels + 1)
    real = (((i - 0.5) * s_out - beta[:, None]) * (sigma / gamma)[:, None] + mean[:, None]) / s_acc
    ours = requantize(transfer, lo, hi)(acc)
    for c in range(count):
        if gamma[c] > 0:
            theirs = (acc[c][:, None] >= np.ceil(real[c])).sum(axis=1)
        else:
            theirs = (acc[c][:, None] <= np.floor(real[c])).sum(axis=1)
        np.testing.assert_array_equal(ours[c], theirs)


def test_accumulators_are_never_wider_than_the_published_bounds():
    """Colbert et al. 2023: P >= a + log2(1 + 2^-a) + 1 with a = log2 |w|_1 + N - (x is signed)."""
    rng = np.random.default_rng(1)
    for signed in (False, True):
        for bits in (2, 4, 8):
            b = Builder()
            x = b.input("x", (32,), Grid.fixed_point(bits, 0, signed=signed))
            weight = rng.integers(-7, 8, (16, 32))
            w, c = b.constant("w", weight), b.constant("b", np.zeros(16, np.int64))
            reach = b.range(b.op("dense", (x, w, c)))
            for row, low, high in zip(weight, reach.lo, reach.hi, strict=True):
                a = math.log2(np.abs(row).sum()) + bits - signed
                bound = math.ceil(a + math.log2(1 + 2**-a) + 1)
                assert Grid(int(low), int(high)).bits <= bound


def test_average_pooling_of_int8_is_one_multiply_add_shift():
    """TFLite rounds the mean of a window half away from zero, with a branch on the sign."""

    def mean(acc):
        return np.where(acc >= 0, (acc + 2) // 4, -((-acc + 2) // 4))

    lo, hi = [-4 * 128], [4 * 127]
    found = solve(thresholds(mean, lo, hi), lo, hi)
    assert (found.multiplier[0], found.offset[0], found.shift[0]) == (513, 1022, 11)
    prove(found, mean, lo, hi)
    acc = np.arange(-512, 509)[None]
    np.testing.assert_array_equal(found(acc), mean(acc))
