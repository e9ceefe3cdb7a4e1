"""The operators of K members at one tensor, stage by stage.

| stage | operator | stacked |
|---|---|---|
| Masks | Prune, FanIn | mask |
| Penalties | L1 | |
| MaxAbsGrids | MaxAbs | the step of the last evaluation |
| FixedGrids | FixedPoint | step |
| LearnedGrids | LearnedScale | scale, with the trained tensors |

A member whose operator is absent, or has strength 0, has the identity; between 0 and 1 it is
blended. `refresh` reads the operators after they were moved; the forward pass reads tensors alone.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor

from pareq.operators.base import Operator
from pareq.pruners import L1, FanIn, Prune
from pareq.quantizers import FixedPoint, LearnedScale, MaxAbs
from pareq.train.population.project import project_learned, project_max, project_step, wide
from pareq.train.population.stacks import Owner, Stacks, alone

__all__ = ["LearnedGrids", "Pass", "Penalties", "Stage", "stage_for"]

_LN2 = math.log(2.0)
_WIDEST = 24  # bits that a float32 computes with


@dataclass
class Pass:
    """One pass over a batch. parts: the trained tensors; penalties: (members,) each, as they come.

    training: else the steps that a grid used are noted, and the penalties that count in stopping.
    """

    parts: dict[str, Tensor]
    training: bool
    penalties: list[Tensor] = field(default_factory=list)


class Stage(ABC):
    """Operators of one kind, one of each member or none. key: what its stacks are called by."""

    tensors: ClassVar[dict[str, float]] = {}  # buffers that are stacked, and what fills absent rows

    def __init__(self, members: int) -> None:
        self.operators: list[Operator | None] = [None] * members
        self.key = ""

    @classmethod
    def check(cls, operator: Operator) -> str:
        """What of the operator a population cannot do; "" for nothing."""
        return ""

    def fits(self, operator: Operator) -> bool:
        """Whether an operator of this stage's kind can act at once with those that are there."""
        return True

    def join(self, key: str, stacks: Stacks) -> None:
        """Put the operators' tensors into the stacks."""
        self.key = key
        for name, fill in self.tensors.items():
            owners = [None if o is None else Owner(o, name) for o in self.operators]
            stacks.hold(f"{key}/{name}", owners, fill)

    def take(self, kept: Sequence[int]) -> None:
        """Go on with these members only."""
        self.operators = [self.operators[k] for k in kept]

    @property
    def engaged(self) -> bool:
        """Whether any member's operator acts."""
        return any(o is not None and o.engaged for o in self.operators)

    def live(self) -> dict[str, list[bool]]:
        """Which members' trained tensors take part now, by key."""
        return {}

    def refresh(self, stacks: Stacks) -> None:
        """Read what the operators are set to."""
        self.stacks = stacks
        self.values = [0.0 if o is None else o.value for o in self.operators]
        self.whole = all(value == 1.0 for value in self.values)
        self.strength = self.numbers(self.values)

    def numbers(self, values: Iterable[float]) -> Tensor:
        """One number a member as a tensor, (members,), of the type that is trained."""
        flat = self.stacks.flat
        return torch.tensor(list(values), dtype=flat.dtype, device=flat.device)

    @abstractmethod
    def apply(self, x: Tensor, now: Pass) -> Tensor:
        """The tensors (members, ...) after the operators; called only while one is engaged."""

    def blend(self, x: Tensor, y: Tensor) -> Tensor:
        """Y where the operator is whole, x where there is none."""
        return y if self.whole else torch.lerp(x, y, wide(self.strength, x))


class Masks(Stage):
    """Prune, FanIn: fallen elements are zero."""

    tensors: ClassVar[dict[str, float]] = {"mask": 1.0}

    def apply(self, x: Tensor, now: Pass) -> Tensor:
        """X times the masks."""
        return x * self.stacks.held[f"{self.key}/mask"]


class Penalties(Stage):
    """L1: x stays; the penalty of each member is noted."""

    def refresh(self, stacks: Stacks) -> None:
        """Weight times strength."""
        super().refresh(stacks)
        ours = [o if isinstance(o, L1) else None for o in self.operators]
        sizes = [0.0 if o is None else o.weight * v for o, v in zip(ours, self.values, strict=True)]
        pairs = list(zip(ours, sizes, strict=True))
        self.factors = {
            True: self.numbers(size if o is not None and o.trains else 0.0 for o, size in pairs),
            False: self.numbers(size if o is not None and o.stops else 0.0 for o, size in pairs),
        }

    def apply(self, x: Tensor, now: Pass) -> Tensor:
        """Note factor * sum|x|: the penalty of training, or of stopping."""
        now.penalties.append(x.abs().flatten(1).sum(1) * self.factors[now.training])
        return x


