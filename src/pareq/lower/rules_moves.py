"""Ops that only move elements: shapes, orders, slices, padding. Open steps move along."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pareq.errors import LoweringError
from pareq.ir.attributes import Attribute, Attributes
from pareq.ir.ops import KINDS
from pareq.lower.curve import Term
from pareq.lower.rules import Entry, Scope, rule
from pareq.lower.settle import multiples, settle, unify

__all__: list[str] = []

Reals = npt.NDArray[np.float64]


@rule(
    *("dropout", "feature_dropout", "alpha_dropout", "clone", "detach", "alias", "contiguous"),
    *("lift_fresh_copy", "to", "_to_copy", "expand_as", "type_as"),
    moves=True,
)
def _identity(scope: Scope) -> Entry:
    """What changes nothing in evaluation mode."""
    if scope.call.arguments.get("train"):
        raise LoweringError("drops values while it evaluates; use dropout in training only")
    found = scope.entry(next(iter(scope.call.arguments)))
    if not isinstance(found, Term):
        raise LoweringError("does not depend on the input, which this op needs")
    if scope.call.integers and scope.call.op in ("to", "_to_copy", "type_as"):
        raise LoweringError("cuts reals to integers; use a quantizer")
    return found


@rule(
    *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "_unsafe_view"),
    *("squeeze_", "view_copy", "expand"),
    moves=True,
)
def _reshape(scope: Scope) -> Term:
    x = scope.term("self")
    held = scope.value(x.name).shape
    batch = scope.call.shapes[0][:1]
    if not batch or batch[0] != scope.batch or math.prod(held) != math.prod(scope.shape):
        raise LoweringError(
            f"gives {scope.call.shapes[0]} from (N, {', '.join(map(str, held))}); keep axis 0 for "
            "the samples and repeat nothing"
        )
    return _moved(scope, x, "reshape", {"shape": scope.shape})


@rule("permute", "transpose", "t", "swapaxes", "movedim", moves=True)
def _permute(scope: Scope) -> Term:
    x = scope.term("self")
    rank = len(scope.value(x.name).shape)
    order = list(range(rank + 1))
    if scope.call.op == "permute":
        order = [n % (rank + 1) for n in scope.wholes("dims", rank + 1)]
    else:
        names = ("dim0", "dim1") if "dim0" in scope.call.arguments else ("axis0", "axis1")
        if names[0] not in scope.call.arguments:
            raise LoweringError("moves the samples of a batch; use permute and keep axis 0")
        a, b = (scope.whole(name) % (rank + 1) for name in names)
        order[a], order[b] = b, a
    if order[0] != 0:
        raise LoweringError("moves the samples of a batch; let axis 0 stay the batch")
    return _moved(scope, x, "permute", {"axes": tuple(n - 1 for n in order[1:])})


@rule("slice", moves=True)
def _slice(scope: Scope) -> Term:
    x = scope.term("self")
    size = scope.value(x.name).shape
    axis, dim = 0, scope.whole("dim")
    begin, end, step = scope.real("start", 0), scope.real("end", np.inf), scope.whole("step")
    if dim % (len(size) + 1) == 0:
        if begin == 0 and end >= scope.batch and step == 1:
            return x
        raise LoweringError("picks samples of a batch; let axis 0 stay the batch")
    axis = scope.axis_of(dim, len(size))
    top = size[axis]
    cut = slice(int(begin), None if end >= top else int(end), step).indices(top)
    return _cut(scope, x, axis, cut)


@rule("select", moves=True)
def _select(scope: Scope) -> Term:
    x = scope.term("self")
    size = scope.value(x.name).shape
    axis = scope.axis_of(scope.whole("dim"), len(size))
    index = scope.whole("index") % size[axis]
    one = _cut(scope, x, axis, (index, index + 1, 1))
    return _moved(scope, one, "reshape", {"shape": scope.shape})


@rule("split", "chunk", "split_with_sizes", "unbind")
def _split(scope: Scope) -> Entry:
    x = scope.term("self")
    axis = scope.axis_of(scope.whole("dim"), len(scope.value(x.name).shape))
    parts, start = [], 0
    for shape in scope.call.shapes:
        size = 1 if scope.call.op == "unbind" else shape[axis + 1]
        part = _cut(scope, x, axis, (start, start + size, 1))
        if scope.call.op == "unbind":
            part = _moved(scope, part, "reshape", {"shape": shape[1:]})
        parts.append(part)
        start += size
    return tuple(parts)


@rule("pad", "constant_pad_nd")
def _pad(scope: Scope) -> Term:
    if scope.call.arguments.get("mode", "constant") != "constant":
        raise LoweringError("pads with values of the tensor; pad with a constant")
    x = scope.exact("self")
    value = scope.value(x)
    fill = multiples(np.asarray(scope.real("value", 0.0)), value.grid.scale)
    if fill is None or fill[1] or len(np.unique(fill[0])) != 1:
        raise LoweringError("pads with a number that is not on the grid; pad with 0")
    whole = int(fill[0].ravel()[0])
    pairs = scope.wholes("pad", 0)
    around = [(0, 0)] * len(value.shape)
    for place in range(len(pairs) // 2):
        if place >= len(around):
            raise LoweringError("pads the samples of a batch; let axis 0 stay the batch")
        around[-1 - place] = pairs[2 * place], pairs[2 * place + 1]
    low, high = zip(*around, strict=True)
    if min(min(low), min(high)) < 0:
        ends = tuple(n + min(b, 0) for n, b in zip(value.shape, high, strict=True))
        starts = tuple(max(-a, 0) for a in low)
        attributes: dict[str, Attribute] = {"start": starts, "stop": ends}
        x = scope.op("slice", (x,), {**attributes, "step": (1,) * len(ends)})
        low, high = (tuple(max(n, 0) for n in side) for side in (low, high))
    if not any((*low, *high)):
        return Term(x)
    return Term(scope.op("pad", (x,), {"before": tuple(low), "after": tuple(high), "fill": whole}))


@rule("cat", "concat", "stack")
def _concat(scope: Scope) -> Term:
    given = scope.call.arguments["tensors"]
    refs = given if isinstance(given, tuple) else ()
    axis = scope.axis_of(scope.whole("dim"), len(scope.shape))
    names = []
    for ref in refs:
        entry = scope.values[ref.name]
        if not isinstance(entry, Term):
            raise LoweringError("joins a constant, or several results; join tensors")
        name = settle(scope.builder, entry)
        if scope.call.op == "stack":
            held = scope.value(name).shape
            name = scope.op("reshape", (name,), {"shape": (*held[:axis], 1, *held[axis:])})
        names.append(name)
    names = unify(scope.builder, names, (scope.label, scope.call.path))
    return Term(scope.op("concat", names, {"axis": axis}))


def _cut(scope: Scope, x: Term, axis: int, cut: tuple[int, int, int]) -> Term:
    size = scope.value(x.name).shape
    start, stop, step = cut
    others = {"start": 0, "step": 1}
    attributes: dict[str, Attribute] = {
        "start": tuple(start if i == axis else others["start"] for i in range(len(size))),
        "stop": tuple(max(start, stop) if i == axis else n for i, n in enumerate(size)),
        "step": tuple(step if i == axis else others["step"] for i in range(len(size))),
    }
    return _moved(scope, x, "slice", attributes)


def _moved(scope: Scope, x: Term, kind: str, attributes: dict[str, Attribute]) -> Term:
    """Move the integers, and with them the numbers of the open steps."""
    held = scope.value(x.name).shape
    name = scope.op(kind, (x.name,), attributes)

    def along(numbers: Reals) -> Reals:
        if numbers.size == 1:
            return numbers.reshape(())
        places = np.arange(numbers.size).reshape(numbers.shape)
        full = np.broadcast_to(places, held)
        moved: Reals = numbers.ravel()[KINDS[kind].run(Attributes(attributes), (full[None],))[0]]
        return moved

    steps = tuple(replace(s, numbers=tuple(map(along, s.numbers))) for s in x.steps)
    return Term(name, steps)
