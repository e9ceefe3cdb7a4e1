"""Pools, means and heads: exact on integers, a mean with its division as the next real step."""

import math

import numpy as np

from pareq.errors import LoweringError
from pareq.ir.attributes import Attribute
from pareq.lower.curve import Term
from pareq.lower.rules import Entry, Scope, rule
from pareq.lower.rules_steps import bounded
from pareq.lower.settle import settle

__all__: list[str] = []


@rule(
    *("max_pool1d", "max_pool2d", "max_pool3d"),
    *("max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool1d_with_indices"),
)
def _max_pool(scope: Scope) -> Entry:
    x = scope.exact("self")
    rank = len(scope.value(x).shape) - 1
    kernel = scope.wholes("kernel_size", rank)
    attributes: dict[str, Attribute] = {
        "kernel": kernel,
        "stride": _stride(scope, kernel),
        "padding": scope.wholes("padding", rank) * 2,
        "dilation": scope.wholes("dilation", rank),
    }
    result = _same_size(scope, scope.op("max_pool", (x,), attributes))
    return (result, None) if scope.call.op.endswith("indices") else result


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(scope: Scope) -> Term:
    x = scope.exact("self")
    rank = len(scope.value(x).shape) - 1
    kernel, padding = scope.wholes("kernel_size", rank), scope.wholes("padding", rank)
    if any(padding) and not scope.call.arguments["count_include_pad"]:
        raise LoweringError("divides by another count at the edge; set count_include_pad=True")
    count = scope.real("divisor_override", 0.0) if rank > 1 else 0.0
    return _mean(scope, x, (kernel, _stride(scope, kernel), padding), count)


@rule(*(f"adaptive_avg_pool{n}d" for n in (1, 2, 3)))
def _adaptive_avg_pool(scope: Scope) -> Term:
    x = scope.exact("self")
    kernel = _windows(scope, x)
    return _mean(scope, x, (kernel, kernel, (0,) * len(kernel)), 0.0)


@rule(*(f"adaptive_max_pool{n}d" for n in (1, 2, 3)))
def _adaptive_max_pool(scope: Scope) -> Entry:
    x = scope.exact("self")
    kernel = _windows(scope, x)
    attributes: dict[str, Attribute] = {
        "kernel": kernel,
        "stride": kernel,
        "padding": (0,) * (2 * len(kernel)),
        "dilation": (1,) * len(kernel),
    }
    return Term(scope.op("max_pool", (x,), attributes)), None


@rule("mean", "sum")
def _reduce(scope: Scope) -> Term:
    x = scope.exact("self")
    value = scope.value(x)
    given = scope.call.arguments.get("dim")
    dims = (given,) if isinstance(given, int) else given
    if not isinstance(dims, tuple) or not dims:
        raise LoweringError("mixes the samples of a batch; name the dimensions")
    axes = tuple(sorted(scope.axis_of(int(str(d)), len(value.shape)) for d in dims))
    _uniform(scope, x, axes)
    scale = value.grid.scale
    if not isinstance(scale, float):
        kept = tuple(slice(0, 1) if i in axes else slice(None) for i in range(len(value.shape)))
        scale = np.broadcast_to(scale, value.shape)[kept]
    name = _shaped(scope, scope.op("sum", (x,), {"axes": axes}, scale=scale)).name
    count = math.prod(value.shape[i] for i in axes)
    return _over(scope, name, count if scope.call.op == "mean" else 1)


@rule("amax", "amin", "max", "min")
def _extreme(scope: Scope) -> Entry:
    """The largest or smallest along some axes; of max and min also where, the first of equals."""
    if "other" in scope.call.arguments:
        return bounded(scope)
    given = scope.call.arguments.get("dim")
    dims = (given,) if isinstance(given, int) else given
    if not isinstance(dims, tuple) or not dims:
        raise LoweringError("mixes the samples of a batch; name the dimension")
    smallest = scope.call.op in ("amin", "min")
    x = _turned(scope, smallest)
    axes = tuple(scope.axis_of(int(str(d)), len(scope.value(x).shape)) for d in dims)
    _uniform(scope, x, axes)
    largest = _shaped(scope, _largest(scope, x, axes))
    values = largest.then(scope.step("multiply", -1.0)) if smallest else largest
    if scope.call.op in ("amax", "amin"):
        return values
    return values, _shaped(scope, _top(scope, x, 1))


