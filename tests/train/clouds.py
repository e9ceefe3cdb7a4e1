"""Tasks whose networks a population has, and trials that have next to nothing in common."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from pareq.operators.schedule import After, Ramp
from pareq.pruners import L1, Prune
from pareq.quantizers import FixedPoint, LearnedScale, MaxAbs
from pareq.recipe.config import dump_recipe
from pareq.recipe.recipe import Recipe, Rule, Training
from pareq.tasks.base import Data, Split
from pareq.train.trial import Trial
from tests.train.toy import Toy


@dataclass(frozen=True)
class Clouds(Toy):
    """The toy task for a network that a population has, with labels of one's own choice."""

    name: ClassVar[str] = "clouds"
    turned: int = 0
    width: int = 12

    def load(self) -> Data:
        data = super().load()
        y = torch.where(torch.arange(len(data.train)) < self.turned, 0, data.train.y)
        return Data(Split(data.train.x, y), data.val, data.test, data.name)

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        return nn.Sequential(
            nn.Linear(8, self.width),
            nn.BatchNorm1d(self.width),
            nn.ReLU(),
            nn.Sequential(nn.Linear(self.width, 6), nn.BatchNorm1d(6), nn.ReLU()),
            nn.Linear(6, 3, bias=False),
        )


@dataclass(frozen=True)
class Plain(Clouds):
    """Without the scales of batch normalisation, and with a loss of its own."""

    name: ClassVar[str] = "plain"

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        norm = nn.BatchNorm1d(self.width, affine=False)
        return nn.Sequential(nn.Linear(8, self.width), norm, nn.ReLU(), nn.Linear(self.width, 3))

    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(output.softmax(1), nn.functional.one_hot(y, 3).to(output))

    def score(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -(output.argmax(1) - y).abs().sum()


PUBLISHED = (
    Rule("*:weight", Prune(), Ramp(0.1, 0.5, to=0.6, every=3)),
    Rule("*:weight", L1(1e-3)),
    Rule("*@BatchNorm*:weight", L1(1e-3)),
    Rule("*:weight", MaxAbs(6)),
    Rule("*:output", LearnedScale(6)),
)
LATE = (
    Rule("*:weight", L1(2e-3), After(0.2)),
    Rule("*:weight", MaxAbs(4, gradient="frozen")),
    Rule("*:weight", Prune(scope="layer"), After(0.3, to=0.5)),
    Rule("*:output", LearnedScale(4, domain="linear", gradient="lsq"), After(0.4)),
)
FIXED = (
    Rule("*:weight", Prune(pattern="channel"), After(5, to=0.4)),
    Rule("*:weight", FixedPoint(5), Ramp(0.2, 0.4)),
    Rule("*:bias", FixedPoint(7, frac=5)),
    Rule("*:output", FixedPoint(5, signed=False), After(0.2)),
    Rule(":input", FixedPoint(7)),
)
SIGNED = (Rule("*:weight", LearnedScale(3, signed=True, initial=0.5), After("1 epochs")),)


def variant(*rules: Rule, task: str = "clouds", **given: object) -> Trial:
    options = {name: given.pop(name) for name in ("turned", "width") if name in given}
    settings = {"epochs": 5, "batch_size": 32, "learning_rate": 3e-3, **given}
    return Trial(task, dump_recipe(Recipe(*rules, training=Training(**settings))), options)


def mixed() -> list[Trial]:
    """Members that have next to nothing in common."""
    return [
        variant(seed=1),
        variant(*PUBLISHED, seed=2, decay="cosine", turned=40),
        variant(*LATE, seed=3, learning_rate=1e-2, decay="plateau", decay_every=1),
        variant(*FIXED, seed=3, weight_decay=0.01, warmup=1),
        variant(*SIGNED, *PUBLISHED[:2], seed=4, epochs=3),
    ]
