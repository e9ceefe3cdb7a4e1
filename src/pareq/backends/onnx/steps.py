"""The steps of an op that puts integers on a grid: where its result changes.

Per channel the result is `first + #{k : sign * x >= at[.., k]}`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.backends.onnx.whole import Scene
from pareq.errors import BackendError
from pareq.ir.graph import Op

__all__ = ["Steps", "steps"]

Integers = npt.NDArray[np.int64]

_MOST = 2**24  # thresholds of one op


@dataclass(frozen=True, eq=False)
class Steps:
    """first: one integer for all channels; sign: `bc` of +1 and -1; at: `(bc, K)`, ascending.

    low, high: `bc`, the ends of sign * x. A threshold that every x reaches (low), or none (high +
    1), stands where channels have fewer steps.
    """

    first: int
    sign: Integers
    at: Integers
    low: Integers
    high: Integers


def steps(scene: Scene, op: Op) -> Steps:
    """The steps of a requantize or threshold op. Raises BackendError for too many."""
    first, last = scene.limits(op.name)
    if op.kind == "requantize":
        sign, at = _requantize(scene, op, first, last)
    else:
        sign, at = _threshold(scene, op, first, last)
    reach = scene.ranges[op.inputs[0]]
    axes = tuple(i for i, size in enumerate(sign.shape) if size == 1)
    least, most = reach.lo.min(axis=axes, keepdims=True), reach.hi.max(axis=axes, keepdims=True)
    low, high = np.where(sign > 0, least, -most), np.where(sign > 0, most, -least)
    bounded = np.clip(at, low[..., None], high[..., None] + 1)
    return Steps(first, sign.astype(np.int64), bounded.astype(np.int64), low, high)


def _requantize(scene: Scene, op: Op, low: int, high: int) -> tuple[Integers, Integers]:
    """The result is k or more where x * multiplier + offset reaches k << shift."""
    multiplier, offset, shift = (scene.constant(n).astype(object) for n in op.inputs[1:])
    multiplier, offset, shift = np.broadcast_arrays(multiplier, offset, shift)
    _few(multiplier.size * (high - low))
    k = np.array(range(low + 1, high + 1), dtype=object)
    wide = shift[..., None]
    reach = k * 2**wide
    if op.attributes.whole("even"):
        reach = reach - 2 ** (wide - 1) + k % 2
    # a constant result: thresholds that are always, or never, reached
    missing = reach - offset[..., None]
    size = abs(multiplier)[..., None]
    far = 2**62
    at = np.where(size == 0, np.where(missing <= 0, -far, far), -(-missing // np.maximum(size, 1)))
    return np.where(multiplier < 0, -1, 1).astype(object), at


def _threshold(scene: Scene, op: Op, low: int, high: int) -> tuple[Integers, Integers]:
    levels, base, step = (scene.constant(name).astype(object) for name in op.inputs[1:])
    _few(base.size * (high - low))
    count, far = levels.shape[-1], 2**62
    at = np.full((*base.shape, high - low), far, dtype=object)
    for place in np.ndindex(base.shape):
        rising = step[place] > 0
        own = levels[place] if rising else 1 - levels[place][::-1]
        begin = base[place] - (0 if rising else count) - low
        ends = max(begin, 0), min(begin + count, high - low)
        at[place][: ends[0]] = -far
        at[place][ends[0] : ends[1]] = own[ends[0] - begin : ends[1] - begin]
    return step, at


def _few(count: int) -> None:
    if count > _MOST:
        raise BackendError(f"has {count} thresholds, expected {_MOST} at most; use fewer bits")
