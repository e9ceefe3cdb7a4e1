"""A price on what the products of layers cost in hardware, and the budget that it holds."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pareq.errors import OperatorError
from pareq.operators.base import Member, Operator, Quantizer, Surroundings
from pareq.operators.schedule import Schedule
from pareq.quantizers.learned_bits import LearnedBits

__all__ = ["Price", "width"]

_FLOAT_BITS = 32
_MARGIN = 0.98  # of the budget: what training aims at, so that its noise stays below
_GAIN, _KICK = 0.03, 3.0  # of the price's logarithm, a step and at once: for e times too many
_CHEAPEST, _DEAREST = math.log(1e-7), math.log(1e-2)


@dataclass(eq=False, repr=False)
class Price(Operator):
    """Add price * cost to the loss, or hold a budget; a subclass says what a weight costs.

    The operator sits on a weight, behind its `learned_bits`; it knows the quantizer that feeds the
    layer too, at the layer's input or at the output that the layer reads.

    price: what a unit of the cost is worth at strength 1; a strength s below raises it along a line
    of logarithms from `first` to `price`. budget: instead, the cost of all layers of the rule
    together; the price is adapted every `every` steps so that the cost goes from what it was down
    to the budget while the strength rises to 1, and what is above it then is cut.
    """

    price: float | None = None
    budget: float | None = None
    first: float = 1e-6
    every: int = 10

    unit: ClassVar[str] = ""
    depths: ClassVar[tuple[int, ...]] = (1,)  # bits, with the lowest set one, that a cut may take

    def costs(self, y: Tensor) -> Tensor:
        """What each weight costs, shaped as y, the weight behind its quantizer.

        The gradient of all learned widths reaches it.
        """
        raise TypeError(f"{type(self).__name__} is abstract")

    def count(self, y: Tensor) -> Tensor:
        """The cost of the layer, 0-dim."""
        return self.costs(y).sum()

    def reads(self, y: Tensor) -> Tensor:
        """The bits of the inputs that each weight meets in a sample, shaped to multiply y."""
        layer, feed = self.surroundings, self.surroundings.feed
        if isinstance(feed, LearnedBits) and feed.engaged and feed.known:
            return layer.beside(feed.widths().flatten(), y.shape) * layer.positions
        return y.new_tensor(float(width(feed) * layer.positions))

    @property
    def surroundings(self) -> Surroundings:
        """The layer; OperatorError outside of a network that `attach` made."""
        if self.layer is None:
            raise OperatorError(
                f"{self.name} knows no layer; it works in a network that attach made"
            )
        return self.layer

    def check(self) -> None:
        """Every field, each with its own message."""
        if (self.price is None) == (self.budget is None):
            raise OperatorError(f"{self.name} takes either a price or a budget; give one of them")
        for name in ("price", "budget", "first"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise OperatorError(f"{name} must be a positive number, got {value}")
        if self.every < 1:
            raise OperatorError(f"every must be 1 step or more, got {self.every}")

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Buffers of the rule's controller, the same in all its operators, logarithms all of them.

        `level`: the price without what is added at once; `kick`: that; `begin`: the cost when it
        began, 0 before.
        """
        if like is None or like.ndim < 2:
            raise OperatorError(f"{self.name} works on the weights of layers; name '*:weight'")
        for name in ("level", "kick", "begin"):
            first = math.log(self.first) if name == "level" else 0.0
            self.register_buffer(name, torch.tensor(first, dtype=torch.float64, device=like.device))
        self.level: Tensor
        self.kick: Tensor
        self.begin: Tensor
        self.strength = self.strength.to(like.device)
        self.layer: Surroundings | None = None
        self.reload()

    def reload(self) -> None:
        """Keep the price and the beginning as Python numbers."""
        super().reload()
        self.rate = math.exp(float(self.level + self.kick))
        self.origin = float(self.begin)

    def meet(self, layer: Surroundings) -> None:
        """Know the quantizers of the layer; OperatorError when no width can be learned there."""
        if not any(isinstance(each, LearnedBits) for each in (layer.weight, layer.feed)):
            raise OperatorError(
                "neither the weight of the layer nor what feeds it has learned bits; add a rule "
                "with learned_bits, and give attach an example input"
            )
        self.layer = layer

    @classmethod
    def advance(cls, members: Sequence[Member], schedule: Schedule, step: int) -> None:
        """Strength from the schedule, and the price that goes with it."""
        value, last = schedule(step), schedule.last
        ours = _ours(members)
        for operator, _ in ours:
            operator.set_strength(value)
        if not ours or value == 0:
            return
        lead = ours[0][0]
        if lead.price is not None:
            level = math.log(lead.first) + value * math.log(lead.price / lead.first)
            _set_level(ours, level, lead.origin)
        elif step == last or (step - schedule.first) % lead.every == 0:
            _steer(ours, value)
            if step >= last and value == schedule.largest:
                _cut(ours, lead.budget or 0.0)

    @classmethod
    def settle(cls, members: Sequence[Member]) -> None:
        """Cut what is above the budget."""
        ours = _ours(members)
        if ours and ours[0][0].budget is not None and ours[0][0].engaged:
            _cut(ours, ours[0][0].budget)

    def next_change(self, schedule: Schedule, step: int) -> int:
        """The next change of strength, or turn of the controller."""
        change, first = schedule.next_change(step), schedule.first
        if self.price is not None or step < first:
            return change
        return min(change, step + self.every - (step - first) % self.every)

    def penalty(self, x: Tensor) -> Tensor | None:
        """Price * cost of the layer; x: the weight behind its quantizer."""
        return self.count(x) * self.rate if self.engaged else None


