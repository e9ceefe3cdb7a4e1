"""How often a QDQ model gives other integers than its graph, and why."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pareq.backends.base import Artefact, build
from pareq.backends.onnx.backend import linear
from pareq.backends.onnx.qdq import Line
from pareq.backends.vectors import extremes, uniform
from pareq.ir.execute import execute, quantize_inputs
from pareq.ir.graph import Graph

__all__ = ["Differences", "differences"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Differences:
    """Samples compared, those with another integer at an output, and the largest difference.

    ties: of the differing samples, those where an op rounds a number so near to the middle between
    two integers that float32 cannot tell on which side it lies, before anything else differs.
    """

    samples: int
    differing: int
    largest: int
    ties: int

    def __str__(self) -> str:
        share = 100 * self.differing / max(self.samples, 1)
        return (
            f"{self.differing} of {self.samples} samples differ ({share:.3g} %), by {self.largest} "
            f"at most; {self.ties} of them begin within float32 of a rounding tie"
        )


def differences(
    artefact: Artefact, graph: Graph, *x: npt.ArrayLike, rows: int = 10_000, seed: int = 0
) -> Differences:
    """Compare a built artefact with the graph, and count instead of raising.

    x, rows, seed: as for `verify`. Raises BackendError.
    """
    arrays = _inputs(graph, x, rows, seed)
    expected = execute(graph, *arrays).outputs
    count = len(expected[0])
    apart = np.zeros(count, dtype=np.int64)
    for a, b in zip(artefact.run(*arrays), expected, strict=True):
        apart = np.maximum(apart, np.abs(a - b).reshape(count, -1).max(axis=1, initial=0))
    wrong = np.flatnonzero(apart)
    ties = _ties(artefact, graph, [each[wrong] for each in arrays]) if wrong.size else 0
    return Differences(count, len(wrong), int(apart.max(initial=0)), ties)


def _inputs(graph: Graph, x: tuple[npt.ArrayLike, ...], rows: int, seed: int) -> list[Integers]:
    sets = [extremes(graph), uniform(graph, rows, np.random.default_rng(seed))]
    if x:
        whole = all(np.asarray(each).dtype.kind in "iu" for each in x)
        given = tuple(np.asarray(each, dtype=np.int64) for each in x) if whole else None
        sets.append(given or quantize_inputs(graph, *x))
    return [np.concatenate(each) for each in zip(*sets, strict=True)]


def _ties(artefact: Artefact, graph: Graph, arrays: list[Integers]) -> int:
    """How many samples first differ at an op that rounds, on a number within its float32 error."""
    opened = replace(graph, outputs=tuple(op.name for op in graph.ops))
    expected = dict(zip(opened.outputs, execute(opened, *arrays).outputs, strict=True))
    expected |= {each.name: n for each, n in zip(graph.inputs, arrays, strict=True)}
    with tempfile.TemporaryDirectory() as folder:
        whole = build(opened, artefact.backend, Path(folder) / "opened", name=artefact.name)
        found = dict(zip(opened.outputs, whole.run(*arrays), strict=True))
    lines = linear(graph)[1].lines
    count = len(arrays[0])
    clean, ties = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
    for op in graph.ops:
        off = found[op.name] != expected[op.name]
        rows = off.reshape(count, -1).any(axis=1)
        if op.name in lines and op.inputs[0] in expected:
            near = _near(lines[op.name], expected[op.inputs[0]])
            ties |= clean & rows & (near | ~off).reshape(count, -1).all(axis=1)
        clean &= ~rows
    return int(ties.sum())


def _near(line: Line, n: Integers) -> npt.NDArray[np.bool_]:
    """Where float32 may round to the other side."""
    steps = line.factor * n + line.offset
    return np.asarray(np.abs(steps - np.floor(steps) - 0.5) <= line.bound)
