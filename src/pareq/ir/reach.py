"""Which integers each element of a value can take: interval arithmetic, exact per op.

For operands that vary independently within their intervals the result of every rule is the exact
minimum and maximum of each element: most kinds never fall when an input rises, so both ends come
from running the op on both ends; sums with constant weights are split by the sign of the weight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.ir import kernels
from pareq.ir.attributes import Attributes

__all__ = ["Range"]

Integers = npt.NDArray[np.int64]
Run = Callable[[Attributes, Sequence[Integers]], Integers]


@dataclass(frozen=True, eq=False)
class Range:
    """The smallest and the largest integer of each element; arrays of the value's shape."""

    lo: Integers
    hi: Integers

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer of all elements."""
        return int(self.lo.min()), int(self.hi.max())

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Which elements can take one integer only."""
        return np.asarray(self.lo == self.hi)


Rule = Callable[[Attributes, Sequence[Range]], Range]


def rising(run: Run) -> Rule:
    """For kinds whose result never falls when an input rises."""

    def rule(attributes: Attributes, ranges: Sequence[Range]) -> Range:
        ends = run(attributes, [np.stack([each.lo, each.hi]) for each in ranges])
        return Range(ends[0], ends[1])

    return rule


def monotone(run: Run) -> Rule:
    """For kinds where each element rises or falls with the first operand; the rest is constant."""

    def rule(attributes: Attributes, ranges: Sequence[Range]) -> Range:
        ends = run(attributes, [np.stack([each.lo, each.hi]) for each in ranges])
        return Range(ends.min(axis=0), ends.max(axis=0))

    return rule


def linear(run: Run) -> Rule:
    """For sums of x with constant weights, plus a bias."""

    def rule(attributes: Attributes, ranges: Sequence[Range]) -> Range:
        x, weight, bias = ranges[0], ranges[1].lo[None], ranges[2].lo[None]
        up = np.stack([x.lo, x.hi])
        rise = run(attributes, (up, np.maximum(weight, 0), bias))
        fall = run(attributes, (up[::-1], np.minimum(weight, 0), np.zeros_like(bias)))
        return Range(rise[0] + fall[0], rise[1] + fall[1])

    return rule


def difference(attributes: Attributes, ranges: Sequence[Range]) -> Range:
    """For subtract: the second operand pulls the other way."""
    a, b = ranges
    ends = kernels.subtract(attributes, (np.stack([a.lo, a.hi]), np.stack([b.hi, b.lo])))
    return Range(ends[0], ends[1])


def corners(attributes: Attributes, ranges: Sequence[Range]) -> Range:
    """For multiply: the extremes lie at two of four corners."""
    a, b = ranges
    ends = kernels.multiply(
        attributes, (np.stack([a.lo, a.lo, a.hi, a.hi]), np.stack([b.lo, b.hi, b.lo, b.hi]))
    )
    return Range(ends.min(axis=0), ends.max(axis=0))


def entries(attributes: Attributes, ranges: Sequence[Range]) -> Range:
    """For table: the extremes of the entries that can be met."""
    x, table = ranges[0], ranges[1].lo
    first, size = attributes.whole("first"), table.shape[-1]
    kernels.table(attributes, (np.stack([x.lo, x.hi]), table[None]))  # raises when outside
    rows = np.arange(table.size // size).reshape(table.shape[:-1])
    keys = np.stack([np.broadcast_to(rows, x.lo.shape), x.lo - first, x.hi - first]).reshape(3, -1)
    unique, where = np.unique(keys, axis=1, return_inverse=True)
    flat = table.reshape(-1, size)
    met = [flat[row, low : high + 1] for row, low, high in unique.T]
    lo = np.array([each.min() for each in met], dtype=np.int64)
    hi = np.array([each.max() for each in met], dtype=np.int64)
    back = where.reshape(-1)
    return Range(lo[back].reshape(x.lo.shape), hi[back].reshape(x.lo.shape))


def indices(attributes: Attributes, ranges: Sequence[Range]) -> Range:
    """For top_k: any index of the axis."""
    shape, axis = list(ranges[0].lo.shape), attributes.whole("axis")
    size, shape[axis] = shape[axis], attributes.whole("k")
    return Range(np.zeros(shape, dtype=np.int64), np.full(shape, size - 1, dtype=np.int64))
