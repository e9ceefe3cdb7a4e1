"""Scores that count what a weight costs in firmware: the digits that a multiplication adds up.

A constant times an integer is a sum of shifted copies, one a canonical signed digit of the
constant; each copy is an adder as wide as the operand. A weight that is a power of two costs one
copy, 1.3125 (10101 in binary) three. First fall those that give least for what they cost. `digits6`
and its kin count the digits; `hardware` knows the layer, and counts the bits of its operands too.
"""

import torch
from torch import Tensor

from pareq.numerics.digits import digits
from pareq.operators.base import Quantizer, Surroundings
from pareq.pruners.prune import SCORES, LayerScore

__all__ = ["digits", "per_digit", "per_table"]

_UNKNOWN = 8  # bits of what has no quantizer


def per_digit(x: Tensor, bits: int) -> Tensor:
    """Magnitudes divided by how many signed digits their numbers of `bits` bits have.

    The grid has the smallest step that is a power of two and holds the largest magnitude. Numbers
    that it rounds to zero keep their magnitude: they are the least already.
    """
    return x.abs() / _count(x, bits)


def per_table(x: Tensor, mask: Tensor, layer: Surroundings) -> Tensor:
    """Magnitude for each look-up table that a weight saves by falling, in all layers alike.

    An adder takes a table a bit of its operand. What scales and clamps an input falls with the last
    weight that reads it, and what does so with a sum with its last weight: each of those that are
    left has a share of that.
    """
    count = _count(x, _bits(layer.weight))
    if x.ndim > 1:
        live = (mask != 0).to(x.dtype)
        readers, inputs = (
            live.sum([d for d in range(x.ndim) if d != axis], keepdim=True) for axis in (1, 0)
        )
        count = count + 1 / readers.clamp(min=1) + 1 / inputs.clamp(min=1)
    return x.abs() / (count * _bits(layer.feed))


def _bits(quantizer: Quantizer | None) -> int:
    return _UNKNOWN if quantizer is None else quantizer.width


def _count(x: Tensor, bits: int) -> Tensor:
    """The signed digits of numbers of `bits` bits, at least 1."""
    size = x.abs()
    largest = size.max() if size.numel() else size.sum()
    top = torch.exp2(torch.ceil(torch.log2(largest.clamp(min=torch.finfo(size.dtype).tiny))))
    whole = torch.round(size / top * 2 ** (bits - 1)).nan_to_num().to(torch.int64)
    return digits(whole).clamp(min=1)


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
SCORES.add("hardware", LayerScore(per_table))
