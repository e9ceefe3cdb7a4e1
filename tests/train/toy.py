"""A task and recipes small enough to train in a second, with every kind of state in them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from pareq.attach.attach import Attached, attach
from pareq.operators.schedule import After, Ramp
from pareq.pruners import L1, Prune
from pareq.quantizers import FixedPoint, LearnedScale
from pareq.recipe.recipe import Recipe, Rule, Training
from pareq.tasks.base import Data, Split, Task

TRAINING = Training(epochs=6, batch_size=32, learning_rate=1e-2, seed=3, decay="cosine")


@dataclass(frozen=True)
class Toy(Task):
    """Three clouds of points in eight dimensions; 330 rows, so that the last batch is small."""

    name: ClassVar[str] = "toy"
    classes: ClassVar[tuple[str, ...]] = ("a", "b", "c")
    rows: int = 330
    noise: float = 1.0

    def load(self) -> Data:
        parts = [self._split(self.rows, 0), self._split(90, 1), self._split(60, 2)]
        return Data(*parts, name=f"three clouds, {self.rows}")

    def _split(self, rows: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        y = torch.randint(0, 3, (rows,), generator=generator)
        x = self.noise * torch.randn(rows, 8, generator=generator)
        x[torch.arange(rows), y] += 2
        return Split(x, y)

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        return nn.Sequential(
            nn.Linear(8, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(16, 3),
        )

    @property
    def example(self) -> Tensor:
        return torch.zeros(2, 8)

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, object]:
        with torch.no_grad():
            right = model(split.x).argmax(1) == split.y
        return {"accuracy": float(right.double().mean())}


def network(*rules: Rule, start: int = 0, **training: object) -> Attached:
    """A toy model, made from the random seed `start`, with rules on it."""
    torch.manual_seed(start)
    return attach(Toy().model(), Recipe(*rules, training=replace(TRAINING, **training)))


def rules() -> tuple[Rule, ...]:
    """Pruning, a penalty, fixed and learned quantizers, all moving during the run."""
    return (
        Rule("*:weight", Prune(), Ramp(0.1, 0.5, to=0.6, every=3)),
        Rule("*:weight", L1(1e-4), After(0)),
        Rule("*:weight", FixedPoint(4), After("3 epochs")),
        Rule("*:output", LearnedScale(4), After(0.4)),
    )


def everything(run: Path) -> dict[str, bytes]:
    """All files of a run that must not depend on whether it was interrupted."""
    files = sorted(p for p in run.rglob("*") if p.is_file())
    return {
        str(p.relative_to(run)): p.read_bytes()
        for p in files
        if p.name in ("metrics.jsonl", "recipe.toml", "weights.safetensors", "best.safetensors")
        or p.name == "weights-start.safetensors"
    }
