"""Fixed point: a step that is a power of two, given or estimated from the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
import torch.distributed as dist
from torch import Tensor

from pareq.errors import GridError, OperatorError
from pareq.numerics.gradients import Gradient, project
from pareq.numerics.grid import Grid, integer_range
from pareq.numerics.rounding import Overflow, Rounding, check_overflow, check_rounding
from pareq.operators.base import Member, Quantizer
from pareq.operators.schedule import Schedule
from pareq.quantizers.ranges import RANGES, rows

__all__ = ["FixedPoint"]

_FRAC = range(-126, 127)  # a step that a float32 holds


@dataclass(eq=False, repr=False)
class FixedPoint(Quantizer, name="fixed_point"):
    """Round to `bits` bits with a power-of-two step.

    frac: the bits behind the binary point; None takes the smallest step that reaches the estimated
    range (see `pareq.quantizers.ranges`). The range of a weight is measured when the operator
    engages and every `refresh` steps after; that of an activation on the training batches of the
    `window` steps before, and every `refresh` steps after. refresh = 0 keeps the first one.
    signed: two's complement, or from 0 up. narrow: drop the most negative integer. per_channel: a
    step for each index of the channel axis. gradient: "clip" stops it outside the range, "pass"
    lets it through, "value" lets it through clamped to the range.
    """

    frac: int | None = None
    signed: bool = True
    narrow: bool = False
    per_channel: bool = False
    range: str = "max"
    rounding: Rounding = "half_even"
    overflow: Overflow = "saturate"
    gradient: Gradient = "clip"
    window: int = 20
    refresh: int = 50

    def check(self) -> None:
        """Every field, each with its own message."""
        super().check()
        try:
            self.bounds = integer_range(self.bits, signed=self.signed, narrow=self.narrow)
            check_rounding(self.rounding)
            check_overflow(self.overflow)
        except GridError as error:
            raise OperatorError(error.fact) from None
        if self.range not in RANGES:
            RANGES[self.range]
        if self.gradient not in get_args(Gradient):
            raise OperatorError(
                f"gradient must be 'clip', 'pass' or 'value', got {self.gradient!r}"
            )
        if self.frac is not None and self.frac not in _FRAC:
            raise OperatorError(f"frac must be in {_FRAC[0]}..{_FRAC[-1]}, got {self.frac}")
        if self.frac is not None and self.per_channel:
            raise OperatorError(
                "a given frac is one for all channels; leave out frac or per_channel"
            )
        for field in ("window", "refresh"):
            if getattr(self, field) < 0:
                raise OperatorError(f"{field} must be 0 steps or more, got {getattr(self, field)}")

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Buffer `step`: 0-dim, or one per channel, shaped to broadcast; 0 = not measured yet."""
        self.axis = axis if self.per_channel else None
        shape: tuple[int, ...] = ()
        if self.per_channel:
            if like is None:
                raise OperatorError(
                    "per_channel needs the shape of the activation; give attach an example input"
                )
            shape = tuple(n if d == axis % like.ndim else 1 for d, n in enumerate(like.shape))
        first = 0.0 if self.frac is None else 2.0**-self.frac
        device = None if like is None else like.device
        self.register_buffer("bound", torch.zeros(shape, device=device))
        self.register_buffer("step", torch.full(shape, first, device=device))
        self.bound: Tensor
        self.step: Tensor
        self.strength = self.strength.to(device)
        self.reload()

    def reload(self) -> None:
        """Keep the step as a Python number where there is one: no tensor is read while training."""
        super().reload()
        self.fixed: float | None = None
        self.known = bool((self.step > 0).all())
        if self.known and self.step.ndim == 0:
            self.fixed = float(self.step)

    @classmethod
    def advance(cls, members: Sequence[Member], schedule: Schedule, step: int) -> None:
        """Strength from the schedule; ranges where this step asks for them."""
        value, first = schedule(step), schedule.first
        for operator, source in members:
            operator.set_strength(value)
            if not isinstance(operator, FixedPoint) or operator.frac is not None:
                continue
            late = value != 0 and not operator.known  # a run that began in the middle
            operator.observing = late or operator.due(step, first, ahead=source is None)
            if operator.observing and source is not None:
                operator.measure(source(), anew=True)

    def due(self, step: int, first: int, *, ahead: bool) -> bool:
        """Whether the range is to be measured at this step; `ahead` also before it is needed."""
        if step < first:
            return ahead and step >= first - self.window
        return (step - first) % self.refresh == 0 if self.refresh else step == first

    def next_change(self, schedule: Schedule, step: int) -> int:
        """The next change of strength or turn of a measurement."""
        change, first = schedule.next_change(step), schedule.first
        if self.frac is not None:
            return change
        if self.observing:
            return step + 1
        if step < first - self.window:
            return min(change, first - self.window)
        if step < first or not self.refresh:
            return change
        return min(change, step + self.refresh - (step - first) % self.refresh)

    def observe(self, x: Tensor) -> None:
        """Take one more activation into the range."""
        self.measure(x, anew=False)

    @torch.no_grad()
    def measure(self, x: Tensor, *, anew: bool) -> None:
        """Set the step from x, alone or merged with what was seen before.

        Ranks of a distributed run agree on the mean bound (the largest, for `max`). Raises
        OperatorError for a range that is not finite.
        """
        estimator = RANGES[self.range]
        bound = estimator.bound(rows(x.detach(), self.axis).float(), *self.bounds)
        bound = bound.reshape(self.bound.shape).to(self.bound.dtype)
        if dist.is_available() and dist.is_initialized() and not anew:
            largest = estimator.momentum is None
            dist.all_reduce(bound, dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM)
            bound = bound if largest else bound / dist.get_world_size()
        if not anew and self.known:
            bound = estimator.merge(self.bound, bound)
        if not bool(torch.isfinite(bound).all()):
            raise OperatorError(
                "the values to be quantized are not finite; look at the loss and the data"
            )
        self.bound.copy_(bound)
        reach = (bound / max(self.bounds[1], 1)).clamp(min=2.0 ** -_FRAC[-1])
        mantissa, exponent = torch.frexp(
            reach
        )  # reach = mantissa * 2^exponent, mantissa in [1/2, 1)
        exponent = exponent - (mantissa == 0.5).int()
        self.step.copy_(torch.ldexp(torch.ones_like(reach), exponent.clamp(max=-_FRAC[0])))
        self.reload()

    def project(self, x: Tensor) -> Tensor:
        """The tensor on the grid; raises OperatorError when the range is not known yet."""
        if not self.known:
            raise OperatorError(
                "the range is not known yet; run a training batch after set_step, or calibrate(...)"
            )
        step = self.step if self.fixed is None else self.fixed
        return project(x, self.bounds, step, self.rounding, self.overflow, self.gradient)

    def grid(self) -> Grid:
        """The grid as it is now; raises OperatorError when the range is not known yet."""
        if not self.known:
            raise OperatorError(
                "the range is not known yet; run a training batch or calibrate(...)"
            )
        step = self.step.double().cpu().numpy()
        return Grid(*self.bounds, float(step) if step.ndim == 0 else step)
