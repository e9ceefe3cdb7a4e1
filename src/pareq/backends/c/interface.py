"""What the C functions of a model take and give."""

from dataclasses import dataclass

import numpy.typing as npt

from pareq.backends.c.scene import Array
from pareq.backends.c.text import Names
from pareq.backends.c.types import CType, narrowest
from pareq.ir.graph import Graph, Value

__all__ = ["Interface", "Port", "interface"]


@dataclass(frozen=True)
class Port:
    """An input or output of the C function: its name, its type and the value it holds."""

    name: str
    type: CType
    value: Value

    @property
    def dtype(self) -> npt.DTypeLike:
        """The type as numpy spells it."""
        return self.type.dtype

    @property
    def size(self) -> int:
        """Integers a sample."""
        return Array("", self.type, self.value.shape).size


@dataclass(frozen=True)
class Interface:
    """The ports of a model in the order of its arguments."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def arguments(self) -> str:
        """The parameters of the C functions without the number of samples."""
        made = [f"{port.type.name} *{port.name}" for port in self.outputs]
        return ", ".join([self.given, *made])

    @property
    def given(self) -> str:
        """The parameters that are inputs."""
        return ", ".join(f"const {port.type.name} *{port.name}" for port in self.inputs)


def interface(graph: Graph) -> Interface:
    """Types follow from grids of inputs and ranges of outputs. Raises BackendError."""
    names, ranges = Names(), graph.ranges()
    inputs = [
        Port(_port("x", i, len(graph.inputs), names), narrowest(v.grid.lo, v.grid.hi), v)
        for i, v in enumerate(each.value for each in graph.inputs)
    ]
    outputs = [
        Port(_port("y", i, len(graph.outputs), names), narrowest(*ranges[n].limits), graph.value(n))
        for i, n in enumerate(graph.outputs)
    ]
    return Interface(tuple(inputs), tuple(outputs))


def _port(letter: str, number: int, count: int, names: Names) -> str:
    return names.free(letter if count == 1 else f"{letter}{number}")
