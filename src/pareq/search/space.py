"""What a search varies: named axes, each seen by strategies as a coordinate in 0..1.

A name is a dotted path into a trial: `recipe.rule.2.op.bits`, `recipe.training.learning_rate`,
`task.widths.0`, `task.batch_norm`. Rules count from 1, the parts of a task's option from 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from pareq.errors import SearchError, at
from pareq.recipe.config import change_recipe, dump_recipe, parse_recipe
from pareq.tasks.base import make_task
from pareq.train.trial import Trial

__all__ = ["Axis", "Choice", "Integers", "Point", "Reals", "Space", "placed"]

Value: TypeAlias = bool | int | float | str
Point: TypeAlias = dict[str, Value]


@dataclass(frozen=True)
class Integers:
    """Whole numbers from lo to hi, both included; log: spread evenly over their logarithm."""

    lo: int
    hi: int
    log: bool = False

    def __post_init__(self) -> None:
        _check(self.lo, self.hi, self.log)

    def value(self, unit: float) -> int:
        """The number at a coordinate."""
        low, high = self.lo - 0.5, self.hi + 0.5
        found = low * (high / low) ** unit if self.log else low + unit * (high - low)
        return min(max(round(found), self.lo), self.hi)

    def unit(self, value: Value) -> float:
        """The coordinate of a number."""
        low, high = self.lo - 0.5, self.hi + 0.5
        if self.log:
            return math.log(float(value) / low) / math.log(high / low)
        return (float(value) - low) / (high - low)


@dataclass(frozen=True)
class Reals:
    """Numbers from lo to hi; log: spread evenly over their logarithm."""

    lo: float
    hi: float
    log: bool = False

    def __post_init__(self) -> None:
        _check(self.lo, self.hi, self.log)

    def value(self, unit: float) -> float:
        """The number at a coordinate."""
        if self.log:
            return float(self.lo * (self.hi / self.lo) ** unit)
        return self.lo + unit * (self.hi - self.lo)

    def unit(self, value: Value) -> float:
        """The coordinate of a number."""
        if self.log:
            return math.log(float(value) / self.lo) / math.log(self.hi / self.lo)
        return (float(value) - self.lo) / (self.hi - self.lo)


@dataclass(frozen=True)
class Choice:
    """One of some values, in an order that means something."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < 2 or len(set(self.values)) < len(self.values):
            raise SearchError(f"values must be two or more, all different, got {self.values}")

    def value(self, unit: float) -> Value:
        """The value at a coordinate."""
        return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]

    def unit(self, value: Value) -> float:
        """The coordinate of a value: the middle of its share."""
        return (self.values.index(value) + 0.5) / len(self.values)


Axis: TypeAlias = Integers | Reals | Choice


@dataclass(frozen=True)
class Space:
    """The axes of a search by their names."""

    axes: Mapping[str, Axis]

    def __post_init__(self) -> None:
        if not self.axes:
            raise SearchError("a search space needs at least one axis")

    def point(self, units: Sequence[float]) -> Point:
        """The values at coordinates, one an axis, each in 0..1."""
        pairs = zip(self.axes.items(), units, strict=True)
        return {name: axis.value(min(max(unit, 0.0), 1.0)) for (name, axis), unit in pairs}

    def units(self, point: Mapping[str, Value]) -> list[float]:
        """The coordinates of a point; `point` of them gives it back."""
        return [axis.unit(point[name]) for name, axis in self.axes.items()]


def placed(trial: Trial, point: Mapping[str, Value]) -> Trial:
    """The trial with the values of a point in it.

    Raises SearchError for a path into neither recipe nor task, RecipeError for one that no recipe
    has, DataError for one that the task does not know.
    """
    changes = []
    options = dict(trial.options)
    for name, value in point.items():
        with at(name):
            part, _, path = name.partition(".")
            if part == "recipe" and path:
                changes.append(f"{path}={str(value).lower() if value in (True, False) else value}")
            elif part == "task" and path:
                _set_option(trial.task, options, path, value)
            else:
                raise SearchError("expected recipe.PATH or task.OPTION")
    recipe = dump_recipe(change_recipe(parse_recipe(trial.recipe), changes))
    make_task(trial.task, options)
    return replace(trial, recipe=recipe, options=options)


def _set_option(task: str, options: dict[str, object], path: str, value: Value) -> None:
    """One option of a task, or one part of it."""
    name, dot, index = path.partition(".")
    if not dot:
        options[name] = value
        return
    held = options.get(name, getattr(make_task(task, {}), name, None))
    if not isinstance(held, tuple | list) or not index.isdecimal() or int(index) >= len(held):
        raise SearchError(f"task {task} has no part {index!r} of an option {name!r}")
    parts = list(held)
    parts[int(index)] = value
    options[name] = tuple(parts)


def _check(lo: float, hi: float, log: bool) -> None:
    if not lo < hi:
        raise SearchError(f"lo must be below hi, got {lo} and {hi}")
    if log and lo <= 0:
        raise SearchError(f"lo must be above 0 on a logarithmic axis, got {lo}")
