"""Passes on channels: what never changes goes into biases, what nobody reads is cut away."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pareq.ir.attributes import Attribute, Attributes
from pareq.ir.graph import Constant, Graph, Op, Range, Value
from pareq.numerics.grid import Grid

__all__ = ["absorb_constants", "drop_channels"]

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_LAYERS = ("dense", "conv", "conv_transpose")
_STEPS = ("requantize", "threshold", "table", "clamp", "leaky", "mask")
_POOLS = ("max_pool", "sum_pool")
_PAIRS = ("add", "subtract", "multiply")


class _Constants:
    """The constants of a graph that is being rewritten."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._made = {each.name: each for each in graph.constants}
        self._taken = {op.name for op in graph.ops} | {each.name for each in graph.inputs}

    def __getitem__(self, name: str) -> Constant:
        return self._made[name]

    def changed(self, name: str, data: Integers, rows: tuple[Mask, int] | None = None) -> str:
        """The name of a constant like another one with new data, on the grid of the old one.

        rows: the kept entries of an axis, for a scale that varies along it.
        """
        old = self._graph.constant(name)
        was = self._made[name]
        scale = was.grid.scale
        if rows is not None and not isinstance(scale, float):
            scale = _scale_rows(scale, data.ndim, *rows)
        low, high = int(data.min(initial=0)), int(data.max(initial=0))
        grid = Grid(min(was.grid.lo, low), max(was.grid.hi, high), scale, was.grid.zero)
        if old is not None and np.array_equal(old, data):
            return name
        mine, number = name, 1
        alone = len(self._graph.users(name)) == 1 and name not in self._graph.outputs
        while not alone and (mine in self._made or mine in self._taken):
            number += 1
            mine = f"{name}.{number}"
        self._made[mine] = Constant(mine, data, grid)
        return mine

    def all(self) -> tuple[Constant, ...]:
        """Every constant."""
        return tuple(self._made.values())


def _scale_rows(
    scale: npt.NDArray[np.float64], rank: int, rows: Mask, axis: int
) -> npt.NDArray[np.float64]:
    """A scale without the entries of an axis that are dropped."""
    own = axis - (rank - scale.ndim)
    return np.compress(rows, scale, own) if own >= 0 and scale.shape[own] > 1 else scale


def absorb_constants(graph: Graph) -> Graph:
    """Move inputs of dense layers and convolutions that can take one value into the bias.

    Their weights become zero. A channel of a convolution with padding moves only when its value is
    what the padding holds, for only then is it the same at the border.
    """
    ranges, constants, ops = graph.ranges(), _Constants(graph), []
    for op in graph.ops:
        if op.kind in ("dense", "conv"):
            weight, bias = constants[op.inputs[1]].data, constants[op.inputs[2]].data
            fixed, value = _fixed(op, ranges[op.inputs[0]])
            spread = _per_output(op, np.where(fixed, value, 0), weight.shape)
            gone = _per_output(op, fixed, weight.shape) & (weight != 0)
            if gone.any():
                more = np.where(gone, weight * spread, 0).sum(axis=tuple(range(1, weight.ndim)))
                names = (
                    constants.changed(op.inputs[1], np.where(gone, 0, weight)),
                    constants.changed(op.inputs[2], bias + more),
                )
                op = replace(op, inputs=(op.inputs[0], *names))
        ops.append(op)
    return replace(graph, constants=constants.all(), ops=tuple(ops))


def _fixed(op: Op, x: Range) -> tuple[Mask, Integers]:
    """Which features or channels of x have one value everywhere, and the value."""
    feature = x.lo.ndim - 1 if op.kind == "dense" else 0
    others = tuple(axis for axis in range(x.lo.ndim) if axis != feature)
    low, high = x.lo.min(axis=others), x.hi.max(axis=others)
    fixed = low == high
    if op.kind == "conv" and any(op.attributes.wholes("padding")):
        fixed = fixed & (low == op.attributes.whole("fill"))
    return np.asarray(fixed), np.asarray(low)


