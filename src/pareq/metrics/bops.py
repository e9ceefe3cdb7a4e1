"""Bit operations of one inference, in the variants that were published under one name.

A layer with n inputs per output and m outputs, applied at `positions` places, costs

    positions * m * n * [p * b_a * b_w + b_a + b_w + log2(n)]

a multiplication b_a b_w, an addition the width of the accumulator (Baskin et al. 2018, UNIQ, arXiv
1804.10969); pruning discounts the multiplications alone (Fahim et al. 2021, arXiv 2103.05579,
equation 1; Hawks et al. 2021, arXiv 2102.11289). log2 is not rounded; batch normalisation,
activation functions and softmax are free.

| variant | p: fraction that is left | input of the first layer |
|---|---|---|
| paper | alive weights | as it is: 32 bits unless it is quantized |
| code | alive weights and biases together | 32 bits |
| true_input | as code | as it is |
| quantized_zeros | weights that are not zero after quantization | as it is |
| multiply_only | alive weights, and nothing but the multiplications is counted | as it is |
| all_discounted | as code, but p multiplies the sums too (first form, November 2020) | 32 bits |
| all_discounted_twice | as all_discounted with p squared (second form, November 2020) | 32 bits |

Products with an input that is pruned for every sample (`Layer.dead`) cost nothing in any variant,
sums do; each is taken to enter equally many products, which padding makes a little wrong at the
border. What is spent on outputs that a mask then drops is counted in full.

`code` is what made the published figures. At full density all but multiply_only are equal, apart
from the input of the first layer.

EBOPs (Sun et al. 2024, HGQ, arXiv 2405.00645) count the multiplications that hardware builds:
the sum over weights of effective bits times the bits of the activation. Effective bits are the
span from the highest to the lowest set bit of the integer, so 0 costs nothing and 4 costs one bit.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pareq.metrics.layer import FLOAT_BITS, Layer
from pareq.registry import Registry

__all__ = ["BOPS", "bops", "bops_per_layer", "ebops", "ebops_per_layer", "effective_bits"]

Formula = Callable[[Layer, int], float]

BOPS: Registry[Formula] = Registry("BOPs variant")


def bops(rows: Sequence[Layer], variant: str = "paper") -> float:
    """Bit operations per sample of all layers; rows in the order of execution.

    Raises UnknownName for a variant that is not in the table above.
    """
    return math.fsum(bops_per_layer(rows, variant))


def bops_per_layer(rows: Sequence[Layer], variant: str = "paper") -> tuple[float, ...]:
    """Bit operations per sample, one figure a row; the first row is the one that reads the input.

    Raises UnknownName for a variant that is not in the table above.
    """
    formula = BOPS[variant]
    return tuple(formula(row, i) for i, row in enumerate(rows))


def ebops(rows: Sequence[Layer], *, per_weight: bool = True) -> int:
    """Effective bit operations per sample; `per_weight` as in `ebops_per_layer`."""
    return sum(ebops_per_layer(rows, per_weight=per_weight))


def ebops_per_layer(rows: Sequence[Layer], *, per_weight: bool = True) -> tuple[int, ...]:
    """Effective bit operations per sample, one figure a row.

    per_weight: each weight at its own effective bits, where its integer is known. Otherwise each
    nonzero weight at the width of its layer, which is an upper bound.
    """
    return tuple(_effective(row, per_weight) for row in rows)


def effective_bits(integers: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Effective bits of each integer below 2^53: the span of its set bits, 0 for 0.

    The sign is free. Same shape as `integers`.
    """
    size = np.abs(np.asarray(integers, dtype=np.int64))
    lowest = size & -size
    span = np.frexp(size.astype(np.float64))[1] - np.frexp(lowest.astype(np.float64))[1] + 1
    return np.where(size > 0, span, 0).astype(np.int64)


def _effective(row: Layer, per_weight: bool) -> int:
    if per_weight and row.products is not None:
        return row.products
    whole = row.positions * row.input_bits * _weight_bits(row, per_weight)
    return whole * (row.reads - row.dead) // row.reads if row.dead else whole


def _weight_bits(row: Layer, per_weight: bool) -> int:
    if per_weight and row.effective is not None:
        return row.effective
    return row.nonzero * row.weight_bits


def _full(row: Layer, left: float, input_bits: int) -> float:
    product = left * row.live * input_bits * row.weight_bits
    return row.multiplies * (product + input_bits + row.weight_bits + math.log2(row.inputs))


def _float_first(row: Layer, index: int) -> int:
    """The authors' loop starts from a 32-bit input whatever the network does with it."""
    return FLOAT_BITS if index == 0 else row.input_bits


def _left(row: Layer) -> float:
    return row.alive / row.weights


def _left_with_biases(row: Layer) -> float:
    return (row.alive + row.biases_alive) / (row.weights + row.biases)


def _paper(row: Layer, _: int) -> float:
    return _full(row, _left(row), row.input_bits)


def _code(row: Layer, index: int) -> float:
    return _full(row, _left_with_biases(row), _float_first(row, index))


def _true_input(row: Layer, _: int) -> float:
    return _full(row, _left_with_biases(row), row.input_bits)


def _quantized_zeros(row: Layer, _: int) -> float:
    return _full(row, row.nonzero / row.weights, row.input_bits)


def _multiply_only(row: Layer, _: int) -> float:
    return float(row.alive * row.positions * row.input_bits * row.weight_bits * row.live)


def _all_discounted(row: Layer, index: int) -> float:
    return _left_with_biases(row) * _full(row, 1.0, _float_first(row, index))


def _all_discounted_twice(row: Layer, index: int) -> float:
    return _left_with_biases(row) * _all_discounted(row, index)


BOPS.add("paper", _paper)
BOPS.add("code", _code)
BOPS.add("true_input", _true_input)
BOPS.add("quantized_zeros", _quantized_zeros)
BOPS.add("multiply_only", _multiply_only)
BOPS.add("all_discounted", _all_discounted)
BOPS.add("all_discounted_twice", _all_discounted_twice)
