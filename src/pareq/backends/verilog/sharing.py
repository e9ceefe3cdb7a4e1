"""Which sums of two digits several outputs of a layer share.

A matrix of constants is written as signed digits: each output is a sum of inputs, shifted and
added or subtracted. Two such terms that occur in several outputs, or several times in one, at one
distance and with one relation of signs are added once. The pair that saves most is taken first,
again and again, until no pair occurs twice (Potkonjak et al. 1996; Hosangadi et al. 2004; weighed
by the bits that an adder needs as in Sun et al. 2025).
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pareq.backends.verilog.digits import signed_digits

__all__ = ["Pair", "Plan", "plan"]


@dataclass(frozen=True, slots=True)
class Pair:
    """(left << up) + sign * (right << over): signal numbers, one of the two shifts is 0."""

    left: int
    up: int
    right: int
    over: int
    sign: int


@dataclass(frozen=True)
class Plan:
    """How to add up each output.

    Signals are the inputs, then one a pair; rows: (signal, shift, sign) to add, one an output.
    """

    pairs: tuple[Pair, ...]
    rows: tuple[tuple[tuple[int, int, int], ...], ...]


Key = tuple[int, int, int, int]  # left, right, distance, product of the signs
Row = dict[tuple[int, int], int]  # (signal, shift): sign


def plan(
    weight: Sequence[Sequence[int]], widths: Sequence[int], *, deeper: int | None = None
) -> Plan:
    """A plan for the outputs `weight @ x`.

    weight: `(out, in)`; widths: bits of the inputs. deeper: adder levels that an output may have
    beyond the fewest; None: any number.
    """
    return _Search(weight, widths, deeper).run()


class _Search:
    """The state of one search."""

    def __init__(
        self, weight: Sequence[Sequence[int]], widths: Sequence[int], deeper: int | None
    ) -> None:
        self.rows: list[Row] = [
            {
                (i, shift): sign
                for i, number in enumerate(row)
                for shift, sign in signed_digits(number)
            }
            for row in weight
        ]
        self.widths, self.depths = list(widths), [0] * len(widths)
        self.users: list[set[int]] = [set() for _ in widths]
        for number, row in enumerate(self.rows):
            for signal, _ in row:
                self.users[signal].add(number)
        self.room = [_levels(len(row)) + deeper if deeper is not None else 99 for row in self.rows]
        self.load = [len(row) for row in self.rows]  # sum of 2^depth: at most 2^levels
        self.counts: dict[Key, int] = {}
        self.heap: list[tuple[float, Key]] = []
        self.pairs: list[Pair] = []

    def run(self) -> Plan:
        for row in self.rows:
            terms = list(row.items())
            for at, term in enumerate(terms):
                self._count(term, terms[at + 1 :], 1)
        self.heap = [(-self._gain(key), key) for key, n in self.counts.items() if n > 1]
        heapq.heapify(self.heap)
        while self.heap:
            gain, key = heapq.heappop(self.heap)
            now = -self._gain(key)
            if now < 0 and now > gain:
                heapq.heappush(self.heap, (now, key))
            elif now < 0:
                self._take(key)
        rows = (tuple((*at, sign) for at, sign in sorted(row.items())) for row in self.rows)
        return Plan(tuple(self.pairs), tuple(rows))

    def _gain(self, key: Key) -> float:
        """Bits of adders that sharing a pair saves."""
        times = self.counts.get(key, 0)
        return (times - 1) * self._bits(key) if times > 1 else 0.0

    def _bits(self, key: Key) -> float:
        """Bits of an adder: those that no operand gives alone, low or high."""
        left, right, distance, _ = key
        a, b = self.widths[left], self.widths[right]
        low = abs(distance)
        top = max(a, b + distance) if distance >= 0 else max(a - distance, b)
        return max(top - low, 1) + 1

    def _count(
        self,
        term: tuple[tuple[int, int], int],
        others: Iterable[tuple[tuple[int, int], int]],
        n: int,
    ) -> set[Key]:
        """Add n to the pairs of a term with others; return them."""
        met, counts = set(), self.counts
        (i, p), sign = term
        for (j, q), other in others:
            key = (i, j, q - p, sign * other) if (i, p) < (j, q) else (j, i, p - q, sign * other)
            counts[key] = counts.get(key, 0) + n
            met.add(key)
        return met

    def _take(self, key: Key) -> None:
        """Make a pair a signal wherever it occurs, unless it occurs once after all."""
        found = list(self._places(key))
        if len(found) < 2:
            self.counts[key] = 0
            return
        left, right, distance, product = key
        new = len(self.widths)
        self.pairs.append(Pair(left, max(-distance, 0), right, max(distance, 0), product))
        self.widths.append(
            max(self.widths[left] + max(-distance, 0), self.widths[right] + max(distance, 0)) + 1
        )
        depth = max(self.depths[left], self.depths[right]) + 1
        self.depths.append(depth)
        self.users.append({number for number, _ in found})
        grown: set[Key] = set()
        for number, p in found:
            row = self.rows[number]
            first, second = (left, p), (right, p + distance)
            sign = row[first]
            for at in (first, second):
                other = row.pop(at)
                self._count((at, other), row.items(), -1)
            self.load[number] += (1 << depth) - (1 << self.depths[left]) - (1 << self.depths[right])
            term = ((new, min(p, p + distance)), sign)
            grown |= self._count(term, row.items(), 1)
            row[term[0]] = sign
        for each in grown:
            if self.counts[each] > 1:
                heapq.heappush(self.heap, (-self._gain(each), each))

    def _places(self, key: Key) -> Iterable[tuple[int, int]]:
        """(row, shift of the left term) of occurrences that do not overlap."""
        left, right, distance, product = key
        depth = max(self.depths[left], self.depths[right]) + 1
        more = (1 << depth) - (1 << self.depths[left]) - (1 << self.depths[right])
        for number in sorted(self.users[left] & self.users[right]):
            row, used, load = self.rows[number], set[int](), self.load[number]
            for signal, p in sorted(row):
                other = row.get((right, p + distance))
                if signal != left or other is None or row[left, p] * other != product:
                    continue
                if left == right and (p in used or p + distance in used):
                    continue
                load += more
                if load > 1 << self.room[number]:
                    break
                used |= {p, p + distance}
                yield number, p


def _levels(terms: int) -> int:
    return max(terms - 1, 0).bit_length() if terms > 1 else 0
