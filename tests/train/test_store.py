import errno
import json
import os
import resource
import signal
import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from pareq.attach.attach import attach
from pareq.errors import CheckpointError, RunError
from pareq.recipe.config import dump_recipe
from pareq.recipe.recipe import Recipe
from pareq.train import checkpoint, durable
from pareq.train.journal import Epoch
from pareq.train.loop import Keep, restore, train
from pareq.train.run import open_run
from tests.train.toy import TRAINING, Toy, everything, network, rules


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    train(network(*rules()), Toy(), out=folder)
    return folder


class StopError(Exception):
    """What a callback raises to end a run."""


def _stopping(after: int, error: BaseException):
    def on_epoch(epoch: Epoch) -> None:
        if epoch.epoch == after:
            raise error

    return on_epoch


def _stopped(folder: Path, after: int) -> None:
    """A run of the rules in `folder` that ended after so many epochs."""
    with pytest.raises(StopError):
        train(network(*rules()), Toy(), out=folder, on_epoch=_stopping(after, StopError()))


# ---- the folder


def test_the_files_of_a_run(straight):
    names = {str(p.relative_to(straight)) for p in straight.rglob("*") if p.is_file()}
    assert names == {
        "run.json",
        "recipe.toml",
        "metrics.jsonl",
        "result.json",
        "weights-start.safetensors",
        "weights.safetensors",
        "checkpoints/step-00000055.safetensors",
        "checkpoints/step-00000066.safetensors",
        "checkpoints/best.safetensors",
    }
    recipe = Recipe(*rules(), training=TRAINING)
    assert (straight / "recipe.toml").read_text() == dump_recipe(recipe)
    result = json.loads((straight / "result.json").read_text())
    assert result["epochs"] == 6
    assert result["stopped"] == "complete"
    assert result["seconds"] > 0
    assert len(result["cost"]["layers"]) == 2


def test_the_weights_before_and_after(straight):
    start = safetensors.torch.load_file(straight / "weights-start.safetensors")
    value = safetensors.torch.load_file(straight / "weights.safetensors")
    fresh = network(*rules())
    assert set(start) == {"start/0:weight", "start/4:weight"}
    assert torch.equal(start["start/4:weight"], fresh.model[4].weight)
    assert set(value) == {"value/0:weight", "value/4:weight"}
    restore(fresh, straight)
    assert torch.equal(value["value/0:weight"], fresh.model[0].weight)
    assert len(value["value/0:weight"].unique()) <= 16


def test_a_finished_run_returns_its_result_and_its_network(straight):
    before = {p: p.read_bytes() for p in straight.rglob("*") if p.is_file()}
    net, told = network(*rules(), start=8), []
    run = train(net, Toy(), out=straight, on_epoch=told.append)
    assert run == open_run(straight)
    assert not told
    assert Toy().evaluate(net.model, Toy().load().test) == run.result.test
    assert {p: p.read_bytes() for p in straight.rglob("*") if p.is_file()} == before


def test_restore_puts_the_best_network_into_a_fresh_model(straight):
    net = network(*rules(), start=8)
    run = restore(net, straight)
    assert Toy().evaluate(net.model, Toy().load().test) == run.result.test
    assert not net.model.training


def test_keep_counts_epochs(tmp_path):
    seen = []

    def look(epoch: Epoch) -> None:
        newest = checkpoint.newest(tmp_path / "a" / "checkpoints")
        seen.append(newest.stem.removeprefix("step-").lstrip("0"))

    train(network(epochs=5), Toy(), out=tmp_path / "a", on_epoch=look, keep=Keep(epochs=2))
    assert seen == ["", "22", "22", "44", "55"]


# ---- stopped, and gone on


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, straight, after):
    folder = tmp_path / "run"
    _stopped(folder, after)
    assert open_run(folder).about.state == "failed"
    run = train(network(*rules(), start=after), Toy(), out=folder)
    assert everything(folder) == everything(straight)
    assert run.about == open_run(straight).about


def test_the_same_network_can_go_on(tmp_path, straight):
    net = network(*rules())
    for after in (2, 4):
        with pytest.raises(StopError):
            train(net, Toy(), out=tmp_path / "run", on_epoch=_stopping(after, StopError()))
    train(net, Toy(), out=tmp_path / "run")
    assert everything(tmp_path / "run") == everything(straight)


def test_a_lost_epoch_of_the_journal(tmp_path):
    _stopped(tmp_path / "run", 3)
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(RunError) as error:
        train(network(*rules()), Toy(), out=tmp_path / "run")
    assert str(error.value) == (
        f"{path}: has 1 of the 3 epochs before the checkpoint of step 33; restore the file, or "
        "start anew in another folder"
    )


def test_a_damaged_checkpoint_is_refused_and_the_older_one_serves(tmp_path, straight):
    folder = tmp_path / "run"
    _stopped(folder, 3)
    path = folder / "checkpoints" / "step-00000033.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError) as error:
        train(network(*rules()), Toy(), out=folder)
    assert str(error.value).startswith(f"{path}: is truncated: it has ")
    assert str(error.value).endswith(
        "; move it away to continue from step-00000022.safetensors, which is whole"
    )
    path.unlink()
    train(network(*rules()), Toy(), out=folder)
    assert everything(folder) == everything(straight)


def test_a_damaged_best_network_comes_back_from_the_last_step(tmp_path):
    folder = tmp_path / "run"
    run = train(network(*rules()), Toy(), out=folder)
    path = folder / "checkpoints" / "best.safetensors"
    path.write_bytes(b"junk, long enough for a header" * 10)
    with pytest.raises(CheckpointError, match="move it away to continue from step-00000066"):
        train(network(*rules()), Toy(), out=folder)
    path.unlink()
    net = network(*rules(), start=8)
    train(net, Toy(), out=folder)
    assert Toy().evaluate(net.model, Toy().load().test) == run.result.test


