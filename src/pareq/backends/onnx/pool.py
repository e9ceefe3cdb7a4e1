"""Pools and sums of reals."""

import math

import numpy as np

from pareq.backends.onnx import window
from pareq.backends.onnx.stage import EXACT, UNIT, Stage, powers
from pareq.errors import BackendError
from pareq.ir.graph import Op

__all__ = ["max_pool", "sum_pool", "total"]


def max_pool(stage: Stage, op: Op) -> None:
    """The largest of each window; ONNX pads with what never wins."""
    kernel, padding = op.attributes.wholes("kernel"), op.attributes.wholes("padding")
    if len(kernel) > 3 or any(p >= k for p, k in zip(padding, kernel * 2, strict=True)):
        raise BackendError(f"has kernel {kernel} and padding {padding}; use c or onnx")
    how = {
        "kernel_shape": kernel,
        "strides": op.attributes.wholes("stride"),
        "dilations": op.attributes.wholes("dilation"),
        "pads": padding,
    }
    x = stage.read(op.inputs[0])
    tensor = stage.sheet.add("MaxPool", x, attributes=how)
    stage.finish(op, tensor, stage.error(op.inputs[0]))


def sum_pool(stage: Stage, op: Op) -> None:
    """The average of each window, times what the scale says."""
    kernel, padding = op.attributes.wholes("kernel"), op.attributes.wholes("padding")
    fill, half = stage.fill(op.inputs[0], op.attributes.whole("fill")), len(kernel)
    if half > 3:
        raise BackendError(f"has kernel {kernel}, expected 3 axes at most; use c or onnx")
    around = [0, 0, *padding[:half], 0, 0, *padding[half:]]
    x = window.pad(stage.sheet, stage.read(op.inputs[0]), around, fill)
    how = {"kernel_shape": kernel, "strides": op.attributes.wholes("stride")}
    mean = stage.sheet.add("AveragePool", x, attributes=how)
    _scaled(stage, op, mean, (math.prod(kernel), True))


def total(stage: Stage, op: Op) -> None:
    """The sum over axes."""
    axes = op.attributes.wholes("axes")
    count = math.prod(stage.shape(op.inputs[0])[axis] for axis in axes)
    over = np.array([axis + 1 for axis in axes], dtype=np.int64)
    x = stage.read(op.inputs[0])
    summed = stage.sheet.add("ReduceSum", x, over, attributes={"keepdims": 1}) if axes else x
    _scaled(stage, op, summed, (count, False))


def _scaled(stage: Stage, op: Op, tensor: str, how: tuple[int, bool]) -> None:
    """From sums, or means, on the scale of x to the scale of the result."""
    (count, mean), name, add = how, op.inputs[0], stage.sheet.add
    scale, zero = np.unique(np.asarray(stage.grid(name).scale)), stage.grid(name).zero
    if scale.size > 1:
        raise BackendError("sums channels of several scales; use c or onnx")
    own, grid = np.asarray(stage.grid(op.name).scale), stage.grid(op.name)
    factor = own / scale[0] * (count if mean else 1)
    if (factor != 1).any():
        tensor = add(
            "Mul",
            tensor,
            factor.astype(np.float32)[None] if factor.ndim else factor.astype(np.float32),
        )
    rest = own * (count * zero - grid.zero)
    if rest.any():
        tensor = add(
            "Add", tensor, rest.astype(np.float32)[None] if rest.ndim else rest.astype(np.float32)
        )
    size = stage.size(name)
    top = count * (size + abs(zero)) + abs(grid.zero)
    exact = top < EXACT and (not mean or count & (count - 1) == 0)
    error = count * stage.error(name) + (count + 6) * UNIT * top
    stage.finish(op, tensor, error, exact and powers(stage.grid(name)))
