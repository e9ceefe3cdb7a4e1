"""Chains of trainings: masks go on, weights go on or go back."""

from pathlib import Path

import pytest
import torch

from pareq.errors import CheckpointError, RunError
from pareq.operators.schedule import Stairs
from pareq.pruners import L1, Prune, PruneActivation
from pareq.quantizers import LearnedScale, MaxAbs
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.recipe.recipe import Recipe, Rule, Training
from pareq.tasks.base import make_task
from pareq.train import checkpoint
from pareq.train.loop import Keep
from pareq.train.run import open_run
from pareq.train.start import Start
from pareq.train.store import kept_path
from pareq.train.trial import Trial, network, reopen

STAIRS = (0.3, 0.5)
STEP = 3


def recipe(states: int) -> str:
    rules = (
        Rule("*:weight", Prune(), Stairs(0, 0, STAIRS[:states] or (0.0,))),
        Rule("*:weight", L1(1e-5)),
        Rule("*:weight", MaxAbs(6)),
        Rule("*:output", LearnedScale(6)),
    )
    training = Training(epochs=3, batch_size=256, learning_rate=1e-2, seed=5)
    return dump_recipe(Recipe(*rules, training=training))


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """The dense network, kept after three steps."""
    folder = tmp_path_factory.mktemp("chain") / "state-0"
    Trial("digits", recipe(0)).run(folder, keep=Keep(step=STEP))
    return folder


def weights(net) -> dict[str, torch.Tensor]:
    """Everything that training changes but the masks."""
    held = net.model.state_dict()
    return {k: t for k, t in held.items() if not k.endswith(("mask", "fallen", "strength"))}


def masks(net) -> dict[str, torch.Tensor]:
    return {k: t for k, t in net.model.state_dict().items() if k.endswith("mask")}


def begun(start: Start, states: int):
    """A network as its training begins."""
    net = network(make_task("digits"), parse_recipe(recipe(states)))
    start.apply(net)
    return net


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def alive(net) -> int:
    return sum(int(mask.sum()) for mask in masks(net).values())


def test_weights_go_on_or_back_and_the_masks_are_the_same(first):
    """Fine-tuning, lottery ticket, late rewinding: one mask, from the trained weights."""
    trained = reopen(first)[2]
    drawn = network(make_task("digits"), parse_recipe(recipe(1)))
    early = checkpoint.read(kept_path(first / "checkpoints", STEP)).tensors
    tuned, exact, late = (
        begun(Start(str(first), rewind, str(first)), 1) for rewind in (None, 0, STEP)
    )
    assert same(masks(tuned), masks(exact))
    assert same(masks(tuned), masks(late))
    total = sum(mask.numel() for mask in masks(tuned).values())
    assert alive(tuned) == total - round(0.3 * total)
    assert same(weights(tuned), weights(trained))
    assert same(weights(exact), weights(drawn))
    rewound = weights(late)
    assert all(torch.equal(tensor, early[f"model/{name}"]) for name, tensor in rewound.items())
    assert not same(rewound, weights(drawn))
    assert not same(rewound, weights(trained))


def test_the_smallest_trained_weights_fall(first):
    """Whatever the weights go back to."""
    trained = reopen(first)[2]
    held = torch.cat([s.latent().flatten() for s in trained.sites if s.kind == "weight"])
    net = begun(Start(str(first), 0), 1)
    kept = torch.cat([mask.flatten() for mask in masks(net).values()]).bool()
    assert held.abs()[kept].min() >= held.abs()[~kept].max()


def test_a_chain_of_lottery_tickets(first, tmp_path):
    """What fell stays fallen; a training begins where the ticket says."""
    for state in (1, 2):
        after = first if state == 1 else tmp_path / "1"
        Trial("digits", recipe(state), start=Start(str(after), 0)).run(tmp_path / str(state))
    one, two = (reopen(tmp_path / str(state))[2] for state in (1, 2))
    for name, mask in masks(two).items():
        assert (mask <= masks(one)[name]).all()
    left = alive(one)
    assert alive(two) == left - round(0.5 * left)
    starts = [(tmp_path / s / "weights-start.safetensors").read_bytes() for s in ("1", "2")]
    assert starts[0] == starts[1] == (first / "weights-start.safetensors").read_bytes()


