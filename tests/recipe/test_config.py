"""Recipes as TOML: what is written is read back as the same, and nothing is guessed."""

import tomllib
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pareq.errors import RecipeError
from pareq.operators.base import OPERATORS
from pareq.operators.schedule import SCHEDULES, After, Ramp, Stairs
from pareq.pruners import L1, Prune
from pareq.quantizers import FixedPoint, LearnedScale, MaxAbs
from pareq.recipe.config import (
    change_recipe,
    dump_recipe,
    load_recipe,
    parse_recipe,
    parse_value,
    type_in_words,
)
from pareq.recipe.recipe import Recipe, Rule, Training

shares = st.floats(0, 1)
below_one = st.floats(0, 1, exclude_max=True)
positions = st.one_of(
    st.integers(0, 10**9), shares, st.integers(0, 999).map(lambda n: f"{n} epochs")
)
stairs = st.floats(0, 0.9)  # nine of them leave something
small = st.integers(0, 1000)

schedules = st.one_of(
    st.builds(After, positions, below_one),
    st.builds(
        Ramp,
        st.floats(0, 0.5),
        st.floats(0.5, 1),
        below_one,
        st.floats(0.1, 9),
        st.integers(1, 99),
    ),
    st.builds(Ramp, st.just("3 epochs"), positions, below_one),
    st.builds(Stairs, positions, positions, st.lists(stairs, min_size=1, max_size=9).map(tuple)),
)
operators = st.one_of(
    st.builds(Prune, scope=st.sampled_from(["global", "layer"]), regrow=st.booleans()),
    st.builds(
        FixedPoint,
        st.integers(2, 32),
        frac=st.none() | st.integers(-9, 9),
        signed=st.booleans(),
        range=st.sampled_from(["max", "mse"]),
        rounding=st.sampled_from(["half_even", "stochastic"]),
        refresh=small,
    ),
    st.builds(MaxAbs, st.integers(2, 32), st.booleans()),
    st.builds(LearnedScale, st.integers(2, 32), initial=st.floats(1e-300, 1e300) | st.just(8)),
    st.builds(L1, st.floats(0, 1e300)),
)
words = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=":@"), max_size=9)
paths = words.filter(lambda text: not any(c.isspace() for c in text))
patterns = paths.map(lambda path: f"{path}:weight")
rules = st.builds(Rule, patterns, operators, schedules, st.lists(patterns, max_size=3).map(tuple))
trainings = st.builds(
    Training,
    epochs=st.integers(1, 10**6),
    optimizer=st.sampled_from(["adam", "adamw", "sgd"]),
    learning_rate=st.floats(1e-30, 10) | st.just(1),
    weight_decay=st.floats(0, 1),
    patience=st.none() | st.integers(1, 99),
    seed=st.integers(0, 2**63),
)
recipes = st.builds(
    lambda rules, training: Recipe(*rules, training=training),
    st.lists(rules, max_size=4),
    trainings,
)


@given(recipes)
@settings(deadline=None, max_examples=200)
def test_what_is_written_is_read_back(recipe):
    """Equal, position by position of the same type, and the text is canonical."""
    text = dump_recipe(recipe)
    again = parse_recipe(text)
    assert again == recipe
    assert dump_recipe(again) == text
    for old, new in zip(recipe.rules, again.rules, strict=True):
        for f in fields(old.when):
            assert type(getattr(new.when, f.name)) is type(getattr(old.when, f.name))


@given(recipes)
@settings(deadline=None, max_examples=50)
def test_the_text_is_toml(recipe):
    """For any reader, not only ours."""
    content = tomllib.loads(dump_recipe(recipe))
    assert content["training"]["epochs"] == recipe.training.epochs
    assert len(content.get("rule", [])) == len(recipe.rules)


