"""Pruning of activations: positions of a feature map that are zero for every input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad

from pareq.errors import OperatorError
from pareq.operators.base import Member, Operator
from pareq.operators.schedule import NEVER, Schedule
from pareq.pruners.prune import SCORES, least

__all__ = ["PruneActivation"]

Pattern = Literal["unstructured", "channel", "tiled"]


@dataclass(eq=False, repr=False)
class PruneActivation(Operator, name="prune_activation"):
    """Set the least valuable positions of an activation to zero, the same ones for every input.

    The schedule's value is the share that falls. A position's worth is its mean score over the
    training samples of the `window` steps before the mask changes (Zhang et al. 2021, arXiv
    2110.08271); with decay < 1 a moving average, in which each batch counts that much less than
    the next. Counts are exact, of equals the first fall.

    pattern: "unstructured" channels and positions, for one image size; "channel" whole channels;
    "tiled" repeats a mask of `tile` x `tile` positions (0: the size of the example) over images of
    any size. scope: "layer" ranks each activation by itself, "global" all of the rule together.
    regrow: let a fallen position return; its score is that of the unmasked input.
    """

    score: str = "magnitude"
    scope: Literal["layer", "global"] = "layer"
    pattern: Pattern = "unstructured"
    tile: int = 0
    window: int = 10
    decay: float = 1.0
    regrow: bool = False

    def check(self) -> None:
        """Every field, each with its own message."""
        SCORES[self.score]
        for field, known in (("scope", ("layer", "global")), ("pattern", get_args(Pattern))):
            if getattr(self, field) not in known:
                raise OperatorError(
                    f"{field} must be one of {', '.join(known)}, got {getattr(self, field)!r}"
                )
        if self.tile < 0:
            raise OperatorError(f"tile must be 0 positions or more, got {self.tile}")
        if self.tile and self.pattern != "tiled":
            raise OperatorError(f"tile belongs to pattern 'tiled', got {self.pattern!r}")
        if self.window < 1:
            raise OperatorError(f"window must be 1 step or more, got {self.window}")
        if not 0 < self.decay <= 1:
            raise OperatorError(f"decay must be in (0, 1], got {self.decay}")

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Buffers `mask` (1 kept, 0 fallen), `worth` (both of the units), `seen` and `fallen`."""
        if like is None:
            raise OperatorError(
                "prune_activation needs the shape of the activation; give attach an example input"
            )
        if like.ndim < 2:
            raise OperatorError(f"the activation has shape {tuple(like.shape)}, expected a batch")
        channels, tile = axis % like.ndim - 1, self.tile
        shape = like.shape[1:]
        period = {"unstructured": shape, "channel": [1] * len(shape)}.get(
            self.pattern, [min(tile or n, n) for n in shape]
        )
        units = [
            n if d == channels else u for d, (n, u) in enumerate(zip(shape, period, strict=True))
        ]
        device = like.device
        self.register_buffer("mask", torch.ones(units, device=device))
        self.register_buffer("worth", torch.zeros(units, device=device))
        self.register_buffer("seen", torch.zeros((), device=device))
        self.register_buffer("fallen", torch.zeros((), dtype=torch.int64, device=device))
        self.mask: Tensor
        self.worth: Tensor
        self.seen: Tensor
        self.fallen: Tensor
        self.strength = self.strength.to(device)
        self.units = self.mask.numel()
        self.count = 0
        self.waiting = False  # whether a mask is due but nothing was seen yet
        self.spread: Tensor | None = None  # the mask of a tiled pattern at the size of last time

    def reload(self) -> None:
        """Keep the count as a Python number."""
        super().reload()
        self.spread = None
        self.count = int(self.fallen) if "fallen" in self._buffers else 0

    @property
    def sparsity(self) -> float:
        """The share of units that are masked."""
        return float(self.count / max(self.units, 1))

    def kept(self, shape: Sequence[int]) -> Tensor:
        """The mask for an activation of this shape, without its batch axis: 1 kept, 0 fallen.

        It broadcasts against the activation. Raises OperatorError for a shape that the pattern
        does not cover.
        """
        sizes = self.mask.shape
        if self.pattern == "tiled" and tuple(shape) != sizes and len(shape) == len(sizes):
            repeats = [-(-n // u) for n, u in zip(shape, sizes, strict=True)]
            return self.mask.repeat(repeats)[tuple(slice(n) for n in shape)]
        fits = len(shape) == len(sizes) and all(
            u in (1, n) for n, u in zip(shape, sizes, strict=True)
        )
        if not fits:
            raise OperatorError(
                f"the mask is {tuple(sizes)}, the activation {tuple(shape)}; use the pattern"
                " 'tiled' or 'channel' for images of several sizes"
            )
        return self.mask

    def forward(self, x: Tensor) -> Tensor:
        """The activation with fallen positions zero; their gradient is zero."""
        mask = self.mask
        if mask.shape != x.shape[1:]:
            if self.spread is None or self.spread.shape != x.shape[1:]:
                self.spread = self.kept(x.shape[1:])
            mask = self.spread
        return x * (mask if mask.dtype == x.dtype else mask.to(x.dtype))

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Take the scores of a batch into the worth; ranks of a distributed run add theirs."""
        worth = self._folded(SCORES[self.score](x.detach()).float().sum(0))
        samples = torch.full_like(self.seen, len(x))
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(worth, dist.ReduceOp.SUM)
            dist.all_reduce(samples, dist.ReduceOp.SUM)
        self.worth.mul_(self.decay).add_(worth)
        self.seen.mul_(self.decay).add_(samples)

    def _folded(self, total: Tensor) -> Tensor:
        """The sum over samples as a mean over the positions that share a unit."""
        for d, (n, u) in enumerate(zip(total.shape, self.mask.shape, strict=True)):
            if n == u:
                continue
            times = -(-n // u)
            filled = pad(total.movedim(d, -1), (0, times * u - n))
            shared = torch.full((u,), times, device=total.device)
            shared[u - (times * u - n) :] -= 1
            parts = filled.reshape(*filled.shape[:-1], times, u)
            folded = parts.sum(-2) / shared.clamp(min=1)
            total = folded.movedim(-1, d)
        return total

    @classmethod
    def advance(cls, members: Sequence[Member], schedule: Schedule, step: int) -> None:
        """Choose masks anew when the schedule asks for another number; look ahead of that."""
        if schedule.largest >= 1:
            raise OperatorError(f"sparsity must be in [0, 1), got {schedule.largest}")
        value = schedule(step)
        ours = [o for o, _ in members if isinstance(o, PruneActivation)]
        whole = bool(ours) and ours[0].scope == "global"
        for group in [ours] if whole else [[o] for o in ours]:
            _choose(group, schedule, step)
        ahead = schedule.next_change(step) - step
        for operator in ours:
            operator.set_strength(value)
            operator.observing = operator.waiting or ahead <= operator.window

    def next_change(self, schedule: Schedule, step: int) -> int:
        """The next change of the share, or the step from which to look."""
        change = schedule.next_change(step)
        if self.waiting:
            return step + 1
        if self.observing or change == NEVER:
            return change
        return max(step + 1, change - self.window)


@torch.no_grad()
def _choose(group: Sequence[PruneActivation], schedule: Schedule, step: int) -> None:
    """Give one budget to the units of one or several activations."""
    k = schedule.count(step, sum(operator.units for operator in group))
    due = k != sum(operator.count for operator in group)
    waiting = due and any(not bool(operator.seen > 0) for operator in group)
    for operator in group:
        operator.waiting = waiting
    if waiting or not due:
        return
    worth = []
    for operator in group:
        mean = operator.worth / operator.seen
        if not operator.regrow:
            mean = mean.masked_fill(operator.mask == 0, -torch.inf)
        worth.append(mean.reshape(-1))
    flat = torch.cat(worth)
    if bool(flat.isnan().any()):
        raise OperatorError("the activations to be pruned hold NaN; look at the loss and the data")
    kept = torch.split(least(flat, k), [operator.units for operator in group])
    for operator, keep in zip(group, kept, strict=True):
        operator.mask.copy_(keep.reshape(operator.mask.shape))
        operator.count = int((~keep).sum())
        operator.fallen.fill_(operator.count)
        operator.spread = None
        if operator.decay == 1.0:
            operator.worth.zero_()
            operator.seen.zero_()
