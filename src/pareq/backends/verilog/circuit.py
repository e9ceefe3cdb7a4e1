"""A circuit of integers: nodes that each hold one integer of a known range, all shared where equal.

| kind | operands; detail | integer |
|---|---|---|
| input | ; port, index | an element of a port |
| constant | ; n | n |
| sum | a, b; i, j, less | (a << i) + (b << j), or minus |
| left, right | a; i | a << i, a >> i (rounded down) |
| invert | a | -1 - a |
| even | a; i | a >> i, its last bit cleared where the bits that went are 0: ties to even |
| clamp | a; lo, hi | min(max(a, lo), hi) |
| above | a; n | a >= n |
| ahead | a, b | a >= b |
| select | c, a, b | c ? a : b |
| product | a, b | a b |
| table | a; first, entries... | entries[a - first] |
| function | a, b, ...; their widths, entries... | entries[bits of all, those of a lowest] |

Sums are given as `Term`s: digits that are added when the integer is needed. An offset waits there
until it can be added for less.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Circuit", "Digit", "Node", "Term"]


@dataclass(frozen=True, slots=True)
class Node:
    """One integer in lo..hi; owner: the place in the graph that asked for it first."""

    kind: str
    operands: tuple[int, ...]
    detail: tuple[int, ...]
    lo: int
    hi: int
    owner: int

    @property
    def signed(self) -> bool:
        """Whether it is a number in two's complement."""
        return self.lo < 0

    @property
    def width(self) -> int:
        """How many bits it needs."""
        if self.lo < 0:
            return max((-self.lo - 1).bit_length(), max(self.hi, 0).bit_length()) + 1
        return max(self.hi.bit_length(), 1)


@dataclass(frozen=True, slots=True)
class Digit:
    """sign * (node << shift)."""

    node: int
    shift: int
    sign: int

    def times(self, shift: int, sign: int) -> "Digit":
        """The digit times sign * 2^shift."""
        return Digit(self.node, self.shift + shift, self.sign * sign)


@dataclass(frozen=True, slots=True)
class Term:
    """A sum of digits and an offset."""

    digits: tuple[Digit, ...]
    offset: int = 0

    def plus(self, offset: int) -> "Term":
        """The term with more offset."""
        return Term(self.digits, self.offset + offset)

    def times(self, shift: int, sign: int) -> "Term":
        """The term times sign * 2^shift."""
        digits = tuple(each.times(shift, sign) for each in self.digits)
        return Term(digits, sign * (self.offset << shift))


_WIDEST_FORM = 1024  # products of a linear form that are kept to know a range exactly
_DELAYS = {"sum": 2, "even": 1, "clamp": 1, "above": 1, "ahead": 2, "select": 1, "product": 6}


