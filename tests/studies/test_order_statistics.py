"""Paired differences: the interval of the t distribution, and what noise is."""

import math
import statistics

import pytest

from pareq.studies.order_statistics import difference, student

# Two-sided 95 %, and 99 % for 9 (Student 1908 and every table since).
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 10: 2.228, 30: 2.042}


@pytest.mark.parametrize("free", TABLE)
def test_the_table_of_student(free):
    assert student(free) == pytest.approx(TABLE[free], abs=5e-4)


def test_other_levels():
    assert student(9, 0.99) == pytest.approx(3.250, abs=5e-4)
    assert student(400) == pytest.approx(1.966, abs=5e-4)


def test_an_interval():
    """Mean +- t * standard deviation / root of the number."""
    values = [1.0, 2.0, 4.0]
    found = difference(values)
    reach = 4.302653 * statistics.stdev(values) / math.sqrt(3)
    assert found.mean == pytest.approx(7 / 3)
    assert found.half == pytest.approx(reach, rel=1e-5)
    assert (found.low + found.high) / 2 == pytest.approx(found.mean)
    assert not found.seen


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([1.0, 1.1, 0.9], True),
        ([-1.0, -1.1, -0.9], True),
        ([1.0, -1.0, 0.5], False),
        ([0.0, 0.0], False),
        ([2.0, 2.0], True),
    ],
)
def test_what_is_beyond_noise(values, seen):
    assert difference(values).seen is seen


def test_one_seed_says_nothing():
    found = difference([3.0])
    assert (found.mean, found.seeds, found.seen) == (3.0, 1, False)
    assert math.isnan(found.low)
