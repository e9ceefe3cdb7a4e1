"""Canonical signed digits: an integer as few powers of two, added and subtracted."""

import numpy as np
import numpy.typing as npt

__all__ = ["count_digits", "signed_digits"]


def signed_digits(number: int) -> list[tuple[int, int]]:
    """(shift, sign) with sum of sign * 2^shift = number, no two shifts adjacent (Reitwiesner 1960).

    No other way to write the number needs fewer digits.
    """
    found, shift = [], 0
    while number:
        if number & 1:
            sign = 2 - (number & 3)
            found.append((shift, sign))
            number -= sign
        number >>= 1
        shift += 1
    return found


def count_digits(numbers: npt.NDArray[np.int64]) -> int:
    """How many digits an array of integers needs: those of n are the ones of n ^ 3n (n >= 0)."""
    size = np.abs(numbers).astype(np.uint64)
    changed = size ^ (3 * size)
    return sum(int(each).bit_count() for each in changed.ravel())
