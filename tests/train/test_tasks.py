"""The loop on a reference task with real data: digits."""

import json

import pytest
import torch

from pareq.attach.attach import attach
from pareq.operators.schedule import After, Ramp
from pareq.pruners import Prune
from pareq.quantizers import FixedPoint
from pareq.recipe.recipe import Recipe, Rule, Training
from pareq.tasks.digits import Digits
from pareq.train.loop import restore, train
from pareq.train.run import open_run, plain

pytest.importorskip("sklearn", reason="the extra `tasks` is not installed")

TRAINING = Training(epochs=10, batch_size=128, learning_rate=5e-3, seed=1)


def _recipe() -> Recipe:
    return Recipe(
        Rule("*:weight", Prune(), Ramp(0.1, 0.5, to=0.5)),
        Rule("*:weight", FixedPoint(6), After(0.5)),
        Rule("*:output", FixedPoint(6, signed=False), After(0.5)),
        training=TRAINING,
    )


class StopError(Exception):
    """Ends a run."""


def _stop(epoch: object) -> None:
    if epoch.epoch == 7:
        raise StopError


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_pruned_and_quantized_digits(tmp_path, network):
    task = Digits(network=network)
    net = attach(task.model(), _recipe(), example=task.example)
    run = train(net, task, out=tmp_path / "run")
    assert run.result.test["accuracy"] > 0.85
    assert run.epochs[-1].sparsity >= 0.5
    assert run.epochs[-1].bits == 6
    assert run.result.cost["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["classes"] == list("0123456789")
    fresh = attach(task.model(), _recipe(), example=task.example)
    restore(fresh, tmp_path / "run")
    assert plain(task.evaluate(fresh.model, task.load().test)) == run.result.test


@pytest.mark.parametrize("network", ["mlp", pytest.param("cnn", marks=pytest.mark.slow)])
def test_digits_resume_bit_for_bit(tmp_path, network):
    task, runs = Digits(network=network), {}
    for name in ("straight", "stopped"):
        torch.manual_seed(0)
        runs[name] = attach(task.model(), _recipe(), example=task.example)
    train(runs["straight"], task, out=tmp_path / "straight")
    with pytest.raises(StopError):
        train(runs["stopped"], task, out=tmp_path / "stopped", on_epoch=_stop)
    other = attach(task.model(), _recipe(), example=task.example)
    train(other, task, out=tmp_path / "stopped")
    first, second = (open_run(tmp_path / name) for name in ("straight", "stopped"))
    assert first.epochs == second.epochs
    assert first.result.test == second.result.test
    for name in ("metrics.jsonl", "weights.safetensors", "checkpoints/best.safetensors"):
        assert (tmp_path / "straight" / name).read_bytes() == (
            tmp_path / "stopped" / name
        ).read_bytes()
