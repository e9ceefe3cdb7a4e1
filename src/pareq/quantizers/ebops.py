"""The price of bits: what the multiplications of a layer cost in hardware, added to the loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pareq.errors import OperatorError
from pareq.operators.base import Member, Operator, Quantizer, Surroundings
from pareq.operators.schedule import Schedule
from pareq.quantizers.learned_bits import LearnedBits

__all__ = ["Ebops"]

_FLOAT_BITS = 32
_MARGIN = 0.98  # of the budget: what training aims at, so that its noise stays below
_MOST_CUTS = 64  # rounds, each of which takes a bit at most from a weight
_GAIN, _KICK = 0.03, 3.0  # of the price's logarithm, a step and at once: for EBOPs e times too many
_CHEAPEST, _DEAREST = math.log(1e-7), math.log(1e-2)


@dataclass(eq=False, repr=False)
class Ebops(Operator, name="ebops"):
    """Add price * EBOPs to the loss, or hold a budget of EBOPs (Sun et al. 2024, HGQ, eq. 5).

    EBOPs: the sum over all multiplications of the effective bits of the weight times the bits of
    the input that it meets. The operator sits on a weight, behind its `learned_bits`; it counts the
    quantizer that feeds the layer too, at the layer's input or at the output that the layer reads.

    price: what an EBOP costs at strength 1; a strength s below raises it along a line of logarithms
    from `first` to `price`. budget: instead, the EBOPs of all layers of the rule together; the
    price is adapted every `every` steps so that the EBOPs go from what they were down to the
    budget while the strength rises to 1, and what is above it then is cut.
    """

    price: float | None = None
    budget: float | None = None
    first: float = 1e-6
    every: int = 10

    def check(self) -> None:
        """Every field, each with its own message."""
        if (self.price is None) == (self.budget is None):
            raise OperatorError("ebops takes either a price or a budget; give one of them")
        for name in ("price", "budget", "first"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise OperatorError(f"{name} must be a positive number, got {value}")
        if self.every < 1:
            raise OperatorError(f"every must be 1 step or more, got {self.every}")

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Buffers of the rule's controller, the same in all its operators, logarithms all of them.

        `level`: the price without what is added at once; `kick`: that; `begin`: the EBOPs when it
        began, 0 before.
        """
        if like is None or like.ndim < 2:
            raise OperatorError("ebops works on the weights of layers; name '*:weight'")
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
        ours = [(o, s) for o, s in members if isinstance(o, Ebops) and s is not None]
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

    def next_change(self, schedule: Schedule, step: int) -> int:
        """The next change of strength, or turn of the controller."""
        change, first = schedule.next_change(step), schedule.first
        if self.price is not None or step < first:
            return change
        return min(change, step + self.every - (step - first) % self.every)

    def penalty(self, x: Tensor) -> Tensor | None:
        """Price * EBOPs of the layer; x: the weight behind its quantizer."""
        return self.count(x) * self.rate if self.engaged else None

    def count(self, y: Tensor) -> Tensor:
        """The EBOPs of the layer, 0-dim, which the gradient of all learned widths reaches."""
        layer = self.layer
        if layer is None:
            raise OperatorError("ebops knows no layer; it works in a network that attach made")
        weight, feed = layer.weight, layer.feed
        if isinstance(weight, LearnedBits) and weight.engaged:
            spans = weight.spans(y)
        else:
            spans = (y.detach() != 0).to(y.dtype) * _fixed(weight)
        if isinstance(feed, LearnedBits) and feed.engaged and feed.known:
            spans = spans * layer.beside(feed.widths().flatten(), spans.shape)
            return spans.sum() * layer.positions
        return spans.sum() * (_fixed(feed) * layer.positions)


_Members = Sequence[tuple[Ebops, Callable[[], Tensor]]]


def _fixed(quantizer: Quantizer | None) -> int:
    """The width of what is not learned, or not yet."""
    return quantizer.bits if quantizer is not None and quantizer.engaged else _FLOAT_BITS


@torch.no_grad()
def _total(ours: _Members) -> float:
    """The EBOPs of all layers as they are now."""
    return float(sum(operator.count(source()).double() for operator, source in ours))


def _set_level(ours: _Members, level: float, origin: float, kick: float = 0.0) -> None:
    for operator, _ in ours:
        operator.level.fill_(level)
        operator.kick.fill_(kick)
        operator.begin.fill_(origin)
        operator.reload()


def _steer(ours: _Members, progress: float) -> None:
    """Move the price towards the one at which the EBOPs are those of the plan.

    In logarithms: the EBOPs may differ from the plan by orders of magnitude, and so may prices.
    """
    lead = ours[0][0]
    now = math.log(max(_total(ours), 1.0))
    origin = lead.origin or now
    goal = math.log(_MARGIN * (lead.budget or 1.0))
    error = now - min(origin + progress * (goal - origin), origin)
    level = float(lead.level) + _GAIN * lead.every * error
    _set_level(ours, min(max(level, _CHEAPEST), _DEAREST), origin, _KICK * error)


@torch.no_grad()
def _cut(ours: _Members, budget: float) -> None:
    """Take a bit from those weights that lose least by it for what it saves, until it suffices."""
    for _ in range(_MOST_CUTS):
        excess = _total(ours) - _MARGIN * budget
        if excess <= 0:
            return
        offers = [_offer(operator, source()) for operator, source in ours]
        harm, saved = (
            torch.cat([each.flatten() for each in part]) for part in zip(*offers, strict=True)
        )
        order = harm.argsort(stable=True)
        enough = int((saved[order].cumsum(0) < excess).sum()) + 1
        chosen = torch.zeros_like(harm, dtype=torch.bool)
        chosen[order[:enough]] = True
        chosen &= torch.isfinite(harm)
        if not chosen.any():
            return
        parts = torch.split(chosen, [like.numel() for like, _ in offers])
        for (operator, _), part, (like, _) in zip(ours, parts, offers, strict=True):
            if operator.layer is not None and isinstance(operator.layer.weight, LearnedBits):
                operator.layer.weight.shorten(part.reshape(like.shape))


def _offer(operator: Ebops, y: Tensor) -> tuple[Tensor, Tensor]:
    """For each weight the harm of one bit less for each EBOP that it saves, and what it saves.

    Infinite harm where nothing is saved. The harm is in steps of the largest input.
    """
    layer = operator.layer
    if layer is None or not isinstance(layer.weight, LearnedBits):
        return torch.full_like(y, torch.inf), torch.zeros_like(y)
    less = layer.weight.shortened(y)
    cost = torch.full((), float(_fixed(layer.feed)))
    reach = torch.ones(())
    if isinstance(layer.feed, LearnedBits) and layer.feed.known:
        cost = layer.beside(layer.feed.widths().flatten(), y.shape)
        reach = layer.beside(torch.exp2(layer.feed.front).flatten(), y.shape)
    saved = (layer.weight.spans(y) - layer.weight.spans(less)) * cost * layer.positions
    harm = torch.where(saved > 0, (y - less).abs() * reach / saved, torch.inf)
    return harm, saved.clamp(min=0)
