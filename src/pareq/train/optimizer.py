"""The optimizer and the learning rate of a recipe.

| decay | learning rate after the warm-up |
|---|---|
| constant | rate |
| cosine | rate * (1 + cos(pi * progress)) / 2 (Loshchilov & Hutter 2017 eq. 5, one cycle) |
| step | rate * decay_factor ** (epoch // decay_every) |
| tail | rate, then as cosine over the last `tail` share of the run |
| plateau | times decay_factor after decay_every epochs without a lower validation loss |

During the warm-up it rises linearly (Goyal et al. 2017 section 2.2); the progress of the cosine
runs from 0 at its end to 1 at the end of the run.
"""

import math
from dataclasses import dataclass

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from pareq.errors import RunError
from pareq.operators.base import Operator
from pareq.recipe.recipe import Training

__all__ = ["LearningRate", "make_optimizer"]

_FUSED = ("cpu", "cuda")  # where torch has one kernel for all parameters: 2 to 4 times as fast


def make_optimizer(model: nn.Module, training: Training) -> Optimizer:
    """The optimizer for all parameters of `model`; those of operators get no weight decay.

    Raises RunError when there is nothing to train.
    """
    learned = {id(p) for m in model.modules() if isinstance(m, Operator) for p in m.parameters()}
    free = [p for p in model.parameters() if p.requires_grad]
    if not free:
        raise RunError(
            "the model has no parameter that requires a gradient; there is nothing to train"
        )
    decaying = [p for p in free if id(p) not in learned]
    scales = [p for p in free if id(p) in learned]
    groups: list[dict[str, object]] = [{"params": decaying}] if decaying else []
    if scales:
        groups.append({"params": scales, "weight_decay": 0.0})
    rate, decay = training.learning_rate, training.weight_decay
    fused = all(p.is_floating_point() and p.device.type in _FUSED for p in free)
    if training.optimizer == "sgd":
        return SGD(groups, rate, training.momentum, weight_decay=decay, fused=fused)
    if training.optimizer == "adamw":
        return AdamW(groups, rate, weight_decay=decay, fused=fused)
    return Adam(groups, rate, weight_decay=decay, fused=fused)


@dataclass
class LearningRate:
    """The learning rate of each step; only the plateau decay has a memory.

    steps, steps_per_epoch: of the whole run. lowest: validation loss so far; waited: epochs since;
    drops: how often it was lowered.
    """

    training: Training
    steps: int
    steps_per_epoch: int
    lowest: float = math.inf
    waited: int = 0
    drops: int = 0

    def at(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""
        training = self.training
        rate, warmup = training.learning_rate, training.warmup * self.steps_per_epoch
        if step < warmup:
            return rate * (step + 1) / warmup
        if training.decay in ("cosine", "tail"):
            whole = training.decay == "cosine"
            begin = warmup if whole else max(warmup, self.steps * (1 - training.tail))
            progress = max((step - begin) / (self.steps - begin), 0.0)
            return rate * (1 + math.cos(math.pi * progress)) / 2
        if training.decay == "step":
            epoch = step // self.steps_per_epoch
            return rate * training.decay_factor ** (epoch // training.decay_every)
        if training.decay == "plateau":
            return rate * training.decay_factor**self.drops
        return rate

    def set(self, optimizer: Optimizer, step: int) -> None:
        """Give `optimizer` the rate of `step`."""
        rate = self.at(step)
        for group in optimizer.param_groups:
            group["lr"] = rate

    def see(self, val_loss: float) -> None:
        """Note the validation loss of an epoch."""
        if val_loss < self.lowest:
            self.lowest, self.waited = val_loss, 0
            return
        self.waited += 1
        if self.waited >= self.training.decay_every:
            self.waited, self.drops = 0, self.drops + 1