def _largest(scope: Scope, x: str, axes: tuple[int, ...]) -> str:
    """A max pool with one window over the axes that fall."""
    shape = scope.value(x).shape
    kept = tuple(i for i in range(len(shape)) if i not in axes)
    order = (*kept, *axes)
    if order != tuple(range(len(shape))):
        x = scope.op("permute", (x,), {"axes": order})
    rows, size = math.prod(shape[i] for i in kept), math.prod(shape[i] for i in axes)
    x = scope.op("reshape", (x,), {"shape": (rows, size)})
    window: dict[str, Attribute] = {"kernel": (size,), "stride": (size,)}
    return scope.op("max_pool", (x,), {**window, "padding": (0, 0), "dilation": (1,)})


@rule("argmax", "argmin")
def _argmax(scope: Scope) -> Term:
    """The first of equals, as torch gives it."""
    if scope.call.arguments["dim"] is None:
        raise LoweringError("mixes the samples of a batch; name the dimension")
    return _shaped(scope, _top(scope, _turned(scope, scope.call.op == "argmin"), 1))


@rule("topk")
def _topk(scope: Scope) -> Entry:
    """Indices only; of equal values the first comes first, where torch promises no order."""
    x = _turned(scope, not scope.call.arguments["largest"])
    return None, Term(_top(scope, x, scope.whole("k")))


def _turned(scope: Scope, negated: bool) -> str:
    """The operand as integers, with its sign turned where the smallest is wanted."""
    term = scope.term("self")
    return settle(scope.builder, term.then(scope.step("multiply", -1.0)) if negated else term)


def _top(scope: Scope, x: str, k: int) -> str:
    axis = scope.axis("dim")
    _uniform(scope, x, (axis,))
    return scope.op("top_k", (x,), {"axis": axis, "k": k}, scale=1.0)


def _shaped(scope: Scope, name: str) -> Term:
    """In the shape of the result."""
    if scope.value(name).shape != scope.shape:
        name = scope.op("reshape", (name,), {"shape": scope.shape})
    return Term(name)


def _uniform(scope: Scope, x: str, axes: tuple[int, ...]) -> None:
    """Raise LoweringError where integers along the axes stand for different steps."""
    value = scope.value(x)
    scale = np.broadcast_to(np.asarray(value.grid.scale), value.shape)
    for axis in axes:
        if (scale != np.take(scale, [0], axis=axis)).any():
            raise LoweringError(
                "compares or adds values on different scales; put a quantizer with one scale "
                "on its input"
            )


def _stride(scope: Scope, kernel: tuple[int, ...]) -> tuple[int, ...]:
    return kernel if scope.call.arguments["stride"] == () else scope.wholes("stride", len(kernel))


def _windows(scope: Scope, x: str) -> tuple[int, ...]:
    """The window of each output of an adaptive pool, which must divide the input."""
    sizes = scope.value(x).shape[1:]
    wanted = scope.wholes("output_size", len(sizes))
    if any(size % out for size, out in zip(sizes, wanted, strict=True)):
        raise LoweringError(f"{sizes} is no multiple of {wanted}; choose an output that divides")
    return tuple(size // out for size, out in zip(sizes, wanted, strict=True))


def _same_size(scope: Scope, name: str) -> Term:
    """Refuse windows that hang over the edge."""
    if scope.value(name).shape != scope.shape:
        raise LoweringError("its last window hangs over the edge; set ceil_mode=False")
    return Term(name)


def _mean(
    scope: Scope,
    x: str,
    windows: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    count: float,
) -> Term:
    kernel, stride, padding = windows
    value = scope.value(x)
    attributes: dict[str, Attribute] = {
        "kernel": kernel,
        "stride": stride,
        "padding": padding * 2,
        "fill": value.grid.zero,
    }
    spatial = tuple(range(1, len(value.shape)))
    _uniform(scope, x, spatial)
    scale = value.grid.scale
    if not isinstance(scale, float):
        scale = np.broadcast_to(scale, value.shape)[(slice(None), *(slice(0, 1) for _ in spatial))]
    name = scope.op("sum_pool", (x,), attributes, scale=scale)
    return _over(scope, _same_size(scope, name).name, count or math.prod(kernel))


def _over(scope: Scope, name: str, count: float) -> Term:
    return Term(name) if count == 1 else Term(name).then(scope.step("divide", count))
