"""Sums with constant weights: adder trees, one an output, all for one sample a clock.

Convolutions are unrolled: a sum for every channel and position. One plan of shared sums is made
for a layer and used at all positions.
"""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from pareq.backends.verilog.circuit import Digit, Term
from pareq.backends.verilog.digits import count_digits, signed_digits
from pareq.backends.verilog.scene import Scene
from pareq.backends.verilog.sharing import Plan, plan
from pareq.ir.attributes import Attributes
from pareq.ir.graph import Graph, Op
from pareq.ir.kernels import as_convolution, taps

__all__ = ["LINEAR", "adders"]

Integers = npt.NDArray[np.int64]


def dense(scene: Scene, op: Op) -> Integers:
    """Each vector of the last axis."""
    x, (weight, bias) = scene.x(op), scene.constants(op)
    found = _sums(scene, weight, bias, x.reshape(-1, x.shape[-1]))
    return found.reshape(*x.shape[:-1], len(weight))


def conv(scene: Scene, op: Op) -> Integers:
    """Every position of every channel."""
    weight, bias = scene.constants(op)
    return _conv(scene, _filled(scene, op), (scene.x(op)[None], weight, bias))


def conv_transpose(scene: Scene, op: Op) -> Integers:
    """The plain convolution that it is."""
    weight, bias = scene.constants(op)
    operands = (scene.x(op)[None], weight[None], bias)
    attributes, (x, plain, bias) = as_convolution(_filled(scene, op), operands)
    return _conv(scene, attributes, (x, plain[0], bias))


def sum_pool(scene: Scene, op: Op) -> Integers:
    """The sum of each window."""
    views = taps(_filled(scene, op), scene.x(op)[None], op.attributes.wholes("kernel"))
    return _total(scene, np.stack([view[0] for _, view in views]), op.output.shape)


def total(scene: Scene, op: Op) -> Integers:
    """The sum over axes."""
    x, axes = scene.x(op), op.attributes.wholes("axes")
    first = np.moveaxis(x, axes, range(len(axes)))
    return _total(scene, first.reshape(-1, *first.shape[len(axes) :]), op.output.shape)


def combined(scene: Scene, op: Op) -> Integers:
    """(a << shift_a) +- (b << shift_b)."""
    sign = 1 if op.kind == "add" else -1
    shifts = op.attributes.whole("shift_a"), op.attributes.whole("shift_b")
    pair = np.broadcast_arrays(*(scene.value(name) for name in op.inputs))
    found = []
    for a, b in zip(*(scene.elements(each) for each in pair), strict=True):
        left, right = a.times(shifts[0], 1), b.times(shifts[1], sign)
        digits = _settled(scene, left).digits + _settled(scene, right).digits
        found.append(Term(digits, left.offset + right.offset))
    return scene.array(found, op.output.shape)


LINEAR: dict[str, Callable[[Scene, Op], Integers]] = {
    "dense": dense,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "sum_pool": sum_pool,
    "sum": total,
    "add": combined,
    "subtract": combined,
}


def adders(graph: Graph, op: Op) -> int:
    """How many sums of two the digits of an op's weights ask for, before any is shared."""
    positions = prod(op.output.shape)
    if op.kind in ("dense", "conv", "conv_transpose"):
        weight = graph.constant(op.inputs[1])
        digits = 0 if weight is None else count_digits(weight)
        if op.kind == "conv_transpose":
            return digits * prod(graph.value(op.inputs[0]).shape[1:])
        channels = op.output.shape[-1 if op.kind == "dense" else 0]
        return digits * (positions // channels)
    if op.kind == "sum":
        return prod(graph.value(op.inputs[0]).shape)
    if op.kind in ("sum_pool", "max_pool"):
        return positions * prod(op.attributes.wholes("kernel"))
    if op.kind == "top_k":
        size = graph.value(op.inputs[0]).shape[op.attributes.whole("axis")]
        return prod(graph.value(op.inputs[0]).shape) * (
            1 if op.attributes.whole("k") == 1 else size
        )
    return positions


def _filled(scene: Scene, op: Op) -> Attributes:
    """The attributes with the number of the term that fills."""
    return Attributes({**op.attributes, "fill": scene.fixed(op.attributes.whole("fill"))})


def _conv(
    scene: Scene, attributes: Attributes, operands: tuple[Integers, Integers, Integers]
) -> Integers:
    x, weight, bias = operands
    groups = attributes.whole("groups")
    outputs, depth, *kernel = weight.shape
    views = [view[0] for _, view in taps(attributes, x, tuple(kernel))]
    sizes = views[0].shape[1:]
    window = np.stack(views, axis=1).reshape(groups, depth * len(views), -1)
    rows = weight.reshape(groups, outputs // groups, depth * len(views))
    found = [
        _sums(scene, rows[g], bias.reshape(groups, -1)[g], window[g].T).T for g in range(groups)
    ]
    return np.concatenate(found).reshape(outputs, *sizes)


def _total(scene: Scene, numbers: Integers, shape: tuple[int, ...]) -> Integers:
    """Sums over the first axis."""
    flat = numbers.reshape(len(numbers), -1)
    ones, none = np.ones((1, len(numbers)), dtype=np.int64), np.zeros(1, dtype=np.int64)
    return _sums(scene, ones, none, flat.T).reshape(shape)


def _sums(scene: Scene, weight: Integers, bias: Integers, x: Integers) -> Integers:
    """Terms of weight @ x + bias for each row of x: `(positions, in)` to `(positions, out)`."""
    positions = [[_settled(scene, scene.terms[n]) for n in row] for row in x.tolist()]
    made = _plan(scene, weight, positions)
    offsets = np.array([[term.offset for term in row] for row in positions], dtype=np.int64)
    known = bias + offsets @ weight.T
    found = [
        term
        for inputs, offset in zip(positions, known.tolist(), strict=True)
        for term in _outputs(scene, made, inputs, offset)
    ]
    return scene.array(found, (len(x), len(weight)))


def _settled(scene: Scene, term: Term) -> Term:
    """A term of one digit at most, and an offset."""
    if len(term.digits) < 2:
        return term
    return Term((scene.circuit.settle(Term(term.digits)),), term.offset)


def _plan(scene: Scene, weight: Integers, positions: Sequence[Sequence[Term]]) -> Plan:
    if not scene.share:
        rows = [
            [(i, *digit) for i, number in enumerate(row) for digit in signed_digits(number)]
            for row in weight.tolist()
        ]
        return Plan((), tuple(tuple(row) for row in rows))
    nodes = scene.circuit.nodes
    widths = [
        max((nodes[d.node].width for term in column for d in term.digits), default=0)
        for column in zip(*positions, strict=True)
    ]
    live = np.array(widths, dtype=bool)
    return plan(np.where(live, weight, 0).tolist(), widths, deeper=scene.deeper)


def _outputs(scene: Scene, made: Plan, inputs: Sequence[Term], bias: Sequence[int]) -> list[Term]:
    """One term an output, for the inputs at one position."""
    circuit = scene.circuit
    signals: list[Digit | None] = [term.digits[0] if term.digits else None for term in inputs]
    for each in made.pairs:
        left, right = signals[each.left], signals[each.right]
        a = left and left.times(each.up, 1)
        b = right and right.times(each.over, each.sign)
        signals.append(circuit.add(a, b) if a and b else a or b)
    found = []
    for row, offset in zip(made.rows, bias, strict=True):
        digits = [(signals[i], shift, sign) for i, shift, sign in row]
        found.append(Term(tuple(d.times(shift, sign) for d, shift, sign in digits if d), offset))
    return found
