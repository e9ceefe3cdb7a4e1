"""The table of integer ops: one entry a kind.

A kind says which operands and attributes it has, and four functions: `shape` (of the result),
`run` (numpy, exact), `reach` (which integers each element can take) and `meaning` (scale and zero
of the result). Nothing else in the library knows a kind by name but the rules that create it, the
back ends that emit it and the passes that simplify it.

| kind | integers | kind | integers |
|---|---|---|---|
| dense | sum_i weight[o,i] x[i] + bias[o] | clamp | min(max(x, lo), hi) |
| conv, conv_transpose | the same over windows | mask | keep ? x : fill |
| requantize | clamp((x multiplier + offset) >> shift) | concat | one after the other |
| threshold | base + step #{k: x >= thresholds[k]} | max_pool, sum_pool | over windows |
| table | table[x - first] | sum | over axes, kept with size 1 |
| add, subtract | (a << shift_a) +- (b << shift_b) | reshape, permute | the same integers |
| multiply | a b | slice, pad | fewer, more |
| leaky | x >= 0 ? x << shift : x | top_k | indices of the k largest |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.ir import kernels, meaning, reach, shapes
from pareq.ir.attributes import Attributes
from pareq.ir.meaning import Meaning
from pareq.ir.reach import Range
from pareq.registry import Registry

__all__ = ["KINDS", "Kind"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Kind:
    """One kind of op.

    operands: their names in order; `constants`: those of them that must be constants; `many`: the
    last operand may be repeated. whole, wholes: the attributes that are one integer, or several.
    sums: the result is an accumulator, a sum of many terms.
    """

    operands: tuple[str, ...]
    shape: Callable[[Attributes, Sequence[tuple[int, ...]]], tuple[int, ...]]
    run: Callable[[Attributes, Sequence[Integers]], Integers]
    reach: Callable[[Attributes, Sequence[Range]], Range]
    meaning: Callable[[Attributes, Sequence[Meaning]], Meaning | None]
    whole: tuple[str, ...] = ()
    wholes: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    many: bool = False
    sums: bool = False


KINDS: Registry[Kind] = Registry("op kind")

_WEIGHTS = ("weight", "bias")
_WINDOWS = ("stride", "padding", "dilation")

KINDS.add(
    "dense",
    Kind(
        operands=("x", *_WEIGHTS),
        constants=_WEIGHTS,
        shape=shapes.dense,
        run=kernels.dense,
        reach=reach.linear(kernels.dense),
        meaning=meaning.dense,
        sums=True,
    ),
)
KINDS.add(
    "conv",
    Kind(
        operands=("x", *_WEIGHTS),
        constants=_WEIGHTS,
        whole=("groups", "fill"),
        wholes=_WINDOWS,
        shape=shapes.conv,
        run=kernels.conv,
        reach=reach.linear(kernels.conv),
        meaning=meaning.conv,
        sums=True,
    ),
)
KINDS.add(
    "conv_transpose",
    Kind(
        operands=("x", *_WEIGHTS),
        constants=_WEIGHTS,
        whole=("groups", "fill"),
        wholes=_WINDOWS,
        shape=shapes.conv_transpose,
        run=kernels.conv_transpose,
        reach=reach.linear(kernels.conv_transpose),
        meaning=meaning.conv_transpose,
        sums=True,
    ),
)
KINDS.add(
    "requantize",
    Kind(
        operands=("x", "multiplier", "offset", "shift"),
        constants=("multiplier", "offset", "shift"),
        whole=("lo", "hi", "even"),
        shape=shapes.requantize,
        run=kernels.requantize,
        reach=reach.monotone(kernels.requantize),
        meaning=meaning.free,
    ),
)
KINDS.add(
    "threshold",
    Kind(
        operands=("x", "thresholds", "base", "step"),
        constants=("thresholds", "base", "step"),
        shape=shapes.threshold,
        run=kernels.threshold,
        reach=reach.monotone(kernels.threshold),
        meaning=meaning.free,
    ),
)
KINDS.add(
    "table",
    Kind(
        operands=("x", "table"),
        constants=("table",),
        whole=("first",),
        shape=shapes.table,
        run=kernels.table,
        reach=reach.entries,
        meaning=meaning.free,
    ),
)
KINDS.add(
    "add",
    Kind(
        operands=("a", "b"),
        whole=("shift_a", "shift_b"),
        shape=shapes.shifted,
        run=kernels.add,
        reach=reach.rising(kernels.add),
        meaning=meaning.add,
    ),
)
KINDS.add(
    "subtract",
    Kind(
        operands=("a", "b"),
        whole=("shift_a", "shift_b"),
        shape=shapes.shifted,
        run=kernels.subtract,
        reach=reach.difference,
        meaning=meaning.subtract,
    ),
)
KINDS.add(
    "multiply",
    Kind(
        operands=("a", "b"),
        shape=shapes.together,
        run=kernels.multiply,
        reach=reach.corners,
        meaning=meaning.multiply,
    ),
)
KINDS.add(
    "leaky",
    Kind(
        operands=("x",),
        whole=("shift",),
        shape=shapes.leaky,
        run=kernels.leaky,
        reach=reach.rising(kernels.leaky),
        meaning=meaning.leaky,
    ),
)
KINDS.add(
    "clamp",
    Kind(
        operands=("x",),
        whole=("lo", "hi"),
        shape=shapes.clamp,
        run=kernels.clamp,
        reach=reach.rising(kernels.clamp),
        meaning=meaning.same,
    ),
)
KINDS.add(
    "mask",
    Kind(
        operands=("x", "keep"),
        constants=("keep",),
        whole=("fill",),
        shape=shapes.mask,
        run=kernels.mask,
        reach=reach.rising(kernels.mask),
        meaning=meaning.same,
    ),
)
KINDS.add(
    "concat",
    Kind(
        operands=("x",),
        many=True,
        whole=("axis",),
        shape=shapes.concat,
        run=kernels.concat,
        reach=reach.rising(kernels.concat),
        meaning=meaning.moved(kernels.concat),
    ),
)
KINDS.add(
    "max_pool",
    Kind(
        operands=("x",),
        wholes=("kernel", *_WINDOWS),
        shape=shapes.max_pool,
        run=kernels.max_pool,
        reach=reach.rising(kernels.max_pool),
        meaning=meaning.pooled,
    ),
)
KINDS.add(
    "sum_pool",
    Kind(
        operands=("x",),
        whole=("fill",),
        wholes=("kernel", "stride", "padding"),
        shape=shapes.sum_pool,
        run=kernels.sum_pool,
        reach=reach.rising(kernels.sum_pool),
        meaning=meaning.free,
        sums=True,
    ),
)
KINDS.add(
    "sum",
    Kind(
        operands=("x",),
        wholes=("axes",),
        shape=shapes.total,
        run=kernels.total,
        reach=reach.rising(kernels.total),
        meaning=meaning.free,
        sums=True,
    ),
)
KINDS.add(
    "reshape",
    Kind(
        operands=("x",),
        wholes=("shape",),
        shape=shapes.reshape,
        run=kernels.reshape,
        reach=reach.rising(kernels.reshape),
        meaning=meaning.moved(kernels.reshape),
    ),
)
KINDS.add(
    "permute",
    Kind(
        operands=("x",),
        wholes=("axes",),
        shape=shapes.permute,
        run=kernels.permute,
        reach=reach.rising(kernels.permute),
        meaning=meaning.moved(kernels.permute),
    ),
)
KINDS.add(
    "slice",
    Kind(
        operands=("x",),
        wholes=("start", "stop", "step"),
        shape=shapes.cut,
        run=kernels.cut,
        reach=reach.rising(kernels.cut),
        meaning=meaning.moved(kernels.cut),
    ),
)
KINDS.add(
    "pad",
    Kind(
        operands=("x",),
        whole=("fill",),
        wholes=("before", "after"),
        shape=shapes.pad,
        run=kernels.pad,
        reach=reach.rising(kernels.pad),
        meaning=meaning.padded,
    ),
)
KINDS.add(
    "top_k",
    Kind(
        operands=("x",),
        whole=("axis", "k"),
        shape=shapes.top_k,
        run=kernels.top_k,
        reach=reach.indices,
        meaning=meaning.free,
    ),
)
