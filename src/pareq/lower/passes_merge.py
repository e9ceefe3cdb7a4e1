"""Passes on requantization: two monotone steps become one, shifts lose common factors."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pareq.errors import LoweringError
from pareq.ir.attributes import Attributes
from pareq.ir.graph import Constant, Graph, Op
from pareq.ir.ops import KINDS
from pareq.lower.emit import channel_range
from pareq.lower.requantize import Constants, Steps, prove, solve, thresholds
from pareq.numerics.grid import Grid

__all__ = ["merge_requantize", "reduce_shifts"]

Integers = npt.NDArray[np.int64]

_MONOTONE = ("requantize", "threshold", "clamp", "leaky")
_MOST_STEPS = 2**20  # of all channels together; beyond it a merge would take too long


def merge_requantize(graph: Graph) -> Graph:
    """Make one op of two monotone ones in a row, the first of which nothing else reads.

    The composition is solved and proved like any float64 function; where it has no constants the
    two ops stay, unless one of them is a table of thresholds already. So does a shift to the left
    by other bits in each channel: hardware has it for nothing, and words are narrower before it.
    """
    tried: set[tuple[str, str]] = set()
    while (pair := _next_pair(graph, tried)) is not None:
        tried.add((pair[0].name, pair[1].name))
        graph = _merged(graph, *pair) or graph
    return graph


def _next_pair(graph: Graph, tried: set[tuple[str, str]]) -> tuple[Op, Op] | None:
    """Two monotone ops in a row, one of them a requantization, that were not tried yet."""
    for op in graph.ops:
        first = graph.producer(op.inputs[0])
        if first is None or not {first.kind, op.kind} <= set(_MONOTONE):
            continue
        alone = first.name not in graph.outputs and graph.users(first.name) == (op,)
        steps = {first.kind, op.kind} & {"requantize", "threshold"}
        fresh = (first.name, op.name) not in tried
        if alone and steps and fresh and not _aligns(graph, op):
            return first, op
    return None


def _aligns(graph: Graph, op: Op) -> bool:
    """Whether an op only puts channels with steps of their own on one step."""
    if op.kind != "requantize":
        return False
    m, b, s = (np.asarray(graph.constant(name)) for name in op.inputs[1:])
    powers = (m >= 0).all() and not (m & (m - 1)).any() and not b.any() and not s.any()
    return bool(powers and np.unique(m[m > 0]).size > 1)


def _merged(graph: Graph, first: Op, second: Op) -> Graph | None:
    """The graph with both ops as one, or None."""
    axes = _axes(graph, first) | _axes(graph, second)
    if len(axes) > 1:
        return None
    axis = next(iter(axes), None)
    shape = second.output.shape
    reach = channel_range(graph.ranges()[first.inputs[0]], axis)

    def function(acc: Integers) -> Integers:
        return _channelwise(graph, second, _channelwise(graph, first, acc))

    try:
        ends = function(np.stack([reach.lo, reach.hi], axis=1))
        if int(np.abs(ends[:, 1] - ends[:, 0]).max()) * len(ends) > _MOST_STEPS:
            return None
        steps = thresholds(function, reach.lo, reach.hi)
    except LoweringError:
        return None
    found: Constants | Steps | None = solve(steps, reach.lo, reach.hi)
    found = found or solve(steps, reach.lo, reach.hi, even=True)
    if found is None and "threshold" in (first.kind, second.kind):
        found = steps
    if found is None:
        return None
    prove(found, function, reach.lo, reach.hi, steps=steps)
    sizes = tuple(shape[axis] if i == axis else 1 for i in range(len(shape)))
    return _replaced(graph, (first, second), found, sizes)


def _axes(graph: Graph, op: Op) -> set[int]:
    """The axes along which the constants of an op vary."""
    rank = len(op.output.shape)
    shapes = [graph.value(name).shape[:rank] for name in op.inputs[1:]]
    return {axis for shape in shapes for axis, size in enumerate(shape) if size > 1}


def _channelwise(graph: Graph, op: Op, acc: Integers) -> Integers:
    """The op on accumulators `(C, M)`."""
    rank, constants = len(op.output.shape), []
    for name in op.inputs[1:]:
        data = np.asarray(graph.constant(name))
        constants.append(data.reshape(1, -1, *data.shape[rank:]))
    return KINDS[op.kind].run(op.attributes, [acc.T, *constants]).T


def _replaced(
    graph: Graph, pair: tuple[Op, Op], found: Constants | Steps, sizes: tuple[int, ...]
) -> Graph:
    first, second = pair
    taken = {each.name for each in graph.inputs} | {each.name for each in graph.constants}
    taken |= {op.name for op in graph.ops}
    made: list[Constant] = []

    def constant(part: str, data: Integers) -> str:
        name, number = f"{second.name}.{part}", 1
        while name in taken:
            number += 1
            name = f"{second.name}.{part}.{number}"
        shaped = data.reshape((*sizes, *data.shape[1:]))
        made.append(Constant(name, shaped, Grid(int(data.min()), int(data.max()))))
        return name

    if isinstance(found, Steps):
        kind, attributes = "threshold", Attributes()
        parts = {"thresholds": found.at, "base": found.base, "step": found.step}
    else:
        kind = "requantize"
        attributes = Attributes({"lo": found.lo, "hi": found.hi, "even": int(found.even)})
        parts = {
            "multiplier": found.multiplier,
            "offset": found.offset,
            "shift": found.shift,
        }
    inputs = (first.inputs[0], *(constant(part, data) for part, data in parts.items()))
    origin = second.origin or first.origin
    one = Op(kind, inputs, second.output, attributes, origin)
    ops = tuple(one if op is second else op for op in graph.ops if op is not first)
    used = {name for op in ops for name in op.inputs} | set(graph.outputs)
    constants = [each for each in (*graph.constants, *made) if each.name in used]
    return replace(graph, constants=tuple(constants), ops=ops)


def reduce_shifts(graph: Graph) -> Graph:
    """Halve multiplier, offset and shift where (x m + b) >> s stays the same function."""
    data = {each.name: each for each in graph.constants}
    users = {name: len(graph.users(name)) for name in data}
    for op in graph.ops:
        if op.kind != "requantize":
            continue
        names = op.inputs[1:]
        if any(users[name] > 1 for name in names):
            continue  # they belong to other ops too
        parts = [np.asarray(data[name].data) for name in names]
        if len({part.shape for part in parts}) > 1 or len(set(names)) < len(names):
            continue
        for name, part in zip(names, _halved(parts, op.attributes.whole("even")), strict=True):
            old = data[name]
            grid = replace(old.grid, lo=int(part.min()), hi=int(part.max()))
            changed = not np.array_equal(part, old.data)
            data[name] = Constant(name, part, grid) if changed else old
    return replace(graph, constants=tuple(data.values()))


def _halved(parts: list[Integers], even: int) -> list[Integers]:
    """An even m may be halved with b >> 1; rounding to even needs an even b and one more bit."""
    m, b, s = (part.copy() for part in parts)
    while True:
        free = (m % 2 == 0) & (s > even) & ((b % 2 == 0) | (even == 0))
        if not free.any():
            return [m, b, s]
        m, b, s = np.where(free, m // 2, m), np.where(free, b >> 1, b), np.where(free, s - 1, s)
