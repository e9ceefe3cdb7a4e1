"""Pruning: score x pattern x budget.

A score says what each element is worth, a pattern which elements stand or fall together, and the
schedule how many fall. Counts are exact: the k least valuable fall, ties by position.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pareq.errors import OperatorError
from pareq.operators.base import Member, Operator, Surroundings
from pareq.operators.schedule import Schedule
from pareq.registry import Registry

__all__ = ["PATTERNS", "SCORES", "LayerScore", "Pattern", "Prune", "least"]

Score = Callable[[Tensor], Tensor]

SCORES: Registry[Score] = Registry("score")
SCORES.add("magnitude", torch.abs)

_ALONE = Surroundings(None, None)  # of a tensor about whose layer nothing is known


@dataclass(frozen=True)
class LayerScore:
    """A score that also sees the mask of a weight and its layer.

    of: called with tensor, mask and layer. Where there is no more than a tensor, nothing has fallen
    and nothing is known.
    """

    of: Callable[[Tensor, Tensor, Surroundings], Tensor]

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.of.__doc__)

    def __call__(self, x: Tensor) -> Tensor:
        """The score of a tensor alone."""
        return self.of(x, torch.ones_like(x), _ALONE)


@dataclass(frozen=True)
class Pattern:
    """Which elements stand or fall together.

    units: element scores -> unit scores (any shape). elements: (unit mask, shape of the tensor) ->
    mask that broadcasts to the tensor.
    """

    units: Callable[[Tensor], Tensor]
    elements: Callable[[Tensor, torch.Size], Tensor]


def _channels(scores: Tensor) -> Tensor:
    return scores.reshape(scores.shape[0], -1).mean(1)


def _over_channels(kept: Tensor, shape: torch.Size) -> Tensor:
    return kept.reshape(-1, *[1] * (len(shape) - 1))


PATTERNS: Registry[Pattern] = Registry("pattern")
PATTERNS.add("unstructured", Pattern(lambda scores: scores, lambda kept, shape: kept))
PATTERNS.add("channel", Pattern(_channels, _over_channels))


def least(scores: Tensor, k: int) -> Tensor:
    """A mask that is False at the k smallest of a flat tensor; of equals, the first fall first."""
    if k <= 0:
        return torch.ones_like(scores, dtype=torch.bool)
    edge = scores.kthvalue(k).values
    keep = scores > edge
    ties = (scores == edge).nonzero().flatten()
    fallen_below = int((scores < edge).sum())
    keep[ties[k - fallen_below :]] = True
    return keep


@dataclass(eq=False, repr=False)
class Prune(Operator, name="prune"):
    """Set the least valuable elements to zero; the schedule's value is the share that falls.

    scope: "global" ranks the elements of all tensors of the rule together, "layer" each tensor by
    itself. regrow: let a fallen element return when it is worth more at a later change of the mask;
    without it masks only shrink (Hawks et al. 2021). Gradients of fallen elements are zero.
    """

    score: str = "magnitude"
    scope: Literal["global", "layer"] = "global"
    pattern: str = "unstructured"
    regrow: bool = False

    def check(self) -> None:
        """Every field, each with its own message."""
        if self.scope not in ("global", "layer"):
            raise OperatorError(f"scope must be 'global' or 'layer', got {self.scope!r}")
        SCORES[self.score], PATTERNS[self.pattern]

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Buffers `mask` (1 kept, 0 fallen; the tensor's shape and type) and `fallen` (units)."""
        if like is None:
            raise OperatorError(
                "prune works on weights and biases; an activation has no fixed shape"
            )
        self.register_buffer("mask", torch.ones_like(like.detach()))
        self.register_buffer("fallen", torch.zeros((), dtype=torch.int64, device=like.device))
        self.mask: Tensor
        self.fallen: Tensor
        self.strength = self.strength.to(like.device)
        self.units = PATTERNS[self.pattern].units(self.mask.float()).numel()
        self.count = 0
        self.layer = _ALONE

    def reload(self) -> None:
        """Keep the count as a Python number."""
        super().reload()
        self.count = int(self.fallen)

    def meet(self, layer: Surroundings) -> None:
        """Know the layer, for scores that ask for it."""
        self.layer = layer

    def scored(self, x: Tensor) -> Tensor:
        """What each element of the tensor is worth."""
        score = SCORES[self.score]
        found = score.of(x, self.mask, self.layer) if isinstance(score, LayerScore) else score(x)
        return found.float()

    @property
    def sparsity(self) -> float:
        """The share of elements that are masked."""
        return 1.0 - float(self.mask.sum(dtype=torch.float64)) / max(self.mask.numel(), 1)

    def forward(self, x: Tensor) -> Tensor:
        """The tensor with fallen elements zero."""
        return x * self.mask

    @classmethod
    def advance(cls, members: Sequence[Member], schedule: Schedule, step: int) -> None:
        """Choose masks anew when the schedule asks for another number."""
        if schedule.largest >= 1:
            raise OperatorError(f"sparsity must be in [0, 1), got {schedule.largest}")
        value = schedule(step)
        ours = [(o, s) for o, s in members if isinstance(o, Prune) and s is not None]
        if value != 0 or any(o.count for o, _ in ours):
            groups = [ours] if ours[0][0].scope == "global" else [[pair] for pair in ours]
            for group in groups:
                _choose(group, schedule, step)
        for operator, _ in ours:
            operator.set_strength(value)


@torch.no_grad()
def _choose(
    group: Sequence[tuple[Prune, Callable[[], Tensor]]], schedule: Schedule, step: int
) -> None:
    """Give one budget to the units of one or several tensors."""
    first = group[0][0]
    pattern = PATTERNS[first.pattern]
    k = schedule.count(step, sum(operator.units for operator, _ in group))
    if k == sum(operator.count for operator, _ in group):
        return
    units = []
    for operator, source in group:
        scores = operator.scored(source().detach())
        if not operator.regrow:
            scores = scores.masked_fill(operator.mask == 0, -torch.inf)
        units.append(pattern.units(scores))
    flat = torch.cat([u.reshape(-1) for u in units])
    if bool(flat.isnan().any()):
        raise OperatorError("the tensors to be pruned hold NaN; look at the loss and the data")
    kept = torch.split(least(flat, k), [u.numel() for u in units])
    for (operator, _), unit, keep in zip(group, units, kept, strict=True):
        operator.mask.copy_(pattern.elements(keep.reshape(unit.shape), operator.mask.shape))
        operator.count = int((~keep).sum())
        operator.fallen.fill_(operator.count)
