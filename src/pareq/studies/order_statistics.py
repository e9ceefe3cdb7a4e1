"""Paired differences: what two arms with the same seeds differ by, and how surely.

Arms that share a seed share data, initial weights and batches, so most of the noise is common to
both and falls out of their difference.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LEVEL", "Difference", "difference", "student"]

LEVEL = 0.95  # of confidence
_TINY = 1e-12


@dataclass(frozen=True)
class Difference:
    """A mean over `seeds` paired values and its interval; the ends are NaN for a single seed."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def seen(self) -> bool:
        """Whether the interval leaves 0 out: what lies within noise is no difference."""
        return self.low > 0 or self.high < 0

    @property
    def half(self) -> float:
        """Half the width of the interval: about the smallest difference that would be seen."""
        return (self.high - self.low) / 2


def difference(values: Sequence[float], level: float = LEVEL) -> Difference:
    """The mean of one value a seed with its interval by the t distribution (Student 1908)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Difference(mean, math.nan, math.nan, len(values))
    error = statistics.stdev(values) / math.sqrt(len(values))
    reach = student(len(values) - 1, level) * error
    return Difference(mean, mean - reach, mean + reach, len(values))


def student(free: int, level: float = LEVEL) -> float:
    """The two-sided quantile of the t distribution with `free` degrees of freedom, by bisection."""
    low, high = 0.0, 1.0
    while _within(high, free) < level:
        high *= 2
    while high - low > _TINY * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, free) < level else (low, middle)
    return high


def _within(t: float, free: int) -> float:
    """The probability of -t..t (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(free))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = free % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(1 + odd, free, 2):
        total += term
        term *= square * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
