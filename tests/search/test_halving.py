"""Rungs: what they cost never exceeds the budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pareq.errors import SearchError
from pareq.search.halving import Halving, best_of


@given(st.integers(20, 400), st.floats(2, 12), st.integers(1, 10))
def test_the_budget_holds(epochs, budget, least):
    """The first rung has what the others leave, and room for two runs."""
    plan = Halving(epochs, budget, least)
    later = sum(n * each for n, each in zip(plan.promoted, plan.lengths[1:], strict=True))
    assert plan.allowance + later <= budget * epochs + 1e-6
    assert plan.allowance >= 2 * plan.lengths[0]
    assert plan.promoted[-1:] in ((), (1,))
    assert plan.lengths[-1] == epochs
    assert all(b >= 2 * a for a, b in zip(plan.lengths[:-2], plan.lengths[1:-1], strict=True))
    assert plan.lengths[0] >= least


def test_sixty_epochs():
    plan = Halving(60, 3.0)
    assert (plan.lengths, plan.promoted, plan.allowance) == ((7, 20, 60), (2, 1), 80)


def test_short_runs_are_long_enough():
    """Two rungs that would be alike are one; a third of the run is short enough, or none is."""
    plan = Halving(30, 3.0, 9)
    assert (plan.lengths, plan.promoted, plan.allowance) == ((9, 30), (1,), 60)
    plan = Halving(30, 3.0, 11)
    assert (plan.lengths, plan.promoted, plan.allowance) == ((30,), (), 90)


def test_the_best_are_those_of_the_lowest_loss():
    assert best_of({"a": 2.0, "b": 1.0, "c": 2.0, "d": 0.5}, 3) == ["d", "b", "a"]
    assert best_of({}, 2) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((60, 1.5), "budget must be 2 trainings or more, got 1.5: one for the best schedule"),
        ((60, float("nan")), "budget must be 2 trainings or more, got nan"),
        ((9, 3, 10), "9 epochs are too few to search in; give 10 or more"),
    ],
)
def test_what_is_no_plan(fields, message):
    with pytest.raises(SearchError) as caught:
        Halving(*fields)
    assert message in str(caught.value)
