"""The float64 function between an accumulator and the next grid: what integers must reproduce.

`Transfer` is the specification. Its steps are rounded to nearest float64 one by one, so it is a
function of integers that anyone can evaluate; and since each step never falls (or never rises)
when its argument rises, so does the whole, which is what makes thresholds a proof.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from pareq.errors import LoweringError
from pareq.numerics.grid import Grid
from pareq.numerics.rounding import Rounding, check_rounding

__all__ = ["Transfer", "batch_norm", "common_scale"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Transfer:
    """From an accumulator to integers on a grid, per channel.

    gain, offset: `(C,)` float64; grid: the grid of the result, its scale a number or `(C,)`;
    slope: the factor below zero, 0 for ReLU, 2^-k for leaky ReLU, 1 for none; low, high: clamp on
    the real value. Raises LoweringError for numbers that are not finite, for a slope below 0, a
    scale of another shape, and stochastic rounding.
    """

    gain: Reals
    offset: Reals
    grid: Grid
    rounding: Rounding = "half_even"
    slope: float = 1.0
    low: float = -np.inf
    high: float = np.inf

    def __post_init__(self) -> None:
        gain, offset = np.broadcast_arrays(
            np.atleast_1d(np.asarray(self.gain, dtype=np.float64)),
            np.atleast_1d(np.asarray(self.offset, dtype=np.float64)),
        )
        object.__setattr__(self, "gain", gain)
        object.__setattr__(self, "offset", offset)
        if gain.ndim != 1 or not (np.isfinite(gain).all() and np.isfinite(offset).all()):
            raise LoweringError("gain and offset must be finite, one number a channel")
        if not (np.isfinite(self.slope) and self.slope >= 0 and self.low <= self.high):
            raise LoweringError(f"slope {self.slope}, clamp {self.low}..{self.high} never rise")
        if np.size(self.grid.scale) not in (1, len(gain)):
            raise LoweringError(f"{np.size(self.grid.scale)} scales for {len(gain)} channels")
        check_rounding(self.rounding)
        if self.rounding == "stochastic":
            raise LoweringError("stochastic rounding is no function; choose another one to deploy")

    def __call__(self, accumulator: npt.ArrayLike) -> Integers:
        """Integers `(C, M)` of the accumulator to integers of the grid, in this order.

        y = acc * gain; y = y + offset; y = y * slope where y < 0; y = min(max(y, low), high);
        n = grid.quantize(y) = clamp(round(y / scale) + zero). Each step is one float64 operation.
        """
        acc = np.asarray(accumulator, dtype=np.int64)
        column = (slice(None), *(None,) * (acc.ndim - 1))
        with np.errstate(over="ignore"):
            y = acc * self.gain[column] + self.offset[column]
            if self.slope != 1.0:
                y = np.where(y < 0, y * self.slope, y)
            y = np.clip(y, self.low, self.high)
            return self._flat(column).quantize(y, self.rounding)

    def of(self, channels: npt.NDArray[np.intp]) -> "Transfer":
        """The same for some channels, in this order."""
        scale = self.grid.scale
        if not isinstance(scale, float) and scale.size > 1:
            scale = scale.reshape(-1)[channels]
        grid = replace(self.grid, scale=scale)
        return replace(self, gain=self.gain[channels], offset=self.offset[channels], grid=grid)

    def distinct(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """One channel of each kind of function, and of which kind each channel is."""
        columns = [np.broadcast_to(each, self.gain.shape) for each in self._columns()]
        bits = np.stack(columns, axis=1).view(np.int64)  # minus zero is no zero here
        _, rows, group = np.unique(bits, axis=0, return_index=True, return_inverse=True)
        return rows, group.reshape(-1)

    def _columns(self) -> list[Reals]:
        """All that differs between channels, each `(C,)` or of size 1."""
        return [self.gain, self.offset, np.asarray(self.grid.scale, np.float64).reshape(-1)]

    def _flat(self, column: tuple[slice | None, ...]) -> Grid:
        """The grid with a scale that broadcasts against `(C, M)`."""
        grid = self.grid
        if isinstance(grid.scale, float):
            return grid
        return Grid(grid.lo, grid.hi, grid.scale.reshape(-1)[column], grid.zero)


def batch_norm(
    gain: npt.ArrayLike,
    bias: npt.ArrayLike,
    statistics: tuple[npt.ArrayLike, npt.ArrayLike, float],
    affine: tuple[npt.ArrayLike, npt.ArrayLike] = (1.0, 0.0),
) -> tuple[Reals, Reals]:
    """Gain and offset of an accumulator that passes a bias and a batch norm.

    gain: what one step of the accumulator is worth; bias: of the layer; statistics: mean,
    variance, eps; affine: gamma, beta. In this order, in float64: factor = gamma / sqrt(var + eps);
    gain * factor, and (bias - mean) * factor + beta.
    """
    mean, variance, eps = statistics
    gamma, beta = (np.asarray(each, dtype=np.float64) for each in affine)
    factor = gamma / np.sqrt(np.asarray(variance, dtype=np.float64) + eps)
    shift = (np.asarray(bias, dtype=np.float64) - np.asarray(mean, dtype=np.float64)) * factor
    return np.asarray(np.asarray(gain, dtype=np.float64) * factor), np.asarray(shift + beta)


def common_scale(*scales: float, bits: int = 40) -> tuple[float, tuple[int, ...]]:
    """A scale of which all the given ones are whole multiples, and the multiples.

    Any float64 is an integer times a power of two, so there is one; sums of values on different
    scales stay exact with it. Raises LoweringError when a multiple needs more than `bits` bits.
    """
    exact = [Fraction(scale) for scale in scales]
    if not exact or min(exact) <= 0:
        raise LoweringError(f"scales are {scales}, expected positive numbers")
    step = exact[0]
    for each in exact[1:]:
        step = _gcd(step, each)
    multiples = tuple(int(each / step) for each in exact)
    if max(multiples).bit_length() > bits or Fraction(float(step)) != step:
        raise LoweringError(
            f"scales {scales} have no common step within {bits} bits; "
            "give both operands one scale, or scales that differ by a power of two"
        )
    return float(step), multiples


def _gcd(a: Fraction, b: Fraction) -> Fraction:
    """The largest number of which both are whole multiples (Euclid)."""
    while b:
        a, b = b, a % b
    return a
