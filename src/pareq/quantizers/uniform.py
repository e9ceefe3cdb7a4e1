"""The published uniform quantizer: a power-of-two step with the least square error, then kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from pareq.errors import OperatorError
from pareq.numerics.gradients import round_
from pareq.numerics.rounding import Overflow, Rounding
from pareq.operators.base import Member
from pareq.operators.schedule import Schedule
from pareq.quantizers.fixed_point import FixedPoint
from pareq.quantizers.ranges import rows, sample

__all__ = ["Uniform", "square_errors"]

_ALL_OF_A_WEIGHT = 2**16  # values per channel that the search looks at
_OF_A_BATCH = 2**14


@dataclass(eq=False, repr=False)
class Uniform(FixedPoint, name="uniform"):
    """Round to `bits` bits with the step 2^-d whose square error is least (Zhang et al. 2021).

    d is searched in least..most when the operator engages, for an activation over the training
    batches of the `window` steps before and the first one with it, and then kept; refresh > 0
    searches anew every so many steps. recalibrate: search anew when a pruner before it chose
    another mask, for an activation any pruner of the network. low, high: quantiles between which
    the values are clamped before the search, for long tails; published 0.0001 and 0.9999.

    As published (arXiv 2110.08271): rounding "toward_zero", gradient "value", least 0, most 19,
    recalibrate false. rounding, signed, per_channel, gradient: as in fixed_point.
    """

    frac: int | None = field(default=None, init=False)
    narrow: bool = field(default=False, init=False)
    range: str = field(default="mse", init=False)
    overflow: Overflow = field(default="saturate", init=False)
    refresh: int = 0
    low: float = 0.0
    high: float = 1.0
    least: int = -8
    most: int = 24
    recalibrate: bool = True

    def check(self) -> None:
        """Every field, each with its own message."""
        super().check()
        if not 0 <= self.low < self.high <= 1:
            raise OperatorError(
                f"low and high must be quantiles, 0 <= low < high <= 1, got {self.low}, {self.high}"
            )
        if not -64 <= self.least <= self.most <= 64:
            raise OperatorError(
                f"least..most must lie in -64..64, got {self.least}..{self.most}; 2^-d is the step"
            )
        # of equals the d nearest to 0 is taken
        self.fracs = sorted(range(self.least, self.most + 1), key=lambda d: (abs(d), d))

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Buffers `step`, `errors` (candidates, channels) and `turn`, the step of the last look."""
        super().prepare(like, axis)
        device = self.step.device
        self.register_buffer("errors", torch.zeros(len(self.fracs), self.step.numel()))
        self.register_buffer("turn", torch.full((), -1, dtype=torch.int64))
        self.errors: Tensor
        self.turn: Tensor
        self.errors, self.turn = self.errors.to(device), self.turn.to(device)
        self.reload()

    def reload(self) -> None:
        """Keep the step and the turn as Python numbers."""
        super().reload()
        self.looked = int(self.turn) if "turn" in self._buffers else -1
        self.now = self.looked  # the step that `advance` moved it to
        self.anew = False  # whether the next tensor begins a new search

    @classmethod
    def advance(cls, members: Sequence[Member], schedule: Schedule, step: int) -> None:
        """Strength from the schedule; a search where its turn has come."""
        value, first = schedule(step), schedule.first
        for operator, source in members:
            operator.set_strength(value)
            if isinstance(operator, Uniform):
                operator.turn_to(step, first, source)

    def turn_to(self, step: int, first: int, source: Callable[[], Tensor] | None) -> None:
        """Search now, or say that the coming tensor is wanted."""
        self.now = step
        late = step - first
        turn = first + (late - late % self.refresh if self.refresh and late > 0 else 0)
        due = late >= 0 and self.looked < turn
        if source is not None:
            if due:
                self.measure(source(), anew=True)
            return
        self.anew = due and turn > first
        self.observing = due or -self.window <= late < 0

    def mask_changed(self, step: int, source: Callable[[], Tensor] | None) -> None:
        """Search anew in what the new mask leaves."""
        if not (self.recalibrate and self.known):
            return
        self.now = step
        if source is not None:
            self.measure(source(), anew=True)
        else:
            self.observing = self.anew = True

    @torch.no_grad()
    def measure(self, x: Tensor, *, anew: bool) -> None:
        """Add the square errors of x to those of the search, and take the best step.

        anew: x is a whole tensor, not one batch of many. The values of a large one are sampled.
        Ranks of a distributed run add their errors.
        Raises OperatorError for values that are not finite.
        """
        most = _ALL_OF_A_WEIGHT if anew else _OF_A_BATCH
        values = sample(rows(x.detach(), self.axis), most).float()
        if (self.low, self.high) != (0.0, 1.0):
            ends = torch.tensor([self.low, self.high], device=values.device)
            lowest, highest = torch.quantile(values, ends, dim=1, keepdim=True)
            values = values.clamp(lowest, highest)
        errors = square_errors(values, self.bounds, self.fracs, self.rounding)
        if not anew and dist.is_available() and dist.is_initialized():
            dist.all_reduce(errors, dist.ReduceOp.SUM)
        if not bool(torch.isfinite(errors).all()):
            raise OperatorError(
                "the values to be quantized are not finite; look at the loss and the data"
            )
        if anew or self.anew:
            self.errors.zero_()
        self.errors.add_(errors)
        place = torch.arange(len(self.fracs), device=errors.device)[:, None]
        best = torch.where(self.errors == self.errors.amin(0), place, len(self.fracs)).amin(0)
        steps = torch.tensor([2.0**-d for d in self.fracs], device=errors.device)
        self.step.copy_(steps[best].reshape(self.step.shape))
        self.bound.copy_(self.step * max(self.bounds[1], 1))
        self.turn.fill_(self.now)
        self.reload()


def square_errors(
    x: Tensor, bounds: tuple[int, int], fracs: Sequence[int], rounding: Rounding
) -> Tensor:
    """The sum of (Q(x) - x)^2 for each step 2^-d, d in fracs: (candidates, channels).

    x: (channels, values). Stochastic rounding is searched as half to even.
    """
    kind: Rounding = "half_even" if rounding == "stochastic" else rounding
    found = []
    for d in fracs:
        whole = x * 2.0**d
        away = round_(whole.clone(), kind).clamp_(*bounds).sub_(whole)
        found.append(away.square_().sum(1) * 4.0**-d)
    return torch.stack(found)
