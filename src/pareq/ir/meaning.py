"""What the integers of a result stand for: the scale and zero that follow from the operands.

A rule gives None where any scale is meant (the constants of the op realise it), and raises
GraphError where operands cannot be combined. Scales have the full shape of their value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.errors import GraphError
from pareq.ir import kernels
from pareq.ir.attributes import Attributes
from pareq.numerics.grid import Grid

__all__ = ["Meaning", "meaning_of"]

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Meaning:
    """A value is scale * (n - zero); scale has the value's shape."""

    scale: Reals
    zero: int = 0

    def matches(self, other: "Meaning") -> bool:
        """Whether both say the same, up to the last bits of a float64 product."""
        close = np.allclose(self.scale, other.scale, rtol=1e-12, atol=0.0)
        return self.zero == other.zero and bool(close)

    @property
    def narrowest(self) -> float | Reals:
        """The scale as a number when it is one number, else with size 1 where nothing varies."""
        scale = self.scale
        for axis in range(scale.ndim):
            first = np.take(scale, [0], axis=axis)
            scale = first if np.array_equal(np.broadcast_to(first, scale.shape), scale) else scale
        return float(scale.ravel()[0]) if scale.size == 1 else np.array(scale)


def meaning_of(shape: tuple[int, ...], grid: Grid) -> Meaning:
    """A grid's meaning. Raises GraphError when its scale does not broadcast to `shape`."""
    try:
        return Meaning(np.broadcast_to(np.asarray(grid.scale), shape), grid.zero)
    except ValueError:
        found = np.shape(grid.scale)
        raise GraphError(f"scale has shape {found}, expected one that fits {shape}") from None


Meanings = Sequence[Meaning]
Rule = Callable[[Attributes, Meanings], Meaning | None]
Move = Callable[[Attributes, Sequence[npt.NDArray[np.int64]]], npt.NDArray[np.int64]]


def free(attributes: Attributes, meanings: Meanings) -> None:
    """Any scale."""


def same(attributes: Attributes, meanings: Meanings) -> Meaning:
    """That of the first operand."""
    return meanings[0]


def moved(move: Move) -> Rule:
    """Scales move with their elements."""

    def rule(attributes: Attributes, meanings: Meanings) -> Meaning:
        zeros = {each.zero for each in meanings}
        if len(zeros) > 1:
            raise GraphError(f"operands have zeros {sorted(zeros)}, expected one zero")
        # Integers stand in for the scales, so that the op that moves them can be used as it is.
        scales, place = np.unique(
            np.concatenate([each.scale.ravel() for each in meanings]), return_inverse=True
        )
        parts = np.split(place.ravel(), np.cumsum([each.scale.size for each in meanings])[:-1])
        shaped = [
            part.reshape(1, *each.scale.shape).astype(np.int64)
            for part, each in zip(parts, meanings, strict=True)
        ]
        return Meaning(scales[move(attributes, shaped)[0]], zeros.pop())

    return rule


def padded(attributes: Attributes, meanings: Meanings) -> Meaning:
    """That of x; along a padded axis the scale must not vary."""
    x = meanings[0]
    widths = list(zip(attributes.wholes("before"), attributes.wholes("after"), strict=True))
    for axis, around in enumerate(widths):
        if any(around):
            _flat(x.scale, (axis,), "padded")
    return Meaning(np.pad(x.scale, widths, mode="edge"), x.zero)


def dense(attributes: Attributes, meanings: Meanings) -> Meaning:
    """Product of the scales of x and weight; no zero, it lives in the bias."""
    x, weight = meanings[0].scale, meanings[1].scale
    _flat(x, (x.ndim - 1,), "summed")
    _flat(weight, (1,), "summed")
    return Meaning(x[..., :1] * weight[:, 0])


