"""Requantization by an unsigned product of 16 bits: what AVX-512 does cheapest, proved equal.

For one neuron, with A the sum that the code computes:

    A = scale * acc + offset;  a = A brought into 0..65535;  t = (a * factor) >> 16;
    result << rise  =  (t >> shift) with its lowest `rise` bits cleared, at most top << rise

`scale` is a factor of the weights times 2^e, where inputs come as their integers times 2^e: bytes
and weights that are not full have room for it, and it places the steps more finely than whole
accumulators do. Without a factor, t = a. Both this and the op never fall when acc rises, so they
are equal everywhere when they agree on both sides of each step of the op: for each level k whose
step is at T, `A(T - 1) < ceil(k 2^(16 + shift + rise) / factor) <= A(T)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.backends.c.narrow import Integers, Rescale

__all__ = ["HIGH", "Ratio", "Steps", "plain", "ratio", "steps"]

HIGH = 8  # the shift after which a result is the upper byte of a word
_TOP = 2**16 - 1
_FINE = 2**11  # factors below place the steps too coarsely
_MOST = 40  # factors tried to either side
_REACH = 3  # accumulators by which the last step may be displaced when factors are tried
_FAR = 2**28  # an offset that nothing bounds
_WIDEST = 2**20  # accumulators of one neuron that are looked at one by one


@dataclass(frozen=True)
class Ratio:
    """Constants of one neuron; factor 0: none."""

    scale: int
    offset: int
    factor: int
    shift: int

    def __call__(self, acc: Integers, rise: int, top: int) -> Integers:
        """The form as the vector code computes it, the result shifted up by `rise`."""
        a = np.clip(acc * self.scale + self.offset, 0, _TOP)
        t = (a * self.factor) >> 16 if self.factor else a
        byte = np.minimum(t >> self.shift, 255)
        return np.asarray((byte >> rise) << rise if rise else np.minimum(byte, top))


@dataclass(frozen=True, eq=False)
class Steps:
    """At which accumulators the result of one neuron reaches which level.

    level[i] is reached at[i], and not before. first, last: levels at the ends of the range, where
    the sums are low and high.
    """

    level: Integers
    at: Integers
    ends: tuple[int, int]
    reach: tuple[int, int]
    top: int


def steps(op: Rescale, neuron: int) -> Steps | None:
    """The steps of one neuron; None where its range is too wide to be looked at."""
    low, high = int(op.low[neuron]), int(op.high[neuron])
    if high - low >= _WIDEST:
        return None
    result = op(np.arange(low, high + 1), neuron) - op.lo
    rises = np.diff(result)
    at = np.repeat(np.arange(low + 1, high + 1), rises)
    level = np.arange(result[0] + 1, result[-1] + 1)
    return Steps(level, at, (int(result[0]), int(result[-1])), (low, high), op.top)


def ratio(
    found: Steps, gain: float, scales: Sequence[int], rise: int, shifts: Sequence[int]
) -> Ratio | None:
    """Constants with a factor for one neuron, or None.

    gain: results an accumulator; scales, shifts: those that are allowed, the best first.
    """
    for shift in shifts:
        for scale in scales:
            bits = 16 + shift + rise
            factors = _factors(found, gain * 2.0**bits / scale, shift)
            offsets, fit = _offsets(found, scale, bits, factors)
            if fit.any():
                best = int(fit.argmax())
                return Ratio(scale, int(offsets[best]), int(factors[best]), shift)
    return None


def plain(found: Steps, gain: float, scales: Sequence[int], rise: int) -> Ratio | None:
    """Constants without a factor, whose result is the upper byte, or None."""
    scale = gain * 2.0 ** (HIGH + rise)
    if scale not in scales:
        return None
    offsets, fit = _offsets(found, int(scale), HIGH + rise, np.ones(1, np.int64))
    return Ratio(int(scale), int(offsets[0]), 0, HIGH) if fit[0] else None


def _factors(found: Steps, middle: float, shift: int) -> Integers:
    """Factors around the exact one, the nearest first."""
    top = _TOP if shift else _TOP // 2  # packing reads words as signed
    if not _FINE <= middle <= top:
        return np.zeros(0, np.int64)
    span = max(int(found.at[-1] - found.at[0]), 1) if len(found.at) else 1
    width = min(int(_REACH * middle / span) + 1, _MOST)
    near = np.arange(max(round(middle) - width, 1), min(round(middle) + width, top) + 1)
    return np.asarray(near[np.argsort(np.abs(near - middle))])


def _offsets(
    found: Steps, scale: int, bits: int, factors: Integers
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """An offset for each factor, and whether all levels begin where they should with it.

    Level k begins at ceil(k 2^bits / factor).
    """
    (first, last), (low, high) = found.ends, found.reach
    level, at = np.append(found.level, first), np.append(found.at, low)
    begin = -((-level << bits) // factors[:, None])
    least = begin - scale * at
    if not first:  # nothing has to be reached at the lower end
        least = least[:, :-1]
    most = begin[:, :-1] - scale * (found.at - 1) - 1
    lower, upper = least.max(axis=1, initial=-_FAR), most.min(axis=1, initial=_FAR)
    if last < found.top:
        beyond = -((-(last + 1) << bits) // factors) - 1 - scale * high
        upper = np.minimum(upper, beyond)
    fit = (lower <= upper) & (begin.max(axis=1, initial=0) <= _TOP)
    return (lower + upper) // 2, fit
