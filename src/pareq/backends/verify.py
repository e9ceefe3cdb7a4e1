"""Hold a built artefact to the reference, integer by integer."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pareq.backends.base import Artefact, build
from pareq.backends.vectors import extremes, uniform
from pareq.errors import BackendError
from pareq.ir.execute import execute, quantize_inputs
from pareq.ir.graph import Graph

__all__ = ["Verification", "verify"]

Integers = npt.NDArray[np.int64]

_BATCH = 4096


@dataclass(frozen=True)
class Verification:
    """What was compared without a difference: samples, and integers of all outputs."""

    samples: int
    integers: int


def verify(
    artefact: Artefact, graph: Graph, *x: npt.ArrayLike, rows: int = 10_000, seed: int = 0
) -> Verification:
    """Compare every integer of every output with `pareq.ir.execute`.

    x: one array `(N, *shape)` an input, reals or integers of its grid, such as a test set; beside
    them the smallest and the largest integers everywhere, and `rows` random samples. Raises
    BackendError at the first difference, with op, sample, index and both integers.
    """
    count = integers = 0
    for kind, begin, arrays in _batches(graph, x, rows, seed):
        expected = execute(graph, *arrays).outputs
        found = artefact.run(*arrays)
        for name, a, b in zip(graph.outputs, found, expected, strict=True):
            if a.shape != b.shape:
                raise BackendError(f"output {name!r} has shape {a.shape}, the graph {b.shape}")
            place = _first(a, b)
            if place is not None:
                row = place[0]
                sample = f"{kind} sample {begin + row}"
                _explain(artefact, graph, [each[row : row + 1] for each in arrays], sample)
                raise _difference(artefact, f"output {name!r}", sample, (place, a, b))
            integers += a.size
        count += len(arrays[0]) if arrays else 1
    return Verification(count, integers)


def _batches(
    graph: Graph, x: tuple[npt.ArrayLike, ...], rows: int, seed: int
) -> Iterator[tuple[str, int, tuple[Integers, ...]]]:
    """(what, number of the first sample, inputs), in batches that memory can hold."""
    rng = np.random.default_rng(seed)
    sets = [("extreme", extremes(graph))]
    if x:
        sets.insert(0, ("given", _whole(graph, x)))
    for kind, arrays in sets:
        for begin in range(0, len(arrays[0]) if arrays else 1, _BATCH):
            yield kind, begin, tuple(each[begin : begin + _BATCH] for each in arrays)
    for begin in range(0, rows, _BATCH):
        yield "random", begin, uniform(graph, min(_BATCH, rows - begin), rng)


def _whole(graph: Graph, x: tuple[npt.ArrayLike, ...]) -> tuple[Integers, ...]:
    arrays = [np.asarray(each) for each in x]
    if all(each.dtype.kind in "iu" for each in arrays):
        return tuple(each.astype(np.int64) for each in arrays)
    return quantize_inputs(graph, *arrays)


def _explain(artefact: Artefact, graph: Graph, arrays: list[Integers], sample: str) -> None:
    """Raise BackendError with the first op whose result differs on one sample.

    For that the graph is built once more with every op as an output. Returns where that program
    shows no difference.
    """
    opened = replace(graph, outputs=tuple(op.name for op in graph.ops) or graph.outputs)
    expected = execute(opened, *arrays).outputs
    with tempfile.TemporaryDirectory() as folder:
        whole = build(opened, artefact.backend, Path(folder) / "opened", name=artefact.name)
        found = whole.run(*arrays)
    for op, a, b in zip(graph.ops, found, expected, strict=False):
        place = _first(a, b)
        if place is not None:
            raise _difference(artefact, f"op {op.name!r} ({op.kind})", sample, (place, a, b))


def _first(a: Integers, b: Integers) -> tuple[int, ...] | None:
    """Where two arrays first differ."""
    return None if np.array_equal(a, b) else tuple(np.argwhere(a != b)[0].tolist())


def _difference(
    artefact: Artefact, what: str, sample: str, found: tuple[tuple[int, ...], Integers, Integers]
) -> BackendError:
    place, a, b = found
    return BackendError(
        f"{what}, {sample}, index {list(place[1:])}: {artefact.backend.name} gives {a[place]}, "
        f"the graph {b[place]}; report it with the graph"
    )
