"""When an operator acts: pure functions of the step.

A position is a step (int), a fraction of the run (float in 0..1) or a text such as "12 epochs".
`resolve` turns all positions into steps once the length of the run is known.
"""

import math
import re
import sys
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

from pareq.errors import RecipeError
from pareq.registry import Registry

__all__ = [
    "NEVER",
    "SCHEDULES",
    "After",
    "Clock",
    "Levels",
    "Position",
    "Ramp",
    "Schedule",
    "Stairs",
]

Position = int | float | str
NEVER = sys.maxsize

_TEXT = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(epochs?|steps?|%)\s*")


@dataclass(frozen=True)
class Clock:
    """How long a run is: steps in all, and steps in an epoch (None when not known)."""

    steps: int | None = None
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and value < 1:
                raise RecipeError(f"{f.name} must be at least 1, got {value}")

    def step(self, position: Position) -> int:
        """The step of a position; raises RecipeError when the clock cannot tell."""
        if isinstance(position, int):
            return position
        if isinstance(position, float):
            return self._share(position)
        number, unit = _parse(position)
        if unit == "%":
            return self._share(number / 100)
        if unit.startswith("step"):
            return round(number)
        if self.steps_per_epoch is None:
            raise RecipeError(
                f"position {position!r} counts epochs, but their length is not known; "
                "give attach or plan(...) steps_per_epoch"
            )
        return round(number * self.steps_per_epoch)

    def _share(self, fraction: float) -> int:
        if self.steps is None:
            raise RecipeError(
                f"position {fraction} is a fraction of the run, but its length is not known; "
                "give attach or plan(...) steps"
            )
        return round(fraction * self.steps)


def check_position(position: Position, name: str) -> None:
    """Raise RecipeError unless `position` is a step, a fraction or a text with a unit."""
    if isinstance(position, bool) or not isinstance(position, int | float | str):
        raise RecipeError(f"{name} must be a step, a fraction or a text, got {position!r}")
    if isinstance(position, str):
        _parse(position)
    elif isinstance(position, float) and not 0 <= position <= 1:
        raise RecipeError(
            f"{name} = {position} is not a fraction of the run (0.0 to 1.0); "
            'steps are whole numbers, epochs are written "12 epochs"'
        )
    elif position < 0:
        raise RecipeError(f"{name} must not be before the run, got {position}")


def _parse(text: str) -> tuple[float, str]:
    match = _TEXT.fullmatch(text)
    if not match:
        raise RecipeError(
            f'position {text!r} is not of the form "12 epochs", "300 steps" or "60 %"'
        )
    return float(match[1]), match[2]


