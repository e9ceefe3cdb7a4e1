"""The shape rule of each kind of op: shapes of the operands in, shape of the result out.

No shape has the batch axis. A rule raises GraphError for operands or attributes without meaning.
"""

import math
from collections.abc import Sequence

import numpy as np

from pareq.errors import GraphError
from pareq.ir.attributes import Attributes

__all__ = ["Shape"]

Shape = tuple[int, ...]
Shapes = Sequence[Shape]

_WIDEST = 2**16  # padding beyond it is a mistake


def dense(attributes: Attributes, shapes: Shapes) -> Shape:
    """(*lead, in), (out, in), (out,) -> (*lead, out)."""
    x, weight, bias = shapes
    _need(len(x) >= 1 and len(weight) == 2, f"x is {x} and weight {weight}, expected (out, in)")
    _need(x[-1] == weight[1], f"x has {x[-1]} features, weight expects {weight[1]}")
    _need(bias == weight[:1], f"bias is {bias}, expected {weight[:1]}")
    return (*x[:-1], weight[0])


def conv(attributes: Attributes, shapes: Shapes) -> Shape:
    """(in, *spatial), (out, in / groups, *kernel), (out,) -> (out, *spatial)."""
    x, weight, bias = shapes
    groups = _groups(attributes, x, weight)
    _need(
        x[0] == weight[1] * groups and weight[0] % groups == 0,
        f"x has {x[0]} channels and weight is {weight} in {groups} groups, which do not fit",
    )
    _need(bias == weight[:1], f"bias is {bias}, expected {weight[:1]}")
    return (weight[0], *_windows(attributes, x[1:], weight[2:]))


def conv_transpose(attributes: Attributes, shapes: Shapes) -> Shape:
    """(in, *spatial), (in, out / groups, *kernel), (out,) -> (out, *spatial)."""
    x, weight, bias = shapes
    groups = _groups(attributes, x, weight)
    _need(
        x[0] == weight[0] and weight[0] % groups == 0,
        f"x has {x[0]} channels and weight is {weight} in {groups} groups, which do not fit",
    )
    outputs = weight[1] * groups
    _need(bias == (outputs,), f"bias is {bias}, expected {(outputs,)}")
    rank = len(x) - 1
    stride = _steps(attributes, "stride", rank)
    dilation = _steps(attributes, "dilation", rank)
    padding = _count(attributes, "padding", 2 * rank)
    near = max(abs(each) for each in padding) <= _WIDEST
    _need(near, f"attribute 'padding' is {padding}, expected -{_WIDEST}..{_WIDEST}")
    sizes = [
        (x[1 + i] - 1) * stride[i]
        + dilation[i] * (weight[2 + i] - 1)
        + 1
        - padding[i]
        - padding[rank + i]
        for i in range(rank)
    ]
    _need(min(sizes) >= 1, f"the result would be {tuple(sizes)}")
    return (outputs, *sizes)


def requantize(attributes: Attributes, shapes: Shapes) -> Shape:
    """X and three constants that broadcast against it -> the shape of x."""
    _ordered(attributes)
    even = attributes.whole("even")
    _need(even in (0, 1), f"attribute 'even' is {even}, expected 0 or 1")
    for shape, name in zip(shapes[1:], ("multiplier", "offset", "shift"), strict=True):
        broadcast(name, shape, shapes[0])
    return shapes[0]


def threshold(attributes: Attributes, shapes: Shapes) -> Shape:
    """X, (*broadcast, K), broadcast, broadcast -> the shape of x."""
    x, thresholds, base, step = shapes
    _need(len(thresholds) >= 1, "thresholds need an axis of levels")
    _need(
        thresholds[:-1] == base == step,
        f"thresholds are {thresholds}, base {base}, step {step}, expected the same channels",
    )
    broadcast("base", base, x)
    return x


def table(attributes: Attributes, shapes: Shapes) -> Shape:
    """X, (*broadcast, E) -> the shape of x."""
    _need(len(shapes[1]) >= 1, "a table needs an axis of entries")
    broadcast("table", shapes[1][:-1], shapes[0])
    return shapes[0]


