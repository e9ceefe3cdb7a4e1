"""Forks: a run that begins with the first steps of another is the run that began by itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from pareq.errors import RunError
from pareq.operators.schedule import After, Clock, Levels
from pareq.recipe.config import dump_recipe
from pareq.recipe.order import Order
from pareq.recipe.recipe import Recipe, Rule, Training
from pareq.train import checkpoint
from pareq.train.fork import Stems, fork, parting
from pareq.train.run import open_run
from pareq.train.trial import Trial

TRAINING = Training(epochs=6, batch_size=64, learning_rate=3e-3, decay="tail", seed=3)
OPTIONS = {"network": "cnn", "widths": (3, 3, 4)}
STEPS = 18  # an epoch
SPAN = (0.5, 0.7)
LATE = Order(SPAN, SPAN, 0.72, 0.72)


def recipe(order: Order, bits: int = 4, sparsity: float = 0.5) -> Recipe:
    return order.recipe(sparsity, bits, training=TRAINING)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A run that kept its second and third epoch."""
    folder = tmp_path_factory.mktemp("fork") / "source"
    text = dump_recipe(recipe(LATE))
    Trial("digits", text, OPTIONS).run(folder, on_epoch=Stems(folder, (2, 3)))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "bits", "sparsity", "epoch"),
    [
        (Order((0.7, 0.74), (0.72, 0.75), 0.55, 0.56), 4, 0.5, 2),
        (Order(SPAN, SPAN, 0.7, 0.72), 3, 0.7, 2),
    ],
)
def test_a_forked_run_is_the_straight_one(source, tmp_path, order, bits, sparsity, epoch):
    """Bit for bit: journal, last state, best network, result; with other operators too."""
    text = dump_recipe(recipe(order, bits, sparsity))
    trial = Trial("digits", text, OPTIONS)
    fork(source, epoch, tmp_path / "forked", text)
    told = []
    forked = trial.run(tmp_path / "forked", on_epoch=lambda e: told.append(e.epoch))
    assert told == list(range(epoch + 1, 7))
    straight = trial.run(tmp_path / "straight")
    assert forked.epochs == straight.epochs
    assert forked.result.test == straight.result.test
    assert forked.result.cost == straight.result.cost
    for name in ("step-00000108", "best"):
        paths = [tmp_path / d / f"checkpoints/{name}.safetensors" for d in ("forked", "straight")]
        one, other = (checkpoint.read(path) for path in paths)
        assert one.tensors.keys() == other.tensors.keys()
        assert all(one.tensors[key].equal(other.tensors[key]) for key in one.tensors)
        without = [{**c.facts, "seconds": 0} for c in (one, other)]
        assert without[0] == without[1]
    starts = [tmp_path / d / "weights-start.safetensors" for d in ("forked", "straight")]
    assert starts[0].read_bytes() == starts[1].read_bytes()


def test_what_has_begun_is_left_alone(source, tmp_path):
    text = dump_recipe(recipe(replace(LATE, quantize_weights=0.74)))
    fork(source, 2, tmp_path / "forked", text)
    before = (tmp_path / "forked/run.json").stat().st_mtime_ns
    fork(source, 2, tmp_path / "forked", text)
    assert (tmp_path / "forked/run.json").stat().st_mtime_ns == before
    assert len(open_run(tmp_path / "forked").epochs) == 2


def test_too_late_or_not_kept(source, tmp_path):
    """The first epoch was not kept; after the third the recipes have parted."""
    text = dump_recipe(recipe(Order(SPAN, SPAN, 0.5, 0.5)))
    with pytest.raises(RunError) as caught:
        fork(source, 1, tmp_path / "no", text)
    assert "is missing" in str(caught.value)
    with pytest.raises(RunError) as caught:
        fork(source, 3, tmp_path / "no", text)
    assert str(caught.value) == (
        f"fork of {source}: the recipes part at step 34, before the end of epoch 3 at step 54;"
        " fork sooner"
    )
    assert not (tmp_path / "no").exists()


def test_a_folder_of_something_else(source, tmp_path):
    """Refused before anything is made; an empty one is taken."""
    text = dump_recipe(recipe(replace(LATE, quantize_weights=0.74)))
    target = tmp_path / "other"
    target.mkdir()
    fork(source, 2, target, text)
    assert len(open_run(target).epochs) == 2
    (target / "run.json").unlink()
    with pytest.raises(RunError) as caught:
        fork(source, 2, target, text)
    assert "holds 'checkpoints' and no run.json, so it is no run" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_killed_source_catches_up(source, tmp_path):
    """The last two checkpoints are there still."""
    copy = tmp_path / "copy"
    (copy / "checkpoints").mkdir(parents=True)
    for path in (source / "checkpoints").glob("step-*"):
        (copy / "checkpoints" / path.name).write_bytes(path.read_bytes())
    Stems(copy, (1, 5, 6)).catch_up()
    kept = sorted(path.name for path in (copy / "stems").iterdir())
    assert kept == ["epoch-00005.safetensors", "epoch-00006.safetensors"]


CLOCK = Clock(1000, 100)


@pytest.mark.parametrize(
    ("one", "other", "step"),
    [
        (LATE, LATE, 720),  # where it settles
        (LATE, replace(LATE, quantize_weights=0.6), 580),  # 20 steps before
        (LATE, replace(LATE, prune_weights=(0.5, 0.6)), 525),  # no window; the second level
        (LATE, replace(LATE, prune_activations=(0.5, 0.6)), 515),
        (Order(SPAN, SPAN, 0.9, 0.9), Order(SPAN, SPAN, 0.3, 0.9), 280),
    ],
)
def test_where_two_orders_part(one, other, step):
    made = [Recipe(*order.rules(), training=TRAINING) for order in (one, other)]
    assert parting(*made, CLOCK) == step


def test_strength_0_is_a_time_too():
    """A quantizer measures when its time comes, whatever its strength."""
    rules = [Rule("*:weight", LATE.rules()[1].op, After(at, to=0.0)) for at in (0.2, 0.4)]
    one, other = (Recipe(rule, training=TRAINING) for rule in rules)
    assert parting(one, other, CLOCK) == 180


def test_other_operators_part_when_they_first_act():
    one, other = (Recipe(*LATE.rules(0.5, bits), training=TRAINING) for bits in (4, 8))
    assert parting(one, other, CLOCK) == 700


def test_what_shares_nothing():
    """Other places, another training, nothing to be settled."""
    one = Recipe(*LATE.rules(), training=TRAINING)
    assert parting(one, Recipe(*LATE.rules()[:2], training=TRAINING), CLOCK) == 0
    assert parting(one, Recipe(*LATE.rules(), training=replace(TRAINING, seed=4)), CLOCK) == 0
    assert parting(Recipe(), Recipe(), CLOCK) == 0
    gone = Recipe(Rule("*:weight", one.rules[0].op, Levels(0, 900, to=0.0)), training=TRAINING)
    assert parting(one, gone, CLOCK) == 0
