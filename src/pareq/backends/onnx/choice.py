"""Requantizations, thresholds and tables: which integer of a grid comes next."""

import numpy as np
import numpy.typing as npt

from pareq.backends.onnx.whole import DType, Scene, Whole, fitting
from pareq.errors import BackendError
from pareq.ir.graph import Op

__all__ = ["requantize", "table", "threshold"]

Integers = npt.NDArray[np.int64]

_SAFE = 1 - 1e-9  # of a bound computed in float64


def requantize(scene: Scene, op: Op) -> Whole:
    """Clamp (x * multiplier + offset) >> shift.

    ONNX shifts unsigned integers alone. So the offset is raised until the smallest result before
    the clamp is 0 (or 1, for an even rise leaves ties to even where they are).
    """
    multiplier, offset, shift = (scene.constant(name)[None] for name in op.inputs[1:])
    lo, hi, even = (op.attributes.whole(name) for name in ("lo", "hi", "even"))
    ends = [e * multiplier + offset for e in _ends(scene, op.inputs[0])]
    least = min(int((end >> shift).min()) for end in ends)
    most = max(int((end >> shift).max()) for end in ends) + even
    base = least - (least % 2 if even else 0)
    dtype = _register(scene, op, (multiplier, offset, shift), base)
    bits, to = np.dtype(f"u{dtype.name}"), fitting(least, most, most - base, lo, hi)
    add = scene.sheet.add
    x = scene.read(op.inputs[0], dtype)
    if (multiplier != 1).any():
        x = add("Mul", x, multiplier.astype(dtype))
    if not shift.any():
        x = add("Add", x, offset.astype(dtype)) if offset.any() else x
        x = scene.cast(Whole(x, dtype), to)
        return scene.made(op, scene.clamped(x, to, (least, most), (lo, hi)), to)
    raised = offset - base * (np.int64(1) << shift)
    x = add("Cast", add("Add", x, raised.astype(dtype)), attributes={"to": bits.name})
    if even:
        bit = add("BitwiseAnd", _shifted(scene, x, shift, bits), np.array(1, dtype=bits))
        x = add("Add", x, ((np.int64(1) << (shift - 1)) - 1).astype(bits))
        x = add("Add", x, bit)
    x = add("Cast", _shifted(scene, x, shift, bits), attributes={"to": to.name})
    if base:
        x = add("Add", x, np.array(base, dtype=to))
    return scene.made(op, scene.clamped(x, to, (least, most), (lo, hi)), to)


def _ends(scene: Scene, name: str) -> tuple[Integers, Integers]:
    reach = scene.ranges[name]
    return reach.lo[None], reach.hi[None]


def _register(
    scene: Scene, op: Op, constants: tuple[Integers, Integers, Integers], base: int
) -> DType:
    """The type that holds every step of a requantization."""
    multiplier, offset, shift = (each.astype(np.float64) for each in constants)
    x = np.maximum(*(np.abs(end.astype(np.float64)) for end in _ends(scene, op.inputs[0])))
    size = x * np.abs(multiplier) + np.abs(offset) + (abs(base) + 2) * 2.0**shift
    top = float(max(size.max(), x.max(), np.abs(multiplier).max()))
    for bits in (32, 64):
        if top < 2.0 ** (bits - 1) * _SAFE:
            return np.dtype(f"int{bits}")
    raise BackendError(
        f"needs 2^{np.log2(top):.1f}, int64 holds 2^63; use fewer bits, or the C back end"
    )


def _shifted(scene: Scene, x: str, shift: Integers, bits: DType) -> str:
    how = {"direction": "RIGHT"}
    return scene.sheet.add("BitShift", x, shift.astype(bits), attributes=how)


def threshold(scene: Scene, op: Op) -> Whole:
    """Count the thresholds at or below x by bisection, one more bit of the count a step.

    The table has 2^steps entries a channel, those beyond the thresholds out of reach.
    """
    levels, base, step = (scene.constant(name) for name in op.inputs[1:])
    count, (low, high) = levels.shape[-1], scene.limits(op.inputs[0])
    depth, rows = int(count).bit_length(), base.size
    dtype, to = fitting(low, high + 1), fitting(*_limits(base, step * count))
    stride = 1 << depth
    results = (base[..., None] + step[..., None] * np.minimum(np.arange(stride), count)).ravel()
    place = fitting(rows * stride)
    first = (np.arange(rows).reshape(base.shape) * stride)[None]
    reachable = np.full((*base.shape, stride), high + 1, dtype=np.int64)
    reachable[..., :count] = np.clip(levels, low, high + 1)
    add, flat = scene.sheet.add, scene.sheet.array(reachable.ravel().astype(dtype))
    x = scene.read(op.inputs[0], dtype)
    begin, at = first.astype(place), ""
    for bit in reversed([1 << i for i in range(depth)]):
        by = np.array(bit, dtype=place)
        if at:
            here = add("Gather", flat, add("Add", at, np.array(bit - 1, dtype=place)))
            at = add("Where", add("GreaterOrEqual", x, here), add("Add", at, by), at)
        else:  # the first step is at the same place for every sample
            level = reachable[..., bit - 1][None].astype(dtype)
            at = add("Where", add("GreaterOrEqual", x, level), (first + bit).astype(place), begin)
    if not at:  # no thresholds
        nothing = add("Mul", scene.cast(Whole(x, dtype), place), np.array(0, dtype=place))
        at = add("Add", nothing, begin)
    return scene.made(op, add("Gather", results.astype(to), at), to)


def _limits(base: Integers, more: Integers) -> tuple[int, int]:
    both = np.stack(np.broadcast_arrays(base, base + more))
    return int(both.min()), int(both.max())


def table(scene: Scene, op: Op) -> Whole:
    """Look up x - first."""
    entries, first = scene.constant(op.inputs[1]), op.attributes.whole("first")
    size = entries.shape[-1]
    rows = np.arange(entries.size // size).reshape(entries.shape[:-1])
    begin = (rows * size - first)[None]
    low, high = scene.limits(op.inputs[0])
    place = fitting(low, high, *(int(n) for n in (begin.min(), begin.max())), entries.size)
    to = fitting(int(entries.min()), int(entries.max()))
    at = scene.read(op.inputs[0], place)
    if begin.any():
        at = scene.sheet.add("Add", at, begin.astype(place))
    return scene.made(op, scene.sheet.add("Gather", entries.ravel().astype(to), at), to)