def test_another_model(tmp_path):
    _stopped(tmp_path / "run", 1)
    wide = nn.Sequential(
        nn.Linear(8, 17), nn.BatchNorm1d(17), nn.ReLU(), nn.Dropout(), nn.Linear(17, 3)
    )
    net = attach(wide, Recipe(*rules(), training=TRAINING))
    with pytest.raises(CheckpointError) as error:
        train(net, Toy(), out=tmp_path / "run")
    assert str(error.value) == (
        f"{tmp_path}/run/checkpoints/step-00000011.safetensors: tensor '0.bias' is float32 (16,) "
        "in the checkpoint and float32 (17,) in the model; give the model that the run began with, "
        "or use another folder"
    )


@pytest.mark.parametrize(
    ("layers", "fact"),
    [
        (
            [
                nn.Linear(8, 16),
                nn.BatchNorm1d(16),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(16, 3, False),
            ],
            "tensor '4.bias' is float32 (3,) in the checkpoint and absent in the model",
        ),
        (
            [
                nn.Linear(8, 16),
                nn.Identity(),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(16, 3),
                nn.PReLU(),
            ],
            "tensor '5.weight' is absent in the checkpoint and float32 (1,) in the model",
        ),
    ],
)
def test_a_model_with_other_layers(straight, layers, fact):
    net = attach(nn.Sequential(*layers), Recipe(*rules(), training=TRAINING))
    with pytest.raises(CheckpointError) as error:
        restore(net, straight)
    best = straight / "checkpoints" / "best.safetensors"
    assert str(error.value).startswith(f"{best}: {fact}; give the model that the run began with")


def test_ctrl_c_keeps_the_run_and_says_how_to_go_on(tmp_path, straight):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt) as stop:
        train(network(*rules()), Toy(), out=folder, on_epoch=_stopping(2, KeyboardInterrupt()))
    assert str(stop.value) == f"stopped; {folder} is kept, the same call goes on from step 22"
    assert open_run(folder).about.state == "stopped"
    train(network(*rules()), Toy(), out=folder)
    assert everything(folder) == everything(straight)


def test_a_real_ctrl_c_in_the_middle_of_an_epoch(tmp_path, straight):
    folder = tmp_path / "run"

    def press(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            threading.Timer(0.01, signal.raise_signal, [signal.SIGINT]).start()

    with pytest.raises(KeyboardInterrupt, match="the same call goes on from step"):
        train(network(*rules()), Toy(), out=folder, on_epoch=press)
    train(network(*rules()), Toy(), out=folder)
    assert everything(folder) == everything(straight)


def test_ctrl_c_without_a_folder():
    with pytest.raises(KeyboardInterrupt) as stop:
        train(network(), Toy(), on_epoch=_stopping(1, KeyboardInterrupt()))
    assert str(stop.value) == (
        "stopped; the run was kept in memory only and is lost, out=FOLDER keeps it"
    )


def test_one_folder_is_trained_once_at_a_time(tmp_path):
    def again(epoch: Epoch) -> None:
        train(network(), Toy(), out=tmp_path / "run")

    with pytest.raises(RunError, match="is being trained by another process; wait for it"):
        train(network(), Toy(), out=tmp_path / "run", on_epoch=again)


# ---- a full disk


@pytest.mark.parametrize("number", [0, 3, 4, 5, 9, 14])
def test_a_full_disk_loses_nothing(tmp_path, straight, monkeypatch, number):
    """The disk fills half-way through one write and stays full."""
    folder, whole, count = tmp_path / "run", durable._write, 0

    def full(descriptor: int, data: bytes) -> None:
        nonlocal count
        count += 1
        if count > number:
            whole(descriptor, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "_write", full)
        with pytest.raises(RunError, match=r"no space for .* all that was saved before is intact"):
            train(network(*rules()), Toy(), out=folder)
    for path in folder.rglob("*.safetensors"):
        if path.parent.name == "checkpoints":
            checkpoint.read(path)
    begun = any(folder.glob("checkpoints/step-*"))
    train(network(*rules(), start=7 if begun else 0), Toy(), out=folder)
    assert everything(folder) == everything(straight)


def test_a_limit_of_the_system_on_file_sizes(tmp_path, straight):
    """The real thing: the kernel refuses to let the checkpoint grow."""
    folder = tmp_path / "run"
    _stopped(folder, 2)
    before = everything(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))
    try:
        with pytest.raises(
            RunError, match=r"step-00000033.safetensors: no space for 1\d,\d+ bytes"
        ):
            train(network(*rules()), Toy(), out=folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    after = everything(folder)
    assert after.pop("metrics.jsonl").startswith(before.pop("metrics.jsonl"))
    assert after == before
    train(network(*rules()), Toy(), out=folder)
    assert everything(folder) == everything(straight)


def test_restore_before_there_is_a_best_network(tmp_path):
    _stopped(tmp_path / "run", 1)
    with pytest.raises(RunError) as error:
        restore(network(*rules()), tmp_path / "run")
    assert str(error.value) == (
        f"{tmp_path / 'run'}: has no best network yet: no epoch ended after all schedules had; "
        "train further"
    )


def test_the_recipe_of_a_run_is_enough_to_use_it(straight):
    from pareq.recipe.config import parse_recipe

    run = open_run(straight)
    net = attach(Toy().model(), parse_recipe(run.recipe))
    restore(net, straight)
    assert Toy().evaluate(net.model, Toy().load().test) == run.result.test
