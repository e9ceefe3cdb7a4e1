"""An ONNX graph as plain data: nodes, arrays and ports, before `onnx` makes a model of it."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Attributes", "Node", "Port", "Sheet"]

Array = npt.NDArray[np.generic]
Attribute = int | float | str | tuple[int, ...]
Attributes = Mapping[str, Attribute]


@dataclass(frozen=True)
class Node:
    """One node; origin: the path of the module it comes from; domain: "" is ONNX itself."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes
    origin: str
    domain: str


@dataclass(frozen=True)
class Port:
    """An input or output of the model: numbers of `dtype`, a batch axis and `shape` behind it."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    batch: str | int = "N"


@dataclass
class Sheet:
    """Nodes in order, the arrays that they read, and the ports of the model.

    opsets: the version of each domain of ops; fours: the arrays that are stored in 4 bits.
    """

    opsets: dict[str, int]
    nodes: list[Node] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    fours: set[str] = field(default_factory=set)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)
    _known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    _renamed: dict[str, str] = field(default_factory=dict)
    _place: tuple[str, str] = ("", "")

    def free(self, name: str) -> str:
        """The name, or it with a number where it is taken."""
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found

    @contextmanager
    def at(self, name: str, origin: str = "") -> Iterator[None]:
        """What is added inside is named after `name`, and comes from the module `origin`."""
        before, self._place = self._place, (name, origin)
        yield
        self._place = before

    def rename(self, tensor: str, name: str) -> str:
        """Give a tensor the name of an output, by an Identity where it must keep its own."""
        last, tensor = self.free(name), self._renamed.get(tensor, tensor)
        ports = {port.name for port in (*self.inputs, *self.outputs)}
        if tensor in ports or tensor in self.arrays:
            made = Node("Identity", self.free(f"{name}/Identity"), (tensor,), (last,), {}, "", "")
            self.nodes.append(made)
            return last
        self.nodes = [
            replace(
                node,
                inputs=tuple(last if each == tensor else each for each in node.inputs),
                outputs=tuple(last if each == tensor else each for each in node.outputs),
            )
            for node in self.nodes
        ]
        self._renamed[tensor] = last
        return last

    def array(self, data: npt.ArrayLike, name: str = "", *, four: bool = False) -> str:
        """Keep an array, once, and return its name; four: integers of 4 bits."""
        kept = np.asarray(data, order="C")
        digest = hashlib.sha256(kept.tobytes()).digest()
        key = (kept.dtype.str + "4" * four, kept.shape, digest)
        if key not in self._known:
            found = self.free(name or f"{self._place[0]}/constant")
            self._known[key], self.arrays[found] = found, kept
            if four:
                self.fours.add(found)
        return self._known[key]

    def add(
        self,
        kind: str,
        *inputs: str | Array,
        attributes: Attributes | None = None,
        outputs: int = 1,
        domain: str = "",
    ) -> str:
        """Add a node, with names or arrays as inputs; return the name of its last result."""
        where, origin = self._place
        name = self.free(f"{where}/{kind}")
        names = (each if isinstance(each, str) else self.array(each) for each in inputs)
        made = (*(self.free(f"{name}:{i}") for i in range(1, outputs)), name)
        read = tuple(self._renamed.get(each, each) for each in names)
        self.nodes.append(Node(kind, name, read, made, attributes or {}, origin, domain))
        return name
