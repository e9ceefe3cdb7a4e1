"""Inputs to compare programs on: extremes, corners and random integers of each input's grid."""

import numpy as np
import numpy.typing as npt

from pareq.ir.graph import Graph

__all__ = ["extremes", "uniform"]

Integers = npt.NDArray[np.int64]


def extremes(graph: Graph) -> tuple[Integers, ...]:
    """Two samples: every integer the smallest of its grid, and every integer the largest."""
    return tuple(
        np.stack([np.full(v.shape, v.grid.lo), np.full(v.shape, v.grid.hi)]).astype(np.int64)
        for v in (each.value for each in graph.inputs)
    )


def uniform(graph: Graph, rows: int, rng: np.random.Generator) -> tuple[Integers, ...]:
    """Random samples; in every fourth one each integer is one of the two ends of its grid.

    Ends drive sums to their limits, where a register that is too narrow shows.
    """
    arrays = []
    for value in (each.value for each in graph.inputs):
        lo, hi = value.grid.lo, value.grid.hi
        array = rng.integers(lo, hi, size=(rows, *value.shape), dtype=np.int64, endpoint=True)
        corners = array[::4]
        corners[...] = np.where(rng.random(corners.shape) < 0.5, lo, hi)
        arrays.append(array)
    return tuple(arrays)
