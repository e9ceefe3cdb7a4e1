"""What the emission of one model shares: the arrays of values and constants, and bounds on them."""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pareq.backends.c.nest import last, steps
from pareq.backends.c.text import Names, Text, array
from pareq.backends.c.types import CType, narrowest
from pareq.errors import BackendError
from pareq.ir.graph import Graph, Op

__all__ = ["Array", "Integers", "Scene"]

_STACK = 2**16  # bytes of one array

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Array:
    """Integers in memory: the C name, the type, the shape, and how far apart neighbours lie.

    steps: of each axis; default: C order.
    """

    name: str
    type: CType
    shape: tuple[int, ...]
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.steps:
            object.__setattr__(self, "steps", steps(self.shape))

    @property
    def size(self) -> int:
        """How many integers."""
        return math.prod(self.shape)

    @property
    def ordered(self) -> bool:
        """Whether the integers lie in C order."""
        own = zip(self.shape, self.steps, steps(self.shape), strict=True)
        return all(size == 1 or a == b for size, a, b in own)

    @property
    def channels_last(self) -> bool:
        """Whether the first axis is the fastest, and the others lie in C order."""
        return len(self.shape) > 1 and self.steps == last(self.shape, self.steps[-1])

    def along(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Steps for loops over a shape that the array is repeated to: 0 where it repeats."""
        missing = len(shape) - len(self.shape)
        own = [0 if size == 1 else step for size, step in zip(self.shape, self.steps, strict=True)]
        return (0,) * missing + tuple(own)


@dataclass
class Scene:
    """One graph on its way to C.

    constants: definitions at file scope; arrays: where each value is; uses: parts of the prelude
    that the text needs.
    """

    graph: Graph
    name: str
    constants: Text = field(default_factory=Text)
    names: Names = field(default_factory=Names)
    arrays: dict[str, Array] = field(default_factory=dict)
    uses: set[str] = field(default_factory=set)
    _fixed: dict[tuple[str, bytes], Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ranges = self.graph.ranges()

    def limits(self, name: str) -> tuple[int, int]:
        """The smallest and the largest integer that a value can take."""
        return self.ranges[name].limits

    def magnitude(self, name: str) -> int:
        """The largest magnitude that a value can take."""
        return max(map(abs, self.limits(name)))

    def type_of(self, name: str) -> CType:
        """The narrowest type for all integers that a value can take."""
        return narrowest(*self.limits(name))

    def fixed(self, name: str, data: Integers, kind: CType | None = None) -> Array:
        """An array of constants at file scope, written once for equal data; default: narrowest."""
        kind = kind or narrowest(int(data.min(initial=0)), int(data.max(initial=0)))
        key = (kind.name, data.tobytes())
        if key not in self._fixed:
            label = self.names.free(f"{self.name}_{name}")
            self.constants.add(array(kind.name, label, data))
            self._fixed[key] = Array(label, kind, data.shape)
        found = self._fixed[key]
        return Array(found.name, found.type, data.shape)

    def local(self, text: Text, made: Array) -> None:
        """Define an array inside a function; a large one is not put on the stack."""
        where = ""
        if made.size * made.type.bytes > _STACK:
            self.uses.add("thread")
            where = f"{self.name.upper()}_THREAD "
        text.line(f"{where}{made.type.name} {made.name}[{made.size}];")

    def operand(self, name: str) -> Array:
        """The array of a value or constant that an op reads."""
        data = self.graph.constant(name)
        if data is not None:
            return self.fixed(name, data)
        return self.arrays[name]

    def data(self, op: Op, place: int) -> Integers:
        """The constant that is operand number `place` of an op. Raises BackendError."""
        found = self.graph.constant(op.inputs[place])
        if found is None:
            raise BackendError(f"op {op.name!r}: operand {op.inputs[place]!r} is not a constant")
        return found
