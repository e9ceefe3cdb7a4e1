"""Values between two grids: integers, and the real steps they pass until the next grid.

| step | computes | monotone |
|---|---|---|
| multiply, divide, add | y a, y / a, y + a | yes |
| clamp | min(max(y, a), b) | yes |
| leaky | y < 0 ? y a : y, a >= 0 | yes |
| fill | a where the mask is set, else y | yes |
| function | a function of one real number | where it is said to rise |

Each step is the float64 operation of the network, in its order; numbers are arrays that broadcast
against the value, without the batch axis. `project` closes a value: constants or thresholds where
all steps are monotone, a table else, and for a function of few integers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from pareq.errors import GridError, LoweringError
from pareq.ir.build import Builder
from pareq.lower.emit import channel_range, emit
from pareq.lower.plateau import check_plateaus
from pareq.lower.requantize import thresholds
from pareq.lower.transfer import Transfer
from pareq.numerics.grid import Grid
from pareq.numerics.rounding import Overflow, Rounding

__all__ = ["Curve", "Known", "Step", "Target", "Term", "project"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

_MOST_LEVELS = 2**23  # thresholds that one requantization may have, over all channels
_MOST_ENTRIES = 2**16  # of a table
_FEW_ENTRIES = 2**12  # of a table where thresholds would do


@dataclass(frozen=True, eq=False)
class Step:
    """One real operation.

    numbers: its constants; path: of the module it belongs to; function: of the kind "function",
    rises: whether it never falls; bias: whether it is the bias of a layer.
    """

    kind: str
    numbers: tuple[Reals, ...]
    path: str
    function: Callable[[Reals], Reals] | None = None
    bias: bool = False
    rises: bool = False

    def __call__(self, y: Reals, numbers: tuple[Reals, ...]) -> Reals:
        """The step with numbers that were shaped to y."""
        if self.function is not None:
            return self.function(y)
        return _STEPS[self.kind](y, *numbers)


_STEPS: dict[str, Callable[..., Reals]] = {
    "multiply": lambda y, a: y * a,
    "divide": lambda y, a: y / a,
    "add": lambda y, a: y + a,
    "clamp": lambda y, low, high: np.minimum(np.maximum(y, low), high),
    "leaky": lambda y, a: np.where(y < 0, y * a, y),
    "fill": lambda y, places, a: np.asarray(np.where(places != 0, a, y)),
}


@dataclass(frozen=True, eq=False)
class Known:
    """A tensor that does not depend on the input: reals, and their grid where there is one."""

    name: str
    value: Reals
    grid: Grid | None = None


@dataclass(frozen=True, eq=False)
class Term:
    """A tensor: the integers of a value in the builder, and steps that are still to be taken."""

    name: str
    steps: tuple[Step, ...] = ()

    def then(self, *steps: Step) -> "Term":
        """With more steps."""
        return replace(self, steps=(*self.steps, *steps))


@dataclass(frozen=True, eq=False)
class Target:
    """The next grid, and how it is reached; its scale broadcasts without the batch axis."""

    grid: Grid
    rounding: Rounding = "half_even"
    overflow: Overflow = "saturate"


@dataclass(frozen=True, eq=False)
class Curve(Transfer):
    """A transfer that takes any steps between its gain and its grid.

    steps: each with its numbers as `(C,)` or of size 1.
    """

    overflow: Overflow = "saturate"
    steps: tuple[Step, ...] = field(default=())

    @property
    def monotone(self) -> bool:
        """Whether it never falls, or never rises, in each channel."""
        known = all(s.function is None or s.rises for s in self.steps)
        return self.overflow == "saturate" and known

    def of(self, channels: npt.NDArray[np.intp]) -> "Curve":
        """The same for some channels, in this order."""
        steps = tuple(
            replace(s, numbers=tuple(n[channels] if n.size > 1 else n for n in s.numbers))
            for s in self.steps
        )
        some = super().of(channels)
        return replace(self, gain=some.gain, offset=some.offset, grid=some.grid, steps=steps)

    def _columns(self) -> list[Reals]:
        return [*super()._columns(), *(n for s in self.steps for n in s.numbers)]

    @property
    def exact(self) -> bool:
        """Whether its steps are correctly rounded, so that what is computed is as monotone."""
        return all(s.function is None for s in self.steps)

    def real(self, accumulator: npt.ArrayLike) -> Reals:
        """Integers `(C, M)` to reals: y = acc * gain, then the steps."""
        acc = np.asarray(accumulator, dtype=np.int64)
        column = (slice(None), *(None,) * (acc.ndim - 1))
        with np.errstate(over="ignore"):
            y: Reals = acc * self.gain[column]
            for step in self.steps:
                y = step(y, tuple(each[column] for each in step.numbers))
        return y

    def __call__(self, accumulator: npt.ArrayLike) -> Integers:
        """Integers `(C, M)` to integers: the reals on the grid."""
        y = self.real(accumulator)
        column = (slice(None), *(None,) * (y.ndim - 1))
        return self._flat(column).quantize(y, self.rounding, self.overflow)


def project(builder: Builder, term: Term, target: Target, name: str, origin: str) -> Term:
    """Put a value on a grid, exactly. Raises LoweringError."""
    if target.rounding == "stochastic":
        raise LoweringError("stochastic rounding is no function; choose another one to deploy")
    fill = _fill(term.steps, target)
    if fill is not None:
        return _masked(builder, term, target, fill, (name, origin))
    value = builder.value(term.name)
    shape, x = value.shape, term.name
    everything = [value.grid.scale, target.grid.scale, *(n for s in term.steps for n in s.numbers)]
    axes = _varying([np.asarray(each) for each in everything], shape)
    if len(axes) > 1:  # a function for each element
        x = builder.op("reshape", (x,), {"shape": (int(np.prod(shape)),)}, origin=origin)
        axis: int | None = 0
    else:
        axis = axes[0] if axes else None

    def flat(numbers: npt.ArrayLike) -> Reals:
        return _flat(np.asarray(numbers, dtype=np.float64), shape, axes)

    scale = flat(target.grid.scale)
    count = 1 if axis is None else builder.value(x).shape[axis]
    grid = replace(target.grid, scale=float(scale[0]) if scale.size == 1 else scale)
    curve = Curve(
        np.broadcast_to(flat(value.grid.scale), (count,)),
        np.zeros(count),
        grid,
        target.rounding,
        overflow=target.overflow,
        steps=tuple(replace(s, numbers=tuple(map(flat, s.numbers))) for s in term.steps),
    )
    try:
        made = _made(builder, x, curve, axis, (name, origin))
    except GridError as error:
        if "NaN" not in error.fact:
            raise
        raise LoweringError(
            "some values that can occur have no real result (NaN); clamp them before, or look at "
            "the constants"
        ) from error
    if len(axes) > 1:
        made = builder.op("reshape", (made,), {"shape": shape}, origin=origin)
    return Term(made)


def _fill(steps: tuple[Step, ...], target: Target) -> tuple[int, int] | None:
    """Which step is the last mask, and the integer that its empty places become, if it is one."""
    for place in reversed(range(len(steps))):
        step = steps[place]
        if step.kind == "multiply" and np.isin(step.numbers[0], (0.0, 1.0)).all():
            y = np.array([0.0, -0.0])
        elif step.kind == "fill":
            y = np.unique(step.numbers[1])
        else:
            continue
        if y.size > 2 or np.isnan(y).any():
            return None
        integers = [_after(steps[place + 1 :], each, target) for each in y]
        return (place, integers[0]) if integers[0] is not None and len({*integers}) == 1 else None
    return None


def _after(steps: tuple[Step, ...], real: float, target: Target) -> int | None:
    """The integer that a real becomes by the steps behind a mask, if it is the same everywhere."""
    y = np.full(1, real)
    for step in steps:
        y = step(y, step.numbers)
    if np.isnan(y).any():
        return None
    found = np.unique(target.grid.quantize(np.squeeze(y), target.rounding, target.overflow))
    return int(found[0]) if found.size == 1 else None


def _masked(
    builder: Builder, term: Term, target: Target, fill: tuple[int, int], label: tuple[str, str]
) -> Term:
    """A mask in front of a grid is the same as one behind it, and needs no constants per place."""
    (place, integer), (name, origin) = fill, label
    step, others = term.steps[place], (*term.steps[:place], *term.steps[place + 1 :])
    empty = step.numbers[0] == 0 if step.kind == "multiply" else step.numbers[0] != 0
    inner = project(builder, replace(term, steps=others), target, f"{name}.open", origin)
    rank = len(builder.value(inner.name).shape)
    kept = (~empty).astype(np.int64)
    keep = builder.constant(f"{name}.keep", kept.reshape((1,) * (rank - kept.ndim) + kept.shape))
    how = {"fill": integer}
    return Term(builder.op("mask", (inner.name, keep), how, name=name, origin=origin))


def _made(builder: Builder, x: str, curve: Curve, axis: int | None, label: tuple[str, str]) -> str:
    """Constants or thresholds for what is monotone, else a table."""
    low, high = builder.range(x).limits
    if not curve.monotone or (not curve.exact and high - low < _FEW_ENTRIES):
        return _table(builder, x, curve, axis, label)
    reach, count = channel_range(builder.range(x), axis), len(curve.distinct()[0])
    ends = curve(np.stack([reach.lo, reach.hi], axis=1))
    levels = int(np.abs(ends[:, 1] - ends[:, 0]).max()) * count
    if levels > _MOST_LEVELS:
        raise LoweringError(
            f"the grid has {levels} steps over {count} channels, at most {_MOST_LEVELS} can be "
            "proved; use fewer bits"
        )
    if not curve.exact:
        check_plateaus(curve, curve.real, thresholds(curve, reach.lo, reach.hi), reach.lo, reach.hi)
    return emit(builder, x, curve, axis=axis or 0, name=label[0], origin=label[1])


def _table(builder: Builder, x: str, curve: Curve, axis: int | None, label: tuple[str, str]) -> str:
    """Every result, one by one."""
    low, high = builder.range(x).limits
    if high - low >= _MOST_ENTRIES:
        raise LoweringError(
            f"a table would have {high - low + 1} entries, at most {_MOST_ENTRIES} are made; put "
            "a quantizer in front of the function"
        )
    rank, count = len(builder.value(x).shape), len(curve.gain)
    entries = curve(np.broadcast_to(np.arange(low, high + 1), (count, high - low + 1)))
    sizes = tuple(count if i == axis else 1 for i in range(rank))
    table = builder.constant(f"{label[0]}.table", entries.reshape(*sizes, -1))
    scale = curve.grid.scale
    shaped = scale if isinstance(scale, float) else scale.reshape(sizes)
    grid = replace(curve.grid, scale=shaped)
    first = {"first": low}
    return builder.op("table", (x, table), first, name=label[0], origin=label[1], grid=grid)


def _varying(arrays: list[npt.NDArray[np.generic]], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes along which some array varies."""
    found = set()
    for each in arrays:
        for back, size in enumerate(reversed(each.shape)):
            axis = each.ndim - 1 - back
            if size > 1 and (each != np.take(each, [0], axis=axis)).any():
                found.add(len(shape) - 1 - back)
    return tuple(sorted(found))


def _flat(numbers: Reals, shape: tuple[int, ...], axes: tuple[int, ...]) -> Reals:
    """Numbers as `(C,)` along the axes that vary, or `(1,)`."""
    full = numbers.reshape((1,) * (len(shape) - numbers.ndim) + numbers.shape)
    if not axes or full.size == 1:
        return full.reshape(-1)[:1]
    if len(axes) > 1:
        return np.broadcast_to(full, shape).reshape(-1)
    line = full[tuple(slice(None) if i == axes[0] else slice(1) for i in range(full.ndim))]
    return line.reshape(-1)
