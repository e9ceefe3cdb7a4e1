"""Nodes as Verilog expressions.

All vectors are unsigned for the language: signs are extended by repeating the highest bit, so that
no rule about widths or signs of contexts decides what is computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pareq.backends.verilog.circuit import Node

__all__ = ["EXPRESSIONS", "Wire", "literal", "repeated"]


@dataclass(frozen=True)
class Wire:
    """A node under the name that it has where it is read."""

    name: str
    node: Node

    def bits(self, width: int, low: int = 0) -> str:
        """`width` bits of the number >> low, however wide the wire is."""
        node = self.node
        if node.kind == "constant":
            return literal(node.lo >> low, width)
        sign = f"{self.name}[{node.width - 1}]"
        have = node.width - low
        if have <= 0:
            return repeated(sign, width) if node.signed else literal(0, width)
        if have >= width:
            return self.cut(low + width - 1, low)
        fill = repeated(sign, width - have) if node.signed else literal(0, width - have)
        return f"{{{fill}, {self.cut(node.width - 1, low)}}}"

    def cut(self, high: int, low: int) -> str:
        """Bits high..low."""
        if (high, low) == (self.node.width - 1, 0):
            return self.name
        return f"{self.name}[{high}]" if high == low else f"{self.name}[{high}:{low}]"


def literal(number: int, width: int) -> str:
    """A constant of so many bits."""
    size = number & ((1 << width) - 1)
    return f"{width}'d{size}" if width <= 32 else f"{width}'h{size:x}"


def repeated(bit: str, times: int) -> str:
    """A bit so many times."""
    return bit if times == 1 else f"{{{times}{{{bit}}}}}"


Wires = Sequence[Wire]


def add(node: Node, wires: Wires) -> str:
    """(a << i) + (b << j), or minus; low bits that only one operand has are only wires."""
    (a, b), (i, j, less), width = wires, node.detail, node.width
    sign = "-" if less else "+"
    if i and less:
        return f"{_raised(a, width, i)} - {b.bits(width)}"
    if i:
        a, b, j = b, a, i
    if j >= width:
        return a.bits(width)
    left, right = a.bits(width - j, j), b.bits(width - j)
    high = f"{left} {sign} {right}"
    if left == literal(0, width - j):
        high = right if not less else f"-{right}"
    return f"{{{high}, {a.bits(j)}}}" if j else high


def left(node: Node, wires: Wires) -> str:
    """Shifted a << i."""
    return _raised(wires[0], node.width, node.detail[0])


def right(node: Node, wires: Wires) -> str:
    """Shifted a >> i."""
    return wires[0].bits(node.width, node.detail[0])


def invert(node: Node, wires: Wires) -> str:
    """-1 - a."""
    return f"~{wires[0].bits(node.width)}"


def even(node: Node, wires: Wires) -> str:
    """Shifted a >> i with the last bit cleared at a tie."""
    (a,), (shift,) = wires, node.detail
    last = f"{a.bits(1, shift)} & (|{a.bits(shift)})"
    return f"{{{a.bits(node.width - 1, shift + 1)}, {last}}}" if node.width > 1 else last


def clamp(node: Node, wires: Wires) -> str:
    """min(max(a, lo), hi)."""
    (a,), (lo, hi), width = wires, node.detail, node.width
    inner = a.bits(width)
    if a.node.hi > hi:
        inner = f"{above(a, hi + 1)} ? {literal(hi, width)} : {inner}"
    if a.node.lo < lo:
        inner = f"{above(a, lo)} ? ({inner}) : {literal(lo, width)}"
    return inner


def above(a: Wire, number: int) -> str:
    """Whether a >= number, by its bits where number is 0 or a power of two."""
    width, signed = a.node.width, a.node.signed
    sign = f"{a.name}[{width - 1}]"
    if number == 0:
        return f"~{sign}"
    if number > 0 and number & (number - 1) == 0:
        some = f"(|{a.cut(width - 1 - signed, number.bit_length() - 1)})"
        return f"(~{sign} & {some})" if signed else some
    if number < 0 and -number & (-number - 1) == 0:
        return f"(~{sign} | (&{a.cut(width - 2, (-number).bit_length() - 1)}))"
    if signed:
        return f"($signed({a.name}) >= $signed({literal(number, width)}))"
    return f"({a.name} >= {literal(number, width)})"


def ahead(node: Node, wires: Wires) -> str:
    """Whether a >= b."""
    a, b = wires
    signed = a.node.signed or b.node.signed
    width = max(each.node.width + (signed and not each.node.signed) for each in wires)
    pair = (a.bits(width), b.bits(width))
    return " >= ".join(f"$signed({each})" if signed else each for each in pair)


def select(node: Node, wires: Wires) -> str:
    """One of two: c ? a : b."""
    c, a, b = wires
    return f"{c.name} ? {a.bits(node.width)} : {b.bits(node.width)}"


def product(node: Node, wires: Wires) -> str:
    """The product a b, signed."""
    return " * ".join(f"$signed({each.bits(node.width)})" for each in wires)


def compared(node: Node, wires: Wires) -> str:
    """Whether a >= n."""
    return above(wires[0], node.detail[0])


EXPRESSIONS: dict[str, Callable[[Node, Wires], str]] = {
    "sum": add,
    "left": left,
    "right": right,
    "invert": invert,
    "even": even,
    "clamp": clamp,
    "above": compared,
    "ahead": ahead,
    "select": select,
    "product": product,
}


def _raised(a: Wire, width: int, shift: int) -> str:
    return f"{{{a.bits(width - shift)}, {literal(0, shift)}}}" if shift else a.bits(width)
