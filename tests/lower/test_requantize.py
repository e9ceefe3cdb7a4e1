"""Requantization equals the float64 function for every accumulator, or says where it does not."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pareq.errors import LoweringError
from pareq.lower.requantize import Constants, Steps, prove, requantize, solve, thresholds
from pareq.lower.transfer import Transfer, batch_norm, common_scale
from pareq.numerics.grid import Grid

ROUNDINGS = ("half_even", "half_up", "floor", "toward_zero")


def every(lo, hi):
    """All accumulators of ranges of one width, `(C, M)`."""
    return np.asarray(lo)[:, None] + np.arange(hi[0] - lo[0] + 1)


@st.composite
def transfers(draw):
    """A transfer of a few channels and ranges of one width, ties and both directions included."""
    count = draw(st.integers(1, 4))
    sixteenths = st.integers(-64, 64).map(lambda n: n / 16)  # ties are frequent on these
    reals = st.floats(-3, 3, allow_subnormal=False)
    gain = draw(st.lists(sixteenths | reals, min_size=count, max_size=count))
    offset = draw(st.lists(sixteenths | reals.map(lambda x: 9 * x), min_size=count, max_size=count))
    bits = draw(st.integers(1, 6))
    signed = draw(st.booleans()) and bits > 1
    lo = -(2 ** (bits - 1)) if signed else 0
    scale = draw(st.sampled_from([0.25, 1.0, 2.0, 0.1, 1 / 3]))
    grid = Grid(lo, lo + 2**bits - 1, scale, draw(st.integers(-3, 3)))
    transfer = Transfer(
        np.array(gain),
        np.array(offset),
        grid,
        draw(st.sampled_from(ROUNDINGS)),
        draw(st.sampled_from([0.0, 0.125, 0.3, 1.0])),
        *draw(st.sampled_from([(-np.inf, np.inf), (-1.0, 1.0), (0.0, 6.0)])),
    )
    low = np.array(draw(st.lists(st.integers(-300, 300), min_size=count, max_size=count)))
    return transfer, low, low + draw(st.integers(0, 400))


@settings(max_examples=120, deadline=None)
@given(transfers(), st.booleans())
def test_equals_the_float64_function_everywhere(case, shared):
    transfer, lo, hi = case
    found = requantize(transfer, lo, hi, shared_shift=shared)
    acc = every(lo, hi)
    np.testing.assert_array_equal(found(acc), transfer(acc))
    if shared and isinstance(found, Constants):
        assert len(set(found.shift.tolist())) == 1


@settings(max_examples=60, deadline=None)
@given(transfers())
def test_thresholds_are_the_steps_of_the_function(case):
    transfer, lo, hi = case
    steps = thresholds(transfer, lo, hi)
    acc = every(lo, hi)
    np.testing.assert_array_equal(steps(acc), transfer(acc))
    assert (np.diff(steps.at, axis=1) >= 0).all()
    jumps = np.abs(np.diff(transfer(acc), axis=1)).sum(axis=1)
    np.testing.assert_array_equal((steps.at <= hi[:, None]).sum(axis=1), jumps)


@settings(max_examples=60, deadline=None)
@given(transfers())
def test_no_smaller_shift_exists(case):
    """Brute force over every m and b that could matter at the shift below the one found."""
    transfer, lo, hi = case
    transfer = replace(transfer, gain=transfer.gain[:1], offset=transfer.offset[:1])
    lo, hi = lo[:1], np.minimum(hi[:1], lo[:1] + 60)
    found = requantize(transfer, lo, hi)
    if not isinstance(found, Constants) or found.even or not 1 <= found.shift[0] <= 4:
        return
    shift, acc = int(found.shift[0]) - 1, every(lo, hi)[0]
    expected = transfer(acc[None])[0]
    limit = (int(np.ptp(expected)) + 2) << shift
    for m in range(-limit, limit + 1):
        # acc * m + b must reach expected; the first accumulator fixes b to a window of 2^shift,
        # unless it is clamped there: then the first one that is not does.
        inner = (expected > found.lo) & (expected < found.hi)
        at = int(inner.argmax()) if inner.any() else int(np.flatnonzero(np.diff(expected))[0])
        centre = (int(expected[at]) << shift) - m * int(acc[at])
        for b in range(centre - (1 << shift) * 2, centre + (1 << shift) * 2):
            got = np.clip((acc * m + b) >> shift, found.lo, found.hi)
            assert not np.array_equal(got, expected), (m, b, shift)


def test_a_power_of_two_is_one_shift():
    transfer = Transfer(np.array([2.0**-7]), np.array([0.0]), Grid(-32, 31, 2.0**-3), "half_up")
    found = requantize(transfer, [-5000], [5000])
    assert isinstance(found, Constants)
    assert (found.multiplier.tolist(), found.shift.tolist()) == ([1], [4])
    assert found.offset.tolist() == [8]


def test_ties_to_even_need_the_even_form():
    """Ties go to both sides in turn, which no plain multiply-add-shift can follow."""
    transfer = Transfer(np.array([0.25, -0.5]), np.array([0.0, 1.5]), Grid(-50, 50), "half_even")
    lo, hi = [-90, -90], [90, 90]
    assert solve(thresholds(transfer, lo, hi), lo, hi) is None
    found = requantize(transfer, lo, hi)
    assert isinstance(found, Constants)
    assert found.even
    assert (found.multiplier.tolist(), found.shift.tolist()) == ([1, -1], [2, 1])
    acc = np.arange(-90, 91)
    np.testing.assert_array_equal(found(np.stack([acc, acc]))[0], np.rint(acc / 4))


def test_rounding_toward_zero_on_both_sides_is_a_table():
    transfer = Transfer(np.array([0.25]), np.array([0.0]), Grid(-50, 50), "toward_zero")
    found = requantize(transfer, [-90], [90])
    assert isinstance(found, Steps)
    acc = np.arange(-90, 91)
    np.testing.assert_array_equal(found(acc[None])[0], np.trunc(acc / 4))


def test_constant_channels():
    transfer = Transfer(np.array([0.0, -0.0, 1e-12]), np.array([3.4, -9.0, 0.6]), Grid(-4, 3))
    found = requantize(transfer, [-100] * 3, [100] * 3)
    assert isinstance(found, Constants)
    assert found.multiplier.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(found(np.array([[5], [5], [5]])), [[3], [-4], [1]])


@pytest.mark.parametrize("field", ["offset", "multiplier", "shift", "lo", "hi"])
@pytest.mark.parametrize("amount", [-1, 1])
def test_a_wrong_constant_is_found_with_the_first_accumulator(field, amount):
    rng = np.random.default_rng(3)
    transfer = Transfer(rng.normal(0, 0.01, 5), rng.normal(0, 1, 5), Grid(-8, 7, 0.25), "half_up")
    lo, hi = np.full(5, -2000), np.full(5, 2000)
    found = requantize(transfer, lo, hi)
    assert isinstance(found, Constants)
    value = getattr(found, field)
    if field in ("lo", "hi"):
        broken = replace(found, **{field: value + amount})
    else:
        changed = value.copy()
        changed[2] += amount * (40000 if field == "offset" else 1)
        broken = replace(found, **{field: changed})
    acc = every(lo, hi)
    wrong = broken(acc) != transfer(acc)
    if not wrong.any():  # a wider clamp changes nothing
        assert field in ("lo", "hi")
        prove(broken, transfer, lo, hi)
        return
    channel = int(wrong.any(axis=1).argmax())
    first = int(acc[channel][wrong[channel].argmax()])
    with pytest.raises(LoweringError, match=f"channel {channel}, accumulator {first}: "):
        prove(broken, transfer, lo, hi)


@settings(max_examples=80, deadline=None)
@given(transfers(), st.integers(0, 3), st.integers(-2, 2), st.integers(-9, 9))
def test_proof_agrees_with_brute_force(case, channel, more_m, more_b):
    transfer, lo, hi = case
    found = requantize(transfer, lo, hi)
    channel %= len(lo)
    if isinstance(found, Constants):
        m, b = found.multiplier.copy(), found.offset.copy()
        m[channel] += more_m
        b[channel] += more_b
        changed = replace(found, multiplier=m, offset=b)
    else:
        at = found.at.copy()
        at[channel] += more_b
        changed = replace(found, at=at)
    acc = every(lo, hi)
    wrong = changed(acc) != transfer(acc)
    if wrong.any():
        row = int(wrong.any(axis=1).argmax())
        first = int(acc[row][wrong[row].argmax()])
        with pytest.raises(LoweringError, match=f"channel {row}, accumulator {first}:"):
            prove(changed, transfer, lo, hi)
    else:
        prove(changed, transfer, lo, hi)


def test_constants_that_overflow_are_refused():
    transfer = Transfer(np.array([1.0]), np.array([0.0]), Grid(-8, 7))
    huge = Constants(*(np.array([n]) for n in (2**60, 0, 60)), -8, 7)
    with pytest.raises(LoweringError, match="int64"):
        prove(huge, transfer, [-100], [100])
    with pytest.raises(LoweringError, match="ascend"):
        prove(Steps(np.array([0]), np.array([1]), np.array([[3, 2]])), transfer, [0], [4])


def test_random_channels_all_have_constants():
    """The sketch of the design: 6-bit results of accumulators up to 2^20, 300 of 300."""
    rng = np.random.default_rng(0)
    span = 2.0 ** rng.uniform(8, 20, 300)
    gain = rng.choice([-1, 1], 300) * 63 / span * rng.uniform(0.3, 3, 300)
    transfer = Transfer(gain, rng.normal(0, 10, 300), Grid(0, 63), "half_even")
    found = requantize(transfer, -span.astype(np.int64), span.astype(np.int64))
    assert isinstance(found, Constants)
    assert np.abs(found.multiplier).max() < 2**24
    assert found.shift.max() <= 40


def test_sixteen_bits_and_wide_accumulators():
    rng = np.random.default_rng(1)
    transfer = Transfer(
        rng.normal(0, 1e-5, 3), rng.normal(0, 1, 3), Grid(-(2**15), 2**15 - 1, 1e-3), "half_up"
    )
    lo, hi = np.full(3, -(2**31)), np.full(3, 2**31)
    found = requantize(transfer, lo, hi)
    acc = rng.integers(-(2**31), 2**31, (3, 20_000))
    np.testing.assert_array_equal(found(acc), transfer(acc))


@pytest.mark.slow
def test_ten_thousand_channels_take_seconds():
    rng = np.random.default_rng(2)
    transfer = Transfer(
        rng.normal(0, 1e-3, 10_000), rng.normal(0, 1, 10_000), Grid(0, 63, 0.05), "half_even"
    )
    begin = time.process_time()
    found = requantize(transfer, np.full(10_000, -(2**15)), np.full(10_000, 2**15))
    assert time.process_time() - begin < 60
    acc = rng.integers(-(2**15), 2**15, (10_000, 50))
    np.testing.assert_array_equal(found(acc), transfer(acc))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("flat", [np.maximum, np.minimum])
def test_an_end_that_only_one_channel_has_is_not_left_to_the_clamp(flat, sign):
    """The clamp serves all channels, so a channel that is flat above it needs its own bound."""

    def function(acc):
        return sign * (np.stack([flat(acc[0], 0), acc[1]]) // 8)

    lo, hi = np.full(2, -200), np.full(2, 200)
    steps = thresholds(function, lo, hi)
    assert solve(steps, lo, hi) is None
    prove(steps, function, lo, hi)
    alone = thresholds(lambda acc: function(np.vstack([acc, acc]))[:1], lo[:1], hi[:1])
    found = solve(alone, lo[:1], hi[:1])
    acc = every(lo, hi)
    np.testing.assert_array_equal(found(acc[:1]), function(acc)[:1])


def test_falling_thresholds_of_any_monotone_function():
    def function(acc):
        return np.rint(-20 * np.tanh(acc / 40.0)).astype(np.int64)

    lo, hi = np.array([-200]), np.array([150])
    steps = thresholds(function, lo, hi)
    acc = every(lo, hi)
    np.testing.assert_array_equal(steps(acc), function(acc))
    assert solve(steps, lo, hi) is None
    prove(steps, function, lo, hi)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"rounding": "stochastic"}, "stochastic"),
        ({"gain": np.array([np.nan])}, "finite"),
        ({"offset": np.array([np.inf])}, "finite"),
        ({"slope": -1.0}, "never rise"),
        ({"low": 1.0, "high": 0.0}, "never rise"),
        ({"grid": Grid(0, 1, np.ones(3))}, "3 scales for 1"),
    ],
)
def test_what_is_no_monotone_function_is_refused(changes, fact):
    fields = {"gain": np.array([1.0]), "offset": np.array([0.0]), "grid": Grid(0, 7)}
    with pytest.raises(LoweringError, match=fact):
        Transfer(**{**fields, **changes})


@pytest.mark.parametrize(("lo", "hi"), [([3], [2]), ([0, 0], [1, 1]), ([-(2**62)], [0])])
def test_bad_ranges_are_refused(lo, hi):
    transfer = Transfer(np.array([1.0]), np.array([0.0]), Grid(0, 7))
    with pytest.raises(LoweringError):
        requantize(transfer, lo, hi)


def test_batch_norm_in_its_stated_order():
    gamma, beta, mean, var = 1.3, -0.2, 0.7, 2.5
    gain, offset = batch_norm([0.25, 0.5], [0.1, 0.2], (mean, var, 1e-5), (gamma, beta))
    factor = gamma / np.sqrt(var + 1e-5)
    np.testing.assert_array_equal(gain, [0.25 * factor, 0.5 * factor])
    np.testing.assert_array_equal(
        offset, [(0.1 - mean) * factor + beta, (0.2 - mean) * factor + beta]
    )
    plain = batch_norm([0.25], [0.1], (0.0, 1.0, 0.0))
    assert [part.tolist() for part in plain] == [[0.25], [0.1]]


def test_relu_and_leaky_are_part_of_the_transfer():
    acc = np.arange(-40, 41)[None]
    relu = Transfer(np.array([0.5]), np.array([0.25]), Grid(0, 15), "half_up", slope=0.0, high=6.0)
    y = np.clip(acc * 0.5 + 0.25, 0, 6)
    np.testing.assert_array_equal(relu(acc), np.floor(y + 0.5))
    leaky = Transfer(np.array([0.5]), np.array([0.0]), Grid(-8, 7, 0.25), "floor", slope=0.125)
    y = acc * 0.5
    y = np.where(y < 0, y / 8, y)
    np.testing.assert_array_equal(leaky(acc), np.clip(np.floor(y / 0.25), -8, 7))


def test_common_scale_is_exact():
    scale, multiples = common_scale(0.75, 0.5, 3.0)
    assert (scale, multiples) == (0.25, (3, 2, 12))
    a, b = (float(np.float32(x)) for x in (0.1, 0.0371))
    scale, (m, n) = common_scale(a, b)
    assert (m * scale, n * scale) == (a, b)
    with pytest.raises(LoweringError, match="no common step"):
        common_scale(1.0, 2.0**-60)
    with pytest.raises(LoweringError, match="positive"):
        common_scale(1.0, 0.0)
