"""The cost of a graph of integers, read off its ops: what is left after all passes.

| figure of a layer | here |
|---|---|
| weight_bits, bias_bits | the narrowest word that holds the integers of the constant |
| input_bits | the narrowest word that holds every integer that can reach the layer |
| alive, nonzero | weights that are not zero; a channel that a pass removed is not there at all |

Requantizations, additions and pooling are free, as in all published counts; `Cost.rest` lists them
with the number of constants that they hold.
"""

import math
from collections.abc import Mapping
from functools import cache

import numpy as np

from pareq.ir.graph import Graph, Op, Value
from pareq.metrics.bops import effective_bits
from pareq.metrics.cost import Cost, Rest
from pareq.metrics.layer import Layer

__all__ = ["WEIGHTED", "graph_cost"]

WEIGHTED = ("dense", "conv", "conv_transpose")


def graph_cost(graph: Graph) -> Cost:
    """The cost per sample of a graph: a row a layer with weights, in order."""
    rows, rest = [], []
    owner: dict[str, str] = {}
    reach = _bits(graph)
    for op in graph.ops:
        path = op.origin or op.name
        if op.kind in WEIGHTED:
            rows.append(_layer(graph, op, reach, owner.get(op.inputs[1], "")))
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
