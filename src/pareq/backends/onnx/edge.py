"""The edges of a model: reals become integers of a grid, and integers reals.

All of it happens in float64, step by step as in `Grid.quantize` and `Grid.dequantize`, except that
numbers saturate before they are rounded, which changes no result and keeps infinities out.
"""

import numpy as np
import numpy.typing as npt

from pareq.backends.onnx.sheet import Port, Sheet
from pareq.backends.onnx.whole import Scene, fitting
from pareq.errors import BackendError, at
from pareq.ir.graph import Input, Value
from pareq.numerics.grid import Grid

__all__ = [
    "EDGES",
    "inputs",
    "ordinary",
    "outputs",
    "quantized",
    "real_type",
    "recovered",
    "representative",
]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

EDGES = ("real", "integer")
_HELD = 2**22  # steps that float32 tells apart at any scale
_MOST = 2**50  # and float64
_FINE = ("half_even", "half_up", "floor", "toward_zero")


def inputs(scene: Scene, edge: str) -> None:
    """The inputs of the model: reals, or integers of the grids. Raises BackendError."""
    for each in scene.graph.inputs:
        value, name = each.value, scene.sheet.free(each.name)
        with at(f"input {each.name!r}"), scene.sheet.at(each.name):
            dtype = fitting(value.grid.lo, value.grid.hi)
            if edge == "integer":
                scene.sheet.inputs.append(Port(name, dtype, value.shape))
                scene.enter(each.name, name, dtype)
                continue
            real = real_type(value, (value.grid.lo, value.grid.hi))
            scene.sheet.inputs.append(Port(name, real, value.shape))
            scene.enter(each.name, quantized(scene.sheet, name, each), dtype)


def outputs(scene: Scene, edge: str) -> None:
    """The outputs of the model, in the order of the graph."""
    for name in scene.graph.outputs:
        value = scene.graph.value(name)
        with at(f"output {name!r}"), scene.sheet.at(name):
            dtype = scene.dtype(name)
            tensor = scene.read(name, dtype)
            if scene.graph.inputs:
                others = [each.name for each in scene.graph.inputs]
                tensor = scene.batched(name, tensor, others)
            if edge == "real":
                dtype = real_type(value, scene.limits(name))
                tensor = _dequantized(scene.sheet, tensor, value, dtype)
            last = scene.sheet.rename(tensor, name)
            scene.sheet.outputs.append(Port(last, dtype, value.shape))


def real_type(value: Value, limits: tuple[int, int]) -> np.dtype[np.generic]:
    """float32 where it tells all integers of a value apart, else float64.

    Raises BackendError for more than float64 holds.
    """
    widest = max(abs(end - value.grid.zero) for end in limits)
    if widest >= _MOST:
        raise BackendError(f"reaches {widest} steps, which float64 cannot hold; use edge='integer'")
    return np.dtype(np.float32 if widest < _HELD and ordinary(value.grid) else np.float64)


def ordinary(grid: Grid) -> bool:
    """Whether one step, and many, are far from the smallest and the largest float32."""
    scale = np.asarray(grid.scale)
    return bool((scale > 2.0**-90).all() and (scale < 2.0**90).all())


def quantized(sheet: Sheet, x: str, given: Input) -> str:
    """N = clamp(round(x / scale) + zero)."""
    grid, add = given.value.grid, sheet.add
    if given.rounding not in _FINE:
        raise BackendError(f"rounds {given.rounding}, which no ONNX op does; use edge='integer'")
    real = add("Cast", x, attributes={"to": "float64"})
    if not isinstance(grid.scale, float) or grid.scale != 1:
        real = add("Div", real, _scale(grid))
    if given.overflow == "saturate":
        low, high = (np.float64(end - grid.zero) for end in (grid.lo, grid.hi))
        real = add("Min", add("Max", real, np.asarray(low)), np.asarray(high))
    real = _rounded(sheet, real, given.rounding)
    if given.overflow != "saturate":
        return _wrapped(sheet, real, grid)
    if grid.zero:
        real = add("Add", real, np.array(float(grid.zero)))
    return add("Cast", real, attributes={"to": fitting(grid.lo, grid.hi).name})


def _wrapped(sheet: Sheet, real: str, grid: Grid) -> str:
    """Lo + (n - lo) mod (hi - lo + 1)."""
    whole = sheet.add("Cast", real, attributes={"to": "int64"})
    whole = sheet.add("Add", whole, np.array(grid.zero - grid.lo, dtype=np.int64))
    whole = sheet.add("Mod", whole, np.array(grid.hi - grid.lo + 1, dtype=np.int64))
    whole = sheet.add("Add", whole, np.array(grid.lo, dtype=np.int64))
    return sheet.add("Cast", whole, attributes={"to": fitting(grid.lo, grid.hi).name})


def _rounded(sheet: Sheet, real: str, rounding: str) -> str:
    add, zero = sheet.add, np.array(0.0)
    if rounding == "half_even":
        return add("Round", real)
    down = add("Floor", real)
    if rounding == "floor":
        return down
    if rounding == "half_up":
        above = add("GreaterOrEqual", add("Sub", real, down), np.array(0.5))
        return add("Add", down, add("Cast", above, attributes={"to": "float64"}))
    up = add("Neg", add("Floor", add("Neg", real)))
    return add("Where", add("GreaterOrEqual", real, zero), down, up)


def _dequantized(sheet: Sheet, n: str, value: Value, dtype: np.dtype[np.generic]) -> str:
    """Scale * (n - zero)."""
    grid, add = value.grid, sheet.add
    real = add("Cast", n, attributes={"to": "float64"})
    if grid.zero:
        real = add("Sub", real, np.array(float(grid.zero)))
    if not isinstance(grid.scale, float) or grid.scale != 1:
        real = add("Mul", real, _scale(grid))
    return real if dtype == np.float64 else add("Cast", real, attributes={"to": dtype.name})


def _scale(grid: Grid) -> Reals:
    scale = np.asarray(grid.scale, dtype=np.float64)
    return scale if scale.ndim == 0 else scale[None]


def representative(given: Input, n: Integers) -> Reals:
    """A real number in the middle of those that become n."""
    grid = given.value.grid
    middle = (n - grid.zero).astype(np.float64)
    if given.rounding == "floor":
        middle += 0.5
    if given.rounding == "toward_zero":
        middle += 0.5 * np.sign(middle)
    return middle * grid.scale


def recovered(value: Value, real: npt.NDArray[np.floating]) -> Integers:
    """The integers that these reals of an output stand for."""
    grid = value.grid
    return np.rint(real.astype(np.float64) / grid.scale).astype(np.int64) + grid.zero
