"""Functions of one integer: requantization, thresholds, tables, clamps, each in its cheapest form.

A requantization is a multiplication by shifts and adds, one addition of everything that is
constant, and a clamp. Where an integer has few bits it is a table instead, and where the result
has few steps, comparisons with them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pareq.backends.verilog.circuit import Term
from pareq.backends.verilog.digits import signed_digits
from pareq.backends.verilog.neurons import cheaper
from pareq.backends.verilog.scene import Scene
from pareq.ir.graph import Op

__all__ = ["STEPS"]

Integers = npt.NDArray[np.int64]
Step = Callable[[int], int]

_LUT = 6  # bits: a table of so many costs one look-up table a bit of the result
_TABLE = 8  # bits up to which a table costs less than a multiplication or a search
_FEW = 3  # steps up to which each has a comparison of its own


def requantize(scene: Scene, op: Op) -> Integers:
    """Clamp (x * multiplier + offset) >> shift to lo..hi."""
    x = scene.x(op)
    lo, hi, even = (op.attributes.whole(name) for name in ("lo", "hi", "even"))
    params = [np.broadcast_to(each, x.shape).ravel().tolist() for each in scene.constants(op)]
    found, steps = [], []
    for term, multiplier, offset, shift in zip(scene.elements(x), *params, strict=True):

        def step(n: int, m: int = multiplier, b: int = offset, s: int = shift) -> int:
            t = n * m + b
            t += ((1 << (s - 1)) - 1 + ((t >> s) & 1)) if even else 0
            return min(max(t >> s, lo), hi)

        node = _looked_up(scene, term, step, plain=len(signed_digits(multiplier)) < 2)
        if node is None:
            scaled = scene.scaled(term, multiplier).plus(offset)
            node = scene.circuit.clamp(_shifted(scene, scaled, shift, bool(even)), lo, hi)
        found.append(node)
        steps.append(step)
    return scene.nodes(cheaper(scene, scene.elements(x), found, steps), x.shape)


def threshold(scene: Scene, op: Op) -> Integers:
    """Base + step * #{k: x >= thresholds[k]}."""
    x = scene.x(op)
    levels, base, step = scene.constants(op)
    rows = np.broadcast_to(levels, (*x.shape, levels.shape[-1])).reshape(x.size, -1)
    first, by = (np.broadcast_to(each, x.shape).ravel().tolist() for each in (base, step))
    found, steps = [], []
    for term, row, start, sign in zip(scene.elements(x), rows, first, by, strict=True):

        def run(n: int, row: Integers = row, start: int = start, sign: int = sign) -> int:
            return start + sign * int(np.searchsorted(row, n, side="right"))

        node = _looked_up(scene, term, run, plain=False)
        if node is None:
            at = scene.circuit.node(term)
            node = _stairs(scene, at, row.tolist(), run)
        found.append(node)
        steps.append(run)
    return scene.nodes(cheaper(scene, scene.elements(x), found, steps), x.shape)


