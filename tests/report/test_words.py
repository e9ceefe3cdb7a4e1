import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pareq.report import words
from pareq.report.words import Measure, differs, measure

THIN, MINUS, DASH = "\u202f", "\u2212", "\u2013"


@pytest.mark.parametrize(
    ("value", "error", "scale", "text"),
    [
        (0.7632, 0.0012, 100, "76.32 ± 0.12 %"),
        (0.813, 0.012, 100, "81.3 ± 1.2 %"),
        (0.8, 0.25, 100, "80 ± 25 %"),
        (0.00123, 0.00004, 100, "0.1230 ± 0.0040 %"),
        (0.5, None, 100, "50.00 %"),
        (0.5, 0.0, 100, "50.00 %"),
        (-0.0214, None, 100, f"{MINUS}2.14 %"),
        (-0.00001, None, 100, "0.00 %"),
    ],
)
def test_measure_shows_its_error_to_two_digits(value, error, scale, text):
    assert Measure(value, error, 1).text(scale, "%").replace(THIN, " ") == text


def test_measure_of_seeds_is_mean_and_standard_deviation():
    assert measure([]) is None
    assert measure([0.7], [0.01]) == Measure(0.7, 0.01, 1)
    assert measure([0.7]) == Measure(0.7, None, 1)
    found = measure([0.7, 0.8, 0.9], [0.5, 0.5, 0.5])
    assert found is not None
    assert (found.mean, found.error, found.seeds) == (
        pytest.approx(0.8),
        pytest.approx(0.1),
        3,
    )


def test_difference_of_several_seeds_is_students_t_test():
    # p = 0.033 and p = 0.062 by scipy.stats.ttest_ind(a, b)
    a, b, c = (measure(x) for x in ([0.76, 0.77, 0.78], [0.785, 0.795, 0.8], [0.78, 0.795, 0.802]))
    assert a is not None
    assert b is not None
    assert c is not None
    assert differs(a, b) is True
    assert differs(a, c) is False


def test_difference_of_single_seeds_is_two_standard_errors():
    a = Measure(0.76, 0.003, 1)
    assert not differs(a, Measure(0.768, 0.003, 1))
    assert differs(a, Measure(0.769, 0.003, 1))
    assert differs(a, Measure(0.769, None, 1)) is None


def test_equal_results_never_differ_and_exact_ones_always_do():
    exact = Measure(0.5, 0.0, 3)
    assert differs(exact, exact) is False
    assert differs(exact, Measure(0.51, 0.0, 3)) is True


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
def test_difference_is_symmetric(first, second):
    a, b = (measure(values, [0.01] * len(values)) for values in (first, second))
    assert a is not None
    assert b is not None
    assert differs(a, b) == differs(b, a)


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (words.percent, 0.763, "76.3 %"),
        (words.percent, math.nan, DASH),
        (words.tick, 0.8, "80 %"),
        (words.tick, 0.765, "76.5 %"),
        (words.count, 4652832.0, "4,652,832"),
        (words.count, math.inf, DASH),
        (words.short, 4652832.0, "4.65 M"),
        (words.short, 2e9, "2 G"),
        (words.short, 12.0, "12"),
        (words.size, 17024, "17.0 kB"),
        (words.size, 999, "999 B"),
        (words.size, 3.2e6, "3.2 MB"),
        (words.bits, 6.0, "6"),
        (words.bits, 5.25, "5.25"),
        (words.bits, math.nan, DASH),
        (words.ratio, 22.83, "22.8"),
        (words.ratio, 130.2, "130"),
    ],
)
def test_numbers_read_as_a_person_writes_them(function, value, text):
    assert function(value).replace(THIN, " ") == text


def test_words():
    assert words.plural(1, "run") == "1 run"
    assert words.plural(3, "run") == "3 runs"
    assert words.plural(2, "class", "classes") == "2 classes"
    assert [words.join(parts) for parts in ((), ("a",), ("a", "b"), "abc")] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