def _per_output(
    op: Op, each: npt.NDArray[np.generic], shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """One entry an input channel, as an array that broadcasts against the weights."""
    if op.kind == "dense":
        return np.asarray(each[None, :])
    groups = op.attributes.whole("groups")
    rows = np.repeat(each.reshape(groups, shape[1]), shape[0] // groups, axis=0)
    return np.asarray(rows.reshape(*shape[:2], *(1,) * (len(shape) - 2)))


def drop_channels(graph: Graph) -> Graph:
    """Cut channels (axis 0) that nothing reads out of the layers that make them.

    A channel is read when a weight that is not zero meets it, when it reaches an output, or when an
    op mixes the axis. Layers without groups may lose outputs freely; ops that work channel by
    channel keep the same channels on both sides.
    """
    keep = _kept(graph)
    if all(mask.all() for mask in keep.values()):
        return graph
    constants = _Constants(graph)
    ops = tuple(_cut(graph, op, keep, constants) for op in graph.ops)
    return replace(graph, constants=constants.all(), ops=ops)


def _kept(graph: Graph) -> dict[str, Mask]:
    """For each value that changes the channels to keep: the smallest consistent choice."""
    values = [each.value for each in graph.inputs] + [op.output for op in graph.ops]
    keep = {v.name: np.zeros(v.shape[0] if v.shape else 1, dtype=np.bool_) for v in values}
    for name in (*graph.outputs, *(each.name for each in graph.inputs)):
        if name in keep:
            keep[name][:] = True
    while True:
        changed = True
        while changed:
            changed = False
            for op in reversed(graph.ops):
                changed |= _spread(graph, op, keep)
        empty = [mask for mask in keep.values() if not mask.any()]
        if not empty:
            return keep
        empty[-1][0] = True  # a value needs one channel


def _spread(graph: Graph, op: Op, keep: dict[str, Mask]) -> bool:
    """Add what one op demands of the masks around it; whether anything was added."""
    out = keep[op.name]
    around = [out, *(keep[name] for name in op.inputs if name in keep)]
    before = sum(int(mask.sum()) for mask in around)
    if _is_layer(op):
        weight = np.asarray(graph.constant(op.inputs[1]))
        rows = weight.swapaxes(0, 1) if op.kind == "conv_transpose" else weight
        if op.inputs[0] in keep:
            met = rows[out] != 0
            keep[op.inputs[0]] |= met.any(axis=(0, *range(2, met.ndim)))
    elif (links := _links(graph, op)) is None:
        for mask in around:
            mask[:] = True
    else:
        for name, offset, ratio in links:
            size = len(keep[name])
            part = out[offset : offset + size * ratio].reshape(size, ratio)
            keep[name] |= part.any(axis=1)
            part |= keep[name][:, None]
    return sum(int(mask.sum()) for mask in around) > before


def _is_layer(op: Op) -> bool:
    """Whether an op mixes all channels of its input, along axis 0."""
    if op.kind == "dense":
        return len(op.output.shape) == 1
    return op.kind in _LAYERS and op.attributes.whole("groups") == 1


def _links(graph: Graph, op: Op) -> list[tuple[str, int, int]] | None:
    """The operands whose channels go to channels of the result: (name, first channel, ratio).

    Channel c of the operand becomes channels first + c * ratio, ... of the result. None when the
    op mixes them.
    """
    out = op.output.shape
    moving = [name for name in op.inputs if graph.constant(name) is None]
    shapes = [graph.value(name).shape for name in moving]
    if not out or not all(shapes):
        return None
    if op.kind == "concat" and op.attributes.whole("axis") == 0:
        if len(moving) < len(op.inputs):
            return None  # constants stay as they are
        begins = np.cumsum([0, *(shape[0] for shape in shapes)]).tolist()
        return [(name, begin, 1) for name, begin in zip(moving, begins[:-1], strict=True)]
    if op.kind in ("conv", "conv_transpose"):
        single = op.attributes.whole("groups") == shapes[0][0]
        return [(moving[0], 0, out[0] // shapes[0][0])] if single else None
    if op.kind == "reshape":
        rows = math.prod(shapes[0][1:])
        return [(moving[0], 0, rows)] if len(out) == 1 else None
    alike = all(len(shape) == len(out) and shape[0] == out[0] for shape in shapes)
    return [(name, 0, 1) for name in moving] if alike and _keeps_channels(op) else None


def _keeps_channels(op: Op) -> bool:
    """Whether channel c of the result comes from channel c of the operands alone."""
    attributes = op.attributes
    if op.kind == "permute":
        return attributes.wholes("axes")[0] == 0
    if op.kind == "slice":
        return attributes.wholes("step")[0] == 1
    if op.kind == "pad":
        return attributes.wholes("before")[0] == attributes.wholes("after")[0] == 0
    if op.kind == "sum":
        return 0 not in attributes.wholes("axes")
    if op.kind == "concat":
        return attributes.whole("axis") != 0
    return op.kind in (*_STEPS, *_POOLS, *_PAIRS)


def _cut(graph: Graph, op: Op, keep: dict[str, Mask], constants: _Constants) -> Op:
    """An op on the channels that are kept."""
    out = keep[op.name]
    inner = keep.get(op.inputs[0])
    inputs, changes = list(op.inputs), dict[str, Attribute]()
    if out.all() and (inner is None or inner.all()):
        return op
    if op.kind in _LAYERS and not (op.kind == "dense" and len(op.output.shape) > 1):
        inputs[1] = _cut_weight(graph, op, (out, inner), constants)
        bias = np.asarray(graph.constant(inputs[2]))
        inputs[2] = constants.changed(inputs[2], bias[out], (out, 0))
        if op.kind != "dense" and inner is not None and op.attributes.whole("groups") > 1:
            changes["groups"] = int(inner.sum())
    else:
        for place, name in enumerate(inputs):
            data = graph.constant(name)
            rank = len(op.output.shape)
            if data is not None and data.ndim >= rank and data.shape[0] == len(out) > 1:
                inputs[place] = constants.changed(name, data[out], (out, 0))
    if op.kind == "reshape":
        changes["shape"] = (int(out.sum()),)
    if op.kind == "slice":
        changes["stop"] = (int(out.sum()), *op.attributes.wholes("stop")[1:])
    attributes = Attributes({**op.attributes, **changes})
    return Op(op.kind, tuple(inputs), _cut_value(op.output, out), attributes, op.origin)


def _cut_weight(
    graph: Graph, op: Op, masks: tuple[Mask, Mask | None], constants: _Constants
) -> str:
    """The weight of a layer for some outputs and inputs."""
    (out, inner), name = masks, op.inputs[1]
    weight = np.asarray(graph.constant(name))
    every = np.ones(weight.shape[0 if op.kind == "conv_transpose" else 1], dtype=np.bool_)
    inside = every if inner is None else inner
    if op.kind != "dense" and op.attributes.whole("groups") > 1:
        rows = inside if op.kind == "conv_transpose" else out
        return constants.changed(name, weight[rows], (rows, 0))
    if op.kind == "conv_transpose":
        return constants.changed(name, weight[inside][:, out], (out, 1))
    return constants.changed(name, weight[out][:, inside], (out, 0))


def _cut_value(value: Value, rows: Mask) -> Value:
    scale = value.grid.scale
    if not isinstance(scale, float):
        scale = _scale_rows(scale, len(value.shape), rows, 0)
    shape = (int(rows.sum()), *value.shape[1:])
    return Value(value.name, shape, replace(value.grid, scale=scale))
