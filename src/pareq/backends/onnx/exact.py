"""Every op of a graph in the integer ops of ONNX.

Tensors are int32 where their range allows, else int64; operands of products are 8 bits wide (see
`product`). Nothing here is a float, so no runtime and no optimisation of one can round.
"""

from collections.abc import Callable

import numpy as np

from pareq.backends.onnx import choice, product, window
from pareq.backends.onnx.whole import Scene, Whole, fitting
from pareq.errors import at
from pareq.ir.graph import Graph, Op

__all__ = ["EMITTERS", "emit"]

Emitter = Callable[[Scene, Op], Whole]


def emit(scene: Scene, graph: Graph) -> None:
    """Add the nodes of all ops. Raises BackendError for one that int64 cannot compute."""
    for op in graph.ops:
        with at(f"op {op.name!r} ({op.kind})"), scene.sheet.at(op.name, op.origin):
            scene.keep(op, EMITTERS[op.kind](scene, op))


def _sum_of(kind: str) -> Emitter:
    def emitter(scene: Scene, op: Op) -> Whole:
        shifts = [op.attributes.whole(name) for name in ("shift_a", "shift_b")]
        limits = [scene.limits(name) for name in op.inputs]
        shifted = [end << by for by, ends in zip(shifts, limits, strict=True) for end in ends]
        dtype = fitting(*shifted, *scene.limits(op.name))
        sides = scene.aligned(op, dtype)
        for i, by in enumerate(shifts):
            if by:
                sides[i] = scene.sheet.add("Mul", sides[i], np.array(1 << by, dtype=dtype))
        return scene.made(op, scene.sheet.add(kind, *sides), dtype)

    return emitter


def _multiply(scene: Scene, op: Op) -> Whole:
    dtype = scene.dtype(*op.inputs, op.name)
    return scene.made(op, scene.sheet.add("Mul", *scene.aligned(op, dtype)), dtype)


def _leaky(scene: Scene, op: Op) -> Whole:
    """The larger of x and x << shift: the second one where x >= 0."""
    shift = op.attributes.whole("shift")
    dtype = fitting(*(end << shift for end in scene.limits(op.inputs[0])))
    x = scene.read(op.inputs[0], dtype)
    steep = scene.sheet.add("Mul", x, np.array(1 << shift, dtype=dtype))
    return scene.made(op, scene.larger(x, steep, dtype), dtype)


def _clamp(scene: Scene, op: Op) -> Whole:
    lo, hi = (op.attributes.whole(name) for name in ("lo", "hi"))
    dtype, reach = scene.dtype(op.inputs[0], op.name), scene.limits(op.inputs[0])
    x = scene.read(op.inputs[0], dtype)
    return scene.made(op, scene.clamped(x, dtype, reach, (lo, hi)), dtype)


def _mask(scene: Scene, op: Op) -> Whole:
    fill, dtype = op.attributes.whole("fill"), scene.dtype(op.inputs[0], op.name)
    keep = scene.constant(op.inputs[1])[None] != 0
    x = scene.read(op.inputs[0], dtype)
    return scene.made(op, scene.sheet.add("Where", keep, x, np.array(fill, dtype=dtype)), dtype)


def _concat(scene: Scene, op: Op) -> Whole:
    dtype = scene.dtype(*op.inputs)
    parts = [scene.batched(name, scene.read(name, dtype), op.inputs) for name in op.inputs]
    axis = {"axis": op.attributes.whole("axis") + 1}
    return scene.made(op, scene.sheet.add("Concat", *parts, attributes=axis), dtype)


def _sum(scene: Scene, op: Op) -> Whole:
    axes = op.attributes.wholes("axes")
    count = int(np.prod([scene.shape(op.inputs[0])[axis] for axis in axes], dtype=np.int64))
    dtype = fitting(*(end * count for end in scene.limits(op.inputs[0])))
    over = np.array([axis + 1 for axis in axes], dtype=np.int64)
    x = scene.read(op.inputs[0], dtype)
    total = scene.sheet.add("ReduceSum", x, over, attributes={"keepdims": 1}) if axes else x
    return scene.made(op, total, dtype)


def _reshape(scene: Scene, op: Op) -> Whole:
    dtype = scene.dtype(op.name)
    shape = np.array([0, *op.attributes.wholes("shape")], dtype=np.int64)  # 0: as before
    return scene.made(op, scene.sheet.add("Reshape", scene.read(op.inputs[0], dtype), shape), dtype)


def _permute(scene: Scene, op: Op) -> Whole:
    dtype = scene.dtype(op.name)
    order = {"perm": (0, *(axis + 1 for axis in op.attributes.wholes("axes")))}
    x = scene.read(op.inputs[0], dtype)
    return scene.made(op, scene.sheet.add("Transpose", x, attributes=order), dtype)


def _slice(scene: Scene, op: Op) -> Whole:
    dtype = scene.dtype(op.inputs[0])
    bounds = zip(*(op.attributes.wholes(each) for each in ("start", "stop", "step")), strict=True)
    x = scene.read(op.inputs[0], dtype)
    cuts = [(axis + 1, *each) for axis, each in enumerate(bounds)]
    return scene.made(op, window.cut(scene.sheet, x, cuts), dtype)


def _pad(scene: Scene, op: Op) -> Whole:
    fill = op.attributes.whole("fill")
    dtype = fitting(fill, *scene.limits(op.inputs[0]))
    around = [op.attributes.wholes(name) for name in ("before", "after")]
    x = scene.read(op.inputs[0], dtype)
    padded = window.pad(scene.sheet, x, [0, *around[0], 0, *around[1]], np.array(fill, dtype=dtype))
    return scene.made(op, padded, dtype)


def _top_k(scene: Scene, op: Op) -> Whole:
    """ONNX breaks ties as the graph does: the lower index first."""
    axis, k = op.attributes.whole("axis"), op.attributes.whole("k")
    x = scene.read(op.inputs[0], scene.dtype(op.inputs[0]))
    size = np.array([k], dtype=np.int64)
    how = {"axis": axis + 1, "largest": 1, "sorted": 1}
    return scene.made(op, scene.sheet.add("TopK", x, size, attributes=how, outputs=2), np.int64)


EMITTERS: dict[str, Emitter] = {
    "dense": product.dense,
    "conv": product.conv,
    "conv_transpose": product.conv_transpose,
    "requantize": choice.requantize,
    "threshold": choice.threshold,
    "table": choice.table,
    "add": _sum_of("Add"),
    "subtract": _sum_of("Sub"),
    "multiply": _multiply,
    "leaky": _leaky,
    "clamp": _clamp,
    "mask": _mask,
    "concat": _concat,
    "max_pool": window.max_pool,
    "sum_pool": window.sum_pool,
    "sum": _sum,
    "reshape": _reshape,
    "permute": _permute,
    "slice": _slice,
    "pad": _pad,
    "top_k": _top_k,
}
