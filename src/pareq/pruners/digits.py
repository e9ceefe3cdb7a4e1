"""A score that counts what a weight costs in firmware: the digits that a multiplication adds up.

A constant times an integer is a sum of shifted copies, one a canonical signed digit of the
constant; each copy is an adder as wide as the operand. A weight that is a power of two costs one
copy, 1.3125 (10101 in binary) three. First fall those that give least per digit. The width of the
operand is the same for all weights of a layer, so it does not change their order; layers whose
activations have other widths are ranked by rules of their own, or with scope "layer".
"""

import torch
from torch import Tensor

from pareq.pruners.prune import SCORES

__all__ = ["digits", "per_digit"]


def per_digit(x: Tensor, bits: int) -> Tensor:
    """Magnitudes divided by how many signed digits their numbers of `bits` bits have.

    The grid has the smallest step that is a power of two and holds the largest magnitude. Numbers
    that it rounds to zero keep their magnitude: they are the least already.
    """
    size = x.abs()
    largest = size.max() if size.numel() else size.sum()
    top = torch.exp2(torch.ceil(torch.log2(largest.clamp(min=torch.finfo(size.dtype).tiny))))
    whole = torch.round(size / top * 2 ** (bits - 1)).nan_to_num().to(torch.int64)
    return size / digits(whole).clamp(min=1)


def digits(numbers: Tensor) -> Tensor:
    """How many canonical signed digits integers have: n has the ones of n ^ 3n (n >= 0)."""
    size = numbers.abs()
    changed = size ^ (3 * size)
    count = torch.zeros_like(changed)
    while bool(changed.any()):
        count += changed & 1
        changed = changed >> 1
    return count


def _digits4(x: Tensor) -> Tensor:
    """Magnitude per signed digit of a number of 4 bits: what an adder of firmware buys."""
    return per_digit(x, 4)


def _digits6(x: Tensor) -> Tensor:
    """Magnitude per signed digit of a number of 6 bits: what an adder of firmware buys."""
    return per_digit(x, 6)


def _digits8(x: Tensor) -> Tensor:
    """Magnitude per signed digit of a number of 8 bits: what an adder of firmware buys."""
    return per_digit(x, 8)


SCORES.add("digits4", _digits4)
SCORES.add("digits6", _digits6)
SCORES.add("digits8", _digits8)