def shifted(attributes: Attributes, shapes: Shapes) -> Shape:
    """Two operands of add or subtract."""
    for name in ("shift_a", "shift_b"):
        shift = attributes.whole(name)
        _need(0 <= shift <= 62, f"attribute {name!r} is {shift}, expected 0..62")
    return together(attributes, shapes)


def together(attributes: Attributes, shapes: Shapes) -> Shape:
    """Two operands broadcast from the right."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise GraphError(f"operands are {' and '.join(map(str, shapes))}, not alike") from None


def leaky(attributes: Attributes, shapes: Shapes) -> Shape:
    """The shape of x."""
    shift = attributes.whole("shift")
    _need(0 <= shift <= 62, f"attribute 'shift' is {shift}, expected 0..62")
    return shapes[0]


def clamp(attributes: Attributes, shapes: Shapes) -> Shape:
    """The shape of x."""
    _ordered(attributes)
    return shapes[0]


def mask(attributes: Attributes, shapes: Shapes) -> Shape:
    """X and a constant of zeros and ones that broadcasts against it -> the shape of x."""
    attributes.whole("fill")
    broadcast("keep", shapes[1], shapes[0])
    return shapes[0]


def concat(attributes: Attributes, shapes: Shapes) -> Shape:
    """Operands that differ along one axis only."""
    axis = _axis(attributes, shapes[0])
    rests = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    fits = len(rests) == 1 and len({len(shape) for shape in shapes}) == 1
    _need(fits, f"operands are {list(shapes)}, expected equal sizes except on axis {axis}")
    first = shapes[0]
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])


def max_pool(attributes: Attributes, shapes: Shapes) -> Shape:
    """(C, *spatial) -> (C, *spatial), each window with at least one sample in it."""
    x = shapes[0]
    _need(len(x) >= 2, f"x is {x}, expected channels and at least one spatial axis")
    rank = len(x) - 1
    kernel = _steps(attributes, "kernel", rank)
    sizes = _windows(attributes, x[1:], kernel)
    dilation, stride = attributes.wholes("dilation"), attributes.wholes("stride")
    padding = attributes.wholes("padding")
    for i, size in enumerate(sizes):
        begin = np.arange(size) * stride[i] - padding[i]
        first = -(np.minimum(begin, 0) // dilation[i])  # the first position not before the input
        inside = (first < kernel[i]) & (begin + first * dilation[i] < x[1 + i])
        _need(bool(inside.all()), f"padding {padding} makes windows that hold no sample")
    return (x[0], *sizes)


def sum_pool(attributes: Attributes, shapes: Shapes) -> Shape:
    """(C, *spatial) -> (C, *spatial)."""
    x = shapes[0]
    _need(len(x) >= 2, f"x is {x}, expected channels and at least one spatial axis")
    attributes.whole("fill")
    return (x[0], *_windows(attributes, x[1:], _steps(attributes, "kernel", len(x) - 1)))


def total(attributes: Attributes, shapes: Shapes) -> Shape:
    """The shape of x with ones on the axes that are summed."""
    x, axes = shapes[0], attributes.wholes("axes")
    fits = len(set(axes)) == len(axes) >= 1 and all(0 <= axis < len(x) for axis in axes)
    _need(fits, f"attribute 'axes' is {axes}, expected different axes of {x}")
    return tuple(1 if axis in axes else size for axis, size in enumerate(x))


def reshape(attributes: Attributes, shapes: Shapes) -> Shape:
    """The attribute."""
    shape = attributes.wholes("shape")
    fits = all(size >= 1 for size in shape) and math.prod(shape) == math.prod(shapes[0])
    _need(fits, f"attribute 'shape' is {shape}, which does not hold {shapes[0]}")
    return shape


def permute(attributes: Attributes, shapes: Shapes) -> Shape:
    """Axes in another order."""
    x, axes = shapes[0], attributes.wholes("axes")
    _need(sorted(axes) == list(range(len(x))), f"attribute 'axes' is {axes}, no permutation of {x}")
    return tuple(x[axis] for axis in axes)


def cut(attributes: Attributes, shapes: Shapes) -> Shape:
    """start:stop:step on every axis; nothing empty."""
    x = shapes[0]
    start, stop = _count(attributes, "start", len(x)), _count(attributes, "stop", len(x))
    step = _steps(attributes, "step", len(x))
    for low, high, size in zip(start, stop, x, strict=True):
        _need(0 <= low < high <= size, f"slice {low}:{high} is not inside 0:{size}, or is empty")
    return tuple(-(-(b - a) // c) for a, b, c in zip(start, stop, step, strict=True))


def pad(attributes: Attributes, shapes: Shapes) -> Shape:
    """Each axis longer by before + after."""
    x = shapes[0]
    before, after = _count(attributes, "before", len(x)), _count(attributes, "after", len(x))
    attributes.whole("fill")
    _need(min((*before, *after), default=0) >= 0, "a pad is negative; use slice")
    return tuple(a + b + c for a, b, c in zip(before, x, after, strict=True))


def top_k(attributes: Attributes, shapes: Shapes) -> Shape:
    """The size of one axis becomes k."""
    x, axis, k = shapes[0], _axis(attributes, shapes[0]), attributes.whole("k")
    _need(1 <= k <= x[axis], f"attribute 'k' is {k}, expected 1..{x[axis]}")
    return (*x[:axis], k, *x[axis + 1 :])


def broadcast(name: str, shape: Shape, x: Shape) -> None:
    """Raise GraphError unless `shape` has the rank of x and each size is 1 or that of x."""
    fits = len(shape) == len(x) and all(a in (1, b) for a, b in zip(shape, x, strict=True))
    _need(fits, f"{name} is {shape}, expected 1 or the size of x = {x} on every axis")


def _need(holds: bool, fact: str) -> None:
    if not holds:
        raise GraphError(fact)


def _count(attributes: Attributes, name: str, count: int) -> tuple[int, ...]:
    value = attributes.wholes(name)
    _need(len(value) == count, f"attribute {name!r} is {value}, expected {count} integers")
    return value


def _steps(attributes: Attributes, name: str, count: int) -> tuple[int, ...]:
    value = _count(attributes, name, count)
    _need(min(value, default=1) >= 1, f"attribute {name!r} is {value}, expected 1 or more")
    return value


def _axis(attributes: Attributes, x: Shape) -> int:
    axis = attributes.whole("axis")
    _need(0 <= axis < len(x), f"attribute 'axis' is {axis}, expected an axis of {x}")
    return axis


def _ordered(attributes: Attributes) -> None:
    lo, hi = attributes.whole("lo"), attributes.whole("hi")
    _need(lo <= hi, f"attribute 'lo' is {lo}, above 'hi' = {hi}")


def _groups(attributes: Attributes, x: Shape, weight: Shape) -> int:
    groups = attributes.whole("groups")
    attributes.whole("fill")
    _need(groups >= 1, f"attribute 'groups' is {groups}, expected 1 or more")
    fits = len(weight) == len(x) + 1 >= 3
    _need(fits, f"x is {x} and weight {weight}, expected one spatial axis or more in both")
    return groups


def _windows(attributes: Attributes, sizes: Shape, kernel: Shape) -> Shape:
    """How many windows fit along each spatial axis."""
    rank = len(sizes)
    stride = _steps(attributes, "stride", rank)
    dilation = _steps(attributes, "dilation", rank) if "dilation" in attributes else (1,) * rank
    padding = _count(attributes, "padding", 2 * rank)
    near = min(padding) >= 0 and max(padding) <= _WIDEST
    _need(near, f"attribute 'padding' is {padding}, expected 0..{_WIDEST}")
    room = [
        sizes[i] + padding[i] + padding[rank + i] - dilation[i] * (kernel[i] - 1) - 1
        for i in range(rank)
    ]
    _need(min(room) >= 0, f"kernel {kernel} is larger than the padded input {sizes}")
    return tuple(space // step + 1 for space, step in zip(room, stride, strict=True))
