"""Everything that changes while a network trains, and how it goes into a checkpoint and back.

| tensors of a checkpoint | facts of a checkpoint |
|---|---|
| model/... parameters and buffers, with those of the operators | the counters of the state |
| best/... the same of the best epoch | best: its epoch, step and validation loss |
| optimizer/<number>/... per parameter | optimizer: what is no tensor there |
| random/cpu, random/cuda | rate: lowest loss, epochs since, drops |
| sums: loss and penalty of the epoch so far | run: its steps, and steps an epoch |
| | recipe: its hash |
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pareq.errors import CheckpointError
from pareq.train.checkpoint import Checkpoint, Json
from pareq.train.optimizer import LearningRate

__all__ = ["Best", "State", "load_model"]

_COUNTERS = ("step", "epoch", "batch", "rows", "waited", "seconds")


@dataclass(frozen=True)
class Best:
    """The network of the epoch with the lowest validation loss since all schedules ended."""

    epoch: int
    step: int
    loss: float
    tensors: Mapping[str, Tensor]


@dataclass
class State:
    """Between two steps. step, epoch: how many are done; batch: done of the running epoch.

    sums: (2,) float64, loss and penalty times rows of that epoch; rows: how many went in. waited:
    epochs since the best. seconds: of training so far, over all sittings.
    """

    model: nn.Module
    optimizer: Optimizer
    rate: LearningRate
    device: torch.device
    step: int = 0
    epoch: int = 0
    batch: int = 0
    rows: int = 0
    waited: int = 0
    seconds: float = 0.0
    best: Best | None = None
    sums: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.device)

    def count(self, loss: Tensor, penalty: Tensor, rows: int) -> None:
        """One step is done; its figures stay on the device."""
        self.sums.add_(torch.stack((loss.detach(), penalty.detach())), alpha=rows)
        self.rows += rows
        self.step += 1
        self.batch += 1

    def means(self) -> tuple[float, float]:
        """Loss and penalty per row of the epoch so far."""
        loss, penalty = (self.sums / max(self.rows, 1)).tolist()
        return loss, penalty

    def next_epoch(self) -> None:
        """All batches of the epoch are done."""
        self.epoch, self.batch, self.rows = self.epoch + 1, 0, 0
        self.sums.zero_()

    def judge(self, loss: float) -> None:
        """Take the network as the best if its validation loss is the lowest so far, or wait."""
        if self.best is not None and loss >= self.best.loss:
            self.waited += 1
            return
        tensors = {name: t.detach().clone() for name, t in self.model.state_dict().items()}
        self.best, self.waited = Best(self.epoch, self.step, loss, tensors), 0

    def finite(self) -> bool:
        """Whether the loss so far and all parameters are finite."""
        totals = [p.detach().abs().max() for p in self.model.parameters() if p.numel()]
        return all(math.isfinite(t) for t in (*self.means(), *map(float, totals)))

    def capture(self, recipe: str) -> Checkpoint:
        """All of it as tensors and plain facts; recipe: its hash."""
        tensors = _prefixed("model", self.model.state_dict())
        numbers: dict[str, Json] = {}
        for index, entries in self.optimizer.state_dict()["state"].items():
            for key, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{index}/{key}"] = value
                else:
                    numbers[f"{index}/{key}"] = value
        tensors |= _prefixed("random", _random(self.device))
        tensors["sums"] = self.sums
        facts: dict[str, Json] = {"recipe": recipe, "optimizer": numbers, "best": None}
        facts |= {name: getattr(self, name) for name in _COUNTERS}
        facts["run"] = [self.rate.steps, self.rate.steps_per_epoch]
        facts["rate"] = [self.rate.lowest, self.rate.waited, self.rate.drops]
        if self.best is not None:
            tensors |= _prefixed("best", self.best.tensors)
            facts["best"] = [self.best.epoch, self.best.step, self.best.loss]
        return Checkpoint(tensors, facts)

    def restore(self, saved: Checkpoint) -> None:
        """Go back to what was captured.

        Raises CheckpointError when it is of another model.
        """
        facts = cast("dict[str, Any]", saved.facts)
        load_model(self.model, saved)
        _restore_optimizer(self.optimizer, _part("optimizer", saved), facts["optimizer"])
        for name in _COUNTERS:
            setattr(self, name, facts[name])
        self.rate.lowest, self.rate.waited, self.rate.drops = facts["rate"]
        self.sums.copy_(saved.tensors["sums"])
        self.best = None
        if facts["best"] is not None:
            tensors = {name: t.to(self.device) for name, t in _part("best", saved).items()}
            epoch, step, loss = facts["best"]
            self.best = Best(epoch, step, loss, tensors)
        _set_random(_part("random", saved), self.device)


def load_model(model: nn.Module, saved: Checkpoint) -> None:
    """Put the tensors model/... of a checkpoint into `model`.

    Raises CheckpointError, with the first tensor that does not fit, when it is another model.
    """
    found = _part("model", saved)
    expected = model.state_dict()
    for name in expected | found:
        old, new = (_shape(tensors.get(name)) for tensors in (found, expected))
        if old != new:
            raise CheckpointError(
                f"tensor {name!r} is {old} in the checkpoint and {new} in the model; give the"
                " model that the run began with, or use another folder",
                where=saved.source,
            )
    model.load_state_dict(found)


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _part(prefix: str, saved: Checkpoint) -> dict[str, Tensor]:
    start = f"{prefix}/"
    found = saved.tensors.items()
    return {name.removeprefix(start): t for name, t in found if name.startswith(start)}


def _shape(tensor: Tensor | None) -> str:
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _restore_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Json]
) -> None:
    """The groups are those of the recipe already; only the state per parameter is put back."""
    state: dict[int, dict[str, object]] = {}
    for path, value in (*tensors.items(), *numbers.items()):
        index, _, key = path.partition("/")
        state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _random(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators: the CPU's, and that of a CUDA device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
