"""Requantization in 32 bits, for any multiplier: in one product, or in two that are added exactly.

With `m = high 2^k + low` and `b = b1 2^k + b0`, for every integer acc

    (acc m + b) >> s  ==  (acc high + b1 + ((acc low + b0) >> k)) >> (s - k)

since both sides round down, and the second needs no number beyond 32 bits.
"""

from dataclasses import dataclass

from pareq.backends.c.narrow import Rescale

__all__ = ["Wide", "wide"]

_LIMIT = 2**31
_FACTOR = 15  # bits of a factor that is multiplied in one instruction


@dataclass(frozen=True)
class Wide:
    """(acc * multiplier + offset + ((acc * low + below) >> cut)) >> shift; cut 0: without that."""

    multiplier: int
    offset: int
    shift: int
    low: int = 0
    below: int = 0
    cut: int = 0

    def __call__(self, acc: int) -> int:
        """The result for one accumulator, before it is clamped."""
        rest = (acc * self.low + self.below) >> self.cut
        return (acc * self.multiplier + self.offset + rest) >> self.shift

    def fits(self, top: int) -> bool:
        """Whether every number on the way fits into 32 bits, for accumulators up to `top`."""
        rest = top * self.low + self.below
        whole = top * self.multiplier + abs(self.offset) + (rest >> self.cut) + 1
        return self.shift <= 30 and rest < _LIMIT and whole < _LIMIT


def wide(form: Rescale, neuron: int) -> Wide | None:
    """Constants for one neuron; None where there are none. Ties to even need one product."""
    m, b, s = (int(a[neuron]) for a in (form.multiplier, form.offset, form.shift))
    if not form.even:  # the smallest result goes into the offset, where it costs nothing
        b -= form.lo << s
    top = max(abs(int(form.low[neuron])), abs(int(form.high[neuron])))
    half = form.even << min(s, 31)
    if s <= 30 and top * m + abs(b) + half < _LIMIT:
        return Wide(m, b, s)
    for cut in range(min(_FACTOR, s), 0, -1) if not form.even else ():
        found = Wide(m >> cut, b >> cut, s - cut, m % (1 << cut), b % (1 << cut), cut)
        if found.fits(top):
            return found
    return None