@dataclass(frozen=True)
class Schedule:
    """The strength of an operator as a function of the step.

    `first` is the first step with a strength other than 0, `last` the first from which it stays the
    same. Both are known once the schedule is resolved.
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls, name: str = "") -> None:
        super().__init_subclass__()
        if name:
            cls.name = name
            SCHEDULES.add(name, cls)

    def __call__(self, step: int) -> float:
        """The strength at a step."""
        raise TypeError(f"{type(self).__name__} is abstract")

    @property
    def first(self) -> int:
        """The first step with a strength other than 0."""
        raise TypeError(f"{type(self).__name__} is abstract")

    @property
    def last(self) -> int:
        """The first step from which the strength stays the same."""
        raise TypeError(f"{type(self).__name__} is abstract")

    @property
    def largest(self) -> float:
        """The largest strength that it reaches."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def resolve(self, clock: Clock) -> Self:
        """The same schedule with all positions as steps."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def next_change(self, step: int) -> int:
        """The first later step at which the value may differ from that at `step`; NEVER if none."""
        return max(self.first, step + 1) if step < self.last else NEVER

    def count(self, step: int, total: int) -> int:
        """How many of `total` are meant at this step: the strength as an exact number."""
        return round(self(step) * total)


SCHEDULES: Registry[type[Schedule]] = Registry("schedule")


def _whole(position: Position) -> int:
    if not isinstance(position, int):
        raise RecipeError(
            f"position {position!r} is not resolved to a step yet; call plan(...) first"
        )
    return position


def _check_level(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise RecipeError(f"{name} must be in 0..1, got {value}")


@dataclass(frozen=True)
class After(Schedule, name="after"):
    """Nothing before `at`, `to` from then on."""

    at: Position = 0
    to: float = 1.0

    def __post_init__(self) -> None:
        check_position(self.at, "after.at")
        _check_level(self.to, "after.to")

    def __call__(self, step: int) -> float:
        """The strength at a step."""
        return self.to if step >= _whole(self.at) else 0.0

    @property
    def first(self) -> int:
        """The first step with a strength other than 0."""
        return _whole(self.at)

    @property
    def last(self) -> int:
        """The first step from which the strength stays the same."""
        return _whole(self.at)

    @property
    def largest(self) -> float:
        """The largest strength that it reaches."""
        return self.to

    def resolve(self, clock: Clock) -> Self:
        """The same schedule with all positions as steps."""
        return replace(self, at=clock.step(self.at))


@dataclass(frozen=True)
class Ramp(Schedule, name="ramp"):
    """From 0 at `start` to `to` at `stop`: to * (1 - (1 - progress)^power).

    Zhu & Gupta 2017 eq. 1 with power 3; power 1 is a straight line. The value moves every `every`
    steps (the same paper's pruning frequency) and is exactly `to` from `stop` on.
    """

    start: Position
    stop: Position
    to: float = 1.0
    power: float = 3.0
    every: int = 10

    def __post_init__(self) -> None:
        check_position(self.start, "ramp.start")
        check_position(self.stop, "ramp.stop")
        _check_level(self.to, "ramp.to")
        if not (self.power > 0 and math.isfinite(self.power)):
            raise RecipeError(f"ramp.power must be positive, got {self.power}")
        if self.every < 1:
            raise RecipeError(f"ramp.every must be at least 1 step, got {self.every}")
        if type(self.start) is type(self.stop) and not isinstance(self.start, str):
            self._check_order(self.start, self.stop)

    @staticmethod
    def _check_order(start: Position, stop: Position) -> None:
        if isinstance(start, int | float) and isinstance(stop, int | float) and stop < start:
            raise RecipeError(f"ramp stops at {stop}, before it starts at {start}")

    def __call__(self, step: int) -> float:
        """The strength at a step."""
        start, stop = _whole(self.start), _whole(self.stop)
        if step >= stop:
            return self.to
        if step < start:
            return 0.0
        progress = (step - start) // self.every * self.every / (stop - start)
        return float(self.to * (1 - (1 - progress) ** self.power))

    def next_change(self, step: int) -> int:
        """The first later step at which the value may differ; NEVER if none."""
        start, stop = _whole(self.start), _whole(self.stop)
        if step < start:
            return start
        return min(step + self.every - (step - start) % self.every, stop) if step < stop else NEVER

    @property
    def first(self) -> int:
        """The first step with a strength other than 0."""
        return _whole(self.start)

    @property
    def last(self) -> int:
        """The first step from which the strength stays the same."""
        return _whole(self.stop)

    @property
    def largest(self) -> float:
        """The largest strength that it reaches."""
        return self.to

    def resolve(self, clock: Clock) -> Self:
        """The same schedule with all positions as steps."""
        start, stop = clock.step(self.start), clock.step(self.stop)
        self._check_order(start, stop)
        return replace(self, start=start, stop=stop)


@dataclass(frozen=True)
class Stairs(Schedule, name="stairs"):
    """Iterative pruning: each stair takes a fraction of what is left.

    `fractions[i]` is taken at `start` + i strides; the stride divides start..stop evenly, the last
    stair stands at `stop`. `count` rounds stair by stair, as iterative pruning does (Hawks et al.
    2021; torch.nn.utils.prune), so `total` things lose exact numbers.
    """

    start: Position
    stop: Position
    fractions: tuple[float, ...]

    def __post_init__(self) -> None:
        check_position(self.start, "stairs.start")
        check_position(self.stop, "stairs.stop")
        object.__setattr__(self, "fractions", tuple(self.fractions))
        if not self.fractions:
            raise RecipeError("stairs.fractions is empty, expected at least one fraction")
        for value in self.fractions:
            if not 0 <= value < 1:
                raise RecipeError(f"stairs.fractions must be in [0, 1), got {value}")

    def _stairs(self, step: int) -> int:
        """How many stairs lie behind."""
        start, stop, rest = _whole(self.start), _whole(self.stop), len(self.fractions) - 1
        if step < start:
            return 0
        if step >= stop or rest == 0:
            return rest + 1
        return (step - start) * rest // (stop - start) + 1

    def __call__(self, step: int) -> float:
        """The strength at a step."""
        return 1 - math.prod(1 - f for f in self.fractions[: self._stairs(step)])

    def count(self, step: int, total: int) -> int:
        """The exact number, rounded stair by stair."""
        left = total
        for fraction in self.fractions[: self._stairs(step)]:
            left -= round(fraction * left)
        return total - left

    @property
    def first(self) -> int:
        """The first step with a strength other than 0."""
        return _whole(self.start)

    @property
    def last(self) -> int:
        """The first step from which the strength stays the same."""
        return _whole(self.stop)

    @property
    def largest(self) -> float:
        """The largest strength that it reaches."""
        return 1 - math.prod(1 - f for f in self.fractions)

    def resolve(self, clock: Clock) -> Self:
        """The same schedule with all positions as steps."""
        start, stop = clock.step(self.start), clock.step(self.stop)
        if stop < start:
            raise RecipeError(f"stairs stop at {stop}, before they start at {start}")
        return replace(self, start=start, stop=stop)


@dataclass(frozen=True)
class Levels(Schedule, name="levels"):
    """A ramp of few levels: to * (1 - (1 - i / levels)^power) after the i-th of equal strides.

    Nothing before the end of the first stride, exactly `to` from `stop` on. Power 3: Zhu & Gupta
    2017 eq. 1 with n = levels, updated at start + i strides (Zhang et al. 2021, arXiv 2110.08271).
    """

    start: Position
    stop: Position
    to: float = 1.0
    levels: int = 4
    power: float = 3.0

    def __post_init__(self) -> None:
        check_position(self.start, "levels.start")
        check_position(self.stop, "levels.stop")
        _check_level(self.to, "levels.to")
        if isinstance(self.levels, bool) or not isinstance(self.levels, int) or self.levels < 1:
            raise RecipeError(f"levels.levels must be at least 1, got {self.levels!r}")
        if not (self.power > 0 and math.isfinite(self.power)):
            raise RecipeError(f"levels.power must be positive, got {self.power}")

    def _reached(self, step: int) -> int:
        """How many strides lie behind."""
        start, stop = _whole(self.start), _whole(self.stop)
        if step >= stop:
            return self.levels
        return max((step - start) * self.levels // (stop - start), 0)

    def _step_of(self, level: int) -> int:
        """The first step of a level."""
        start, span = _whole(self.start), _whole(self.stop) - _whole(self.start)
        return start - (-level * span // self.levels)

    def __call__(self, step: int) -> float:
        """The strength at a step."""
        reached = self._reached(step)
        if reached == self.levels:
            return self.to
        return float(self.to * (1 - (1 - reached / self.levels) ** self.power))

    def next_change(self, step: int) -> int:
        """The step of the next level; NEVER after the last."""
        reached = self._reached(step)
        return NEVER if reached == self.levels else self._step_of(reached + 1)

    @property
    def first(self) -> int:
        """The first step with a strength other than 0."""
        return self._step_of(1)

    @property
    def last(self) -> int:
        """The first step from which the strength stays the same."""
        return _whole(self.stop)

    @property
    def largest(self) -> float:
        """The largest strength that it reaches."""
        return self.to

    def resolve(self, clock: Clock) -> Self:
        """The same schedule with all positions as steps."""
        start, stop = clock.step(self.start), clock.step(self.stop)
        if stop < start:
            raise RecipeError(f"levels stop at {stop}, before they start at {start}")
        return replace(self, start=start, stop=stop)
