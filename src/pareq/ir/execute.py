"""Run a graph in numpy: the reference that every back end is held to.

All numbers are int64, and exact: a sum that int64 could not hold, an input outside its grid or a
result outside the grid of its op is an error that names op, index and value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pareq.errors import GraphError, at
from pareq.ir.accumulate import Accumulator, Overflow, register
from pareq.ir.attributes import Frozen
from pareq.ir.graph import Graph, Op
from pareq.ir.ops import KINDS
from pareq.numerics.grid import Grid

__all__ = [
    "Accumulator",
    "Execution",
    "Overflow",
    "dequantize_outputs",
    "evaluate",
    "execute",
    "quantize_inputs",
]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Execution:
    """The results of a run: outputs in order, values asked for, and overflows by op."""

    outputs: tuple[Integers, ...]
    kept: Frozen[Integers]
    overflows: Frozen[Overflow]


@dataclass
class _State:
    """One batch on its way through a graph."""

    values: dict[str, Integers]
    overflows: dict[str, Overflow] = field(default_factory=dict)


def execute(
    graph: Graph,
    *inputs: npt.ArrayLike,
    accumulator: Accumulator | None = None,
    keep: Sequence[str] = (),
    batch: int = 256,
) -> Execution:
    """Run a checked graph on integers.

    inputs: one array `(N, *shape)` an input of the graph. accumulator: the register that holds the
    sums (default: as wide as needed); with `wrap` or `saturate` results are no longer held to their
    grids. keep: names of values to return beside the outputs. batch: samples at a time, which
    bounds the memory. Raises GraphError.
    """
    arrays = _checked(graph, inputs)
    wanted = (*graph.outputs, *keep)
    for name in wanted:
        graph.value(name)
    count = len(arrays[0]) if arrays else 1
    parts: dict[str, list[Integers]] = {name: [] for name in wanted}
    overflows: dict[str, Overflow] = {}
    for begin in range(0, max(count, 1), batch):
        rows = slice(begin, min(begin + batch, count))
        state = _run(graph, [array[rows] for array in arrays], accumulator, (begin, set(wanted)))
        for name, part in parts.items():
            size = max(rows.stop - begin, 0)
            part.append(np.broadcast_to(state.values[name], (size, *graph.value(name).shape)))
        for name, found in state.overflows.items():
            overflows[name] = overflows[name] + found if name in overflows else found
    joined = {name: np.concatenate(part) for name, part in parts.items()}
    return Execution(
        tuple(joined[name] for name in graph.outputs),
        Frozen({name: joined[name] for name in keep}),
        Frozen(overflows),
    )


def quantize_inputs(graph: Graph, *x: npt.ArrayLike) -> tuple[Integers, ...]:
    """Real tensors `(N, *shape)` to the integers that enter. Raises GraphError, GridError."""
    if len(x) != len(graph.inputs):
        raise GraphError(f"got {len(x)} inputs, expected {len(graph.inputs)}")
    integers = []
    for given, each in zip(graph.inputs, x, strict=True):
        with at(f"input {given.name!r}"):
            real = np.asarray(each, dtype=np.float64)
            _check_shape(real.shape, given.value.shape)
            integers.append(given.value.grid.quantize(real, given.rounding, given.overflow))
    return tuple(integers)


def dequantize_outputs(graph: Graph, outputs: Sequence[npt.ArrayLike]) -> tuple[Reals, ...]:
    """Integers of the outputs to the real values that they stand for."""
    grids = [graph.value(name).grid for name in graph.outputs]
    return tuple(grid.dequantize(n) for grid, n in zip(grids, outputs, strict=True))


def evaluate(graph: Graph, *x: npt.ArrayLike, batch: int = 256) -> tuple[Reals, ...]:
    """Reals in, reals out: quantize, run on integers, dequantize. Raises GraphError, GridError."""
    done = execute(graph, *quantize_inputs(graph, *x), batch=batch)
    return dequantize_outputs(graph, done.outputs)


def _checked(graph: Graph, inputs: Sequence[npt.ArrayLike]) -> list[Integers]:
    if len(inputs) != len(graph.inputs):
        raise GraphError(f"got {len(inputs)} inputs, expected {len(graph.inputs)}")
    arrays = []
    for given, each in zip(graph.inputs, inputs, strict=True):
        with at(f"input {given.name!r}"):
            array = np.asarray(each)
            if not np.can_cast(array.dtype, np.int64) or array.dtype == np.bool_:
                raise GraphError(f"numbers are {array.dtype}, expected integers; quantize_inputs")
            _check_shape(array.shape, given.value.shape)
            whole = array.astype(np.int64)
            _check_grid(whole, given.value.grid, 0)
            arrays.append(whole)
    if len({len(array) for array in arrays}) > 1:
        raise GraphError(
            f"inputs have {[len(array) for array in arrays]} samples, expected as many"
        )
    return arrays


def _check_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if len(found) != len(expected) + 1 or found[1:] != expected:
        wanted = ", ".join(("N", *map(str, expected)))
        raise GraphError(f"shape is {found}, expected ({wanted})")


def _check_grid(n: Integers, grid: Grid, begin: int) -> None:
    """Raise GraphError with the first integer outside the grid; `begin`: its first sample."""
    if n.size == 0 or (n.min() >= grid.lo and n.max() <= grid.hi):
        return
    first, *rest = np.argwhere((n < grid.lo) | (n > grid.hi))[0].tolist()
    raise GraphError(
        f"value {n[(first, *rest)]} at {[first + begin, *rest]}, expected {grid.lo}..{grid.hi}; "
        "check the graph"
    )


def _run(
    graph: Graph,
    arrays: Sequence[Integers],
    accumulator: Accumulator | None,
    place: tuple[int, set[str]],
) -> _State:
    """One batch; place: the number of its first sample, and the values to keep."""
    begin, wanted = place
    state = _State({each.name: each.data[None] for each in graph.constants})
    state.values.update(zip((each.name for each in graph.inputs), arrays, strict=True))
    last = {name: op.name for op in graph.ops for name in op.inputs}
    held = accumulator is None or accumulator.mode == "wide"
    for op in graph.ops:
        with at(f"op {op.name!r}"):
            result = _step(op, state, accumulator)
            if held:
                _check_grid(result, op.output.grid, begin)
        state.values[op.name] = result
        for name in set(op.inputs):
            if last[name] == op.name and name not in wanted:
                del state.values[name]
    return state


def _step(op: Op, state: _State, accumulator: Accumulator | None) -> Integers:
    kind = KINDS[op.kind]
    operands = [state.values[name] for name in op.inputs]
    result = kind.run(op.attributes, operands)
    if accumulator is None or not kind.sums or result.size == 0:
        return result
    result, found = register(accumulator, op.kind, op.attributes, operands, result)
    state.overflows[op.name] = found
    return result
