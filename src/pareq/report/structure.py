"""A graph of integers as rows for a reader: each op, each accumulator, and what was removed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pareq.ir.graph import Graph, Op
from pareq.ir.ops import KINDS
from pareq.metrics.cost import Cost
from pareq.metrics.integers import WEIGHTED, graph_cost
from pareq.numerics.grid import Grid
from pareq.report.words import count, plural

__all__ = ["Removal", "Step", "accumulators", "removals", "step_text", "steps"]

_NOUNS = {"threshold": ("threshold", "thresholds"), "table": ("entry", "entries")}


@dataclass(frozen=True)
class Step:
    """An input or an op of a graph.

    path: of the module that it comes from. kind: of the op, or "input". reads: names of the values
    it reads that are no constants. low, high: the integers that occur; bits: of the narrowest word
    that holds them. grid: what an integer stands for. constants: what it holds, in words.
    """

    name: str
    path: str
    kind: str
    reads: tuple[str, ...]
    shape: tuple[int, ...]
    low: int
    high: int
    bits: int
    grid: str
    constants: str = ""

    @property
    def size(self) -> str:
        """The shape, as 16 or 8 x 4 x 4."""
        return " x ".join(map(str, self.shape)) or "1"

    @property
    def range(self) -> str:
        """Such as 0..63."""
        return f"{_whole(self.low)}..{_whole(self.high)}"


def steps(graph: Graph) -> tuple[Step, ...]:
    """Inputs and ops, in order."""
    ranges = graph.ranges()
    found = []
    for each in graph.inputs:
        grid = each.value.grid
        low, high = ranges[each.name].limits
        found.append(
            Step(
                each.name,
                each.name,
                "input",
                (),
                each.value.shape,
                low,
                high,
                grid.bits,
                step_text(grid),
            )
        )
    for op in graph.ops:
        low, high = ranges[op.name].limits
        width = Grid(low, high, 1.0).bits
        reads = tuple(name for name in op.inputs if graph.constant(name) is None)
        path, grid_text = op.origin or op.name, step_text(op.output.grid)
        found.append(
            Step(
                op.name,
                path,
                op.kind,
                reads,
                op.output.shape,
                low,
                high,
                width,
                grid_text,
                _held(graph, op),
            )
        )
    return tuple(found)


def accumulators(graph: Graph) -> tuple[Step, ...]:
    """The ops that sum products or values, the widest first."""
    sums = {op.name for op in graph.ops if KINDS[op.kind].sums}
    return tuple(sorted((s for s in steps(graph) if s.name in sums), key=lambda s: -s.bits))


def step_text(grid: Grid) -> str:
    """What one step of a grid is worth: a power of two as such, otherwise a number."""
    scales = np.unique(np.asarray(grid.scale))
    if len(scales) > 1:
        return f"{scales[0]:.3g} to {scales[-1]:.3g}"
    mantissa, exponent = np.frexp(scales[0])
    return f"2^{exponent - 1}" if mantissa == 0.5 else f"{scales[0]:.4g}"


def _held(graph: Graph, op: Op) -> str:
    """Weights that are not zero; for thresholds and tables how many numbers."""
    if op.kind in WEIGHTED:
        data = graph.constant(op.inputs[1])
        if data is not None:
            return f"{count(int(np.count_nonzero(data)))} of {plural(data.size, 'weight')}"
    if op.kind in _NOUNS:
        data = graph.constant(op.inputs[1])
        if data is not None:
            return plural(data.size, *_NOUNS[op.kind])
    return ""


@dataclass(frozen=True)
class Removal:
    """What became of a layer: outputs and weights, before and in the graph.

    kept: weights that the graph multiplies by, those that are not zero.
    """

    path: str
    outputs: tuple[int, int]
    weights: tuple[int, int]
    kept: int

    @property
    def channels(self) -> int:
        """Outputs that are gone, because they are constant or nobody reads them."""
        return self.outputs[0] - self.outputs[1]

    @property
    def zeros(self) -> int:
        """Weights that are not multiplied by any more."""
        return self.weights[0] - self.kept


def removals(graph: Graph, before: Cost) -> tuple[Removal, ...]:
    """Layer by layer; before: the cost of the network that the graph was lowered from."""
    rows: Mapping[str, tuple[int, int, int]] = {
        row.path: (row.outputs, row.weights, row.nonzero) for row in graph_cost(graph).rows
    }
    found = []
    for row in before.rows:
        outputs, weights, kept = rows.get(row.path, (0, 0, 0))
        found.append(Removal(row.path, (row.outputs, outputs), (row.weights, weights), kept))
    return tuple(found)


def _whole(number: int) -> str:
    return f"{number:,}".replace("-", "\u2212")
