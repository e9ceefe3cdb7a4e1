"""Axes, points and the trials they make."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pareq.errors import DataError, RecipeError, SearchError
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.recipe.presets import find_recipe
from pareq.search.space import Choice, Integers, Reals, Space, placed
from pareq.tasks.base import make_task
from pareq.train.trial import Trial

AXES = {
    "task.widths.0": Integers(8, 128),
    "task.widths.2": Integers(1, 64, log=True),
    "recipe.training.learning_rate": Reals(1e-4, 1e-1, log=True),
    "recipe.rule.2.when.at": Reals(0.1, 0.9),
    "recipe.rule.2.op.bits": Choice((8, 6, 4)),
    "task.batch_norm": Choice((True, False)),
}
SPACE = Space(AXES)
UNITS = st.lists(st.floats(0, 1), min_size=len(AXES), max_size=len(AXES))


@given(UNITS)
def test_a_point_and_its_coordinates(units):
    """Back and forth gives the same point, and every value is one that the axis has."""
    point = SPACE.point(units)
    back = SPACE.point(SPACE.units(point))
    for name, value in point.items():
        assert back[name] == pytest.approx(value), name
    assert 8 <= point["task.widths.0"] <= 128
    assert 1e-4 <= point["recipe.training.learning_rate"] <= 0.1 * (1 + 1e-12)
    assert all(0 <= unit <= 1 for unit in SPACE.units(point))


@pytest.mark.parametrize("axis", [Integers(3, 6), Choice((3, 4, 5, 6))])
def test_every_value_has_an_equal_share(axis):
    found = [axis.value((k + 0.5) / 1000) for k in range(1000)]
    assert [found.count(value) for value in (3, 4, 5, 6)] == [250] * 4


def test_a_logarithmic_axis_is_even_in_its_logarithm():
    assert Reals(1e-4, 1.0, log=True).value(0.5) == pytest.approx(1e-2)
    halves = [Integers(1, 64, log=True).value((k + 0.5) / 1000) for k in range(500)]
    assert max(halves) == math.floor(0.5 * (64.5 / 0.5) ** 0.5 + 0.5)


def test_a_point_becomes_a_trial():
    """Each value where its path says; the rest as it was."""
    trial = Trial("jets", dump_recipe(find_recipe("quantized")), {"val": 0.1})
    made = placed(
        trial,
        {
            "task.widths.0": 20,
            "task.widths.2": 7,
            "task.batch_norm": False,
            "recipe.rule.1.op.bits": 4,
            "recipe.training.learning_rate": 0.5,
        },
    )
    assert made.options == {"val": 0.1, "widths": (20, 32, 7), "batch_norm": False}
    recipe = parse_recipe(made.recipe)
    assert (recipe.rules[0].op.bits, recipe.training.learning_rate) == (4, 0.5)
    assert recipe.rules[1] == parse_recipe(trial.recipe).rules[1]
    assert trial.options == {"val": 0.1}
    assert [make_task("jets", made.options).model().fc3.out_features] == [7]


@pytest.mark.parametrize(
    ("name", "value", "kind", "message"),
    [
        ("widths", 3, SearchError, "widths: expected recipe.PATH or task.OPTION"),
        ("task.widths.3", 3, SearchError, "task jets has no part '3' of an option 'widths'"),
        ("task.val.0", 3, SearchError, "task jets has no part '0' of an option 'val'"),
        ("task.width", 3, DataError, "unknown option 'width'; did you mean 'widths'?"),
        ("recipe.rule.9.op.bits", 3, RecipeError, "no rule 9"),
        ("recipe.training.epoch", 3, RecipeError, "unknown key 'epoch'"),
    ],
)
def test_paths_that_lead_nowhere(name, value, kind, message):
    trial = Trial("jets", dump_recipe(find_recipe("quantized")))
    with pytest.raises(kind) as caught:
        placed(trial, {name: value})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Integers(5, 5), "lo must be below hi, got 5 and 5"),
        (lambda: Reals(0.0, 1.0, log=True), "lo must be above 0 on a logarithmic axis"),
        (lambda: Choice((1,)), "values must be two or more, all different"),
        (lambda: Choice((1, 1)), "values must be two or more, all different"),
        (lambda: Space({}), "a search space needs at least one axis"),
    ],
)
def test_axes_that_are_none(make, message):
    with pytest.raises(SearchError) as caught:
        make()
    assert message in str(caught.value)
