"""The buses of a design, and integers as the hexadecimal lines that a test bench reads."""

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from pareq.backends.c.text import Names
from pareq.backends.verilog.names import KEYWORDS
from pareq.errors import BackendError
from pareq.ir.graph import Graph, Value

__all__ = ["Port", "Ports", "ports"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Port:
    """A bus that holds all elements of a value in C order, the first in the lowest bits.

    width: bits of one element; signed: in two's complement.
    """

    name: str
    value: Value
    width: int
    signed: bool

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.value.shape)

    @property
    def bits(self) -> int:
        """Bits of the bus."""
        return self.size * self.width

    def pack(self, n: Integers) -> list[str]:
        """One hexadecimal number a row of `(N, *shape)`."""
        places = np.arange(self.width, dtype=np.int64)
        bits = (n.reshape(len(n), -1, 1) >> places & 1).astype(np.uint8)
        rows = np.packbits(bits.reshape(len(n), -1), axis=1, bitorder="little")[:, ::-1]
        return [row.tobytes().hex() for row in rows]

    def unpack(self, lines: list[str]) -> Integers:
        """`(N, *shape)` from one hexadecimal number a row. Raises BackendError for unknown bits."""
        digits = -(-self.bits // 8) * 2
        try:
            whole = b"".join(bytes.fromhex(line.zfill(digits)) for line in lines)
        except ValueError:
            raise BackendError(
                f"{self.name} has bits that are not known; report it with the graph"
            ) from None
        rows = np.frombuffer(whole, dtype=np.uint8).reshape(len(lines), digits // 2)[:, ::-1]
        bits = np.unpackbits(rows, axis=1, count=self.bits, bitorder="little").astype(np.int64)
        places = np.left_shift(1, np.arange(self.width, dtype=np.int64))
        places[-1] *= -1 if self.signed else 1
        found = bits.reshape(-1, self.width) @ places
        return found.reshape(len(lines), *self.value.shape)


@dataclass(frozen=True)
class Ports:
    """Inputs and outputs in the order of the graph."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def ports(graph: Graph) -> Ports:
    """Inputs have the bits of their grids, outputs those that their range needs."""
    names, ranges = Names({*KEYWORDS, "clk"}), graph.ranges()
    inputs = [each.value for each in graph.inputs]
    outputs = [graph.value(name) for name in graph.outputs]
    return Ports(
        tuple(
            _port(_name("x", i, len(inputs), names), v, v.grid.lo, v.grid.hi)
            for i, v in enumerate(inputs)
        ),
        tuple(
            _port(_name("y", i, len(outputs), names), v, *ranges[v.name].limits)
            for i, v in enumerate(outputs)
        ),
    )


def _port(name: str, value: Value, lo: int, hi: int) -> Port:
    signed = lo < 0
    wide = max((-lo - 1).bit_length() if signed else 0, max(hi, 0).bit_length()) + signed
    return Port(name, value, max(wide, 1), signed)


def _name(letter: str, number: int, count: int, names: Names) -> str:
    return names.free(letter if count == 1 else f"{letter}{number}")
