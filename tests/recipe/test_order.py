"""Orders: the published tables, the kinds, and the learning rate that all arms share."""

import pytest

from pareq.attach.attach import attach
from pareq.errors import RecipeError
from pareq.operators.schedule import After, Clock, Levels, Ramp
from pareq.pruners import PruneActivation
from pareq.quantizers import Uniform
from pareq.recipe.order import PUBLISHED, Order, Places
from pareq.recipe.presets import find_recipe
from pareq.recipe.recipe import Recipe, Training
from pareq.tasks import Digits

# epochs, epochs at which masks change, weights quantized, activations quantized
TABLE = {
    "mobilenet-pq": (250, (115, 130, 145, 160), 230, 235),
    "mobilenet-qp-early": (250, (145, 160, 175, 190), 100, 110),
    "mobilenet-qp": (250, (195, 210, 225, 240), 160, 170),
    "mobilenet-q": (250, (), 230, 240),
    "espcn-pq": (200, (145, 150, 155, 160), 160, 170),
    "espcn-qp": (200, (160, 165, 170, 175), 140, 150),
    "espcn-q": (200, (), 140, 150),
    "rcnn-pq": (9, (3.5, 4, 4.5, 5), 7.2, 7.5),
    "rcnn-qp-early": (9, (6.2, 6.7, 7.2, 7.7), 5.2, 5.5),
    "rcnn-qp": (9, (7.4, 7.9, 8.4, 8.9), 6.5, 6.8),
    "rcnn-q": (9, (), 7.2, 7.5),
    "gan-pq": (300, (115, 130, 145, 160), 280, 290),
    "gan-qp": (300, (145, 160, 175, 190), 110, 120),
    "gan-qp-late": (300, (245, 260, 275, 290), 210, 220),
    "gan-q": (300, (), 270, 280),
    "mnist-pq": (14, (3, 4, 5), 6, 7),
    "mnist-qp": (14, (5, 6, 7), 2, 3),
}


def times(rules, clock):
    """The steps at which masks change, and at which the quantizers begin."""
    whens = {(r.op.name, r.where.rpartition(":")[2]): r.when.resolve(clock) for r in rules}
    masks = {name: when for name, when in whens.items() if isinstance(when, Levels)}
    changes = {
        tuple(t for t in range(clock.steps + 1) if when(t) != when(t - 1))
        for when in masks.values()
    }
    begins = [whens["uniform", tensor].first for tensor in ("weight", "output")]
    return (changes.pop() if changes else ()), *begins, len(changes)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("steps_per_epoch", [10, 391])