class _Grids(Stage):
    """Quantizers, each with its own number of bits."""

    @classmethod
    def check(cls, operator: Operator) -> str:
        """One scale for the whole tensor, bits that a float32 holds."""
        quantizer = cast("MaxAbs | FixedPoint | LearnedScale", operator)
        if quantizer.per_channel:
            return "per_channel is true"
        return f"bits is {quantizer.bits}" if quantizer.bits > _WIDEST else ""

    def refresh(self, stacks: Stacks) -> None:
        """The bounds of each grid; 0..1 where there is none."""
        super().refresh(stacks)
        bounds = [(0, 1) if o is None else self.bounds(o) for o in self.operators]
        self.lo, self.hi = (self.numbers(each) for each in zip(*bounds, strict=True))

    def bounds(self, operator: Operator) -> tuple[int, int]:
        """The integers of an operator's grid."""
        return cast("FixedPoint | LearnedScale", operator).bounds


class MaxAbsGrids(_Grids):
    """MaxAbs: the largest weight is the largest integer."""

    tensors: ClassVar[dict[str, float]] = {"step": 1.0}

    def bounds(self, operator: Operator) -> tuple[int, int]:
        """Symmetric."""
        hi = cast("MaxAbs", operator).hi
        return -hi, hi

    def refresh(self, stacks: Stacks) -> None:
        """Floors and the kind of gradient."""
        super().refresh(stacks)
        ours = [o if isinstance(o, MaxAbs) else None for o in self.operators]
        self.floor = self.numbers(1.0 if o is None else o.floor for o in ours)
        self.through = self.numbers(o is not None and o.gradient == "through" for o in ours)

    def apply(self, x: Tensor, now: Pass) -> Tensor:
        """The grids of the present largest magnitudes; their steps are noted in evaluation."""
        y, step = project_max(x, self.hi, self.floor, self.through)
        if not now.training:
            held = self.stacks.held[f"{self.key}/step"]
            held.copy_(torch.where(self.strength > 0, step.to(held.dtype), held))
        return self.blend(x, y)


class FixedGrids(_Grids):
    """FixedPoint: steps that are powers of two, measured by the operators themselves."""

    tensors: ClassVar[dict[str, float]] = {"step": 1.0}

    @classmethod
    def check(cls, operator: Operator) -> str:
        """Half to even, saturating, clipped."""
        for name, known in (
            ("rounding", "half_even"),
            ("overflow", "saturate"),
            ("gradient", "clip"),
        ):
            if (found := getattr(operator, name)) != known:
                return f"{name} is {found!r}"
        return super().check(operator)

    def apply(self, x: Tensor, now: Pass) -> Tensor:
        """The grids with the present steps."""
        step = self.stacks.held[f"{self.key}/step"].to(x.dtype)
        step = torch.where(self.strength > 0, step, 1.0)
        return self.blend(x, project_step(x, self.lo, self.hi, step))


class LearnedGrids(_Grids):
    """LearnedScale: the scales are trained."""

    def join(self, key: str, stacks: Stacks) -> None:
        """The scales are parameters."""
        self.key = key
        stacks.train(key, [None if o is None else Owner(o, "scale") for o in self.operators])

    def fits(self, operator: Operator) -> bool:
        """Signed ones, or unsigned ones."""
        signed = {o.signed for o in (*self.operators, operator) if isinstance(o, LearnedScale)}
        return len(signed) == 1

    def live(self) -> dict[str, list[bool]]:
        """Those of engaged operators."""
        return {self.key: [o is not None and o.engaged for o in self.operators]}

    def refresh(self, stacks: Stacks) -> None:
        """Domains and the kind of gradient."""
        super().refresh(stacks)
        ours = [o if isinstance(o, LearnedScale) else None for o in self.operators]
        self.signed = any(o is not None and o.signed for o in ours)
        self.log = self.numbers(o is None or o.domain == "log2" for o in ours) > 0
        self.lsq = self.numbers(o is not None and o.gradient == "lsq" for o in ours) > 0

    def apply(self, x: Tensor, now: Pass) -> Tensor:
        """The grids with the present scales."""
        scale = now.parts[self.key]
        v = scale.detach().double()
        largest = torch.where(self.log, torch.exp2(v.clamp(min=-16.0)), v.clamp(min=2.0**-16))
        slope = torch.where(self.log, _LN2, 1 / largest)
        per_scale = x[0].numel() * self.hi.double()
        slope = torch.where(self.lsq, slope * per_scale.rsqrt(), slope)
        return self.blend(x, project_learned(x, self.hi, largest, slope, scale, signed=self.signed))


_STAGES: dict[type[Operator], type[Stage]] = {
    Prune: Masks,
    FanIn: Masks,
    L1: Penalties,
    MaxAbs: MaxAbsGrids,
    FixedPoint: FixedGrids,
    LearnedScale: LearnedGrids,
}


def stage_for(operator: Operator, site: str) -> type[Stage]:
    """The stage of an operator; raises RunError for one that a population cannot train."""
    found = _STAGES.get(type(operator))
    if found is None:
        known = ", ".join(sorted(kind.name for kind in _STAGES))
        raise alone(f"{site} has the operator {operator.name}, a population knows {known}")
    if why := found.check(operator):
        raise alone(f"{site}: {operator.name}: {why}, which no population has")
    return found
