"""Requantization in 16 bits: the form that vector instructions do cheaply, proved equal.

For one layer, with constants per neuron:

    a = saturate16(acc + offset);  a = (a * factor) >> 16 (where factors are needed);
    a = a >> shift, rounded down or to nearest even;  result = min(saturate_u8(a), hi - lo)

Both this and the op never fall when acc rises, so they are equal everywhere on the reachable range
when they agree on both sides of each step of the op; `narrow` tests just that.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Narrow", "Rescale", "narrow"]

Integers = npt.NDArray[np.int64]

_WIDEST = 2**20  # accumulators of one neuron that are looked at one by one
_SHIFTS = range(8)


@dataclass(frozen=True, eq=False)
class Rescale:
    """clamp((acc * multiplier + offset) >> shift, lo, hi) per neuron, for acc in low..high.

    even: rounded to nearest, ties to even, instead of down. Multipliers are not negative.
    """

    multiplier: Integers
    offset: Integers
    shift: Integers
    even: bool
    lo: int
    hi: int
    low: Integers
    high: Integers

    @property
    def top(self) -> int:
        """The largest result less the smallest: the largest byte of the next layer."""
        return self.hi - self.lo

    def __call__(self, acc: Integers, neuron: int) -> Integers:
        """The op for one neuron."""
        moved = acc * self.multiplier[neuron] + self.offset[neuron]
        shift = self.shift[neuron]
        if self.even:
            moved = moved + (1 << (shift - 1)) - 1 + ((moved >> shift) & 1)
        return np.asarray(np.clip(moved >> shift, self.lo, self.hi))


@dataclass(frozen=True, eq=False)
class Narrow:
    """Constants of the 16-bit form; factor is None where no neuron needs one."""

    offset: Integers
    factor: Integers | None
    shift: int
    even: bool
    top: int

    def __call__(self, acc: Integers, neuron: int) -> Integers:
        """The 16-bit form for one neuron, exactly as the vector code computes it."""
        a = _word(acc + self.offset[neuron])
        if self.factor is not None:
            a = (a * self.factor[neuron]) >> 16
        if self.even:
            a = _word(a + (1 << self.shift >> 1) - 1 + ((a >> self.shift) & 1))
        return np.asarray(np.minimum(np.clip(a >> self.shift, 0, 255), self.top))


def narrow(op: Rescale) -> Narrow | None:
    """Constants that make the 16-bit form equal to the op less `lo`; None where none are found."""
    widest = int((op.high - op.low).max())
    if widest >= _WIDEST:
        return None
    points = [_points(op, neuron) for neuron in range(len(op.offset))]
    plain = _plain(op)
    if plain is not None and _equal(op, plain, points):
        return plain
    if op.even:
        return None
    for shift in _SHIFTS:
        found = _scaled(op, shift, points)
        if found is not None:
            return found
    return None


def _word(a: Integers) -> Integers:
    return np.clip(a, -(2**15), 2**15 - 1)


def _points(op: Rescale, neuron: int) -> Integers:
    """The accumulators on both sides of each step of the op, and the two ends."""
    acc = np.arange(op.low[neuron], op.high[neuron] + 1)
    steps = np.flatnonzero(np.diff(op(acc, neuron)))
    return np.asarray(acc[np.unique(np.concatenate([[0, len(acc) - 1], steps, steps + 1]))])


def _equal(op: Rescale, form: Narrow, points: list[Integers]) -> bool:
    return all(
        np.array_equal(op(acc, neuron) - op.lo, form(acc, neuron))
        for neuron, acc in enumerate(points)
    )


def _plain(op: Rescale) -> Narrow | None:
    """Without factors: multipliers that are powers of two, and one shift for all neurons.

    Neurons with multiplier 0 have sums of 0 (`chain` removes their weights): any shift fits them.
    """
    still = op.multiplier == 0
    power = np.where(still, 1, op.multiplier)
    twos = np.round(np.log2(power)).astype(np.int64)
    shifts = np.unique((op.shift - twos)[~still])
    if not np.array_equal(1 << twos, power) or len(shifts) != 1 or shifts[0] < 0:
        return None
    shift = int(shifts[0])
    if op.even and ((op.offset & ((1 << twos) - 1)).any() or shift == 0):
        return None
    fixed = [int(op(np.zeros(1, dtype=np.int64), n)[0]) for n in range(len(still))]
    offset = np.where(still, np.array(fixed) << shift, op.offset >> twos) - (op.lo << shift)
    return Narrow(offset, None, shift, op.even, op.hi - op.lo)


def _scaled(op: Rescale, shift: int, points: list[Integers]) -> Narrow | None:
    """With a factor per neuron, and `shift` bits after the 16 that a factor removes."""
    gain = op.multiplier / 2.0**op.shift
    factors = np.round(gain * 2.0 ** (16 + shift)).astype(np.int64)
    if factors.max() >= 2**15:
        return None
    chosen = [
        _factor(op, neuron, (int(factors[neuron]), shift), acc) for neuron, acc in enumerate(points)
    ]
    if None in chosen:
        return None
    pairs = np.array([each for each in chosen if each is not None], dtype=np.int64)
    return Narrow(pairs[:, 0], pairs[:, 1], shift, False, op.hi - op.lo)


def _factor(
    op: Rescale, neuron: int, near: tuple[int, int], acc: Integers
) -> tuple[int, int] | None:
    """(offset, factor) near the exact ratio that agree at all points of one neuron."""
    (middle, shift), expected = near, op(acc, neuron) - op.lo
    multiplier = max(int(op.multiplier[neuron]), 1)
    exact = (int(op.offset[neuron]) - (op.lo << int(op.shift[neuron]))) / multiplier
    for factor in (middle, middle + 1, middle - 1):
        for offset in (int(np.floor(exact)) + d for d in (0, 1, -1, 2)):
            if 0 <= factor < 2**15:
                a = (_word(acc + offset) * factor) >> 16 >> shift
                if np.array_equal(np.minimum(np.clip(a, 0, 255), op.hi - op.lo), expected):
                    return offset, factor
    return None
