"""Points of the space of schedules: the recipes they are, and what they cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pareq.attach.attach import attach
from pareq.backends.verilog.native import Native, native
from pareq.errors import SearchError
from pareq.lower.lower import lower
from pareq.metrics.probe import cost
from pareq.recipe.order import Places
from pareq.recipe.recipe import Recipe, Training
from pareq.search.schedules import STARTS, Schedules, Target, price
from pareq.tasks import Digits
from pareq.train.trial import network

TASK = Digits(network="cnn", widths=(2, 2, 4))
TRAINING = Training(epochs=20, batch_size=64, decay="tail")
FIXED = Schedules(TASK, Target((3, 3), (0.8, 0.8)), TRAINING, Places())
LIMITED = Schedules(
    TASK,
    Target((2, 8), (0.2, 0.9), "bops", 0.05),
    TRAINING,
    Places(),
    ("fc1:weight", "conv1:weight", "fc2:weight", "conv2:weight"),
)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_every_point_is_a_recipe(units):
    """All that happens lies before the tail of the learning rate."""
    point = FIXED.space.point(units)
    order = FIXED.order(point)
    assert order.last <= 1 - TRAINING.tail
    assert 0 <= order.prune_weights[0] < order.prune_weights[1]
    rules = FIXED.recipe(point).rules
    assert [rule.op.name for rule in rules] == [
        *("prune", "uniform", "prune_activation", "uniform", "uniform")
    ]
    assert {rule.when.largest for rule in rules} == {0.8, 1.0}
    assert {rule.op.bits for rule in rules if rule.op.name == "uniform"} == {3}


def test_the_search_begins_with_every_order():
    kinds = {name: FIXED.order(point).kind for name, point in FIXED.starts().items()}
    assert set(kinds.values()) == {"P->Q", "Q->P", "joint", "interleaved"}
    assert kinds["default"] == "P->Q"
    assert next(iter(kinds)) == "default"
    assert kinds.keys() == STARTS.keys()


def test_the_axes_are_what_is_searched():
    """Bits and sparsity where they are ranges, spared layers where the cost is limited."""
    times = {"p_start", "p_length", "q_weights", "q_activations"}
    assert set(FIXED.space.axes) == times
    more = {"bits_weights", "bits_activations", "sparsity_weights", "sparsity_activations"}
    assert set(LIMITED.space.axes) == times | more | {"spared"}
    only = Schedules(TASK, Target((2, 8), (0.2, 0.9), "bops", 0.05, "weights"), TRAINING, Places())
    assert set(only.space.axes) == times | more - {"sparsity_activations"}
    assert only.order(only.starts()["default"]).prune_activations is None


def test_spared_layers_are_left_whole():
    point = {**LIMITED.starts()["default"], "spared": 2}
    net = attach(TASK.model(), LIMITED.recipe(point), steps=10, example=TASK.example)
    pruned = {s.name for s in net.sites if any(o.name == "prune" for o in s.operators)}
    assert pruned == {"conv2:weight", "fc2:weight"}


def test_a_price_is_the_cost_of_the_end():
    """Of the float network as the metrics count it; less with fewer bits, or more pruned."""
    net = attach(TASK.model(), Recipe(), example=TASK.example)
    whole = cost(net, TASK.example).totals()
    assert price(TASK, Recipe(), "bops") == whole["bops_paper"]
    rest = sum(whole[name] for name in ("bits_biases", "bits_norms", "bits_rest"))
    assert price(TASK, Recipe(), "memory") == (whole["bits_dense"] + rest) / 8
    point = LIMITED.starts()["default"]
    for limit in ("bops", "memory"):
        prices = [
            price(TASK, LIMITED.recipe({**point, **change}), limit)
            for change in ({"bits_weights": 8}, {}, {"sparsity_weights": 0.9})
        ]
        assert prices == sorted(prices, reverse=True)
        assert len(set(prices)) == 3


def test_look_up_tables_are_those_of_the_lowered_network():
    """As our own design of it is estimated; fewer with fewer bits, or more pruned."""
    task, places = Digits(widths=(6,)), Places(edges=(":input", ":output"))
    made = Schedules(task, Target((3, 8), (0.5, 0.9), "luts", 500), TRAINING, places)
    point = {**made.starts()["default"], "bits_weights": 6, "bits_activations": 6}
    recipe = made.recipe(point)
    net = network(task, recipe)
    net.plan(1)
    net.calibrate([task.example])
    design = native(lower(net, task.example), "net", Native())
    found = price(task, recipe, "luts")
    assert found == design.figures["lut_estimate"] > 100
    for change in ({"bits_weights": 3}, {"sparsity_weights": 0.9}):
        assert price(task, made.recipe({**point, **change}), "luts") < found
    moved = made.within(point, 0.7 * found)
    assert price(task, made.recipe(moved), "luts") <= 0.7 * found


def test_a_point_that_costs_too_much_moves_to_the_cheapest():
    """As far as it must, with its times."""
    point = {**LIMITED.starts()["joint-early"], "bits_weights": 8, "bits_activations": 8}
    high = price(TASK, LIMITED.recipe(point), "bops")
    assert LIMITED.within(point, high) == pytest.approx(point)
    moved = LIMITED.within(point, 0.8 * high)
    assert price(TASK, LIMITED.recipe(moved), "bops") <= 0.8 * high
    assert LIMITED.order(moved) == LIMITED.order(point)
    with pytest.raises(SearchError) as caught:
        LIMITED.within(point, 10)
    assert "of bops, the limit is 10; raise it, or widen" in str(caught.value)
    assert FIXED.within(point, 10) == point


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (((8, 4),), "bits must be lowest and highest in 1..32, got (8, 4)"),
        (((8, 8), (0.5, 1.0)), "sparsity must be lowest and highest in [0, 1), got (0.5, 1.0)"),
        (((3, 8),), "a range of bits or sparsity needs a limit"),
        (((3, 8), (0.5, 0.5), "bop", 0.1), "limit must be one of bops, memory, luts, got 'bop'"),
        (((3, 8), (0.5, 0.5), "bops", 0.0), "bops must be limited to more than 0, got 0"),
        (((8, 8), (0.5, 0.5), "bops", 0.1), "nothing can be done about bops"),
        (((3, 8), (0.5, 0.5), "luts", 0.1), "luts must be limited to 1 or more, got 0.1"),
    ],
)
def test_what_is_no_target(fields, message):
    with pytest.raises(SearchError) as caught:
        Target(*fields)
    assert message in str(caught.value)
