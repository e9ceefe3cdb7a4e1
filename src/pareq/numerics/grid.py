"""Which integers a tensor may hold, and what real number each stands for.

A value on a grid is `scale * (n - zero)` with n an integer in lo..hi.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.errors import GridError
from pareq.numerics.rounding import Overflow, Rounding, fit, round_real

__all__ = ["Grid", "integer_range"]

Scale = float | npt.NDArray[np.float64]

_LARGEST = 2.0**62  # beyond it a float64 is not an int64


def integer_range(bits: int, *, signed: bool = True, narrow: bool = False) -> tuple[int, int]:
    """The integers of a `bits` wide word as (lo, hi).

    Unsigned: 0..2^b - 1. Signed: two's complement; narrow drops the most negative integer, which
    makes the range symmetric. Raises GridError for bits outside 1..32, and for a signed narrow
    range of one bit, which would hold zero alone.
    """
    if not 1 <= bits <= 32:
        raise GridError(f"bits must be in 1..32, got {bits}")
    if not signed:
        return 0, 2**bits - 1
    if narrow and bits == 1:
        raise GridError("a signed narrow range of 1 bit holds only zero; use 2 bits or more")
    return -(2 ** (bits - 1)) + int(narrow), 2 ** (bits - 1) - 1


@dataclass(frozen=True, eq=False)
class Grid:
    """The integers lo..hi, each standing for scale * (n - zero).

    scale: a positive number, or a float64 array that broadcasts against the tensor (per channel:
    `(out, 1, ...)`; per element: the tensor's shape). zero: the integer that stands for 0.
    Equality compares every field. Raises GridError when lo > hi, or a scale is not positive and
    finite.
    """

    lo: int
    hi: int
    scale: Scale = 1.0
    zero: int = 0

    def __post_init__(self) -> None:
        if self.lo > self.hi:
            raise GridError(f"grid holds nothing: lo = {self.lo} is above hi = {self.hi}")
        scale = np.asarray(self.scale, dtype=np.float64)
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise GridError(f"scale must be positive and finite, got {self.scale}")
        if scale.ndim:
            scale = scale.copy()
            scale.setflags(write=False)
            object.__setattr__(self, "scale", scale)
        else:
            object.__setattr__(self, "scale", float(scale))

    @classmethod
    def fixed_point(
        cls, bits: int, frac: int, *, signed: bool = True, narrow: bool = False
    ) -> "Grid":
        """A fixed-point format: `bits` wide, `frac` of them behind the binary point.

        frac may be negative or above bits; the scale is 2^-frac.
        """
        lo, hi = integer_range(bits, signed=signed, narrow=narrow)
        return cls(lo, hi, 2.0**-frac)

    @property
    def signed(self) -> bool:
        """Whether a negative integer occurs."""
        return self.lo < 0

    @property
    def bits(self) -> int:
        """The narrowest word that holds lo..hi, two's complement when signed; at least 1."""
        if self.signed:
            return max((-self.lo - 1).bit_length(), max(self.hi, 0).bit_length()) + 1
        return max(self.hi.bit_length(), 1)

    @property
    def frac(self) -> int | None:
        """The bits behind the binary point when the scale is one power of two, else None."""
        if not isinstance(self.scale, float):
            return None
        mantissa, exponent = math.frexp(self.scale)
        return 1 - exponent if mantissa == 0.5 else None

    @property
    def limits(self) -> tuple[Scale, Scale]:
        """The smallest and the largest real value."""
        return self.scale * (self.lo - self.zero), self.scale * (self.hi - self.zero)

    def quantize(
        self,
        x: npt.ArrayLike,
        rounding: Rounding = "half_even",
        overflow: Overflow = "saturate",
        rng: np.random.Generator | None = None,
    ) -> npt.NDArray[np.int64]:
        """Real values to integers: round(x / scale) + zero, brought into lo..hi.

        Infinities saturate. Raises GridError for NaN, and for values too large to wrap.
        """
        real = np.asarray(x, dtype=np.float64)
        if np.isnan(real).any():
            raise GridError(f"{int(np.isnan(real).sum())} of {real.size} values are NaN")
        whole = round_real(real / self.scale, rounding, rng) + self.zero
        if overflow == "wrap" and (np.abs(whole) >= _LARGEST).any():
            raise GridError(
                "values beyond 2^62 steps cannot be wrapped; saturate, or raise the scale"
            )
        return fit(np.clip(whole, -_LARGEST, _LARGEST).astype(np.int64), self.lo, self.hi, overflow)

    def dequantize(self, n: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Integers to the real values they stand for."""
        return np.asarray((np.asarray(n, dtype=np.int64) - self.zero) * self.scale)

    def holds(self, x: npt.ArrayLike) -> bool:
        """Whether every value lies exactly on this grid."""
        real = np.asarray(x, dtype=np.float64)
        return bool(
            np.isfinite(real).all() and (self.dequantize(self.quantize(real)) == real).all()
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return (self.lo, self.hi, self.zero) == (other.lo, other.hi, other.zero) and np.array_equal(
            self.scale, other.scale
        )

    def __hash__(self) -> int:
        return hash((self.lo, self.hi, self.zero, np.asarray(self.scale).tobytes()))
