"""Each kind of op as operations on alkaid's variables."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pareq.backends.verilog.alkaid.trace import Scene, Variable
from pareq.backends.verilog.digits import signed_digits
from pareq.errors import BackendError
from pareq.ir.attributes import Attributes
from pareq.ir.graph import Op
from pareq.ir.kernels import as_convolution, taps
from pareq.ir.ops import KINDS

__all__ = ["EMITTERS"]

Integers = npt.NDArray[np.int64]

_LARGEST_WEIGHT = 2**24  # alkaid keeps matrices in float32
_LARGEST_TABLE = 4096  # entries
_NONE = -1  # the number of no variable: a padded position of a max pool


def dense(scene: Scene, op: Op) -> Integers:
    """Each vector of the last axis."""
    x, (weight, bias) = scene.value(op.inputs[0]), scene.constants(op)
    found = _products(scene, weight, bias, x.reshape(-1, x.shape[-1]))
    return found.reshape(op.output.shape)


def conv(scene: Scene, op: Op) -> Integers:
    """Every position of every channel, or the plain convolution that a transposed one is."""
    weight, bias = scene.constants(op)
    attributes, x = _filled(scene, op), scene.value(op.inputs[0])[None]
    if op.kind == "conv_transpose":
        attributes, operands = as_convolution(attributes, (x, weight[None], bias))
        x, weight = operands[0], operands[1][0]
    groups = attributes.whole("groups")
    outputs, depth, *kernel = weight.shape
    views = [view[0] for _, view in taps(attributes, x, tuple(kernel))]
    window = np.stack(views, axis=1).reshape(groups, depth * len(views), -1)
    rows = weight.reshape(groups, outputs // groups, depth * len(views))
    sums = [
        _products(scene, rows[g], bias.reshape(groups, -1)[g], window[g].T).T for g in range(groups)
    ]
    return np.concatenate(sums).reshape(op.output.shape)


def total(scene: Scene, op: Op) -> Integers:
    """Sums of windows, or over axes."""
    x = scene.value(op.inputs[0])
    if op.kind == "sum_pool":
        views = taps(_filled(scene, op), x[None], op.attributes.wholes("kernel"))
        terms = np.stack([view[0] for _, view in views])
    else:
        axes = op.attributes.wholes("axes")
        first = np.moveaxis(x, axes, range(len(axes)))
        terms = first.reshape(-1, *first.shape[len(axes) :])
    flat = terms.reshape(len(terms), -1).T
    ones, none = np.ones((1, len(terms)), dtype=np.int64), np.zeros(1, dtype=np.int64)
    return _products(scene, ones, none, flat).reshape(op.output.shape)


def combined(scene: Scene, op: Op) -> Integers:
    """(a << shift_a) +- (b << shift_b)."""
    sign = 1 if op.kind == "add" else -1
    left, right = (2 ** op.attributes.whole(name) for name in ("shift_a", "shift_b"))
    return _paired(scene, op, lambda a, b: a * left + b * (sign * right))


def multiply(scene: Scene, op: Op) -> Integers:
    """The product a b."""
    return _paired(scene, op, lambda a, b: a * b)


def requantize(scene: Scene, op: Op) -> Integers:
    """Clamp (x * multiplier + offset) >> shift to lo..hi."""
    lo, hi, even = (op.attributes.whole(name) for name in ("lo", "hi", "even"))

    def run(v: Variable, m: int, b: int, s: int) -> Variable:
        scaled = (_times(v, m) + b) * 2.0**-s
        return _clamped(_even(scaled) if even else scaled, lo, hi)

    return _each(scene, op, run)


def threshold(scene: Scene, op: Op) -> Integers:
    """Base + step * #{k: x >= thresholds[k]}."""
    x, (levels, base, step) = scene.value(op.inputs[0]), scene.constants(op)
    rows = np.broadcast_to(levels, (*x.shape, levels.shape[-1])).reshape(x.size, -1)
    params = [np.broadcast_to(each, x.shape).ravel().tolist() for each in (base, step)]
    found = []
    for v, row, start, sign in zip(scene.elements(x), rows, *params, strict=True):
        if _size(v) <= _LARGEST_TABLE:
            n = start + sign * np.searchsorted(row, _integers(v), side="right")
            found.append(_looked_up(v, n))
        else:
            found.append(sum(((v >= int(t)) * sign for t in row), v * 0 + start))
    return scene.add(found, x.shape)