class Circuit:
    """Nodes in the order in which they were made; operands come before results.

    owner: given to the nodes that are made from now on.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.ready: list[int] = []  # halves of adder levels after the inputs
        self.owner = -1
        self._known: dict[tuple[str, tuple[int, ...], tuple[int, ...]], int] = {}
        self._forms: list[tuple[Mapping[int, int], int]] = []
        self._settled: dict[Term, Digit] = {}

    def delay(self, node: int) -> int:
        """Halves of an adder level that a node takes; 0 where it is only wiring."""
        at = self.nodes[node]
        if at.kind in ("table", "function"):
            return 1 if sum(self.nodes[each].width for each in at.operands) <= 6 else 2
        if at.kind == "sum" and self._is_wiring(at):
            return 0
        return _DELAYS.get(at.kind, 0)

    def input(self, port: int, index: int, lo: int, hi: int) -> Term:
        """An element of an input."""
        return self.term(self._node("input", (), (port, index), lo, hi))

    def constant(self, number: int) -> int:
        """The node of a constant."""
        return self._node("constant", (), (number,), number, number)

    def term(self, node: int) -> Term:
        """A node as a term."""
        at = self.nodes[node]
        return Term((), at.lo) if at.kind == "constant" else Term((Digit(node, 0, 1),))

    def range(self, digit: Digit) -> tuple[int, int]:
        """The smallest and the largest integer of a digit."""
        at = self.nodes[digit.node]
        ends = digit.sign * (at.lo << digit.shift), digit.sign * (at.hi << digit.shift)
        return min(ends), max(ends)

    def add(self, a: Digit, b: Digit, *, positive: bool = False) -> Digit:
        """The sum of two digits; positive: with sign 1 where one of the signs is."""
        if self._zero(a) or self._zero(b):
            return b if self._zero(a) else a
        if (a.node, a.shift) == (b.node, b.shift):
            return a.times(1, 1) if a.sign == b.sign else Digit(self.constant(0), 0, 1)
        first, second = sorted((a, b), key=lambda each: (each.shift, each.node))
        if positive and first.sign < second.sign:
            first, second = second, first
        low, less = min(a.shift, b.shift), int(a.sign != b.sign)
        detail = (first.shift - low, second.shift - low, less)
        return Digit(self._sum((first.node, second.node), detail), low, first.sign)

    def settle(self, term: Term) -> Digit:
        """All digits and the offset added up, those that are ready first; the sign is any."""
        found = self._settled.get(term)
        if found is None:
            digits = list(term.digits)
            if term.offset or not digits:
                shift = (term.offset & -term.offset).bit_length() - 1 if term.offset else 0
                size = self.constant(abs(term.offset) >> shift)
                digits.append(Digit(size, shift, 1 if term.offset >= 0 else -1))
            found = self._settled[term] = self._tree(digits)
        return found

    def node(self, term: Term) -> int:
        """The node that holds the integer of a term."""
        digit = self.settle(term)
        if digit.sign > 0:
            return self.left(digit.node, digit.shift)
        # -v = not (v - 1): inverters cost nothing, a negation does
        flipped = self.settle(term.times(0, -1).plus(-1))
        if flipped.sign > 0:
            return self.invert(self.left(flipped.node, flipped.shift))
        zero = Digit(self.constant(0), 0, 1)
        detail = (0, digit.shift, 1)
        return self._sum((zero.node, digit.node), detail)

    def left(self, a: int, shift: int) -> int:
        """The node of a << shift."""
        return self._of(a, "left", (shift,), lambda n: n << shift) if shift else a

    def right(self, a: int, shift: int) -> int:
        """The node of a >> shift, rounded down; negative shifts go left."""
        if shift <= 0:
            return self.left(a, -shift)
        at = self.nodes[a]
        if at.kind == "invert":  # inverters go last: logic behind a register takes them in
            return self.invert(self.right(at.operands[0], shift))
        return self._of(a, "right", (shift,), lambda n: n >> shift)

    def even(self, a: int, shift: int) -> int:
        """The node of a >> shift, its last bit cleared where no bit is lost; shift >= 1."""
        low = (1 << shift) - 1
        return self._of(a, "even", (shift,), lambda n: (n >> shift) & ~(0 if n & low else 1))

    def invert(self, a: int) -> int:
        """-1 - a."""
        return self._of(a, "invert", (), lambda n: -1 - n)

    def clamp(self, a: int, lo: int, hi: int) -> int:
        """min(max(a, lo), hi)."""
        at = self.nodes[a]
        if lo <= at.lo and at.hi <= hi:
            return a
        return self._of(a, "clamp", (lo, hi), lambda n: min(max(n, lo), hi))

    def above(self, a: int, number: int) -> int:
        """Whether a >= number."""
        return self._of(a, "above", (number,), lambda n: int(n >= number))

    def ahead(self, a: int, b: int) -> int:
        """Whether a >= b."""
        left, right = self.nodes[a], self.nodes[b]
        if left.lo >= right.hi or left.hi < right.lo:
            return self.constant(int(left.lo >= right.hi))
        if right.lo == right.hi:
            return self.above(a, right.lo)
        if left.lo == left.hi:
            return self.select(self.above(b, left.lo + 1), self.constant(0), self.constant(1))
        return self._node("ahead", (a, b), (), 0, 1)

    def select(self, c: int, a: int, b: int) -> int:
        """The node of c ? a : b."""
        at, left, right = self.nodes[c], self.nodes[a], self.nodes[b]
        if at.lo == at.hi or a == b:
            return a if at.lo else b
        lo, hi = min(left.lo, right.lo), max(left.hi, right.hi)
        return self._node("select", (c, a, b), (), lo, hi)

    def product(self, a: int, b: int) -> int:
        """The node of a b, neither being a constant."""
        left, right = self.nodes[a], self.nodes[b]
        ends = [m * n for m in (left.lo, left.hi) for n in (right.lo, right.hi)]
        lo = 0 if a == b and left.lo < 0 < left.hi else min(ends)
        return self._node("product", (min(a, b), max(a, b)), (), lo, max(ends))

    def table(self, a: int, first: int, entries: tuple[int, ...]) -> int:
        """entries[a - first]."""
        at = self.nodes[a]
        met = entries[at.lo - first : at.hi - first + 1]
        return self._node("table", (a,), (at.lo, *met), min(met), max(met))

    def function(self, operands: tuple[int, ...], entries: tuple[int, ...]) -> int:
        """entries[the bits of all operands], those of the first operand lowest."""
        widths = tuple(self.nodes[each].width for each in operands)
        detail = (*widths, *entries)
        return self._node("function", operands, detail, min(entries), max(entries))

    def form(self, term: Term) -> tuple[dict[int, int], int]:
        """A term as factors of nodes that are no sums, and an offset."""
        if not term.digits:
            return {}, term.offset
        digit = self.settle(Term(term.digits))
        factors, offset = self._forms[digit.node]
        scale = digit.sign << digit.shift
        return {n: k * scale for n, k in factors.items()}, offset * scale + term.offset

    def _zero(self, digit: Digit) -> bool:
        at = self.nodes[digit.node]
        return at.lo == 0 == at.hi

    def _tree(self, digits: list[Digit]) -> Digit:
        """Add the two digits that are ready first, the narrowest of them, until one is left."""
        heap = [(*self._rank(each), i, each) for i, each in enumerate(digits)]
        heapq.heapify(heap)
        while len(heap) > 1:
            a, b = heapq.heappop(heap)[-1], heapq.heappop(heap)[-1]
            both = self.add(a, b, positive=not heap)
            heapq.heappush(heap, (*self._rank(both), both.node + len(digits), both))
        return heap[0][-1]

    def _rank(self, digit: Digit) -> tuple[int, int, int]:
        node = self.nodes[digit.node]
        return self.ready[digit.node], digit.shift + node.width, digit.shift

    def _of(self, a: int, kind: str, detail: tuple[int, ...], run: Callable[[int], int]) -> int:
        """A node of one operand that rises or falls with it."""
        at = self.nodes[a]
        ends = run(at.lo), run(at.hi)
        return self._node(kind, (a,), detail, min(ends), max(ends))

    def _sum(self, operands: tuple[int, int], detail: tuple[int, ...]) -> int:
        form, offset = self._combined(operands, detail)
        nodes = self.nodes
        lo = offset + sum(k * (nodes[n].lo if k > 0 else nodes[n].hi) for n, k in form.items())
        hi = offset + sum(k * (nodes[n].hi if k > 0 else nodes[n].lo) for n, k in form.items())
        a, b = (nodes[each] for each in operands)
        i, j, less = detail
        ends = (-b.hi, -b.lo) if less else (b.lo, b.hi)
        lo, hi = max(lo, (a.lo << i) + (ends[0] << j)), min(hi, (a.hi << i) + (ends[1] << j))
        before = len(nodes)
        found = self._node("sum", operands, detail, lo, hi)
        if found == before and nodes[found].kind == "sum" and len(form) <= _WIDEST_FORM:
            self._forms[found] = (form, offset)
        return found

    def _combined(
        self, operands: tuple[int, int], detail: tuple[int, ...]
    ) -> tuple[dict[int, int], int]:
        """What a sum is in terms of nodes that are no sums: factors, and an offset."""
        (left, first), (right, second) = (self._forms[each] for each in operands)
        i, j, less = detail
        whole = {node: k << i for node, k in left.items()}
        for node, k in right.items():
            whole[node] = whole.get(node, 0) + (-(k << j) if less else k << j)
        more = -(second << j) if less else second << j
        return {node: k for node, k in whole.items() if k}, (first << i) + more

    def _is_wiring(self, at: Node) -> bool:
        """Whether the bits of a sum lie beside one another."""
        a, b = (self.nodes[each] for each in at.operands)
        i, j, less = at.detail
        low, over = (a, j) if i == 0 else (b, i)
        return not less and not low.signed and low.width <= over

    def _node(
        self, kind: str, operands: tuple[int, ...], detail: tuple[int, ...], lo: int, hi: int
    ) -> int:
        """The node of that kind, made unless it is there; a constant where it can be one only."""
        if lo == hi:
            kind, operands, detail = "constant", (), (lo,)
        key = kind, operands, detail
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.nodes)
            self.nodes.append(Node(kind, operands, detail, lo, hi, self.owner))
            begin = max((self.ready[each] for each in operands), default=0)
            self.ready.append(begin + self.delay(found))
            self._forms.append(({}, lo) if kind == "constant" else ({found: 1}, 0))
        return found
