"""Comparisons and products of two integers: max pools, the largest elements, multiplication."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pareq.backends.verilog.circuit import Circuit, Term
from pareq.backends.verilog.scene import Scene
from pareq.ir.graph import Op
from pareq.ir.kernels import taps

__all__ = ["CHOICES"]

Integers = npt.NDArray[np.int64]

_NONE = -1  # the number of no term: a padded position, which never wins


def max_pool(scene: Scene, op: Op) -> Integers:
    """The largest of each window."""
    circuit, kernel = scene.circuit, op.attributes.wholes("kernel")
    views = np.stack([v[0] for _, v in taps(op.attributes, scene.x(op)[None], kernel, _NONE)])
    found = []
    for window in views.reshape(len(views), -1).T.tolist():
        best = [scene.node(number) for number in window if number != _NONE]
        while len(best) > 1:
            best = [_larger(circuit, best[i : i + 2]) for i in range(0, len(best), 2)]
        found.append(best[0])
    return scene.nodes(found, op.output.shape)


def top_k(scene: Scene, op: Op) -> Integers:
    """Indices of the largest along an axis, the lowest index first at a tie."""
    axis, count = op.attributes.whole("axis"), op.attributes.whole("k")
    x = np.moveaxis(scene.x(op), axis, -1)
    found = []
    for row in x.reshape(-1, x.shape[-1]).tolist():
        nodes = [scene.node(number) for number in row]
        one = count == 1
        found += [_first(scene.circuit, nodes)] if one else _ranked(scene.circuit, nodes, count)
    made = scene.nodes(found, (*x.shape[:-1], count))
    return np.moveaxis(made, -1, axis)


def multiply(scene: Scene, op: Op) -> Integers:
    """The product a b; constants by shifts and adds."""
    pair = np.broadcast_arrays(*(scene.value(name) for name in op.inputs))
    left, right = (scene.elements(each) for each in pair)
    return scene.array(
        (_times(scene, a, b) for a, b in zip(left, right, strict=True)), op.output.shape
    )


CHOICES: dict[str, Callable[[Scene, Op], Integers]] = {
    "max_pool": max_pool,
    "top_k": top_k,
    "multiply": multiply,
}


def _larger(circuit: Circuit, nodes: Sequence[int]) -> int:
    """The larger of two nodes, or the only one."""
    if len(nodes) == 1:
        return nodes[0]
    a, b = nodes
    return circuit.select(circuit.ahead(a, b), a, b)


def _first(circuit: Circuit, nodes: Sequence[int]) -> int:
    """The index of the largest, by a tournament: the left one wins a tie."""
    left = [(node, circuit.constant(i)) for i, node in enumerate(nodes)]
    while len(left) > 1:
        pairs, left = left, []
        for i in range(0, len(pairs) - 1, 2):
            (a, m), (b, n) = pairs[i], pairs[i + 1]
            wins = circuit.ahead(a, b)
            left.append((circuit.select(wins, a, b), circuit.select(wins, m, n)))
        left += pairs[len(left) * 2 :]
    return left[0][1]


def _ranked(circuit: Circuit, nodes: Sequence[int], count: int) -> list[int]:
    """The indices in order: the rank of each is how many are before it."""
    size = len(nodes)
    wins = {
        (i, j): circuit.ahead(nodes[i], nodes[j]) for i in range(size) for j in range(i + 1, size)
    }
    ranks = []
    for i in range(size):
        before = [circuit.term(wins[j, i]) for j in range(i)]
        after = [circuit.term(wins[i, j]).times(0, -1).plus(1) for j in range(i + 1, size)]
        digits = tuple(digit for term in before + after for digit in term.digits)
        ranks.append(circuit.node(Term(digits, sum(term.offset for term in before + after))))
    found = []
    for place in range(count):
        best = circuit.constant(size - 1)
        for i in reversed(range(size - 1)):
            best = circuit.select(_equal(circuit, ranks[i], place), circuit.constant(i), best)
        found.append(best)
    return found


def _equal(circuit: Circuit, node: int, number: int) -> int:
    """Whether a node is a number."""
    at = circuit.nodes[node]
    if not at.lo <= number <= at.hi:
        return circuit.constant(0)
    entries = tuple(int(n == number) for n in range(at.lo, at.hi + 1))
    return circuit.table(node, at.lo, entries)


def _times(scene: Scene, a: Term, b: Term) -> Term:
    """The product of two terms."""
    if not a.digits or not b.digits:
        fixed, other = (a, b) if not a.digits else (b, a)
        return scene.scaled(other, fixed.offset)
    circuit = scene.circuit
    return circuit.term(circuit.product(circuit.node(a), circuit.node(b)))