def table(scene: Scene, op: Op) -> Integers:
    """table[x - first]."""
    x, (entries,) = scene.value(op.inputs[0]), scene.constants(op)
    size, first = entries.shape[-1], op.attributes.whole("first")
    places = np.arange(entries.size // size).reshape(entries.shape[:-1])
    rows = entries.reshape(-1, size)
    found = []
    places = np.broadcast_to(places, x.shape)
    for v, place in zip(scene.elements(x), places.ravel().tolist(), strict=True):
        index = np.clip(_integers(v) - first, 0, size - 1)
        found.append(_looked_up(v, rows[place][index]))
    return scene.add(found, x.shape)


def clamp(scene: Scene, op: Op) -> Integers:
    """min(max(x, lo), hi)."""
    lo, hi = op.attributes.whole("lo"), op.attributes.whole("hi")
    return _each(scene, op, lambda v: v.max_of(lo).min_of(hi))


def leaky(scene: Scene, op: Op) -> Integers:
    """One of two: x >= 0 ? x << shift : x."""
    factor = 2 ** op.attributes.whole("shift")
    return _each(scene, op, lambda v: v.is_negative().msb_mux(v, v * factor))


def mask(scene: Scene, op: Op) -> Integers:
    """Elements of x where keep is 1, else fill."""
    (keep,) = scene.constants(op)
    x, fill = scene.value(op.inputs[0]), scene.fixed(op.attributes.whole("fill"))
    return np.where(keep != 0, x, fill)


def max_pool(scene: Scene, op: Op) -> Integers:
    """The largest of each window."""
    x, kernel = scene.value(op.inputs[0]), op.attributes.wholes("kernel")
    views = np.stack([view[0] for _, view in taps(op.attributes, x[None], kernel, _NONE)])
    found = []
    for window in views.reshape(len(views), -1).T:
        best = scene.elements(window[window != _NONE])
        while len(best) > 1:
            pairs = zip(best[::2], best[1::2], strict=False)
            best = [a.max_of(b) for a, b in pairs] + best[len(best) // 2 * 2 :]
        found.append(best[0])
    return scene.add(found, op.output.shape)


def top_k(scene: Scene, op: Op) -> Integers:
    """The index of the largest along an axis, the lowest index at a tie: a tournament."""
    if op.attributes.whole("k") != 1:
        raise BackendError("only the first of top_k can be written; use the back end verilog")
    axis = op.attributes.whole("axis")
    x = np.moveaxis(scene.value(op.inputs[0]), axis, -1)
    found = []
    for row in x.reshape(-1, x.shape[-1]):
        index = scene.elements(np.array([scene.fixed(i) for i in range(len(row))]))
        left = list(zip(scene.elements(row), index, strict=True))
        while len(left) > 1:
            pairs = zip(left[::2], left[1::2], strict=False)
            left = [_winner(a, b) for a, b in pairs] + left[len(left) // 2 * 2 :]
        found.append(left[0][1])
    return np.moveaxis(scene.add(found, (*x.shape[:-1], 1)), -1, axis)


def moved(scene: Scene, op: Op) -> Integers:
    """What only moves integers moves the numbers of their variables."""
    operands = [scene.value(name)[None] for name in op.inputs]
    attributes = _filled(scene, op) if "fill" in op.attributes else op.attributes
    return np.asarray(KINDS[op.kind].run(attributes, operands)[0])


EMITTERS: dict[str, Callable[[Scene, Op], Integers]] = {
    "dense": dense,
    "conv": conv,
    "conv_transpose": conv,
    "sum_pool": total,
    "sum": total,
    "add": combined,
    "subtract": combined,
    "multiply": multiply,
    "requantize": requantize,
    "threshold": threshold,
    "table": table,
    "clamp": clamp,
    "leaky": leaky,
    "mask": mask,
    "max_pool": max_pool,
    "top_k": top_k,
    **dict.fromkeys(("reshape", "permute", "slice", "concat", "pad"), moved),
}


def _products(scene: Scene, weight: Integers, bias: Integers, x: Integers) -> Integers:
    """Variables of weight @ x + bias for each row of x: `(positions, in)` to `(positions, out)`."""
    if np.abs(weight).max(initial=0) >= _LARGEST_WEIGHT:
        raise BackendError(
            f"a weight is {np.abs(weight).max()}, alkaid takes those below {_LARGEST_WEIGHT};"
            " use the back end verilog"
        )
    found: list[Variable] = []
    for row in x:
        ends = [(v.low, v.high) for v in scene.elements(row)]
        live = np.array([low != high for low, high in ends], dtype=bool)
        fixed = np.array([low for low, _ in ends], dtype=np.float64).astype(np.int64)
        known = np.where(live, 0, fixed) @ weight.T + bias
        sums = [scene.variables[scene.fixed(n)] for n in known.tolist()]
        rows = np.flatnonzero(weight[:, live].any(axis=1))
        if rows.size:  # alkaid takes no products of constants alone
            products = scene.array(row[live]) @ weight[np.ix_(rows, live)].T.astype(np.float64)
            for r, v in zip(rows.tolist(), np.asarray(products).tolist(), strict=True):
                sums[r] = v + float(known[r])
        found += sums
    return scene.add(found, (len(x), len(weight)))


def _filled(scene: Scene, op: Op) -> Attributes:
    """The attributes with the number of the variable that fills."""
    return Attributes({**op.attributes, "fill": scene.fixed(op.attributes.whole("fill"))})


def _each(scene: Scene, op: Op, run: Callable[..., Variable]) -> Integers:
    """A function of each element, and of the constants beside it."""
    x = scene.value(op.inputs[0])
    params = [np.broadcast_to(c, x.shape).ravel().tolist() for c in scene.constants(op)]
    elements = zip(scene.elements(x), *params, strict=True)
    return scene.add([run(v, *each) for v, *each in elements], x.shape)


def _paired(scene: Scene, op: Op, run: Callable[[Variable, Variable], Variable]) -> Integers:
    pair = np.broadcast_arrays(*(scene.value(name) for name in op.inputs))
    a, b = (scene.elements(each) for each in pair)
    return scene.add([run(*both) for both in zip(a, b, strict=True)], op.output.shape)


def _times(v: Variable, factor: int) -> Variable:
    """A variable times a constant, by its signed digits: alkaid's own search takes long."""
    digits = [v * (sign * 2**shift) for shift, sign in signed_digits(factor)]
    while len(digits) > 1:
        digits = [a + b for a, b in zip(digits[::2], digits[1::2], strict=False)] + (
            digits[-1:] if len(digits) % 2 else []
        )
    return digits[0] if digits else v * 0


def _even(v: Variable) -> Variable:
    """A variable to nearest, ties to even: the last bit of v + 1/2 rounded down goes at a tie."""
    raised = v + 0.5
    signed, above, below = (int(each) for each in raised.kif)
    if below <= 0:  # v is always a tie
        return raised.quantize(signed, above, -1, "WRAP", "TRN")
    some = raised.quantize(0, 0, below, "WRAP", "TRN").unary_bit_op("any")
    odd = raised.quantize(0, 1, 0, "WRAP", "TRN")
    return raised.quantize(signed, above, -1, "WRAP", "TRN") + (odd & some)


def _clamped(v: Variable, lo: int, hi: int) -> Variable:
    """A variable rounded down to a whole number in lo..hi."""
    bits = hi.bit_length()
    if hi == 2**bits - 1 and lo in (0, -(hi + 1)):
        return v.quantize(int(lo < 0), bits, 0, "SAT", "TRN")
    signed, above, _ = (int(each) for each in v.kif)
    whole = v.quantize(signed, max(above, 0) + 1, 0, "WRAP", "TRN")
    return whole.max_of(lo).min_of(hi)


def _size(v: Variable) -> int:
    return round((v.high - v.low) / v.step) + 1


def _integers(v: Variable) -> Integers:
    """What a variable can be."""
    return (v.low + v.step * np.arange(_size(v))).astype(np.int64)


def _looked_up(v: Variable, entries: Integers) -> Variable:
    """A table of what a variable can be; of one entry: a constant."""
    return v * 0 + int(entries[0]) if len(entries) == 1 else v.lookup(entries.astype(np.float64))


def _winner(a: Sequence[Variable], b: Sequence[Variable]) -> tuple[Variable, Variable]:
    """The larger of two variables with its index; the first one at a tie."""
    less = (a[0] - b[0]).is_negative()
    return less.msb_mux(b[0], a[0]), less.msb_mux(b[1], a[1])