def test_the_published_table(name, steps_per_epoch):
    """To the step, where an epoch is a whole number of them."""
    epochs, masks, weights, activations = TABLE[name]
    clock = Clock(epochs * steps_per_epoch, steps_per_epoch)
    rules = PUBLISHED[name].order().rules()
    expected = tuple(-(-e * steps_per_epoch // 1) for e in masks)
    found, at_weights, at_activations, different = times(rules, clock)
    assert found == pytest.approx(expected, abs=1)
    assert steps_per_epoch == 391 or found == expected
    assert at_weights == round(weights * steps_per_epoch)
    assert at_activations == round(activations * steps_per_epoch)
    assert different == 0


def test_every_published_row_is_in_the_table():
    assert set(PUBLISHED) == set(TABLE)


def test_four_levels_of_a_half():
    """Published: .2891, .4375, .4922, .5."""
    when = Levels(0, 4, to=0.5)
    assert [round(when(t), 4) for t in range(5)] == [0.0, 0.2891, 0.4375, 0.4922, 0.5]


@pytest.mark.parametrize(
    ("order", "kind"),
    [
        (Order(), "float"),
        (Order(prune_weights=(0.1, 0.5)), "P"),
        (Order(quantize_activations=0.5), "Q"),
        (Order((0.1, 0.5), (0.1, 0.5), 0.5, 0.6), "P->Q"),
        (Order((0.3, 0.5), (0.3, 0.5), 0.2, 0.3), "Q->P"),
        (Order((0.1, 0.5), (0.1, 0.5), 0.2, 0.3), "joint"),
        (Order((0.1, 0.3), (0.5, 0.7), 0.35, 0.4), "interleaved"),
        (Order((0.1, 0.3), None, 0.35, 0.4), "P->Q"),
        (Order((0.1, 0.3), None, None, 0.4), "joint"),
    ],
)
def test_the_kind_follows_from_the_times(order, kind):
    assert order.kind == kind


@pytest.mark.parametrize("name", [n for n in TABLE if n.rpartition("-")[2] in ("pq", "qp", "q")])
def test_published_kinds(name):
    kinds = {"pq": "P->Q", "qp": "Q->P", "q": "Q"}
    assert PUBLISHED[name].order().kind == kinds[name.rpartition("-")[2]]


def test_rules_are_those_of_the_fractions():
    order = Order((0.1, 0.5), (0.2, 0.4), 0.5, 0.6, blend=0.1, levels=2)
    places = Places("*:weight", "*@ReLU:output", whole=("fc1:weight", "act3:output"))
    rules = order.rules(0.75, 4, places, pruner=PruneActivation(window=3))
    assert [(r.where, r.op.name) for r in rules] == [
        ("*:weight", "prune"),
        ("*:weight", "uniform"),
        ("*@ReLU:output", "prune_activation"),
        ("*@ReLU:output", "uniform"),
        (":input", "uniform"),
    ]
    assert [r.exclude for r in rules] == [("fc1:weight",), (), ("act3:output",), (), ()]
    assert rules[0].when == Levels(0.1, 0.5, to=0.75, levels=2)
    assert rules[1].when == Ramp(0.5, 0.6, power=1.0, every=1)
    assert rules[2].op.window == 3
    assert {r.op.bits for r in rules if isinstance(r.op, Uniform)} == {4}
    assert Order(quantize_weights=0.5).rules()[0].when == After(0.5)


def test_arms_of_a_comparison_share_the_end_of_the_learning_rate():
    arms = [Order((0.1, 0.5), (0.1, 0.5), 0.5, 0.6), Order((0.3, 0.7), (0.3, 0.7), 0.1, 0.1)]
    trainings = {arm.recipe().training for arm in arms}
    assert trainings == {Training(decay="tail")}
    with pytest.raises(RecipeError) as error:
        Order((0.1, 0.5), None, 0.93).recipe()
    assert str(error.value) == (
        "the last change is at 0.93 of the run, within the tail of the learning rate, which begins"
        " at 0.75; let it come sooner, or shorten training.tail"
    )
    assert Order((0.1, 0.5), None, 0.93).recipe(training=Training(decay="cosine")).rules


def test_an_order_trains_a_network():
    task = Digits(network="cnn")
    net = attach(
        task.model(), Order((0.1, 0.5), (0.1, 0.5), 0.2, 0.3).recipe(), example=task.example
    )
    net.plan(100, 10)
    for step in range(60):
        net.set_step(step)
        net.model(task.example.repeat(4, 1, 1, 1))
    assert all(s.quantizer.engaged for s in net.sites)


PAPER = {"rounding": "toward_zero", "gradient": "value", "least": 0, "most": 19,
         "recalibrate": False}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["mobilenet-pq", "mobilenet-qp", "mobilenet-q", "espcn-pq", "espcn-qp", "espcn-q"]
)
def test_the_presets_are_the_published_rows(name):
    recipe, published = find_recipe(name), PUBLISHED[name]
    assert recipe.training.epochs == published.epochs
    rules = published.order().rules()
    known = {(r.op.name, r.where.rpartition(":")[2]): r for r in rules}
    assert len(recipe.rules) == len(rules) + 1
    for rule in recipe.rules[:-1]:
        twin = known[rule.op.name, rule.where.rpartition(":")[2]]
        assert rule.when == twin.when
        if isinstance(rule.op, Uniform):
            assert PAPER.items() <= rule.op.config().items() | {("most", 19)}


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"prune_weights": (0.5, 0.4)},
            "prune_weights goes from 0.5 to 0.4; expected 0 <= start <= stop <= 1",
        ),
        (
            {"quantize_weights": 0.9, "blend": 0.2},
            "quantize_weights goes from 0.9 to 1.1; expected 0 <= start <= stop <= 1",
        ),
    ],
)
def test_orders_outside_the_run(fields, line):
    with pytest.raises(RecipeError) as error:
        Order(**fields)
    assert str(error.value) == line


def test_a_recipe_without_a_training_says_it_is_the_default():
    assert isinstance(Order().recipe(), Recipe)
