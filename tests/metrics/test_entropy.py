"""Entropy of counted states: hand-made samples, limits of the orders, the bias of small samples."""

import math

import numpy as np
import pytest

from pareq.errors import DataError
from pareq.metrics.entropy import cap, coverage, entropy, miller_madow, renyi, state_counts

COUNTS = [8, 4, 2, 1, 1]


def test_states_are_rows():
    """Also where a state fills more than one byte, or more than eight."""
    for width in (1, 3, 8, 9, 64, 65, 130):
        on = np.zeros((6, width), bool)
        on[1:3, -1] = True
        on[3, 0] = True
        on[4, 0] = on[4, -1] = True
        expected = [2, 4] if width == 1 else [1, 1, 2, 2]
        assert sorted(state_counts(on).tolist()) == expected, width


@pytest.mark.parametrize("states", [1, 2, 4, 1024])
def test_equal_states_have_the_entropy_of_a_die(states):
    """In every order."""
    for alpha in (0.0, 0.5, 1.0, 2.0, math.inf):
        assert renyi([7] * states, alpha) == pytest.approx(math.log2(states), abs=1e-12)


def test_the_orders_of_renyi():
    """By hand for 8 4 2 1 1 of 16; falling in the order, continuous at 1."""
    assert entropy(COUNTS) == pytest.approx(1.875)
    assert renyi(COUNTS, 0) == pytest.approx(math.log2(5))
    assert renyi(COUNTS, 2) == pytest.approx(-math.log2((64 + 16 + 4 + 1 + 1) / 256))
    assert renyi(COUNTS, math.inf) == 1.0
    assert renyi(COUNTS, 1 + 1e-7) == pytest.approx(entropy(COUNTS), abs=1e-6)
    orders = [renyi(COUNTS, alpha) for alpha in (0, 0.5, 1, 2, 5, math.inf)]
    assert orders == sorted(orders, reverse=True)


def test_states_never_seen_count_for_nothing():
    assert renyi([*COUNTS, 0, 0], 0) == renyi(COUNTS, 0)
    assert entropy([3, 0]) == 0.0


def test_the_correction_removes_most_of_the_bias():
    """Samples of a fair die of 64 faces: the plain estimate is 63 / (2 N ln 2) too small."""
    draws = np.random.default_rng(0)
    samples = [np.bincount(draws.integers(64, size=400), minlength=64) for _ in range(200)]
    plain = np.mean([entropy(counts) for counts in samples])
    mended = np.mean([miller_madow(counts) for counts in samples])
    assert 6 - plain == pytest.approx(63 / (2 * 400 * math.log(2)), rel=0.1)
    assert abs(6 - mended) < 0.05 * (6 - plain)


def test_coverage_is_what_was_not_seen_once():
    assert coverage(COUNTS) == 1 - 2 / 16
    assert coverage([1, 1, 1]) == 0.0
    assert coverage([5]) == 1.0


@pytest.mark.parametrize(
    ("samples", "bits", "efficiency"),
    [(25_000, 14.61, 0.467), (166_000, 17.34, 0.531), (240_000, 17.87, 0.543)],
)
def test_the_published_caps(samples, bits, efficiency):
    """What so many jets can show at most of the layers 64, 32, 32 and 5 (Hawks et al. 2021)."""
    assert cap(samples, 64) == pytest.approx(bits, abs=0.005)
    shares = [cap(samples, width) / width for width in (64, 32, 32, 5)]
    assert math.prod(shares) ** (1 / 4) == pytest.approx(efficiency, abs=5e-4)
    if samples == 25_000:
        assert shares == pytest.approx([0.228, 0.457, 0.457, 1.0], abs=5e-4)


@pytest.mark.parametrize(
    ("widths", "efficiency"), [((46, 10, 17), 0.79), ((32, 11, 21), 0.83), ((128, 64, 64), 0.32)]
)
def test_the_cap_depends_on_the_widths(widths, efficiency):
    """Of the shapes that the published search found."""
    shares = [cap(225_000, width) / width for width in (*widths, 5)]
    assert math.prod(shares) ** (1 / 4) == pytest.approx(efficiency, abs=5e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: state_counts([True, False]), "states must be (N, W) with N, W >= 1"),
        (lambda: state_counts(np.zeros((0, 3))), "states must be (N, W) with N, W >= 1"),
        (lambda: renyi([1, 2], -1), "renyi: alpha must be 0 or more, got -1"),
        (lambda: renyi([], 1), "renyi: counts must be whole numbers, 0 or more, not all 0"),
        (lambda: entropy([0, 0]), "counts must be whole numbers"),
        (lambda: entropy([0.5, 0.5]), "counts must be whole numbers"),
        (lambda: miller_madow([-1, 2]), "miller_madow: counts must be whole numbers"),
        (lambda: coverage([[1]]), "coverage: counts must be whole numbers"),
        (lambda: cap(0, 3), "samples and width must be 1 or more, got 0 and 3"),
    ],
)
def test_what_has_no_entropy_is_refused(call, message):
    with pytest.raises(DataError) as caught:
        call()
    assert message in str(caught.value)
