"""Numbers as a reader wants them, and what noise allows to be said about them."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "NONE",
    "SPACE",
    "Measure",
    "bits",
    "count",
    "differs",
    "interval",
    "join",
    "measure",
    "percent",
    "plural",
    "ratio",
    "short",
    "size",
    "tick",
]

SPACE: Final = "\u202f"  # narrow, keeps number and unit on one line
NONE: Final = "\u2013"
_MINUS: Final = "\u2212"

# Two-sided 95 % quantiles of Student's t for 1, 2, ... 10 degrees of freedom; more: the last one.
_STUDENT: Final = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


@dataclass(frozen=True)
class Measure:
    """A mean over `seeds` runs; error: their standard deviation, or the statistical error of one.

    `error` is None where neither is known.
    """

    mean: float
    error: float | None
    seeds: int

    def text(self, scale: float = 1.0, unit: str = "", decimals: int = 2) -> str:
        """The value times `scale`, with its error to two digits; `decimals` where none is known."""
        mean = self.mean * scale
        end = f"{SPACE}{unit}" if unit else ""
        if not self.error:
            return f"{_fixed(mean, decimals)}{end}"
        error = self.error * scale
        places = min(max(1 - math.floor(math.log10(error)), 0), 6)
        return f"{_fixed(mean, places)}{SPACE}±{SPACE}{error:.{places}f}{end}"


def measure(values: Sequence[float], errors: Sequence[float] = ()) -> Measure | None:
    """The mean of one value a run and its error (see Measure); None without values."""
    if not values:
        return None
    if len(values) == 1:
        return Measure(values[0], errors[0] if errors else None, 1)
    return Measure(statistics.fmean(values), statistics.stdev(values), len(values))


def differs(a: Measure, b: Measure) -> bool | None:
    """Whether two means differ beyond noise, at 95 % confidence; None where noise is unknown.

    With several seeds each: the t-test of two samples, their spread pooled (Student 1908). Else two
    standard errors.
    """
    if a.error is None or b.error is None:
        return None
    free = a.seeds + b.seeds - 2
    if min(a.seeds, b.seeds) > 1:
        spread = ((a.seeds - 1) * a.error**2 + (b.seeds - 1) * b.error**2) / free
        limit = _STUDENT[min(free, len(_STUDENT)) - 1]
        noise = math.sqrt(spread * (1 / a.seeds + 1 / b.seeds))
    else:
        limit, noise = 2.0, math.sqrt(a.error**2 / a.seeds + b.error**2 / b.seeds)
    return abs(a.mean - b.mean) > limit * noise


def interval(value: Measure) -> float | None:
    """Half the 95 % confidence interval of a mean over several runs (Student 1908), else None."""
    if value.error is None or value.seeds < 2:
        return None
    return _STUDENT[min(value.seeds - 1, len(_STUDENT)) - 1] * value.error / math.sqrt(value.seeds)


def percent(value: float, decimals: int = 1) -> str:
    """0.763 -> 76.3 %."""
    return f"{_fixed(100 * value, decimals)}{SPACE}%" if math.isfinite(value) else NONE


def tick(value: float) -> str:
    """0.765 -> 76.5 %, 0.8 -> 80 %, for the ticks of an axis."""
    return f"{100 * value:.4g}{SPACE}%"


def count(value: float) -> str:
    """4652832.0 -> 4,652,832."""
    return f"{value:,.0f}" if math.isfinite(value) else NONE


def short(value: float) -> str:
    """4652832.0 -> 4.65 M, for the ticks of an axis."""
    for power, name in ((9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{value / 10**power:.3g}{SPACE}{name}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Bytes: 17024 -> 17.0 kB (1 kB is 1,000 bytes)."""
    for power, name in ((9, "GB"), (6, "MB"), (3, "kB")):
        if value >= 10**power:
            return f"{value / 10**power:.1f}{SPACE}{name}"
    return f"{value:,.0f}{SPACE}B"


def bits(value: float) -> str:
    """A width: 6.0 -> 6, 5.25 -> 5.25."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else NONE


def ratio(value: float) -> str:
    """22.83 -> 22.8, 130.2 -> 130."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def plural(number: int, noun: str, many: str = "") -> str:
    """1, "run" -> 1 run; 3, "run" -> 3 runs; `many`: the plural where it is not `noun` + s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {many or noun + 's'}"


def join(parts: Iterable[str]) -> str:
    """a, b and c."""
    *first, last = list(parts) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _fixed(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        return NONE
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", _MINUS)
