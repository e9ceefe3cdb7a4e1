"""Passes: a graph in, a smaller graph out that gives the same integers for every input.

| pass | what it does |
|---|---|
| fold_constants | an op that can give one result only becomes that constant |
| absorb_constants | inputs of a layer that never change go into its bias |
| merge_requantize | two monotone steps in a row become one, proved equal |
| reduce_shifts | common factors of two leave multiplier, offset and shift |
| drop_identities | ops that change nothing |
| share | equal constants and equal ops are kept once |
| drop_channels | channels that nothing reads, with the weights that make them |
| drop_unused | ops and constants that no output needs |
| narrow | grids and clamps shrink to the integers that occur |

Outputs keep their names, scales and zeros. `simplify` runs all of them until nothing changes.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pareq.errors import LoweringError
from pareq.ir.graph import Constant, Graph, Op, Range, Value
from pareq.ir.meaning import meaning_of
from pareq.ir.ops import KINDS
from pareq.lower.passes_channels import absorb_constants, drop_channels
from pareq.lower.passes_merge import merge_requantize, reduce_shifts
from pareq.numerics.grid import Grid

__all__ = [
    "PASSES",
    "absorb_constants",
    "drop_channels",
    "drop_identities",
    "drop_unused",
    "fold_constants",
    "merge_requantize",
    "narrow",
    "reduce_shifts",
    "share",
    "simplify",
]

_MOST_ROUNDS = 32


def simplify(graph: Graph) -> Graph:
    """Run all passes until nothing changes; every step is checked.

    Raises GraphError for a graph that is not whole.
    """
    graph.check()
    for _ in range(_MOST_ROUNDS):
        before = graph
        for each in PASSES:
            graph = each(graph).check()
        if graph == before:
            return graph
    raise LoweringError(f"passes still change the graph after {_MOST_ROUNDS} rounds; report this")


def fold_constants(graph: Graph) -> Graph:
    """Make a constant of each op whose result cannot change."""
    known = {each.name: each for each in graph.constants}
    ranges, ops = graph.ranges(), []
    for op in graph.ops:
        reach, grid = ranges[op.name], op.output.grid
        if all(name in known for name in op.inputs):
            data = KINDS[op.kind].run(op.attributes, [known[name].data[None] for name in op.inputs])
            known[op.name] = Constant(op.name, data[0], grid)
        elif reach.constant.all():
            known[op.name] = Constant(op.name, reach.lo, grid)
        else:
            ops.append(op)
    return replace(graph, constants=tuple(known.values()), ops=tuple(ops))


def drop_unused(graph: Graph) -> Graph:
    """Drop ops and constants that no output needs; inputs stay."""
    needed, ops = set(graph.outputs), []
    for op in reversed(graph.ops):
        if op.name in needed:
            ops.append(op)
            needed.update(op.inputs)
    constants = tuple(each for each in graph.constants if each.name in needed)
    return replace(graph, constants=constants, ops=tuple(reversed(ops)))


def share(graph: Graph) -> Graph:
    """Keep equal constants, and equal ops on equal operands, once."""
    kept: dict[tuple[object, ...], str] = {}
    same: dict[str, str] = {}
    constants, ops = [], []
    for each in graph.constants:
        first = kept.setdefault((each.shape, each.data.tobytes(), each.grid), each.name)
        same[each.name] = each.name if each.name in graph.outputs else first
        if same[each.name] == each.name:
            constants.append(each)
    for op in graph.ops:
        read = tuple(same.get(name, name) for name in op.inputs)
        meaning = replace(op.output.grid, lo=0, hi=0)
        first = kept.setdefault((op.kind, read, op.attributes, meaning), op.name)
        same[op.name] = op.name if op.name in graph.outputs else first
        if same[op.name] == op.name:
            ops.append(replace(op, inputs=read))
    return replace(graph, constants=tuple(constants), ops=tuple(ops))


def drop_identities(graph: Graph) -> Graph:
    """Read past ops that give what they get, with the same meaning."""
    ranges, ops = graph.ranges(), []
    same: dict[str, str] = {}
    for op in graph.ops:
        inputs = tuple(same.get(name, name) for name in op.inputs)
        x = graph.value(inputs[0]) if inputs else op.output
        alike = x.shape == op.output.shape and _alike(x, op.output)
        if alike and op.name not in graph.outputs and _changes_nothing(graph, op, ranges[x.name]):
            same[op.name] = x.name
        else:
            ops.append(replace(op, inputs=inputs))
    return replace(graph, ops=tuple(ops))


def narrow(graph: Graph) -> Graph:
    """Shrink the grids of ops and constants, and the clamps of ops, to what occurs."""
    ranges = graph.ranges()
    constants = tuple(
        replace(each, grid=_shrunk(each.grid, ranges[each.name])) for each in graph.constants
    )
    ops = []
    for op in graph.ops:
        reach = ranges[op.name]
        output = replace(op.output, grid=_shrunk(op.output.grid, reach))
        attributes = op.attributes
        if {"lo", "hi"} <= set(attributes):
            low, high = reach.limits
            attributes = type(attributes)({**attributes, "lo": low, "hi": high})
        ops.append(replace(op, output=output, attributes=attributes))
    return replace(graph, constants=constants, ops=tuple(ops))


def _shrunk(grid: Grid, reach: Range) -> Grid:
    low, high = reach.limits
    return replace(grid, lo=max(grid.lo, low), hi=min(grid.hi, high))


def _alike(a: Value, b: Value) -> bool:
    return meaning_of(a.shape, a.grid).matches(meaning_of(b.shape, b.grid))


def _changes_nothing(graph: Graph, op: Op, x: Range) -> bool:
    """Whether the result equals the first operand, which has the same shape and meaning."""
    attributes, inside = op.attributes, True
    if {"lo", "hi"} <= set(attributes):
        low, high = x.limits
        inside = attributes.whole("lo") <= low and high <= attributes.whole("hi")
    fixed = [graph.constant(name) for name in op.inputs[1:]]
    if op.kind == "requantize":
        multiplier, offset, shift = (np.asarray(each) for each in fixed)
        one = np.int64(1) << shift
        top = 1 if attributes.whole("even") else one
        return bool(inside and (multiplier == one).all() and ((offset >= 0) & (offset < top)).all())
    if op.kind == "mask":
        return bool(np.asarray(fixed[0]).all())
    if op.kind == "permute":
        return attributes.wholes("axes") == tuple(range(len(op.output.shape)))
    if op.kind == "leaky":
        return attributes.whole("shift") == 0
    if op.kind == "concat":
        return len(op.inputs) == 1
    return inside if op.kind == "clamp" else op.kind in ("reshape", "slice", "pad")


PASSES: tuple[Callable[[Graph], Graph], ...] = (
    fold_constants,
    absorb_constants,
    merge_requantize,
    reduce_shifts,
    drop_identities,
    share,
    drop_channels,
    drop_unused,
    narrow,
)
