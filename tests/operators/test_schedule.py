"""Schedules: pure functions of the step, and the published numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pareq.errors import RecipeError
from pareq.operators.schedule import NEVER, SCHEDULES, After, Clock, Ramp, Stairs

PUBLISHED = (0.1, 0.111, 0.125, 0.143, 0.166, 0.2, 0.25, 0.333, 0.5, 0.666, 0.666)
ALIVE = [4256, 3830, 3405, 2979, 2553, 2129, 1703, 1277, 852, 426, 142, 47]


def test_the_published_stairs_leave_the_published_counts():
    """Hawks et al. 2021; the numbers of the authors' code."""
    stairs = Stairs(1, 11, PUBLISHED)
    assert [4256 - stairs.count(t, 4256) for t in range(12)] == ALIVE
    assert [4256 - stairs.count(t, 4256) for t in (0, 11, 500)] == [4256, 47, 47]


def test_zhu_and_gupta_cubic():
    """n = 4, s_f = 1/2 gives 0.2891, 0.4375, 0.4922, 0.5 (Zhu & Gupta 2017 eq. 1)."""
    ramp = Ramp(0, 4, to=0.5, every=1)
    assert [round(ramp(t), 4) for t in range(6)] == [0, 0.2891, 0.4375, 0.4922, 0.5, 0.5]
    assert Ramp(0, 4, to=0.5, power=1, every=1)(1) == 0.125


SCHEDULE = st.one_of(
    st.builds(After, st.integers(0, 50), st.floats(0, 1)),
    st.builds(
        lambda a, n, to, power, every: Ramp(a, a + n, to, power, every),
        st.integers(0, 50),
        st.integers(0, 50),
        st.floats(0, 1),
        st.floats(0.5, 4),
        st.integers(1, 20),
    ),
    st.builds(
        lambda a, n, f: Stairs(a, a + n, tuple(f)),
        st.integers(0, 50),
        st.integers(0, 50),
        st.lists(st.floats(0, 0.9), min_size=1, max_size=5),
    ),
)


@given(SCHEDULE)
def test_first_last_and_next_change_say_when_the_value_moves(schedule):
    values = [schedule(t) for t in range(130)]
    assert all(v == 0 for v in values[: schedule.first])
    assert len(set(values[schedule.last :])) == 1
    assert values == sorted(values)
    assert max(values) <= schedule.largest + 1e-12
    for t in range(129):
        change = schedule.next_change(t)
        assert change > t
        assert change == NEVER or change <= max(schedule.last, t + 1)
        assert len({values[k] for k in range(t, min(change, 130))}) == 1


@given(SCHEDULE, st.integers(1, 1000))
def test_counts_are_whole_and_grow(schedule, total):
    counts = [schedule.count(t, total) for t in range(120)]
    assert counts == sorted(counts)
    assert 0 <= counts[0] <= counts[-1] <= total


@pytest.mark.parametrize(
    ("position", "step"),
    [(7, 7), (0.5, 500), (1.0, 1000), ("3 epochs", 300), ("2.5 epochs", 250), ("40 %", 400),
     ("12 steps", 12), ("1 epoch", 100)],
)  # fmt: skip
def test_positions(position, step):
    assert Clock(1000, 100).step(position) == step
    assert After(position).resolve(Clock(1000, 100)) == After(step)


def test_a_resolved_schedule_stays():
    for schedule in (After(3), Ramp(2, 9, 0.5), Stairs(1, 8, (0.5,))):
        assert schedule.resolve(Clock()) == schedule
        assert SCHEDULES[schedule.name] is type(schedule)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: After(1.5), 'after.at = 1.5 is not a fraction of the run (0.0 to 1.0); steps are whole numbers, epochs are written "12 epochs"'),
        (lambda: After(-1), "after.at must not be before the run, got -1"),
        (lambda: After("soon"), """position 'soon' is not of the form "12 epochs", "300 steps" or "60 %\""""),
        (lambda: After(True), "after.at must be a step, a fraction or a text, got True"),
        (lambda: After(0, to=1.2), "after.to must be in 0..1, got 1.2"),
        (lambda: Ramp(0.5, 0.1), "ramp stops at 0.1, before it starts at 0.5"),
        (lambda: Ramp(0, 9, power=0), "ramp.power must be positive, got 0"),
        (lambda: Ramp(0, 9, every=0), "ramp.every must be at least 1 step, got 0"),
        (lambda: Ramp("5 epochs", 0.1).resolve(Clock(100, 10)), "ramp stops at 10, before it starts at 50"),
        (lambda: Stairs(0, 9, ()), "stairs.fractions is empty, expected at least one fraction"),
        (lambda: Stairs(0, 9, (1.0,)), "stairs.fractions must be in [0, 1), got 1.0"),
        (lambda: Stairs(0.9, 5, (0.5,)).resolve(Clock(100)), "stairs stop at 5, before they start at 90"),
        (lambda: Clock(0), "steps must be at least 1, got 0"),
        (lambda: After(0.5).resolve(Clock()), "position 0.5 is a fraction of the run, but its length is not known; give attach or plan(...) steps"),
        (lambda: After("2 epochs").resolve(Clock(10)), "position '2 epochs' counts epochs, but their length is not known; give attach or plan(...) steps_per_epoch"),
        (lambda: After(0.5)(3), "position 0.5 is not resolved to a step yet; call plan(...) first"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(make, line):
    with pytest.raises(RecipeError) as error:
        make()
    assert str(error.value) == line
