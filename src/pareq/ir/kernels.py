"""What each kind of op computes, on int64 arrays, exactly.

Every operand has a leading batch axis, constants one of size 1. A sum or a product that could
leave int64 raises GraphError before it is formed. Dense sums below 2^53 run through float64
matrix products: every partial sum is then a whole number that float64 holds, so they are exact.
"""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from pareq.errors import GraphError
from pareq.ir.attributes import Attributes

__all__ = ["as_convolution", "guard", "largest", "taps"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Operands = Sequence[Integers]

_INT64 = 2.0**63 * (1 - 1e-9)  # what a bound computed in float64 must stay below
_FLOAT64 = 2.0**53 * (1 - 1e-9)


def largest(x: Integers, axis: tuple[int, ...] | None = None) -> Reals:
    """The largest magnitude, over all elements or along `axis`, as float64."""
    return np.asarray(np.abs(x.astype(np.float64)).max(axis=axis, initial=0.0))


def guard(bound: Reals) -> float:
    """The largest of some bounds on a result. Raises GraphError when int64 cannot hold it."""
    top = float(np.max(bound, initial=0.0))
    if top >= _INT64:
        raise GraphError(
            f"sums may reach 2^{math.log2(top):.1f}, int64 holds 2^63; use fewer bits or inputs"
        )
    return top


def dense(attributes: Attributes, operands: Operands) -> Integers:
    """Product of the last axis with a weight matrix `(out, in)`, plus a bias."""
    x, weight, bias = operands[0], operands[1][0], operands[2][0]
    each = largest(x, tuple(range(x.ndim - 1)))
    top = guard(np.abs(weight.astype(np.float64)) @ each + largest(bias))
    return np.asarray(_product(x, weight.T, top) + bias)


def conv(attributes: Attributes, operands: Operands) -> Integers:
    """Cross-correlation of `(N, in, *spatial)` with `(out, in / groups, *kernel)`, plus a bias."""
    x, weight, bias = operands[0], operands[1][0], operands[2][0]
    groups, count = attributes.whole("groups"), x.shape[0]
    outputs, depth, *kernel = weight.shape
    across = tuple(range(2, weight.ndim))
    fill = abs(float(attributes.whole("fill")))
    each = np.maximum(largest(x, (0, *across)), fill).reshape(groups, depth)
    norms = np.abs(weight.astype(np.float64)).sum(axis=across)
    bound = norms.reshape(groups, -1, depth) @ each[:, :, None]
    top = guard(bound.ravel() + largest(bias))
    views = taps(attributes, x, tuple(kernel))
    sizes = views[0][1].shape[2:]
    area = math.prod(sizes)
    sums = np.zeros((count, groups, outputs // groups, area), dtype=np.int64)
    for at, view in views:
        part = view.reshape(count, groups, depth, area)
        weights = weight[(..., *at)].reshape(groups, -1, depth)
        sums += weights * part if depth == 1 else _product(weights, part, top)
    return np.asarray(sums.reshape(count, outputs, *sizes) + bias.reshape(-1, *(1,) * len(kernel)))


def as_convolution(attributes: Attributes, operands: Operands) -> tuple[Attributes, Operands]:
    """The plain convolution that a transposed one is: spread the input, flip the kernel."""
    x, weight = operands[0], operands[1][0]
    stride, dilation = attributes.wholes("stride"), attributes.wholes("dilation")
    groups, fill = attributes.whole("groups"), attributes.whole("fill")
    inputs, depth, *kernel = weight.shape
    spread = [(n - 1) * step + 1 for n, step in zip(x.shape[2:], stride, strict=True)]
    stuffed = np.full((*x.shape[:2], *spread), fill, dtype=np.int64)
    stuffed[(slice(None), slice(None), *[slice(None, None, step) for step in stride])] = x
    reach = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    padding = [r - p for r, p in zip(reach * 2, attributes.wholes("padding"), strict=True)]
    flipped = np.flip(weight, tuple(range(2, weight.ndim)))
    grouped = flipped.reshape(groups, inputs // groups, depth, *kernel).swapaxes(1, 2)
    plain = grouped.reshape(groups * depth, inputs // groups, *kernel)
    ones = tuple(1 for _ in kernel)
    changed = Attributes({**attributes, "padding": tuple(padding), "stride": ones})
    return changed, (stuffed, plain[None], operands[2])


def conv_transpose(attributes: Attributes, operands: Operands) -> Integers:
    """Transposed convolution; weight `(in, out / groups, *kernel)`."""
    return conv(*as_convolution(attributes, operands))


def taps(
    attributes: Attributes, x: Integers, kernel: tuple[int, ...], fill: int | None = None
) -> list[tuple[tuple[int, ...], Integers]]:
    """For each position in a kernel the inputs it meets, as (position, `(N, C, *out)` view)."""
    stride = attributes.wholes("stride")
    dilation = attributes.wholes("dilation") if "dilation" in attributes else (1,) * len(kernel)
    value = attributes.whole("fill") if fill is None else fill
    padded = _surround(x, attributes.wholes("padding"), value)
    reach = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    last = [size - r for size, r in zip(padded.shape[2:], reach, strict=True)]
    found = []
    for at in product(*(range(size) for size in kernel)):
        begin = [d * i for d, i in zip(dilation, at, strict=True)]
        window = [slice(b, b + n, s) for b, n, s in zip(begin, last, stride, strict=True)]
        found.append((at, padded[(slice(None), slice(None), *window)]))
    return found


def requantize(attributes: Attributes, operands: Operands) -> Integers:
    """Clamp (x * multiplier + offset) >> shift to lo..hi; `even`: to nearest, ties to even."""
    x, multiplier, offset, shift = operands
    even = attributes.whole("even")
    if shift.min() < even or shift.max() > 62:
        raise GraphError(f"shift is {shift.min()}..{shift.max()}, expected {even}..62")
    size = largest(x, (0,)) * largest(multiplier, (0,)) + largest(offset, (0,))
    guard(size + even * 2.0 ** float(shift.max()))
    moved = x * multiplier + offset
    if even:
        moved += (np.int64(1) << (shift - 1)) - 1 + ((moved >> shift) & 1)
    return np.asarray(np.clip(moved >> shift, attributes.whole("lo"), attributes.whole("hi")))


def threshold(attributes: Attributes, operands: Operands) -> Integers:
    """Count the thresholds at or below x: base + step * count."""
    x, thresholds, base, step = operands
    size = thresholds.shape[-1]
    low, high = int(thresholds.min(initial=0)), int(thresholds.max(initial=0))
    span = high - low + 2
    rows = np.arange(thresholds[..., 0].size).reshape(thresholds.shape[:-1])
    guard(np.array(float(span) * (rows.size + 1)))
    steps = (thresholds - low + 1 + (rows * span)[..., None]).ravel()  # sorted over all rows
    key = np.clip(x, low - 1, high) - low + 1 + rows * span
    count = np.searchsorted(steps, key, side="right") - rows * size
    return np.asarray(base + step * count)


def table(attributes: Attributes, operands: Operands) -> Integers:
    """table[..., x - first]. Raises GraphError for an x outside the table."""
    x, entries = operands
    size, first = entries.shape[-1], attributes.whole("first")
    outside = (x < first) | (x - first >= size)
    if outside.any():
        bad = int(x[outside][0])
        raise GraphError(f"value {bad} is outside the table, expected {first}..{first + size - 1}")
    rows = np.arange(entries.size // size).reshape(entries.shape[:-1])
    return np.asarray(entries.reshape(-1, size)[np.broadcast_to(rows, x.shape), x - first])


def add(attributes: Attributes, operands: Operands) -> Integers:
    """(a << shift_a) + (b << shift_b)."""
    a, b = _shifted(attributes, operands)
    return a + b


def subtract(attributes: Attributes, operands: Operands) -> Integers:
    """(a << shift_a) - (b << shift_b)."""
    a, b = _shifted(attributes, operands)
    return a - b


def multiply(attributes: Attributes, operands: Operands) -> Integers:
    """Element by element, a * b."""
    a, b = aligned(operands)
    guard(largest(a, (0,)) * largest(b, (0,)))
    return a * b


def leaky(attributes: Attributes, operands: Operands) -> Integers:
    """Slope 2^-shift below zero, on a finer grid: x << shift where x >= 0, else x."""
    x, shift = operands[0], attributes.whole("shift")
    guard(largest(x) * 2.0**shift)
    return np.where(x >= 0, x << shift, x)


def clamp(attributes: Attributes, operands: Operands) -> Integers:
    """min(max(x, lo), hi)."""
    return np.clip(operands[0], attributes.whole("lo"), attributes.whole("hi"))


def mask(attributes: Attributes, operands: Operands) -> Integers:
    """Keep x where keep is 1, else fill."""
    x, keep = operands
    return np.where(keep != 0, x, attributes.whole("fill"))


def concat(attributes: Attributes, operands: Operands) -> Integers:
    """Operands one after the other along an axis."""
    count = max(each.shape[0] for each in operands)
    whole = [np.broadcast_to(each, (count, *each.shape[1:])) for each in operands]
    return np.concatenate(whole, axis=attributes.whole("axis") + 1)


def max_pool(attributes: Attributes, operands: Operands) -> Integers:
    """The largest value of each window; padded positions never win."""
    views = taps(attributes, operands[0], attributes.wholes("kernel"), np.iinfo(np.int64).min)
    best = views[0][1]
    for _, view in views[1:]:
        best = np.maximum(best, view)
    return best


def sum_pool(attributes: Attributes, operands: Operands) -> Integers:
    """The sum of each window."""
    kernel = attributes.wholes("kernel")
    top = max(float(largest(operands[0])), abs(float(attributes.whole("fill"))))
    guard(np.array(top * math.prod(kernel)))
    return np.asarray(sum(view for _, view in taps(attributes, operands[0], kernel)))


def total(attributes: Attributes, operands: Operands) -> Integers:
    """The sum over axes, which stay with size 1."""
    x = operands[0]
    axes = tuple(axis + 1 for axis in attributes.wholes("axes"))
    guard(largest(x) * math.prod(x.shape[axis] for axis in axes))
    return np.asarray(x.sum(axis=axes, keepdims=True))


def reshape(attributes: Attributes, operands: Operands) -> Integers:
    """The same numbers in C order under another shape."""
    x = operands[0]
    return x.reshape(x.shape[0], *attributes.wholes("shape"))


def permute(attributes: Attributes, operands: Operands) -> Integers:
    """Axes in another order."""
    return operands[0].transpose(0, *(axis + 1 for axis in attributes.wholes("axes")))


def cut(attributes: Attributes, operands: Operands) -> Integers:
    """x[start:stop:step] on every axis."""
    bounds = (attributes.wholes(name) for name in ("start", "stop", "step"))
    return operands[0][(slice(None), *(slice(*each) for each in zip(*bounds, strict=True)))]


def pad(attributes: Attributes, operands: Operands) -> Integers:
    """Constant integers around x."""
    around = zip(attributes.wholes("before"), attributes.wholes("after"), strict=True)
    return np.pad(
        operands[0], [(0, 0), *around], mode="constant", constant_values=attributes.whole("fill")
    )


def top_k(attributes: Attributes, operands: Operands) -> Integers:
    """Indices of the k largest along an axis, largest first, the lowest index first at a tie."""
    axis = attributes.whole("axis") + 1
    order = np.argsort(~operands[0], axis=axis, kind="stable")  # ~x = -x - 1 never overflows
    return np.take(order, np.arange(attributes.whole("k")), axis=axis).astype(np.int64)


def aligned(operands: Operands) -> list[Integers]:
    """Operands with as many axes each: ones are put behind the batch axis."""
    rank = max(each.ndim for each in operands)
    return [
        each.reshape(each.shape[0], *(1,) * (rank - each.ndim), *each.shape[1:])
        for each in operands
    ]


def _shifted(attributes: Attributes, operands: Operands) -> list[Integers]:
    shifts = [attributes.whole("shift_a"), attributes.whole("shift_b")]
    a, b = aligned(operands)
    guard(largest(a) * 2.0 ** shifts[0] + largest(b) * 2.0 ** shifts[1])
    return [a << shifts[0], b << shifts[1]]


def _product(a: Integers, b: Integers, bound: float) -> Integers:
    """Exactly a @ b; `bound` is the largest sum of magnitudes."""
    if bound < _FLOAT64:
        return np.asarray((a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64))
    return np.asarray(a @ b)


def _surround(x: Integers, padding: tuple[int, ...], fill: int) -> Integers:
    """Pad the spatial axes of `(N, C, *spatial)` with `fill`; a negative padding crops."""
    rank = len(padding) // 2
    around = list(zip(padding[:rank], padding[rank:], strict=True))
    window = [
        slice(max(-before, 0), size - max(-after, 0))
        for size, (before, after) in zip(x.shape[2:], around, strict=True)
    ]
    widths = [(max(before, 0), max(after, 0)) for before, after in around]
    cropped = x[(slice(None), slice(None), *window)]
    return np.pad(cropped, [(0, 0), (0, 0), *widths], mode="constant", constant_values=fill)
