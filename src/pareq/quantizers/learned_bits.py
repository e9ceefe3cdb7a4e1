"""Fixed point whose bits are learned with the network, down to none.

Bits behind the point follow the gradient of the rounding error (Sun et al. 2024, HGQ,
arXiv 2405.00645): y = floor(x 2^f + 1/2) 2^-f moves with f by ln 2 * (x - y). Bits in front of the
point follow the range of the tensor. What alone shortens words is a price on them: `Ebops`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from pareq.errors import OperatorError
from pareq.numerics.digits import digits
from pareq.numerics.grid import Grid
from pareq.operators.base import Member, Quantizer
from pareq.operators.schedule import Schedule

__all__ = ["LearnedBits"]

Granularity = Literal["tensor", "channel", "element"]
Nearest = Literal["half_up", "floor"]

_LN2 = math.log(2.0)
_NARROW = 20  # bits whose integers, and a half, float32 holds with room to spare
_APART = 4  # bits by which the step of a channel may be finer than that of the one with most range
_SMALLEST = 2.0**-60  # a range below it is none


@dataclass(eq=False, repr=False)
class LearnedBits(Quantizer, name="learned_bits"):
    """Round to a power-of-two step that is learned for a tensor, each channel or each weight.

    bits: the widest word, and the one that everything begins with. granularity: what has a width
    of its own; "element" is for weights and biases, and makes those 0 that are smaller than their
    step (rounded up they would double for the price of what they were). signed: two's complement,
    or from 0 up; weights are symmetric. rounding: "half_up", or "floor", which the input of a
    network needs when its channels differ. The range of a weight is measured when the operator
    engages and every `refresh` steps after; that of an activation on the training batches of the
    `window` steps before, and every `refresh` steps after, each time moving by `pace` of the way.
    Beyond it values saturate.
    speed: bits that a change of the parameter by 1 is worth; an optimizer that moves weights by
    thousandths moves bits by more.
    """

    granularity: Granularity = "channel"
    signed: bool = True
    rounding: Nearest = "half_up"
    window: int = 20
    refresh: int = 10
    pace: float = 0.1
    speed: float = 4.0

    def check(self) -> None:
        """Every field, each with its own message."""
        super().check()
        if self.signed and self.bits == 1:
            raise OperatorError("bits must be in 2..32, got 1: a symmetric bit holds only zero")
        for field, known in (("granularity", get_args(Granularity)), ("rounding", _roundings())):
            if getattr(self, field) not in known:
                names = ", ".join(map(repr, known))
                raise OperatorError(f"{field} must be one of {names}, got {getattr(self, field)!r}")
        if self.window < 0:
            raise OperatorError(f"window must be 0 steps or more, got {self.window}")
        if self.refresh < 1:
            raise OperatorError(f"refresh must be 1 step or more, got {self.refresh}")
        if not 0 < self.pace <= 1:
            raise OperatorError(f"pace must be in (0, 1], got {self.pace}")
        if not (self.speed > 0 and math.isfinite(self.speed)):
            raise OperatorError(f"speed must be a positive number, got {self.speed}")
        self.magnitude = self.bits - self.signed  # bits without the sign

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Parameter `frac`: bits behind the point over `speed`, one for each that has its own.

        Buffers, one a channel or one in all: `bound`, the largest magnitude; `front`, the
        bits in front of the point; `most`, those behind it at most; `measured`: how often.
        """
        self.holds_weights = isinstance(like, nn.Parameter)
        self.axis = None if self.granularity == "tensor" else axis
        if like is None and self.axis is not None:
            raise OperatorError(
                f"granularity {self.granularity!r} needs the shape of the activation; give attach "
                "an example input"
            )
        if self.granularity == "element" and not self.holds_weights:
            raise OperatorError("granularity 'element' is for weights and biases; use 'channel'")
        device = None if like is None else like.device
        shape: tuple[int, ...] = ()
        if like is not None and self.axis is not None:
            shape = tuple(n if d == axis % like.ndim else 1 for d, n in enumerate(like.shape))
        own = shape if self.granularity != "element" or like is None else tuple(like.shape)
        self.frac = nn.Parameter(torch.zeros(own, device=device))
        self.register_buffer("bound", torch.zeros(shape, device=device))
        self.register_buffer("front", torch.zeros(shape, device=device))
        self.register_buffer("most", torch.zeros(shape, device=device))
        self.register_buffer("measured", torch.zeros((), dtype=torch.int64, device=device))
        self.bound: Tensor
        self.front: Tensor
        self.most: Tensor
        self.measured: Tensor
        self.strength = self.strength.to(device)
        self.known = False

    def reload(self) -> None:
        """Keep what is known as a Python number."""
        super().reload()
        self.known = bool(self.measured > 0)

    @classmethod
    def advance(cls, members: Sequence[Member], schedule: Schedule, step: int) -> None:
        """Strength from the schedule; ranges where this step asks for them."""
        value, first = schedule(step), schedule.first
        for operator, source in members:
            operator.set_strength(value)
            if not isinstance(operator, LearnedBits):
                continue
            late = value != 0 and not operator.known  # a run that began in the middle
            operator.observing = late or operator.due(step, first, ahead=source is None)
            if operator.observing and source is not None:
                operator.observe(source())

    def due(self, step: int, first: int, *, ahead: bool) -> bool:
        """Whether the range is to be measured at this step; `ahead` also before it is needed."""
        if step < first:
            return ahead and step >= first - self.window
        return (step - first) % self.refresh == 0

    def next_change(self, schedule: Schedule, step: int) -> int:
        """The next change of strength or turn of a measurement."""
        change, first = schedule.next_change(step), schedule.first
        if self.observing:
            return step + 1
        if step < first - self.window:
            return min(change, first - self.window)
        if step < first:
            return change
        return min(change, step + self.refresh - (step - first) % self.refresh)

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Set or move the range; ranks of a distributed run agree on the largest.

        Raises OperatorError for a range that is not finite.
        """
        size = x.detach().float()
        size = size.abs() if self.signed else size.clamp(min=0)
        others = [d for d in range(x.ndim) if self.axis is None or d != self.axis % x.ndim]
        bound = size.amax(others) if others else size
        bound = bound.reshape(self.bound.shape)
        if dist.is_available() and dist.is_initialized() and not self.holds_weights:
            dist.all_reduce(bound, dist.ReduceOp.MAX)
        if not bool(torch.isfinite(bound).all()):
            raise OperatorError(
                "the values to be quantized are not finite; look at the loss and the data"
            )
        first = not self.known
        moving = not first and not self.holds_weights
        self.bound.copy_(self.bound.lerp(bound, self.pace) if moving else bound)
        mantissa, exponent = torch.frexp(self.bound.clamp(min=_SMALLEST))
        # a weight keeps one bit of room, so that it can round up and grow until the next turn
        self.front.copy_(exponent - (mantissa == 0.5).int() + int(self.holds_weights))
        finest = self.magnitude - self.front
        if not self.holds_weights:  # channels are summed on one step
            finest = finest.clamp(max=float(finest.min()) + _APART)
        self.most.copy_(finest)
        if first or not self.engaged:
            self.frac.copy_((self.most / self.speed).expand_as(self.frac))
        else:
            self.frac.clamp_(max=self.most / self.speed)
        self.measured.add_(1)
        self.known = True

    def places(self) -> tuple[Tensor, Tensor]:
        """Whole bits behind and in front of the point, shaped as `frac` and as `most`."""
        if not self.known:
            raise OperatorError(
                "the range is not known yet; run a training batch after set_step, or calibrate(...)"
            )
        behind = torch.minimum((self.frac.detach() * self.speed).round(), self.most)
        return behind, self.front

    def widths(self) -> Tensor:
        """The bits of the words as they are now, signs included; 0 where nothing is left.

        Of an activation: shaped as `frac`, which the gradient reaches.
        """
        behind, front = self.places()
        size = behind + front
        alive = (size > 0).to(size.dtype)
        return (size + int(self.signed)) * alive + alive * self._moves()

    def _moves(self) -> Tensor:
        """Zeros, with the gradient of the bits."""
        return (self.frac - self.frac.detach()) * self.speed

    def lowest(self, y: Tensor) -> Tensor:
        """How far behind the point the lowest set bit of each width is, shaped as `frac`.

        y: weights as `project` gave them. Where many share a width, the lowest of them all.
        """
        _, low, alive = self._ends(y)
        place = torch.where(alive, self.most + 1 - low, -self.front)
        shared = [d for d in range(y.ndim) if self.frac.ndim == 0 or self.frac.shape[d] == 1]
        return (place.amax(shared) if shared else place).reshape(self.frac.shape)

    def shortened(self, y: Tensor, places: Tensor) -> Tensor:
        """What is left of weights that are rounded to fewer places behind the point, ties down."""
        step = torch.exp2(-places)
        size = (y.abs() / step).sub_(0.5).ceil_()
        if self.granularity == "element":
            size.mul_(y.abs() >= step)
        return size.mul_(step).copysign_(y)

    @torch.no_grad()
    def shorten(self, chosen: Tensor, places: Tensor) -> None:
        """Leave the chosen widths so many places behind the point; both shaped as `frac`."""
        self.frac.copy_(torch.where(chosen, places / self.speed, self.frac))

    def spans(self, y: Tensor) -> Tensor:
        """The effective bits of each projected value, which the gradient of `frac` reaches.

        y: as `project` gave it. From the highest to the lowest set bit, without the sign: what a
        multiplication with it costs; the gradient is 1 bit a bit where y is not 0.
        """
        high, low, found = self._ends(y)
        alive = found.to(y.dtype)
        return (high - low + 1).to(y.dtype) * alive + alive * self._moves()

    def digits(self, y: Tensor) -> Tensor:
        """The canonical signed digits of each projected value; the gradient of `frac` reaches them.

        A bit less takes as many as it does on average on the way to 0: the digits over the span.
        """
        spans = self.spans(y)
        count = digits(self._whole(y)).to(y.dtype)
        return count / spans.detach().clamp(min=1) * spans

    def _whole(self, y: Tensor) -> Tensor:
        """The sizes of projected values as integers."""
        return (y.detach().abs() * torch.exp2(self.most)).to(torch.int64)

    def _ends(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each value the highest and the lowest set bit, from 1, and whether there is one."""
        whole = self._whole(y)
        lowest = (whole & -whole).to(torch.float64)
        return torch.frexp(whole.double())[1], torch.frexp(lowest)[1], whole > 0

    def project(self, x: Tensor) -> Tensor:
        """The tensor on its grid, with the gradient to the bits."""
        behind, front = self.places()
        dtype = x.dtype
        if self.bits > _NARROW and dtype != torch.float64:
            x = x.double()
        elif dtype in (torch.bfloat16, torch.float16):
            x = x.float()
        half = 0.5 if self.rounding == "half_up" else 0.0
        frac = self.frac * self.speed
        y: Tensor = _Project.apply(x, frac, behind.to(x.dtype), self._limits(front), half)  # type: ignore[no-untyped-call]
        return y.to(dtype)

    def _limits(self, front: Tensor) -> "_Limits":
        return _Limits(
            torch.exp2(front), self.signed, self.holds_weights, self.granularity == "element"
        )

    def grid(self) -> Grid:
        """The grid as it is now: of weights the coarsest one a channel, or one for the tensor.

        Channels with fewer bits than the widest use a part of lo..hi.
        """
        behind, front = (each.double() for each in self.places())
        if self.holds_weights and self.granularity == "element":
            others = [d for d in range(behind.ndim) if d != (self.axis or 0) % behind.ndim]
            behind = behind.amax(others, keepdim=True) if others else behind
        size = int((behind + front).max().clamp(min=0))
        step = torch.exp2(-torch.maximum(behind, -front)).cpu().numpy()
        hi = 2**size - 1
        lo = 0 if not self.signed else -hi - int(not self.holds_weights and size > 0)
        return Grid(lo, hi, float(step) if step.ndim == 0 else step)

    @property
    def width(self) -> int:
        """The widest word as it is now, at least 1 bit; `bits` while no range is known."""
        return self.grid().bits if self.known else self.bits