def conv(attributes: Attributes, meanings: Meanings) -> Meaning | None:
    """Product of the scales of x and weight per channel; no zero."""
    x, weight = meanings[0].scale, meanings[1].scale
    _flat(weight, tuple(range(1, weight.ndim)), "summed")
    return _spread(attributes, x, weight.reshape(len(weight), -1)[:, 0])


def conv_transpose(attributes: Attributes, meanings: Meanings) -> Meaning:
    """Product of the scales of x and weight per channel; no zero."""
    x, weight = meanings[0].scale, meanings[1].scale
    groups = attributes.whole("groups")
    grouped = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
    _flat(grouped, (1, *range(3, grouped.ndim)), "summed")
    return _spread(attributes, x, grouped.reshape(*grouped.shape[:3], -1)[:, 0, :, 0].ravel())


def add(attributes: Attributes, meanings: Meanings) -> Meaning:
    """The common scale of both operands after their shifts."""
    return _together(attributes, meanings, 1)


def subtract(attributes: Attributes, meanings: Meanings) -> Meaning:
    """The common scale of both operands after their shifts."""
    return _together(attributes, meanings, -1)


def multiply(attributes: Attributes, meanings: Meanings) -> Meaning:
    """Product of the scales; no zeros."""
    a, b = meanings
    if a.zero or b.zero:
        raise GraphError(f"operands have zeros {a.zero} and {b.zero}, expected 0; subtract them")
    return Meaning(np.asarray(a.scale * b.scale))


def leaky(attributes: Attributes, meanings: Meanings) -> Meaning:
    """A grid finer by 2^shift; no zero."""
    x = meanings[0]
    if x.zero:
        raise GraphError(f"x has zero {x.zero}, expected 0; subtract it")
    return Meaning(x.scale / 2.0 ** attributes.whole("shift"))


def pooled(attributes: Attributes, meanings: Meanings) -> Meaning:
    """That of x, whose scale may vary over channels only."""
    x = meanings[0]
    axes = tuple(range(1, x.scale.ndim))
    _flat(x.scale, axes, "pooled")
    ones = (1, *x.scale.shape)
    flat = np.zeros(ones, dtype=np.int64)
    shape = kernels.max_pool(attributes, (flat,)).shape[1:]
    return Meaning(
        np.broadcast_to(x.scale[(slice(None), *(slice(1) for _ in axes))], shape), x.zero
    )


def _flat(scale: Reals, axes: tuple[int, ...], verb: str) -> None:
    """Raise GraphError when a scale varies along axes that an op mixes."""
    for axis in axes:
        if not np.array_equal(scale, np.broadcast_to(np.take(scale, [0], axis=axis), scale.shape)):
            raise GraphError(
                f"the scale varies along axis {axis}, which is {verb}; requantize first"
            )


def _spread(attributes: Attributes, x: Reals, weight: Reals) -> Meaning:
    """Scales of a convolution as `(out, 1, ...)`: per group of x times per output of weight."""
    groups = attributes.whole("groups")
    grouped = x.reshape(groups, -1, *x.shape[1:])
    _flat(grouped, tuple(range(1, grouped.ndim)), "summed")
    each = np.repeat(grouped.reshape(groups, -1)[:, 0], len(weight) // groups)
    return Meaning((each * weight).reshape(-1, *(1 for _ in x.shape[1:])))


def _together(attributes: Attributes, meanings: Meanings, sign: int) -> Meaning:
    (a, b), shifts = meanings, (attributes.whole("shift_a"), attributes.whole("shift_b"))
    left, right = a.scale / 2.0 ** shifts[0], b.scale / 2.0 ** shifts[1]
    scale = np.broadcast_to(left, np.broadcast_shapes(left.shape, right.shape))
    if not np.allclose(scale, right, rtol=1e-12, atol=0.0):
        raise GraphError(
            f"scales after the shifts are {left.ravel()[0]:.9g} and {right.ravel()[0]:.9g}, "
            "expected one scale; multiply or shift first"
        )
    return Meaning(scale, (a.zero << shifts[0]) + sign * (b.zero << shifts[1]))
