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
    *("lift_fresh_copy", "expand_as"),
    moves=True,
)
def _identity(scope: Scope) -> Term:
    """What changes nothing in evaluation mode."""
    if scope.call.arguments.get("train"):
        raise LoweringError("drops values while it evaluates; use dropout in training only")
    return scope.term(next(iter(scope.call.arguments)))


@rule("to", "_to_copy", "type_as")
def _cast(scope: Scope) -> Term:
    """Another type, where it holds every value."""
    term, dtype = scope.term("self"), scope.call.dtype
    if dtype == "float64":
        return term
    x = settle(scope.builder, term)
    scale, limits = scope.value(x).grid.scale, scope.builder.range(x).limits
    if dtype.startswith("float") or dtype == "bfloat16":
        if not _fits(scale, max(map(abs, limits)), dtype):
            raise LoweringError(f"rounds to {dtype}; leave the number format to pareq")
    elif not np.array_equal(scale, np.ones_like(scale)) or dtype == "bool":
        raise LoweringError(f"cuts reals to {dtype}; use a quantizer")
    elif limits[0] < np.iinfo(dtype).min or limits[1] > np.iinfo(dtype).max:
        raise LoweringError(f"{dtype} does not hold {limits[0]}..{limits[1]}; use int64")
    return Term(x)


_FORMATS = {"float32": (24, -149, 128), "float16": (11, -24, 16), "bfloat16": (8, -133, 128)}


def _fits(scale: float | Reals, largest: int, dtype: str) -> bool:
    """Whether a float format holds all n * scale; it has bits, a last and a first place."""
    if not isinstance(scale, float) or dtype not in _FORMATS:
        return False
    bits, last, first = _FORMATS[dtype]
    step, shift = scale.as_integer_ratio()
    place = (step & -step).bit_length() - shift.bit_length()
    odd = step // (step & -step)
    return (
        (odd * largest).bit_length() <= bits
        and place >= last
        and odd * largest * 2.0**place < 2.0**first
    )


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


@rule("permute", "transpose", "t", "swapaxes", "movedim", "mT", "numpy_T", moves=True)
def _permute(scope: Scope) -> Term:
    x = scope.term("self")
    order = _order(scope, len(scope.value(x.name).shape) + 1)
    if order[0] != 0:
        raise LoweringError("moves the samples of a batch; let axis 0 stay the batch")
    return _moved(scope, x, "permute", {"axes": tuple(n - 1 for n in order[1:])})


def _order(scope: Scope, rank: int) -> list[int]:
    """Where each axis of the result comes from, the batch axis included."""
    given, order = scope.call.arguments, list(range(rank))
    if "dims" in given:
        return [n % rank for n in scope.wholes("dims", rank)]
    if "source" in given:
        pairs = zip(scope.wholes("source", 1), scope.wholes("destination", 1), strict=True)
        to = {destination % rank: source % rank for source, destination in pairs}
        rest = iter(n for n in order if n not in to.values())
        return [to[n] if n in to else next(rest) for n in order]
    if "dim0" in given or "axis0" in given:
        names = ("dim0", "dim1") if "dim0" in given else ("axis0", "axis1")
        a, b = (scope.whole(name) % rank for name in names)
    else:
        a, b = (rank - 2, rank - 1) if scope.call.op == "mT" else (0, rank - 1)
    order[a], order[b] = order[b], order[a]
    return order


@rule("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", moves=True)
def _shuffle(scope: Scope) -> Term:
    """Channels to places, places to channels, channels among themselves."""
    x = scope.term("self")
    channels, *sizes = scope.value(x.name).shape
    if scope.call.op == "channel_shuffle":
        groups = scope.whole("groups")
        split, axes = (groups, channels // groups, *sizes), (1, 0, *range(2, len(sizes) + 2))
    elif scope.call.op == "pixel_shuffle":
        n = scope.whole("upscale_factor")
        split, axes = (channels // n**2, n, n, *sizes), (0, 3, 1, 4, 2)
    else:
        n = scope.whole("downscale_factor")
        split, axes = (channels, sizes[0] // n, n, sizes[1] // n, n), (0, 2, 4, 1, 3)
    x = _moved(scope, x, "reshape", {"shape": split})
    x = _moved(scope, x, "permute", {"axes": axes})
    return _moved(scope, x, "reshape", {"shape": scope.shape})


@rule("slice", "narrow", moves=True)
def _slice(scope: Scope) -> Term:
    x = scope.term("self")
    size = scope.value(x.name).shape
    axis, dim = 0, scope.whole("dim")
    begin = scope.real("start", 0)
    if scope.call.op == "narrow":
        end, step = begin + scope.whole("length"), 1
    else:
        end, step = scope.real("end", np.inf), scope.whole("step")
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
        raise LoweringError("pads with values of the tensor; pad with zeros")
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


@rule("cat", "concat", "stack", "hstack")
def _concat(scope: Scope) -> Term:
    given = scope.call.arguments["tensors"]
    refs = given if isinstance(given, tuple) else ()
    dim = 1 if scope.call.op == "hstack" else scope.whole("dim")
    axis = scope.axis_of(dim, len(scope.shape))
    names = []
    for ref in refs:
        entry = scope.values[ref.name]
        if not isinstance(entry, Term):
            raise LoweringError("joins a constant; pad with it instead, or add it to a layer")
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
