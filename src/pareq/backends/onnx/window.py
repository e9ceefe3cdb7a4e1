"""Pools as slices, one axis after the other: exact for integers of any width and any rank."""

from collections.abc import Sequence

import numpy as np

from pareq.backends.onnx.sheet import Array, Sheet
from pareq.backends.onnx.whole import Scene, Whole, fitting
from pareq.ir.graph import Op

__all__ = ["cut", "max_pool", "pad", "sum_pool"]


def cut(sheet: Sheet, x: str, cuts: Sequence[tuple[int, int, int, int]]) -> str:
    """x[start:stop:step] along axes, from (axis, start, stop, step)."""
    columns = [np.array(each, dtype=np.int64) for each in zip(*cuts, strict=True)]
    if not columns:
        return x
    axes, starts, stops, steps = columns
    return sheet.add("Slice", x, starts, stops, axes, steps)


def pad(sheet: Sheet, x: str, around: Sequence[int], fill: Array) -> str:
    """So many `fill` before each axis, then behind each; negative: taken away."""
    if not any(around):
        return x
    return sheet.add("Pad", x, np.array(around, dtype=np.int64), fill)


def max_pool(scene: Scene, op: Op) -> Whole:
    """The largest of each window; what pads it is the smallest integer that x can take."""
    low, high = scene.limits(op.inputs[0])
    dtype = fitting(low, high)
    x = _padded(scene, op, dtype, low)
    return scene.made(
        op, _windows(scene, op, Whole(x, dtype), op.attributes.wholes("dilation")), dtype
    )


def sum_pool(scene: Scene, op: Op) -> Whole:
    """The sum of each window."""
    kernel, fill = op.attributes.wholes("kernel"), op.attributes.whole("fill")
    count = int(np.prod(kernel, dtype=np.int64))
    ends = (fill, *scene.limits(op.inputs[0]))
    dtype = fitting(*ends, *(end * count for end in ends))
    x = _padded(scene, op, dtype, fill)
    return scene.made(op, _windows(scene, op, Whole(x, dtype), (1,) * len(kernel)), dtype)


def _padded(scene: Scene, op: Op, dtype: np.dtype[np.generic], fill: int) -> str:
    padding = op.attributes.wholes("padding")
    half = len(padding) // 2
    around = [0, 0, *padding[:half], 0, 0, *padding[half:]]
    x = scene.read(op.inputs[0], dtype)
    return pad(scene.sheet, x, around, np.array(fill, dtype=dtype))


def _windows(scene: Scene, op: Op, whole: Whole, dilation: tuple[int, ...]) -> str:
    kernel, stride, x = op.attributes.wholes("kernel"), op.attributes.wholes("stride"), whole.name
    for axis, (size, step, apart) in enumerate(zip(kernel, stride, dilation, strict=True)):
        length = (op.output.shape[axis + 1] - 1) * step + 1
        begins = [apart * i for i in range(size)]
        views = [cut(scene.sheet, x, [(axis + 2, b, b + length, step)]) for b in begins]
        x = views[0]
        for view in views[1:]:
            if op.kind == "max_pool":
                x = scene.larger(x, view, whole.dtype)
            else:
                x = scene.sheet.add("Add", x, view)
    return x
