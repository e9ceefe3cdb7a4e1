"""How many canonical signed digits integers have: the sums of two that a constant factor costs."""

import torch
from torch import Tensor

__all__ = ["digits"]

_PAIRS, _FOURS, _BYTES = 0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F


def digits(numbers: Tensor) -> Tensor:
    """The signed digits of integers below 2^60: n has the ones of n ^ 3n (n >= 0).

    They are counted in pairs, fours and bytes, in parallel (Warren 2012, Hacker's Delight, 5-1).
    """
    size = numbers.abs().to(torch.int64)
    ones = size ^ (3 * size)
    ones = ones - ((ones >> 1) & _PAIRS)
    ones = (ones & _FOURS) + ((ones >> 2) & _FOURS)
    return (((ones + (ones >> 4)) & _BYTES) * 0x0101010101010101) >> 56
