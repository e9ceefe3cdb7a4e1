"""How many look-up tables of six inputs a circuit takes, estimated without any tool.

An adder or a comparison takes one table a bit of its carry chain, a selection one a bit, a function
of few bits as many as its entries ask for. Synthesis finds some of it twice or merges it: see
`pareq.backends.verilog.area` for what is counted then.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil

from pareq.backends.verilog.circuit import Circuit, Node

__all__ = ["INPUTS", "cost", "estimate", "reduction", "tables"]

INPUTS = 6  # of a look-up table


def estimate(circuit: Circuit, nodes: Iterable[int]) -> float:
    """Tables for some nodes of a circuit."""
    return float(sum(cost(circuit, node) for node in nodes))


def reduction(bits: int) -> int:
    """Tables for one bit from so many, such as whether any is set."""
    return ceil((bits - 1) / (INPUTS - 1)) if bits > 1 else 0


def tables(entries: Sequence[int], width: int) -> int:
    """Tables for a function of `width` bits, given by its entries; missing ones may be anything."""
    low = min(entries)
    shifted = [each - low if low < 0 else each for each in entries]
    size = 1 << width
    padded = (*shifted, *[shifted[-1]] * (size - len(shifted)))
    bits = max(shifted).bit_length()
    return sum(_function(_column(padded, bit), width) for bit in range(bits))


def _column(entries: Sequence[int], bit: int) -> int:
    """One bit of all entries as the bits of one integer."""
    return sum(((n >> bit) & 1) << i for i, n in enumerate(entries))


@lru_cache(maxsize=100_000)
def _function(column: int, width: int) -> int:
    """Tables for one function of `width` bits: split by the highest bit until they fit.

    Two halves that differ meet in a multiplexer that costs nothing behind tables (MUXF7, MUXF8).
    """
    for bit in range(width):
        low, high = _halves(column, width, bit)
        if low == high:  # the function does not depend on that bit
            return _function(low, width - 1)
    if width < 2:  # a constant, a wire, an inverter
        return 0
    if width <= INPUTS:
        return 1
    low, high = _halves(column, width, width - 1)
    whole = (1 << (1 << (width - 1))) - 1
    if high in (0, whole, low ^ whole) or low in (0, whole):
        return 1 + max(_function(low, width - 1), _function(high, width - 1))
    return _function(low, width - 1) + _function(high, width - 1)


def _halves(column: int, width: int, bit: int) -> tuple[int, int]:
    """What a function is where a bit is 0, and where it is 1."""
    block, low, high = 1 << bit, 0, 0
    mask = (1 << block) - 1
    for n in range(1 << (width - 1 - bit)):
        pair = column >> (2 * n * block)
        low |= (pair & mask) << (n * block)
        high |= ((pair >> block) & mask) << (n * block)
    return low, high


def cost(circuit: Circuit, number: int) -> float:
    """Tables for one node."""
    node = circuit.nodes[number]
    operands = [circuit.nodes[each] for each in node.operands]
    if node.kind == "sum":
        return 0 if circuit.delay(number) == 0 else _adder(node)
    if node.kind == "table":
        return tables(node.detail[1:], operands[0].width)
    if node.kind == "function":
        widths = [each.width for each in operands]
        return tables(node.detail[len(widths) :], sum(widths))
    if node.kind == "clamp":
        return _clamp(node, operands[0])
    if node.kind == "above":
        return _above(operands[0], node.detail[0])
    if node.kind == "even":
        return 1 + reduction(node.detail[0])
    if node.kind == "ahead":
        return max(each.width for each in operands)
    if node.kind == "product":
        return operands[0].width * operands[1].width
    return node.width if node.kind == "select" else 0


def _adder(node: Node) -> int:
    """Bits of the carry chain: low bits that only one operand has are wires, if not negated."""
    i, j, less = node.detail
    return node.width if i and less else node.width - max(i, j)


def _clamp(node: Node, operand: Node) -> float:
    lo, hi = node.detail
    ends = (operand.hi > hi and (hi + 1, hi)) or None, (operand.lo < lo and (lo, lo)) or None
    found = sum(_above(operand, each[0]) for each in ends if each)
    return found + node.width


def _above(operand: Node, number: int) -> float:
    size = abs(number)
    if number == 0:
        return 0
    if size & (size - 1) == 0:
        return reduction(operand.width - size.bit_length() + 1)
    return operand.width