def _roundings() -> tuple[str, ...]:
    return get_args(Nearest)


class _Limits(NamedTuple):
    """The range in real numbers, whether it is signed, and symmetric; whether half a step is 0."""

    reach: Tensor
    signed: bool
    symmetric: bool
    drops: bool


class _Project(torch.autograd.Function):
    """Clamp, round, and what the rounding lost as the gradient of the bits."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        frac: Tensor,
        behind: Tensor,
        limits: _Limits,
        half: float,
    ) -> Tensor:
        reach, signed, symmetric, drops = limits
        down = torch.exp2(-behind)
        alive = (down < reach).to(x.dtype)  # as many bits behind the point as the range needs
        top = reach - down * alive
        low = torch.zeros_like(top) if not signed else -top if symmetric else -reach.expand_as(top)
        held = torch.maximum(torch.minimum(x, top), low).to(x.dtype)
        if drops:
            alive = alive * (held.abs() >= down)
        y = (held / down).add_(half).floor_().mul_(down * alive)
        ctx.save_for_backward(x == held, held.sub_(y))
        ctx.shape, ctx.dtype = frac.shape, frac.dtype  # type: ignore[attr-defined]
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        inside, lost = ctx.saved_tensors  # type: ignore[attr-defined]
        to_frac = (grad * lost).sum_to_size(ctx.shape).mul_(_LN2)  # type: ignore[attr-defined]
        return grad * inside, to_frac.to(ctx.dtype), None, None, None  # type: ignore[attr-defined]