def table(scene: Scene, op: Op) -> Integers:
    """table[x - first]."""
    x, (entries,) = scene.x(op), scene.constants(op)
    size, first = entries.shape[-1], op.attributes.whole("first")
    places = np.arange(entries.size // size).reshape(entries.shape[:-1])
    rows = [tuple(row) for row in entries.reshape(-1, size).tolist()]
    found = []
    for number, place in zip(
        x.ravel().tolist(), np.broadcast_to(places, x.shape).ravel().tolist(), strict=True
    ):
        found.append(scene.circuit.table(scene.node(number), first, rows[place]))
    return scene.nodes(found, x.shape)


def clamp(scene: Scene, op: Op) -> Integers:
    """min(max(x, lo), hi)."""
    lo, hi = op.attributes.whole("lo"), op.attributes.whole("hi")
    return _each(scene, op, lambda node: scene.circuit.clamp(node, lo, hi))


def leaky(scene: Scene, op: Op) -> Integers:
    """One of two: x >= 0 ? x << shift : x."""
    shift, circuit = op.attributes.whole("shift"), scene.circuit
    return _each(
        scene,
        op,
        lambda node: circuit.select(circuit.above(node, 0), circuit.left(node, shift), node),
    )


def mask(scene: Scene, op: Op) -> Integers:
    """Elements of x where keep is 1, else fill."""
    (keep,) = scene.constants(op)
    return np.where(keep != 0, scene.x(op), scene.fixed(op.attributes.whole("fill")))


STEPS: dict[str, Callable[[Scene, Op], Integers]] = {
    "requantize": requantize,
    "threshold": threshold,
    "table": table,
    "clamp": clamp,
    "leaky": leaky,
    "mask": mask,
}


def _each(scene: Scene, op: Op, run: Callable[[int], int]) -> Integers:
    x = scene.x(op)
    return scene.nodes((run(scene.node(number)) for number in x.ravel().tolist()), x.shape)


def _looked_up(scene: Scene, term: Term, run: Step, *, plain: bool) -> int | None:
    """A table of a function, or its steps, where that is cheap; else None.

    plain: the alternative has no multiplication.
    """
    circuit = scene.circuit
    if not term.digits:
        return circuit.constant(run(term.offset))
    bare = circuit.node(Term((circuit.settle(Term(term.digits)),)))
    at, offset = circuit.nodes[bare], term.offset

    def moved(n: int) -> int:
        return run(n + offset)

    first, last = moved(at.lo), moved(at.hi)
    if first == last:
        return circuit.constant(first)
    if at.width <= _LUT or (at.width <= _TABLE and not plain):
        return circuit.table(bare, at.lo, tuple(moved(n) for n in range(at.lo, at.hi + 1)))
    if not plain and abs(last - first) <= _FEW:
        return _stairs(scene, bare, _edges(moved, at.lo, at.hi), moved)
    return None


def _edges(run: Step, lo: int, hi: int) -> list[int]:
    """Where a function that never turns changes, once for each integer it moves by."""
    if run(lo) == run(hi):
        return []
    if hi - lo == 1:
        return [hi] * abs(run(hi) - run(lo))
    middle = (lo + hi) // 2
    return _edges(run, lo, middle) + _edges(run, middle, hi)


def _stairs(scene: Scene, node: int, edges: Sequence[int], run: Step) -> int:
    """A function that changes where x reaches one of the edges, and nowhere else.

    The edges are searched by halves: each comparison is with the edge that those before it chose.
    """
    circuit = scene.circuit
    at = circuit.nodes[node]
    places = sorted({each for each in edges if at.lo < each <= at.hi})
    starts = [at.lo, *places]
    if len(places) <= _FEW:
        found = circuit.constant(run(at.lo))
        for place in places:
            found = circuit.select(circuit.above(node, place), circuit.constant(run(place)), found)
        return found
    index = Term(())
    size = len(starts)
    for level in reversed(range((size - 1).bit_length())):
        known = circuit.node(index)
        where = circuit.nodes[known]
        edge = [
            starts[n + (1 << level)] if n + (1 << level) < size else at.hi + 1
            for n in range(where.lo, where.hi + 1)
        ]
        bound = circuit.table(known, where.lo, tuple(edge))
        bit = circuit.term(circuit.ahead(node, bound)).times(level, 1)
        index = Term((*index.digits, *bit.digits), index.offset + bit.offset)
    last = circuit.node(index)
    where = circuit.nodes[last]
    results = [run(starts[min(n, size - 1)]) for n in range(where.lo, where.hi + 1)]
    return circuit.table(last, where.lo, tuple(results))


def _shifted(scene: Scene, term: Term, shift: int, even: bool) -> int:
    """A term >> shift, rounded down, or to nearest and ties to even."""
    circuit = scene.circuit
    if even:
        term = term.plus(1 << (shift - 1))
    part = circuit.settle(term)
    if part.sign < 0:
        return (
            circuit.even(circuit.node(term), shift)
            if even
            else circuit.right(circuit.node(term), shift)
        )
    left = shift - part.shift
    return circuit.even(part.node, left) if even and left > 0 else circuit.right(part.node, left)
