"""The ops of a graph on reals."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pareq.backends.onnx import pool, window
from pareq.backends.onnx.edge import ordinary
from pareq.backends.onnx.sheet import Port
from pareq.backends.onnx.stage import EXACT, UNIT, Stage, Style, powers
from pareq.errors import BackendError, at
from pareq.ir.graph import Graph, Op

__all__ = ["emit", "inputs", "outputs"]

Reals = npt.NDArray[np.float64]

_FINE = 2**16  # steps of a grid that no quantizer has


def inputs(stage: Stage, graph: Graph, style: Style, batch: int | str) -> None:
    """The inputs of the model, float32, rounded to their grids. Raises BackendError."""
    values = [each.value for each in graph.inputs]
    values += [each.value for each in graph.constants]
    for value in (*values, *(op.output for op in graph.ops)):
        if not ordinary(value.grid):
            raise BackendError(f"{value.name!r} has a scale out of float32; use c, or onnx")
    for each in graph.inputs:
        with at(f"input {each.name!r}"), stage.sheet.at(each.name):
            name = stage.sheet.free(each.name)
            port = Port(name, np.dtype(np.float32), each.value.shape, batch)
            stage.sheet.inputs.append(port)
            style.enter(stage, each, name)


def emit(stage: Stage, graph: Graph, style: Style) -> None:
    """Add the nodes of all ops. Raises BackendError where float32 is too narrow."""
    for op in graph.ops:
        with at(f"op {op.name!r} ({op.kind})"), stage.sheet.at(op.name, op.origin):
            if op.kind == "requantize" and _multiplies(stage, op):
                _affine(stage, op)
            elif op.kind in ("requantize", "threshold"):
                stage.clear(op.inputs[0])
                tensor = style.settle(stage, op)
                stage.settled(op.name, tensor)
            elif op.kind == "dense":
                _dense(stage, op, style)
            elif op.kind in ("conv", "conv_transpose"):
                _conv(stage, op, style)
            else:
                _PLAIN[op.kind](stage, op)
        stage.keep(op, stage.whole(op.name))


def outputs(stage: Stage, graph: Graph) -> None:
    """The outputs of the model. Raises BackendError where float32 is too narrow."""
    for name in graph.outputs:
        with at(f"output {name!r}"), stage.sheet.at(name):
            stage.clear(name)
            tensor = stage.read(name)
            if graph.inputs:
                tensor = stage.batched(name, tensor, [each.name for each in graph.inputs])
            batch = stage.sheet.inputs[0].batch if graph.inputs else 1
            last = stage.sheet.rename(tensor, name)
            stage.sheet.outputs.append(Port(last, np.dtype(np.float32), stage.shape(name), batch))


def _multiplies(stage: Stage, op: Op) -> bool:
    """Whether a requantization is to a grid so fine that nothing is rounded or clamped."""
    low, high = stage.limits(op.name)
    inside = op.attributes.whole("lo") <= low and high <= op.attributes.whole("hi")
    return inside and high - low >= _FINE and not stage.constant(op.inputs[3]).any()


def _affine(stage: Stage, op: Op) -> None:
    multiplier, offset = (stage.constant(name) for name in op.inputs[1:3])
    here, grid, add = stage.grid(op.inputs[0]), stage.grid(op.name), stage.sheet.add
    x, own = stage.read(op.inputs[0]), np.asarray(grid.scale)
    gain = (own * multiplier / np.asarray(here.scale))[None]
    rest = (own * (here.zero * multiplier + offset - grid.zero))[None]
    if (gain != 1).any():
        x = add("Mul", x, gain.astype(np.float32))
    if rest.any():
        x = add("Add", x, rest.astype(np.float32))
    top = float(np.abs(multiplier).max())
    stage.finish(op, x, top * stage.error(op.inputs[0]))


def _dense(stage: Stage, op: Op, style: Style) -> None:
    weight = stage.constant(op.inputs[1])
    factor = style.weight(stage, weight.T, _per_output(stage, op, 0), 1)
    product = stage.sheet.add("MatMul", style.operand(stage, op.inputs[0]), factor)
    _biased(stage, op, product, style)


def _conv(stage: Stage, op: Op, style: Style) -> None:
    weight, zero = stage.constant(op.inputs[1]), stage.grid(op.inputs[0]).zero
    fill, padding = op.attributes.whole("fill"), op.attributes.wholes("padding")
    turned = op.kind == "conv_transpose"
    if fill != zero and (turned or any(padding)):
        raise BackendError(f"pads with {fill}, expected the zero {zero}; use c or onnx")
    how: dict[str, int | tuple[int, ...]] = {
        "kernel_shape": weight.shape[2:],
        "strides": op.attributes.wholes("stride"),
        "dilations": op.attributes.wholes("dilation"),
        "group": op.attributes.whole("groups"),
        "pads": tuple(max(each, 0) for each in padding) if turned else padding,
    }
    half, extra = len(padding) // 2, [max(-each, 0) for each in padding]
    if turned:
        if any(extra[:half]):
            raise BackendError(f"padding is {padding}, expected 0 or more before; use c or onnx")
        how["output_padding"] = tuple(extra[half:])
    factor = style.weight(stage, weight, _per_output(stage, op, 1 if turned else 0), 0)
    kind = "ConvTranspose" if turned else "Conv"
    product = stage.sheet.add(kind, style.operand(stage, op.inputs[0]), factor, attributes=how)
    _biased(stage, op, product, style)


def _per_output(stage: Stage, op: Op, axis: int) -> Reals:
    """The scales of a weight: one number, or one an output."""
    weight = op.inputs[1]
    scale = np.asarray(stage.grid(weight).scale)
    if scale.size == 1:
        return scale.reshape(())
    whole = np.moveaxis(np.broadcast_to(scale, stage.shape(weight)), axis, 0)
    whole = whole.reshape(len(whole), -1)
    if axis or (whole != whole[:, :1]).any():
        raise BackendError("has weights with a scale for each input; use c or onnx")
    return np.array(whole[:, 0])


def _biased(stage: Stage, op: Op, product: str, style: Style) -> None:
    x, weight = stage.grid(op.inputs[0]), stage.constant(op.inputs[1])
    turned = op.kind == "conv_transpose"
    if turned:
        groups = op.attributes.whole("groups")
        parts = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        weight = np.moveaxis(parts, 2, 1).reshape(-1, *parts.shape[1:2], *weight.shape[2:])
    across = tuple(range(1, weight.ndim))
    bias = stage.constant(op.inputs[2]) + x.zero * weight.sum(axis=across)
    size = int(np.abs(weight).sum(axis=across).max())
    top = size * stage.size(op.inputs[0]) + int(np.abs(bias).max(initial=0))
    if bias.any():
        axis = -1 if op.kind == "dense" else 0
        scale = np.moveaxis(stage.scale(op.name), axis, 0).reshape(len(bias), -1)[:, 0]
        scale = scale[:1].reshape(()) if (scale == scale[0]).all() else scale
        tail = (1,) * (len(op.output.shape) - 1) if op.kind != "dense" else ()
        shape = (1, len(bias), *tail)
        whole = style.bias(stage, bias.reshape(shape), scale)
        product = stage.sheet.add("Add", product, whole)
    count = int((weight != 0).sum(axis=across).max()) + 6  # adding zero does not round
    error = size * stage.error(op.inputs[0]) + count * UNIT * top
    stage.finish(op, product, error, powers(stage.grid(op.inputs[1])) and top < EXACT)


def _sum_of(kind: str) -> Callable[[Stage, Op], None]:
    def emitter(stage: Stage, op: Op) -> None:
        sides = stage.aligned(op, np.dtype(np.float32))
        names = zip(op.inputs, ("shift_a", "shift_b"), strict=True)
        error = sum(stage.error(name) * 2.0 ** op.attributes.whole(by) for name, by in names)
        stage.finish(op, stage.sheet.add(kind, *sides), error)

    return emitter


def _multiply(stage: Stage, op: Op) -> None:
    sides = stage.aligned(op, np.dtype(np.float32))
    (ea, eb), (a, b) = ([f(n) for n in op.inputs] for f in (stage.error, stage.size))
    stage.finish(op, stage.sheet.add("Mul", *sides), ea * (b + eb) + eb * a)


def _leaky(stage: Stage, op: Op) -> None:
    shift = op.attributes.whole("shift")
    x, how = stage.read(op.inputs[0]), {"alpha": 2.0**-shift}
    error = stage.error(op.inputs[0]) * 2.0**shift
    stage.finish(op, stage.sheet.add("LeakyRelu", x, attributes=how), error)


def _clamp(stage: Stage, op: Op) -> None:
    lo, hi = (op.attributes.whole(name) for name in ("lo", "hi"))
    low, high = stage.limits(op.inputs[0])
    x, add = stage.read(op.inputs[0]), stage.sheet.add
    if lo > low and lo == stage.grid(op.name).zero:
        x = add("Relu", x)
    elif lo > low:
        x = add("Max", x, stage.real(op.name, lo).astype(np.float32))
    if hi < high:
        x = add("Min", x, stage.real(op.name, hi).astype(np.float32))
    stage.finish(op, x, stage.error(op.inputs[0]))


def _mask(stage: Stage, op: Op) -> None:
    keep = stage.constant(op.inputs[1])[None] != 0
    fill = stage.real(op.name, op.attributes.whole("fill")).astype(np.float32)
    tensor = stage.sheet.add("Where", keep, stage.read(op.inputs[0]), fill)
    stage.finish(op, tensor, stage.error(op.inputs[0]))


def _concat(stage: Stage, op: Op) -> None:
    parts = [stage.batched(name, stage.read(name), op.inputs) for name in op.inputs]
    axis = {"axis": op.attributes.whole("axis") + 1}
    error = max(stage.error(name) for name in op.inputs)
    stage.finish(op, stage.sheet.add("Concat", *parts, attributes=axis), error)


def _reshape(stage: Stage, op: Op) -> None:
    shape = np.array([0, *op.attributes.wholes("shape")], dtype=np.int64)
    _moved(stage, op, stage.sheet.add("Reshape", stage.read(op.inputs[0]), shape))


def _permute(stage: Stage, op: Op) -> None:
    order = {"perm": (0, *(axis + 1 for axis in op.attributes.wholes("axes")))}
    _moved(stage, op, stage.sheet.add("Transpose", stage.read(op.inputs[0]), attributes=order))


def _slice(stage: Stage, op: Op) -> None:
    bounds = zip(*(op.attributes.wholes(each) for each in ("start", "stop", "step")), strict=True)
    cuts = [(axis + 1, *each) for axis, each in enumerate(bounds)]
    _moved(stage, op, window.cut(stage.sheet, stage.read(op.inputs[0]), cuts))


def _moved(stage: Stage, op: Op, tensor: str) -> None:
    stage.finish(op, tensor, stage.error(op.inputs[0]))


def _pad(stage: Stage, op: Op) -> None:
    around = [op.attributes.wholes(name) for name in ("before", "after")]
    fill = stage.fill(op.inputs[0], op.attributes.whole("fill"))
    whole = [0, *around[0], 0, *around[1]]
    _moved(stage, op, window.pad(stage.sheet, stage.read(op.inputs[0]), whole, fill))


def _table(stage: Stage, op: Op) -> None:
    """Look up n - first, where n is rounded to be whole."""
    stage.clear(op.inputs[0])
    entries, first = stage.constant(op.inputs[1]), op.attributes.whole("first")
    rows = np.arange(entries[..., 0].size).reshape(entries.shape[:-1])
    begin = rows * entries.shape[-1] - first + stage.grid(op.inputs[0]).zero
    at = stage.sheet.add("Cast", stage.integers(op.inputs[0]), attributes={"to": "int64"})
    at = stage.sheet.add("Add", at, begin[None].astype(np.int64))
    found = stage.sheet.add("Gather", entries.ravel().astype(np.float32), at)
    stage.settled(op.name, stage.stepped(op.name, found))


def _top_k(stage: Stage, op: Op) -> None:
    """Of integers: reals of equal integers may differ in their last bit."""
    stage.clear(op.inputs[0])
    axis, k = op.attributes.whole("axis"), op.attributes.whole("k")
    how = {"axis": axis + 1, "largest": 1, "sorted": 1}
    x = stage.integers(op.inputs[0])
    size = np.array([k], dtype=np.int64)
    found = stage.sheet.add("TopK", x, size, attributes=how, outputs=2)
    found = stage.sheet.add("Cast", found, attributes={"to": "float32"})
    stage.settled(op.name, stage.stepped(op.name, found))


_PLAIN: dict[str, Callable[[Stage, Op], None]] = {
    "table": _table,
    "add": _sum_of("Add"),
    "subtract": _sum_of("Sub"),
    "multiply": _multiply,
    "leaky": _leaky,
    "clamp": _clamp,
    "mask": _mask,
    "concat": _concat,
    "max_pool": pool.max_pool,
    "sum_pool": pool.sum_pool,
    "sum": pool.total,
    "reshape": _reshape,
    "permute": _permute,
    "slice": _slice,
    "pad": _pad,
    "top_k": _top_k,
}
