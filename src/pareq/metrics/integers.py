"""The cost of a graph of integers, read off its ops: what is left after all passes.

| figure of a layer | here |
|---|---|
| weight_bits, bias_bits | the narrowest word that holds the integers of the constant |
| input_bits | the narrowest word that holds every integer that can reach the layer, without the
| | (zeros that a shift has put behind are none of it) |
| products | each weight at its effective bits times its input at the bits of that element |
| alive, nonzero | weights that are not zero; a channel that a pass removed is not there at all |
| dead | inputs that are the same integer for every sample |

Requantizations, additions and pooling are free, as in all published counts; `Cost.rest` lists them
with the number of constants that they hold.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt

from pareq.ir.graph import Graph, Op, Value
from pareq.ir.reach import Range
from pareq.metrics.bops import effective_bits
from pareq.metrics.cost import Cost, Rest
from pareq.metrics.layer import Layer

__all__ = ["WEIGHTED", "graph_cost"]

Integers = npt.NDArray[np.int64]

WEIGHTED = ("dense", "conv", "conv_transpose")


def graph_cost(graph: Graph) -> Cost:
    """The cost per sample of a graph: a row a layer with weights, in order."""
    rows, rest = [], []
    owner: dict[str, str] = {}
    reach, ranges = _bits(graph), graph.ranges()
    for op in graph.ops:
        path = op.origin or op.name
        if op.kind in WEIGHTED:
            row = _layer(graph, op, reach, owner.get(op.inputs[1], ""))
            words = _words(graph, op.inputs[0], ranges)
            row = replace(row, input_bits=max(int(words.max(initial=1)), 1))
            row = replace(row, products=_products(graph, op, words))
            rows.append(replace(row, dead=_dead(graph.value(op.inputs[0]), ranges)))
            owner.setdefault(op.inputs[1], path)
        else:
            held = [n for name in op.inputs if (n := graph.constant(name)) is not None]
            if held:
                rest.append(Rest(path, op.kind, sum(each.size for each in held)))
    return Cost(tuple(rows), tuple(rest))


def _layer(graph: Graph, op: Op, reach: "Mapping[str, int]", shares: str) -> Layer:
    x, weight, bias = (graph.value(name) for name in op.inputs)
    numbers, offsets = graph.constant(weight.name), graph.constant(bias.name)
    if numbers is None or offsets is None:
        raise ValueError(f"{op.name} has no constant weights")  # no checked graph is such
    groups = op.attributes.whole("groups") if op.kind != "dense" else 1
    outputs = op.output.shape[-1] if op.kind == "dense" else op.output.shape[0]
    nonzero = int(np.count_nonzero(numbers))
    return Layer(
        path=op.origin or op.name,
        kind="linear" if op.kind == "dense" else "conv",
        inputs=numbers.size // outputs,
        outputs=outputs,
        alive=nonzero,
        nonzero=nonzero,
        weight_bits=reach[weight.name],
        input_bits=reach[x.name],
        positions=_positions(op, x),
        groups=groups,
        biases=offsets.size,
        biases_alive=int(np.count_nonzero(offsets)),
        bias_bits=reach[bias.name],
        effective=int(effective_bits(numbers).sum()),
        reads=math.prod(x.shape),
        shares=shares,
    )


def _words(graph: Graph, name: str, ranges: Mapping[str, Range]) -> Integers:
    """The bits of each element of a value; 0 where it never changes.

    Zeros that a shift to the left puts behind an integer are wires, not bits.
    """
    op = graph.producer(name)
    if op is not None and (kept := _shifts(graph, op, ranges)) is not None:
        return np.where(kept, _words(graph, op.inputs[0], ranges), 0)
    reach, shape = ranges[name], graph.value(name).shape
    low, high = (np.broadcast_to(each, shape) for each in (reach.lo, reach.hi))
    most = np.maximum(np.where(low < 0, -low - 1, 0), np.maximum(high, 0))
    bits = np.frexp(most.astype(np.float64))[1] + (low < 0)
    return np.where(low == high, 0, np.maximum(bits, 1)).astype(np.int64)


def _shifts(graph: Graph, op: Op, ranges: Mapping[str, Range]) -> npt.NDArray[np.bool_] | None:
    """Which elements a requantization keeps that only shifts to the left; None for other ops."""
    if op.kind != "requantize":
        return None
    m, b, s = (np.asarray(graph.constant(each)) for each in op.inputs[1:])
    low, high = op.attributes.whole("lo"), op.attributes.whole("hi")
    ends = [each * m for each in (ranges[op.inputs[0]].lo, ranges[op.inputs[0]].hi)]
    inside = all((low <= end).all() and (end <= high).all() for end in ends)
    plain = (m >= 0).all() and not (m & (m - 1)).any() and not b.any() and not s.any()
    return np.broadcast_to(m > 0, op.output.shape) if plain and inside else None


def _products(graph: Graph, op: Op, words: Integers) -> int:
    """Effective bits of the weights times the bits of the inputs, over all multiplications."""
    spans = effective_bits(np.asarray(graph.constant(op.inputs[1])))
    if op.kind == "dense":
        return int((words.reshape(-1, words.shape[-1]) @ spans.sum(axis=0)).sum())
    channels = words.reshape(len(words), -1).max(axis=1)  # a channel is as wide as its widest place
    if op.kind == "conv_transpose":
        each = spans.reshape(len(channels), -1).sum(axis=1)
    else:
        groups = op.attributes.whole("groups")
        each = spans.reshape(groups, len(spans) // groups, len(channels) // groups, -1)
        each = each.sum(axis=(1, 3)).ravel()
    return int(channels @ each) * _positions(op, graph.value(op.inputs[0]))


def _dead(x: Value, ranges: Mapping[str, Range]) -> int:
    """How many integers of a value can be one number only."""
    found = ranges[x.name]
    same = np.broadcast_to(found.lo == found.hi, x.shape)
    return int(np.count_nonzero(same))


def _positions(op: Op, x: Value) -> int:
    """How often the whole weight tensor is applied to one sample."""
    if op.kind == "dense":
        return math.prod(op.output.shape[:-1])
    return math.prod((x if op.kind == "conv_transpose" else op.output).shape[1:])


def _bits(graph: Graph) -> dict[str, int]:
    """The width of each value, from the integers that it can take; at least 1."""
    ranges = graph.ranges()

    @cache
    def width(low: int, high: int) -> int:
        return max(int(high).bit_length(), int(-low - 1).bit_length()) + (low < 0) or 1

    return {name: width(*found.limits) for name, found in ranges.items()}