_Members = Sequence[tuple[Price, Callable[[], Tensor]]]


def width(quantizer: Quantizer | None) -> int:
    """The bits of what is not learned, or not yet."""
    return quantizer.bits if quantizer is not None and quantizer.engaged else _FLOAT_BITS


def _ours(members: Sequence[Member]) -> _Members:
    return [(o, s) for o, s in members if isinstance(o, Price) and s is not None]


@torch.no_grad()
def _total(ours: _Members) -> float:
    """The cost of all layers as they are now."""
    return float(sum(operator.count(source()).double() for operator, source in ours))


def _set_level(ours: _Members, level: float, origin: float, kick: float = 0.0) -> None:
    for operator, _ in ours:
        operator.level.fill_(level)
        operator.kick.fill_(kick)
        operator.begin.fill_(origin)
        operator.reload()


def _steer(ours: _Members, progress: float) -> None:
    """Move the price towards the one at which the cost is that of the plan.

    In logarithms: the cost may differ from the plan by orders of magnitude, and so may prices.
    """
    lead = ours[0][0]
    now = math.log(max(_total(ours), 1.0))
    origin = lead.origin or now
    goal = math.log(_MARGIN * (lead.budget or 1.0))
    error = now - min(origin + progress * (goal - origin), origin)
    level = min(max(float(lead.level) + _GAIN * lead.every * error, _CHEAPEST), _DEAREST)
    _set_level(ours, level, origin, min(_KICK * error, _DEAREST - level))


class _Offer(NamedTuple):
    """Fewer bits for each width of a weight, every part shaped as its `frac`.

    harm: for each unit of the cost that they save, infinite where they save nothing; saved: those
    units; places: how many bits behind the point are left.
    """

    harm: Tensor
    saved: Tensor
    places: Tensor


@torch.no_grad()
def _cut(ours: _Members, budget: float) -> None:
    """Take bits from those weights that lose least by it for what it saves, until it suffices."""
    learned = [
        (operator, weight, source)
        for operator, source in ours
        if isinstance(weight := operator.surroundings.weight, LearnedBits)
        and weight.known
        and weight.value == 1.0  # else shorter words leave part of a weight as it is
    ]
    while (excess := _total(ours) - _MARGIN * budget) > 0:
        offers = [_offer(operator, weight, source()) for operator, weight, source in learned]
        if not any(bool(each.harm.isfinite().any()) for each in offers):
            _warn(_total(ours), ours[0][0])
            return
        harm, saved = (torch.cat([each[i].flatten() for each in offers]) for i in (0, 1))
        order = harm.argsort(stable=True)
        enough = int((saved[order].cumsum(0) < excess).sum()) + 1
        chosen = torch.zeros_like(harm, dtype=torch.bool)
        chosen[order[:enough]] = True
        parts = torch.split(chosen & harm.isfinite(), [each.harm.numel() for each in offers])
        for (_, weight, _), offer, part in zip(learned, offers, parts, strict=True):
            weight.shorten(part.reshape(offer.places.shape), offer.places)


def _offer(operator: Price, weight: LearnedBits, y: Tensor) -> _Offer:
    """What fewer bits of the weights y harm, times the largest input, and what they save."""
    layer, lowest, now = operator.surroundings, weight.lowest(y), operator.costs(y)
    reach = torch.ones((), device=y.device)
    if isinstance(layer.feed, LearnedBits) and layer.feed.known:
        reach = layer.beside(torch.exp2(layer.feed.front).flatten(), y.shape)
    offers = []
    for depth in operator.depths:
        less = weight.shortened(y, lowest - depth)
        saved = (now - operator.costs(less)).sum_to_size(lowest.shape)
        lost = ((y - less).abs() * reach).sum_to_size(lowest.shape)
        harm = torch.where(saved > 0, lost / saved, torch.inf)
        offers.append(_Offer(harm, saved.clamp(min=0), lowest - depth))
    all_of = _Offer(*(torch.stack(part) for part in zip(*offers, strict=True)))
    best = all_of.harm.argmin(0, keepdim=True)
    return _Offer(*(part.gather(0, best)[0] for part in all_of))


def _warn(total: float, lead: Price) -> None:
    warnings.warn(
        f"{lead.name}: the layers cost {total:,.0f} {lead.unit} and have no learned bits left to "
        f"cut, expected {lead.budget:,.0f} at most; put learned_bits on all their weights, or "
        "raise the budget",
        stacklevel=2,
    )