def test_the_canonical_text():
    """Training and schedules whole, operators where they differ from their defaults."""
    recipe = Recipe(
        Rule("*:weight", Prune(), Ramp(0.1, "40 epochs", to=0.8), exclude=("fc4:weight",)),
        Rule("*:output", LearnedScale(6, initial=4), After(300)),
        training=Training(epochs=60, patience=5),
    )
    assert dump_recipe(recipe) == (
        '[training]\nepochs = 60\nbatch_size = 1024\noptimizer = "adam"\nlearning_rate = 0.001\n'
        'weight_decay = 0.0\nmomentum = 0.9\ndecay = "constant"\ndecay_factor = 0.1\n'
        "decay_every = 30\ntail = 0.25\nwarmup = 0\npatience = 5\nseed = 0\nthreads = 1\n\n"
        '[[rule]]\nwhere = "*:weight"\nexclude = ["fc4:weight"]\nop = { name = "prune" }\n'
        'when = { name = "ramp", start = 0.1, stop = "40 epochs", to = 0.8, power = 3.0,'
        " every = 10 }\n\n"
        '[[rule]]\nwhere = "*:output"\nop = { name = "learned_scale", bits = 6, initial = 4.0 }\n'
        'when = { name = "after", at = 300, to = 1.0 }\n'
    )


def test_a_step_and_a_fraction_stay_apart():
    """1 is the second step, 1.0 the end of the run."""
    texts = [dump_recipe(Recipe(Rule("*:weight", MaxAbs(6), After(at)))) for at in (1, 1.0)]
    assert texts[0] != texts[1]
    assert [type(parse_recipe(t).rules[0].when.at) for t in texts] == [int, float]


def test_a_short_file_takes_the_defaults():
    """An empty recipe trains and does nothing else; a rule without `when` acts from the start."""
    assert parse_recipe("") == Recipe()
    rule = '[[rule]]\nwhere = "*:weight"\nop = { name = "max_abs", bits = 6 }\n'
    assert parse_recipe(rule) == Recipe(Rule("*:weight", MaxAbs(6)))


def test_whole_numbers_are_real_where_those_are_meant():
    """Also as the text that the hash is made of."""
    one = parse_recipe("[training]\nlearning_rate = 1\n")
    assert type(one.training.learning_rate) is float
    assert dump_recipe(one) == dump_recipe(Recipe(training=Training(learning_rate=1)))


def test_a_file_is_read_as_utf_8(tmp_path):
    """Whatever the locale says."""
    file = tmp_path / "recipe.toml"
    recipe = Recipe(Rule("schicht_ü:weight", MaxAbs(4)))
    file.write_bytes(dump_recipe(recipe).encode())
    assert load_recipe(file) == load_recipe(str(file)) == recipe


def test_changes_are_values_of_toml_or_texts():
    """Rules count from 1; a later change sees an earlier one."""
    recipe = Recipe(Rule("*:weight", MaxAbs(6), After(0.5)), training=Training(epochs=3))
    changed = change_recipe(
        recipe,
        [
            "training.epochs=50",
            "training.optimizer=sgd",
            "training.patience = 4",
            "rule.1.op.bits=4",
            "rule.1.when.at=12 epochs",
            'rule.1.exclude=["fc4:weight"]',
        ],
    )
    assert changed.training == Training(epochs=50, optimizer="sgd", patience=4)
    assert changed.rules == (Rule("*:weight", MaxAbs(4), After("12 epochs"), ("fc4:weight",)),)
    assert recipe.training.epochs == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("3.0", 3.0), ("true", True), ("[1, 2]", [1, 2]), ("sgd", "sgd"), ("", "")],
)
def test_values_of_arguments(text, value):
    """Types as TOML has them."""
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize("kind", [*OPERATORS.values(), *SCHEDULES.values(), Training])
def test_every_field_has_a_type_in_words(kind):
    """No type of Python in a message."""
    for f in fields(kind):
        if f.init:
            said = type_in_words(f.type)
            assert said
            assert "class" not in said
            assert "|" not in said


def test_errors_are_recipe_errors_with_the_file_first(tmp_path):
    """The place is in `where`, the fact alone in `fact`."""
    file = tmp_path / "recipe.toml"
    file.write_text("[training]\nepochs = 0\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert caught.value.where == f"{file}: training.epochs"
    assert caught.value.fact == "must be 1 or more, got 0"
