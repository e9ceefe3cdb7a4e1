"""QuantizeLinear and DequantizeLinear: what accelerators of 8-bit networks read.

Weights are integers of 4, 8 or 16 bits with a scale for each output; activations are reals between
a QuantizeLinear and a DequantizeLinear. QuantizeLinear rounds half to even. The graph's floor of
t / 2^shift, where t is whole, is the nearest integer of (t + 1/2) / 2^shift - 1/2, which is never a
tie; so the half goes into the offset.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pareq.backends.onnx import choice
from pareq.backends.onnx.edge import quantized
from pareq.backends.onnx.stage import EXACT, UNIT, Stage, powers
from pareq.backends.onnx.steps import steps
from pareq.backends.onnx.whole import Scene, fitting
from pareq.errors import BackendError
from pareq.ir.graph import Input, Op
from pareq.numerics.grid import Grid

__all__ = ["Line", "Linear"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

_WIDE = 21  # the version of the ops that has 4 and 16 bits


@dataclass
class Linear:
    """The style of QDQ models.

    packed: weights of 4 bits are stored in 4. lines: what each requantization
    rounds.
    """

    packed: bool = False
    lines: "dict[str, Line]" = field(default_factory=dict)

    def enter(self, stage: Stage, given: Input, x: str) -> None:
        """QuantizeLinear alone where float32 divides and rounds as the graph says."""
        grid = given.value.grid
        plain = powers(grid) and given.rounding == "half_even" and given.overflow == "saturate"
        if not plain:
            whole = stage.sheet.add(
                "Cast", quantized(stage.sheet, x, given), attributes={"to": "float32"}
            )
            x = stage.stepped(given.name, whole)
        stage.settled(given.name, self._pair(stage, x, grid, plain))

    def weight(self, stage: Stage, data: Integers, scale: Reals, axis: int) -> str:
        """Integers of 4, 8 or 16 bits, and a DequantizeLinear."""
        low, high = int(data.min(initial=0)), int(data.max(initial=0))
        four = self.packed and low >= -8 and high < 8
        bits = next((n for n in (8, 16) if -(2 ** (n - 1)) <= low and high < 2 ** (n - 1)), 32)
        if four or bits == 16:
            self.wide(stage)
        kept = stage.sheet.array(data.astype(f"int{bits}"), four=four)
        return _dequantized(stage, kept, scale, axis)

    def bias(self, stage: Stage, data: Integers, scale: Reals) -> str:
        """Integers of 32 bits, and a DequantizeLinear."""
        if np.abs(data).max(initial=0) >= 2**31:
            raise BackendError("has a bias beyond 32 bits; use c or onnx")
        return _dequantized(stage, stage.sheet.array(data.astype(np.int32)), scale, 1)

    def wide(self, stage: Stage) -> None:
        """Use the ops of 4 and 16 bits."""
        stage.sheet.opsets[""] = _WIDE

    def operand(self, stage: Stage, name: str) -> str:
        """Behind a DequantizeLinear.

        Where a MatMul has one for its weights alone, ONNX Runtime 1.31 makes a MatMulNBits of it,
        which rounds the other operand to 8 bits by a scale of its own.
        """
        tensor, grid = stage.read(name), stage.grid(name)
        made = {node.outputs[0]: node.kind for node in stage.sheet.nodes}
        narrow = Grid(*stage.limits(name), grid.scale, grid.zero)
        several = sum(size > 1 for size in np.shape(grid.scale)) > 1
        zero = (min(narrow.lo, grid.zero), max(narrow.hi, grid.zero))
        if made.get(tensor) == "DequantizeLinear" or several or Grid(*zero).bits > 16:
            return tensor
        return self._pair(stage, tensor, narrow, False)

    def settle(self, stage: Stage, op: Op) -> str:
        """Multiply, add, QuantizeLinear; a threshold op is counted on integers."""
        grid = stage.grid(op.name)
        if op.kind == "threshold":
            return self._pair(stage, _counted(stage, op), grid, False)
        line, here = _line(stage, op), stage.grid(op.inputs[0])
        self.lines[op.name] = line
        own = np.asarray(grid.scale)
        gain = (own * line.factor / np.asarray(here.scale))[None]
        offset = (own * (line.offset + here.zero * line.factor - grid.zero))[None]
        x, add = stage.read(op.inputs[0]), stage.sheet.add
        if (gain != 1).any():
            x = add("Mul", x, gain.astype(np.float32))
        if offset.any():
            x = add("Add", x, offset.astype(np.float32))
        lo, hi = (op.attributes.whole(name) for name in ("lo", "hi"))
        return self._pair(stage, x, Grid(lo, hi, grid.scale, grid.zero), True)

    def _pair(self, stage: Stage, x: str, grid: Grid, clamp: bool) -> str:
        """Q and DQ, and a clamp before them where the type holds more than the grid."""
        kind, raised, (low, high) = self._type(stage, grid)
        if np.ndim(grid.scale) and np.sum(np.array(np.shape(grid.scale)) > 1) > 1:
            raise BackendError(
                "has a scale for each element, expected one a channel; use c or onnx"
            )
        scale, add = np.asarray(grid.scale, dtype=np.float32), stage.sheet.add
        wide = scale[None] if scale.ndim else scale
        if clamp and grid.lo > low:
            x = add("Max", x, np.asarray(wide * np.float32(grid.lo - grid.zero)))
        if clamp and grid.hi < high:
            x = add("Min", x, np.asarray(wide * np.float32(grid.hi - grid.zero)))
        axis = int(np.argmax(wide.shape)) if wide.size > 1 else 0
        how = {"axis": axis} if wide.size > 1 else {}
        flat = wide.ravel() if wide.size > 1 else wide.reshape(())
        zero = np.full(flat.shape, grid.zero + raised, dtype=kind)
        whole = add("QuantizeLinear", x, flat, zero, attributes=how)
        return add("DequantizeLinear", whole, flat, zero, attributes=how)

    def _type(self, stage: Stage, grid: Grid) -> tuple[str, int, tuple[int, int]]:
        """(type, what is added to an integer there, the integers that it holds).

        Among ops of 16 bits none is int8: ONNX Runtime 1.31 turns int8 into uint8, and then refuses
        the output_dtype that it gave to a QuantizeLinear which it had moved before.
        """
        ends = (min(grid.lo, grid.zero), max(grid.hi, grid.zero))
        for bits in (8, 16):
            for sign, low in (("u", 0), ("", -(2 ** (bits - 1)))):
                high = low + 2**bits - 1
                if not (low <= ends[0] and ends[1] <= high):
                    continue
                if bits == 16:
                    self.wide(stage)
                elif low and stage.sheet.opsets[""] == _WIDE:
                    return "uint8", 128, (low, high)
                return f"{sign}int{bits}", 0, (low, high)
        raise BackendError(f"has {grid.lo}..{grid.hi}, expected 16 bits; use c or onnx")


def _dequantized(stage: Stage, whole: str, scale: Reals, axis: int) -> str:
    how = {"axis": axis} if scale.ndim else {}
    return stage.sheet.add("DequantizeLinear", whole, scale.astype(np.float32), attributes=how)


def _counted(stage: Stage, op: Op) -> str:
    """The reals of a threshold op, through the integers of its operand."""
    name = op.inputs[0]
    scene, dtype = Scene(stage.graph, stage.sheet), fitting(*stage.limits(name))
    n = stage.sheet.add("Cast", stage.integers(name), attributes={"to": dtype.name})
    if stage.grid(name).zero:
        n = stage.sheet.add("Add", n, np.array(stage.grid(name).zero, dtype=dtype))
    scene.enter(name, n, dtype)
    found = scene.cast(choice.threshold(scene, op), np.float32)
    return stage.stepped(op.name, found)


@dataclass(frozen=True)
class Line:
    """What is rounded, in steps: factor * n + offset, wrong by `bound` at most; shape `bc`."""

    factor: Reals
    offset: Reals
    bound: Reals


def _line(stage: Stage, op: Op) -> Line:
    """A requantization as what a QuantizeLinear rounds half to even."""
    multiplier, offset, shift = (stage.constant(name).astype(np.float64) for name in op.inputs[1:])
    here, even, name = stage.grid(op.inputs[0]), op.attributes.whole("even"), op.inputs[0]
    factor, rest = np.broadcast_arrays(multiplier / 2.0**shift, offset / 2.0**shift)
    if not even:
        rest = rest + 0.5 / 2.0**shift - 0.5
        rest = rest + _middle(stage, op, factor, rest)
    exact = powers(here) and powers(stage.grid(op.name)) and stage.error(name) == 0
    exact &= bool(even) and powers(Grid(0, 1, np.where(factor == 0, 1, np.abs(factor))))
    size = stage.size(name) + abs(here.zero)
    unit = 0.0 if exact and size < EXACT else 6 * UNIT
    bound = np.abs(factor) * (stage.error(name) + unit * size) + unit * np.abs(rest)
    return Line(factor, rest, bound)


def _middle(stage: Stage, op: Op, factor: Reals, rest: Reals) -> Reals:
    """What to add to an offset so that no sum comes near to where the result changes."""
    found = steps(stage, op)
    low, high, at = found.low[..., None], found.high[..., None], found.at
    k, rise = found.first + 0.5 + np.arange(at.shape[-1]), np.abs(factor)[..., None]
    reached, missed = at <= high, at > low
    above = np.where(reached, rise * at + rest[..., None] - k, 0.5).min(axis=-1, initial=0.5)
    below = np.where(missed, k - rise * (at - 1) - rest[..., None], 0.5).min(axis=-1, initial=0.5)
    return np.asarray((below - above) / 2)
