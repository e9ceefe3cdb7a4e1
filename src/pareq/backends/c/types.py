"""Which C integer holds a range: the narrowest one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.errors import BackendError

__all__ = ["INT32", "INT64", "CType", "narrowest", "register"]


@dataclass(frozen=True)
class CType:
    """An integer type of stdint.h; all of them widen to int or int64_t without changing a value."""

    bits: int
    signed: bool

    @property
    def name(self) -> str:
        """As C spells it."""
        return f"{'' if self.signed else 'u'}int{self.bits}_t"

    @property
    def dtype(self) -> npt.DTypeLike:
        """As numpy spells it."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bytes}")

    @property
    def bytes(self) -> int:
        """The size in memory."""
        return self.bits // 8

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        if self.signed:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1

    def holds(self, lo: int, hi: int) -> bool:
        """Whether lo..hi fits."""
        low, high = self.limits
        return low <= lo and hi <= high


INT32 = CType(32, signed=True)
INT64 = CType(64, signed=True)
_STORED = [CType(bits, signed) for bits in (8, 16) for signed in (True, False)] + [INT32, INT64]


def narrowest(lo: int, hi: int) -> CType:
    """The narrowest type in memory for lo..hi, signed where both do. Raises BackendError."""
    for each in _STORED:
        if each.holds(lo, hi):
            return each
    raise BackendError(f"integers {lo}..{hi} are wider than 64 bits; requantize to fewer bits")


def register(bound: int) -> CType:
    """The type to calculate in when no intermediate result exceeds `bound` in magnitude."""
    if bound < 2**31:
        return INT32
    if bound < 2**63:
        return INT64
    raise BackendError(f"a result may reach {bound}, expected less than 2^63; use fewer bits")
