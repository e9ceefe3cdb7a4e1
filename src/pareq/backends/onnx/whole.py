"""The integer tensors of a graph on their way into ONNX: their names, types and limits."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pareq.backends.onnx.sheet import Array, Sheet
from pareq.errors import BackendError
from pareq.ir.graph import Graph, Op, Range

__all__ = ["DType", "Scene", "Whole", "fitting"]

DType = np.dtype[np.generic]
Integers = npt.NDArray[np.int64]


def fitting(*ends: int) -> DType:
    """int32 where it holds these integers, else int64. Raises BackendError beyond that."""
    low, high = min(ends), max(ends)
    for dtype in (np.dtype(np.int32), np.dtype(np.int64)):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    raise BackendError(f"needs {low}..{high}, int64 holds less; use fewer bits, or the C back end")


@dataclass(frozen=True)
class Whole:
    """A tensor of integers in the model, without its limits."""

    name: str
    dtype: DType


@dataclass
class Scene:
    """A graph, the sheet it is written on, and where its values are found there.

    A value is written once, in whatever type is at hand, and cast once for each other type. What
    depends on constants alone has a batch axis of size 1.
    """

    graph: Graph
    sheet: Sheet
    ranges: dict[str, Range] = field(init=False)
    _made: dict[str, Whole] = field(default_factory=dict)
    _casts: dict[tuple[str, DType], str] = field(default_factory=dict)
    _fixed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ranges = self.graph.ranges()
        self._fixed |= {each.name for each in self.graph.constants}

    def limits(self, name: str) -> tuple[int, int]:
        """The smallest and the largest integer that a value can take."""
        return self.ranges[name].limits

    def dtype(self, *names: str) -> DType:
        """int32 where it holds all of these values, else int64."""
        return fitting(*(end for name in names for end in self.limits(name)))

    def shape(self, name: str) -> tuple[int, ...]:
        """Without the batch axis."""
        return self.graph.value(name).shape

    def constant(self, name: str) -> Integers:
        """The data of an operand that must be a constant."""
        data = self.graph.constant(name)
        if data is None:
            raise BackendError(f"{name!r} is no constant, expected one; check the graph")
        return data

    def fixed(self, name: str) -> bool:
        """Whether a value is the same for every sample."""
        return name in self._fixed

    def enter(self, name: str, tensor: str, dtype: npt.DTypeLike) -> None:
        """A value of the graph is this tensor."""
        self._made[name] = Whole(tensor, np.dtype(dtype))

    def made(self, op: Op, tensor: str, dtype: npt.DTypeLike) -> Whole:
        """The result of an op."""
        return Whole(tensor, np.dtype(dtype))

    def keep(self, op: Op, whole: Whole) -> None:
        """The op has this result."""
        self._made[op.name] = whole
        if all(self.fixed(name) for name in op.inputs):
            self._fixed.add(op.name)

    def read(self, name: str, dtype: npt.DTypeLike) -> str:
        """The tensor of a value in a type that holds it."""
        data = self.graph.constant(name)
        if data is not None:
            return self.sheet.array(data[None].astype(dtype), name)
        return self.cast(self._made[name], dtype)

    def whole(self, name: str) -> Whole:
        """The tensor of a value in the type it was written in."""
        if self.graph.constant(name) is None:
            return self._made[name]
        dtype = self.dtype(name)
        return Whole(self.read(name, dtype), dtype)

    def cast(self, whole: Whole, dtype: npt.DTypeLike) -> str:
        """The same integers in another type."""
        wanted = np.dtype(dtype)
        if whole.dtype == wanted:
            return whole.name
        key = (whole.name, wanted)
        if key not in self._casts:
            self._casts[key] = self.sheet.add("Cast", whole.name, attributes={"to": wanted.name})
        return self._casts[key]

    def larger(self, a: str, b: str | Array, dtype: DType, kind: str = "Max") -> str:
        """Max, or Min, of tensors.

        ONNX Runtime 1.31 has wrong results there for int64 beyond 32 bits on some processors (pull
        request 32475), so that they are compared and chosen.
        """
        if dtype != np.int64:
            return self.sheet.add(kind, a, b)
        sides = (a, b) if kind == "Max" else (b, a)
        return self.sheet.add("Where", self.sheet.add("GreaterOrEqual", a, b), *sides)

    def clamped(self, x: str, dtype: DType, reach: tuple[int, int], limits: tuple[int, int]) -> str:
        """A tensor of integers in `reach`, brought into `limits`."""
        if reach[0] < limits[0]:
            x = self.larger(x, np.array(limits[0], dtype=dtype), dtype)
        if reach[1] > limits[1]:
            x = self.larger(x, np.array(limits[1], dtype=dtype), dtype, "Min")
        return x

    def aligned(self, op: Op, dtype: DType) -> list[str]:
        """The operands, axes of size 1 behind the batch axis where one has fewer than others."""
        rank, found = len(op.output.shape), []
        for name in op.inputs:
            shape, tensor = self.shape(name), self.read(name, dtype)
            if len(shape) < rank:
                whole = np.array([0, *(1,) * (rank - len(shape)), *shape], dtype=np.int64)
                tensor = self.sheet.add("Reshape", tensor, whole)
            found.append(tensor)
        return found

    def batched(self, name: str, tensor: str, others: Sequence[str]) -> str:
        """A tensor with as many samples as one of some values that are not all fixed."""
        moving = [each for each in others if not self.fixed(each)]
        if not moving or not self.fixed(name):
            return tensor
        like = self._made[moving[0]].name
        first, one = (np.array([n], dtype=np.int64) for n in (0, 1))
        count = self.sheet.add("Slice", self.sheet.add("Shape", like), first, one)
        shape = np.array(self.shape(name), dtype=np.int64)
        whole = self.sheet.add("Concat", count, shape, attributes={"axis": 0})
        return self.sheet.add("Expand", tensor, whole)
