"""What no population has is refused before training begins, with its name."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from pareq.errors import RunError
from pareq.quantizers import FixedPoint, MaxAbs, Uniform
from pareq.recipe.recipe import Rule
from pareq.tasks.base import TASKS
from pareq.train.loop import Keep
from pareq.train.population import train_population
from tests.train.clouds import Clouds, variant


class Wavy(Clouds):
    """Its network has a layer that no population has."""

    name: ClassVar[str] = "wavy"

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3))


class Twice(Clouds):
    """Its network has a layer in two places."""

    name: ClassVar[str] = "twice"

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        layer = nn.Linear(8, 8)
        return nn.Sequential(layer, layer, nn.Linear(8, 3))


class Tied(Clouds):
    """Two of its layers have one weight."""

    name: ClassVar[str] = "tied"

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        one, other = nn.Linear(8, 8), nn.Linear(8, 8)
        other.weight = one.weight
        return nn.Sequential(one, other, nn.Linear(8, 3))


class Still(Clouds):
    """One of its parameters is not trained."""

    name: ClassVar[str] = "still"

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        layer = nn.Linear(8, 3)
        layer.bias.requires_grad_(False)
        return layer


class Moved(Clouds):
    """It varies its inputs."""

    name: ClassVar[str] = "moved"

    def vary(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(1)


@pytest.mark.parametrize(
    ("trials", "found"),
    [
        ([], "there are no trials"),
        ([variant(), variant(width=4)], "trial 1: the network has 0 = Linear.*out_features=4"),
        ([variant(), variant(batch_size=16)], "trial 1: batch_size is 16, that of trial 0 32"),
        ([variant(), variant(optimizer="adamw")], "optimizer is adamw, that of trial 0 adam"),
        ([variant(optimizer="sgd")], "optimizer is sgd"),
        ([variant(task="wavy")], "1 is a Tanh, a population knows Sequential, Linear"),
        ([variant(task="twice")], "a module occurs twice"),
        ([variant(task="tied")], "two modules share a parameter"),
        ([variant(task="still")], ":bias takes no gradient"),
        ([variant(task="moved")], "varies its inputs"),
        ([variant(Rule("0:output", Uniform(6)))], "0:output has the operator uniform"),
        (
            [variant(Rule("0:weight", MaxAbs(6, per_channel=True)))],
            "0:weight: max_abs: per_channel",
        ),
        ([variant(Rule("0:weight", MaxAbs(30)))], "max_abs: bits is 30"),
        ([variant(Rule("0:weight", FixedPoint(6, rounding="floor")))], "rounding is 'floor'"),
    ],
)
def test_what_no_population_has_is_refused(monkeypatch, tmp_path, trials, found):
    """Before a folder is made."""
    for kind in (Clouds, Wavy, Twice, Tied, Still, Moved):
        monkeypatch.setitem(TASKS._things, kind.name, kind)
    with pytest.raises(RunError, match=found) as caught:
        train_population(trials, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    if trials:
        assert "train such trials alone" in str(caught.value)
    assert str(caught.value).startswith("population: ")


def test_folders_and_devices_are_checked(monkeypatch, tmp_path):
    monkeypatch.setitem(TASKS._things, Clouds.name, Clouds)
    trials = [variant(), variant(seed=1)]
    with pytest.raises(RunError, match="out names 1 folders for 2 trials"):
        train_population(trials, [tmp_path])
    with pytest.raises(RunError, match="keep has 1 entries for 2 trials"):
        train_population(trials, keep=[Keep()])
    with pytest.raises(RunError, match="a folder twice"):
        train_population(trials, [tmp_path / "a", tmp_path / "b" / ".." / "a"])
    with pytest.raises(RunError, match="such as 'cpu' or 'cuda', got 'gpu0'"):
        train_population(trials, device="gpu0")
    if not torch.cuda.is_available():
        with pytest.raises(RunError, match="torch sees no GPU"):
            train_population(trials, device="cuda")
