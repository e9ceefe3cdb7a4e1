"""Steps that stay on a grid: exact integers without a quantizer.

An add of a multiple of the scale, a change of scale, a clamp at a grid point: these need no
rounding. `settle` takes them; a step that would round is an error that says where a quantizer goes.
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pareq.errors import LoweringError
from pareq.ir.build import Builder
from pareq.lower.curve import Step, Term
from pareq.lower.transfer import common_scale
from pareq.numerics.grid import Grid

__all__ = ["affine", "exact_grid", "multiples", "settle", "unify"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)

_MOST_SHIFT = 16  # bits that an exact add may put behind the point
_MOST_ENTRIES = 2**16  # of a table
_MANTISSA = 53  # bits of a float64


def settle(builder: Builder, term: Term, *, last: bool = False) -> str:
    """The value with all its steps taken, as integers. Raises LoweringError when one rounds.

    last: nothing computes with it any more, so that its reals may be rounded to float64.
    """
    name = term.name
    for place, step in enumerate(term.steps):
        taken = _TAKE[step.kind](builder, name, step)
        if taken is not None and step.kind in ("multiply", "divide") and not last:
            taken = taken if _is_float64(builder, name, taken, step) else None
        if taken is None:
            raise LoweringError(_remedy(step, term.steps[place + 1 :]))
        name = taken
    return name


def _remedy(step: Step, rest: tuple[Step, ...]) -> str:
    """What to do about a step that rounds; `rest` follows it."""
    last = (step, *rest)[-1].path
    also = f" (or on '{step.path}:bias', if the scales are powers of two)"
    only = step.bias and all(each.kind == "clamp" for each in rest)
    return (
        f"{step.path or 'the model'} leaves the grid ({step.kind}), so this result is no integer; "
        f"put a quantizer on '{last}:output'{also if only else ''}"
    )


def multiples(reals: Reals, scale: npt.ArrayLike) -> tuple[Integers, int] | None:
    """Integers n and the smallest shift k >= 0 with reals == n * scale / 2^k; None without them.

    The shapes broadcast.
    """
    pairs = np.broadcast_arrays(reals, np.asarray(scale, dtype=np.float64))
    if not np.isfinite(pairs[0]).all():
        return None
    each_pair = zip(*(each.ravel().tolist() for each in pairs), strict=True)
    exact = [Fraction(real) / Fraction(step) for real, step in each_pair]
    below = max((each.denominator for each in exact), default=1)
    if any(each.denominator & (each.denominator - 1) for each in exact):
        return None
    shift = below.bit_length() - 1
    numbers = [int(each * below) for each in exact]
    if shift > _MOST_SHIFT or max(map(abs, numbers), default=0) >= 2**61:
        return None
    return np.array(numbers, dtype=np.int64).reshape(pairs[0].shape), shift


def exact_grid(reals: Reals, bits: int = 16) -> Grid | None:
    """The coarsest power-of-two grid that holds some reals within `bits`, if there is one."""
    found = multiples(reals, 1.0)
    if found is None:
        return None
    n, shift = found
    low, high = min(int(n.min(initial=0)), 0), max(int(n.max(initial=0)), 0)
    common = int(np.gcd.reduce(n.ravel())) if n.size else 0
    less = (common & -common).bit_length() - 1 if common else 0
    grid = Grid(low >> less, high >> less, 2.0 ** (less - shift))
    return grid if grid.bits <= bits else None


def affine(
    builder: Builder,
    x: str,
    numbers: tuple[Integers, Integers],
    scale: npt.ArrayLike,
    label: tuple[str, str],
) -> str:
    """The integers x * multiplier + offset, said to be on another scale."""
    value, reach = builder.value(x), builder.range(x)
    rank = len(value.shape)
    multiplier, offset = (_ranked(np.asarray(n), rank) for n in numbers)
    ends = np.stack([reach.lo * multiplier + offset, reach.hi * multiplier + offset])
    bounds = {"lo": int(ends.min()), "hi": int(ends.max()), "even": 0}
    parts = zip(
        ("multiplier", "offset", "shift"),
        (multiplier, offset, np.zeros((1,) * rank, dtype=np.int64)),
        strict=True,
    )
    inputs = [builder.constant(f"{label[0]}.{part}", data) for part, data in parts]
    scales = np.asarray(scale, dtype=np.float64)
    shaped = float(scales.ravel()[0]) if scales.size == 1 else scales
    return builder.op(
        "requantize", (x, *inputs), bounds, name=label[0], origin=label[1], scale=shaped
    )


def _ranked(array: npt.NDArray[Scalar], rank: int) -> npt.NDArray[Scalar]:
    """With leading axes of size 1, so that there are `rank` of them."""
    kept = array.shape[max(array.ndim - rank, 0) :]
    return array.reshape((1,) * (rank - len(kept)) + kept)


def unify(builder: Builder, names: list[str], label: tuple[str, str]) -> list[str]:
    """The same values, all on one scale. Raises LoweringError when none has few enough bits."""
    scales = [builder.value(name).grid.scale for name in names]
    if all(np.array_equal(each, scales[0]) for each in scales):
        return names
    if not all(isinstance(each, float) for each in scales):
        raise LoweringError(
            "the operands have scales per channel that differ; put one quantizer with one scale "
            "on each"
        )
    step, factors = common_scale(*(float(each) for each in scales))
    nothing = np.zeros(1, dtype=np.int64)
    return [
        name if factor == 1 else affine(builder, name, (np.array([factor]), nothing), step, label)
        for name, factor in zip(names, factors, strict=True)
    ]


def _add(builder: Builder, x: str, step: Step) -> str | None:
    scale = builder.value(x).grid.scale
    found = multiples(step.numbers[0], scale)
    if found is None:
        return None
    offset, shift = found
    finer = np.asarray(scale) / 2.0**shift
    return affine(builder, x, (np.array([1 << shift]), offset), finer, (step.path or x, step.path))


def _rescale(builder: Builder, x: str, step: Step) -> str | None:
    """Multiply or divide: another scale, and a sign; a factor of zero leaves zeros."""
    scale, factor = builder.value(x).grid.scale, np.abs(step.numbers[0])
    if step.kind == "divide" and not factor.all():
        return None
    if step.kind == "multiply" and np.isin(step.numbers[0], (0.0, 1.0)).all():
        return _fill(builder, x, replace(step, numbers=(1.0 - factor, np.zeros(()))))
    whole = np.where(factor == 0, 1.0, factor)
    new = scale * whole if step.kind == "multiply" else scale / whole
    sign = np.sign(step.numbers[0]).astype(np.int64)
    nothing = np.zeros(1, dtype=np.int64)
    return affine(builder, x, (sign, nothing), new, (step.path or x, step.path))


def _is_float64(builder: Builder, x: str, y: str, step: Step) -> bool:
    """Whether a product or quotient is the same in float64 as in real numbers.

    A third is not: float64 rounds it, and what is then computed with it may miss a tie.
    """
    before, after = (np.asarray(builder.value(name).grid.scale) for name in (x, y))
    factor = np.abs(step.numbers[0])
    largest = max(map(abs, builder.range(x).limits))
    rows = np.stack([each.ravel() for each in np.broadcast_arrays(before, after, factor)])
    for old, new, by in np.unique(rows, axis=1).T.tolist():
        if by in (0.0, 1.0):
            continue
        a, b, c = Fraction(old), Fraction(new), Fraction(by)
        if b != (a * c if step.kind == "multiply" else a / c):
            return False
        odd = b.numerator // (b.numerator & -b.numerator)
        if (odd * largest).bit_length() > _MANTISSA:
            return False
    return True


def _clamp(builder: Builder, x: str, step: Step) -> str | None:
    value, reach = builder.value(x), builder.range(x)
    low, high = reach.limits
    for place, bound in enumerate(step.numbers):
        ends = (np.asarray(value.grid.scale) * low, np.asarray(value.grid.scale) * high)
        if (bound <= ends[0]).all() if place == 0 else (bound >= ends[1]).all():
            continue
        found = multiples(bound, value.grid.scale)
        if found is None or found[1] or len(np.unique(found[0])) != 1:
            return None
        whole = int(found[0].ravel()[0])
        beyond = max if place == 0 else min
        low, high = beyond(whole, low), beyond(whole, high)
    if (low, high) == reach.limits:
        return x
    bounds = {"lo": low, "hi": high}
    return builder.op("clamp", (x,), bounds, name=step.path or x, origin=step.path)


def _leaky(builder: Builder, x: str, step: Step) -> str | None:
    slopes = np.unique(step.numbers[0])
    if len(slopes) != 1:
        return None
    if slopes[0] == 0.0:
        return _clamp(builder, x, replace(step, numbers=(slopes[0], np.asarray(np.inf))))
    mantissa, exponent = np.frexp(slopes[0])
    if mantissa != 0.5 or exponent > 1:
        return None
    return builder.op(
        "leaky", (x,), {"shift": int(1 - exponent)}, name=step.path or x, origin=step.path
    )


def _fill(builder: Builder, x: str, step: Step) -> str | None:
    """A mask where one integer stands in the empty places, else an affine map of each place."""
    value = builder.value(x)
    places, real = np.broadcast_arrays(step.numbers[0] != 0, step.numbers[1])
    if not places.any():
        return x
    found = multiples(np.where(places, real, 0.0), value.grid.scale)
    if found is None:
        return None
    fill, shift = found
    label = (step.path or x, step.path)
    kept = _ranked((~places).astype(np.int64), len(value.shape))
    several = np.unique(fill[np.broadcast_to(places, fill.shape)])
    if shift or len(several) > 1:
        finer = np.asarray(value.grid.scale) / 2.0**shift
        return affine(builder, x, (kept << shift, fill), finer, label)
    keep = builder.constant(f"{label[0]}.keep", kept)
    return builder.op("mask", (x, keep), {"fill": int(several[0])}, name=label[0], origin=label[1])


def _function(builder: Builder, x: str, step: Step) -> str | None:
    """A table, where every result is a multiple of the scale or of a part of it."""
    grid, (low, high) = builder.value(x).grid, builder.range(x).limits
    if step.function is None or not isinstance(grid.scale, float) or high - low >= _MOST_ENTRIES:
        return None
    found = multiples(step.function(grid.dequantize(np.arange(low, high + 1))), grid.scale)
    if found is None:
        return None
    entries, shift = found
    label = step.path or x
    rank = len(builder.value(x).shape)
    table = builder.constant(f"{label}.table", entries.reshape((1,) * rank + (-1,)))
    scale, first = grid.scale / 2.0**shift, {"first": low}
    return builder.op("table", (x, table), first, name=label, origin=step.path, scale=scale)


_TAKE: dict[str, Callable[[Builder, str, Step], str | None]] = {
    "add": _add,
    "multiply": _rescale,
    "divide": _rescale,
    "clamp": _clamp,
    "leaky": _leaky,
    "fill": _fill,
    "function": _function,
}