def test_a_killed_state_goes_on_bit_for_bit(first, tmp_path):
    """Stopped after an epoch and continued, as if it had not been."""

    def stop(epoch):
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    trial = Trial("digits", recipe(1), start=Start(str(first)))
    straight = trial.run(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        trial.run(tmp_path / "stopped", on_epoch=stop)
    again = trial.run(tmp_path / "stopped")
    assert again.epochs == straight.epochs
    assert again.result.test == straight.result.test


def test_what_is_kept_does_not_change_the_training(first, tmp_path):
    """Keeping a step costs a file, nothing else; thinning leaves it."""
    Trial("digits", recipe(0)).run(tmp_path / "plain")
    assert open_run(tmp_path / "plain").epochs == open_run(first).epochs
    assert kept_path(first / "checkpoints", STEP).exists()
    assert not list((tmp_path / "plain" / "checkpoints").glob("kept-*"))


def test_what_a_chain_cannot_begin_with(first, tmp_path):
    """Each refusal says what is missing."""
    with pytest.raises(RunError) as caught:
        Start("somewhere", -1)
    assert str(caught.value) == "start.rewind must be 0 steps or more, got -1"
    with pytest.raises(RunError) as caught:
        Start("somewhere", 7)
    assert str(caught.value).startswith("start.first is missing")
    with pytest.raises(RunError) as caught:
        Keep(step=0)
    assert str(caught.value) == "keep.step must be 1 or more, got 0"
    with pytest.raises(CheckpointError) as caught:
        begun(Start(str(tmp_path)), 1)
    assert "best.safetensors: is missing" in str(caught.value)
    with pytest.raises(CheckpointError) as caught:
        begun(Start(str(first), 99, str(first)), 1)
    assert "kept-00000099.safetensors: is missing" in str(caught.value)
    net = network(make_task("digits", {"widths": (4, 4)}), parse_recipe(recipe(1)))
    with pytest.raises(CheckpointError):
        Start(str(first)).apply(net)


JOINT = """
[training]
epochs = 3
batch_size = 256
learning_rate = 0.01
seed = 5

[[rule]]
where = "act1:output"
op = { name = "prune_activation", window = 2 }
when = { name = "after", at = %s, to = 0.5 }

[[rule]]
where = "*:weight"
op = { name = "uniform", bits = 6 }
when = { name = "after", at = 0.5 }

[[rule]]
where = "act2:output"
op = { name = "learned_scale", bits = 6 }
when = { name = "after", at = 0.5 }
"""


@pytest.fixture(scope="module")
def joint(tmp_path_factory) -> Path:
    """A network whose activations were pruned and whose scales were found."""
    folder = tmp_path_factory.mktemp("joint") / "first"
    Trial("digits", JOINT % "0.2").run(folder, keep=Keep(step=STEP))
    return folder


@pytest.mark.parametrize("rewind", [0, STEP])
def test_masks_of_activations_stay_and_scales_go_back_with_the_weights(joint, rewind):
    """What a mask needs comes along: its count too; what a quantizer found belongs to weights."""
    recipe = parse_recipe(JOINT % "0")  # pruned from the first step on
    trained, net = reopen(joint)[2], network(make_task("digits"), recipe)
    drawn = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    Start(str(joint), rewind, str(joint)).apply(net)
    assert same(masks(net), masks(trained))
    (mask,) = [m for m in net.model.modules() if isinstance(m, PruneActivation)]
    assert mask.count == int(mask.fallen) == 16
    assert mask.sparsity == 0.5
    if rewind:
        drawn = {
            name.removeprefix("model/"): tensor
            for name, tensor in checkpoint.read(
                kept_path(joint / "checkpoints", STEP)
            ).tensors.items()
        }
    held = net.model.state_dict()
    pruner = {name for name in held if name.startswith(_of(net, mask))}
    assert pruner
    assert same({k: t for k, t in held.items() if k not in pruner}, drawn_without(drawn, pruner))
    net.set_step(0)
    assert mask.engaged
    assert same(masks(net), masks(trained))


def _of(net, wanted) -> str:
    """The name of an operator in the model."""
    return next(path for path, module in net.model.named_modules() if module is wanted)


def drawn_without(state, names) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in names}
