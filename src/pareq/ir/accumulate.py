"""What a register of P bits does to the sums of a network.

`wrap` is two's complement: only the final sum counts, for it is the same modulo 2^P in any order.
`saturate` clips after each term, so the order is part of the definition: the bias first, then the
products in the order of the weights of one output (input channel, then kernel position); for a
transposed convolution those of the equivalent plain one. Sums without weights start at 0 and run
over channel-first positions. `wide` computes exactly and counts what would not fit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pareq.errors import GraphError
from pareq.ir.attributes import Attributes
from pareq.ir.kernels import as_convolution, taps
from pareq.numerics.rounding import saturate, wrap
from pareq.registry import suggest

__all__ = ["Accumulator", "Overflow", "register"]

Integers = npt.NDArray[np.int64]
Operands = Sequence[Integers]
Mode = Literal["wide", "wrap", "saturate"]


@dataclass(frozen=True)
class Accumulator:
    """A signed register of `bits` bits (1..62) and what it does when a sum does not fit."""

    bits: int
    mode: Mode = "wide"

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 62:
            raise GraphError(f"accumulator.bits is {self.bits}, expected 1..62")
        if self.mode not in get_args(Mode):
            raise GraphError(
                f"accumulator.mode is {self.mode!r}{suggest(self.mode, get_args(Mode))}"
            )

    @property
    def limits(self) -> tuple[int, int]:
        """The integers of the register."""
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1


@dataclass(frozen=True)
class Overflow:
    """How often the sums of one op did not fit.

    values: results of which the register changed the value, or would have (`wide`); total: results;
    lowest, highest: the extremes of the exact sums.
    """

    values: int
    total: int
    lowest: int
    highest: int

    def __add__(self, other: "Overflow") -> "Overflow":
        return Overflow(
            self.values + other.values,
            self.total + other.total,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
        )


def register(
    model: Accumulator, kind: str, attributes: Attributes, operands: Operands, exact: Integers
) -> tuple[Integers, Overflow]:
    """The sums of one op in the register, and how many of them it changed.

    exact: the sums without a register.
    """
    lo, hi = model.limits
    held = exact
    if model.mode == "wrap":
        held = wrap(exact, lo, hi)
    elif model.mode == "saturate":
        held = np.zeros_like(exact)
        for term in _TERMS[kind](attributes, operands):
            held = saturate(held + saturate(term, -(2**62), 2**62), lo, hi)
    changed = (exact < lo) | (exact > hi) if model.mode == "wide" else held != exact
    count = Overflow(int(changed.sum()), exact.size, int(exact.min()), int(exact.max()))
    return held, count


def _dense(attributes: Attributes, operands: Operands) -> Iterator[Integers]:
    x, weight, bias = operands[0], operands[1][0], operands[2][0]
    yield bias
    for feature in range(weight.shape[1]):
        yield x[..., feature : feature + 1] * weight[:, feature]


def _conv(attributes: Attributes, operands: Operands) -> Iterator[Integers]:
    x, weight, bias = operands[0], operands[1][0], operands[2][0]
    outputs, depth, *kernel = weight.shape
    groups = attributes.whole("groups")
    ones = (1,) * len(kernel)
    yield bias.reshape(-1, *ones)
    views = dict(taps(attributes, x, tuple(kernel)))
    owner = np.arange(outputs) // (outputs // groups) * depth  # first input channel of an output
    for channel in range(depth):
        for at in product(*(range(size) for size in kernel)):
            factor = weight[(slice(None), channel, *at)].reshape(-1, *ones)
            yield views[at][:, owner + channel] * factor


def _conv_transpose(attributes: Attributes, operands: Operands) -> Iterator[Integers]:
    yield from _conv(*as_convolution(attributes, operands))


def _sum_pool(attributes: Attributes, operands: Operands) -> Iterator[Integers]:
    yield from (view for _, view in taps(attributes, operands[0], attributes.wholes("kernel")))


def _sum(attributes: Attributes, operands: Operands) -> Iterator[Integers]:
    x, axes = operands[0], [axis + 1 for axis in sorted(attributes.wholes("axes"))]
    for at in product(*(range(x.shape[axis]) for axis in axes)):
        window = [slice(None)] * x.ndim
        for axis, place in zip(axes, at, strict=True):
            window[axis] = slice(place, place + 1)
        yield x[tuple(window)]


_TERMS = {
    "dense": _dense,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "sum_pool": _sum_pool,
    "sum": _sum,
}
