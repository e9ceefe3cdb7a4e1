"""Quant, BipolarQuant and MultiThreshold nodes for what is rounded.

A Quant clamps x / scale to so many bits and rounds it, in float32. It stands where that is exact:
for weights, and between power-of-two scales. Everything else is a MultiThreshold, whose thresholds
lie in the middle between two sums, where no error of float32 reaches.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.backends.onnx.sheet import Attributes
from pareq.backends.onnx.stage import EXACT, Stage, powers
from pareq.backends.onnx.steps import steps
from pareq.errors import BackendError
from pareq.ir.attributes import Attributes as OpAttributes
from pareq.ir.graph import Input, Op
from pareq.ir.ops import KINDS
from pareq.numerics.grid import Grid, integer_range

__all__ = ["DOMAIN", "Nodes"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

DOMAIN = "qonnx.custom_op.general"
_LAYOUTS = {2: "NC", 3: "NCW", 4: "NCHW", 5: "NCDHW"}
_MODES = {"half_even": "ROUND", "floor": "FLOOR", "toward_zero": "DOWN"}
_FAR = 2**62  # beyond every integer that float32 keeps
_FINEST = 16  # bits of an input that is rounded by thresholds


@dataclass(frozen=True)
class Nodes:
    """The style of QONNX models; thresholds: activations are rounded by these alone."""

    thresholds: bool = False

    def enter(self, stage: Stage, given: Input, x: str) -> None:
        """A Quant, or thresholds where its float32 division or its rounding would differ."""
        grid = given.value.grid
        if given.overflow != "saturate" or given.rounding == "stochastic":
            how = f"{given.rounding}, {given.overflow}"
            raise BackendError(f"rounds {how}, which no QONNX node does; saturate, or use onnx")
        mode = _MODES.get(given.rounding)
        if given.rounding == "half_up" and grid.lo >= grid.zero:
            mode = "HALF_UP"  # which is away from zero
        fits = powers(grid) and max(abs(grid.lo), abs(grid.hi)) + abs(grid.zero) < EXACT
        if mode and fits and not self.thresholds:
            tensor = self._quant(stage, x, grid, mode)
        else:
            tensor = self._thresholds(stage, given, x)
        stage.settled(given.name, tensor)

    def weight(self, stage: Stage, data: Integers, scale: Reals, axis: int) -> str:
        """Reals on their grid, and the Quant that says so."""
        wide = scale
        if scale.ndim:
            wide = scale.reshape(tuple(-1 if i == axis else 1 for i in range(data.ndim)))
        real, factor = (data * wide).astype(np.float32), wide.astype(np.float32)
        if np.isin(data, (-1, 1)).all():
            return stage.sheet.add("BipolarQuant", real, factor, domain=DOMAIN)
        grid = Grid(int(data.min()), int(data.max()))
        return self._node(stage, real, factor, (grid, "ROUND"))

    def bias(self, stage: Stage, data: Integers, scale: Reals) -> str:
        """As a weight."""
        return self.weight(stage, data, scale, 1)

    def operand(self, stage: Stage, name: str) -> str:
        """As it is."""
        return stage.read(name)

    def settle(self, stage: Stage, op: Op) -> str:
        """A Quant where it is the same function, else a MultiThreshold."""
        quants = op.kind == "requantize" and not self.thresholds
        plain = _plain(stage, op) if quants else None
        if plain is None:
            return _multi_threshold(stage, op)
        gain, offset, mode = plain
        x, add = stage.read(op.inputs[0]), stage.sheet.add
        if (gain != 1).any():
            x = add("Mul", x, gain.astype(np.float32))
        if offset.any():
            x = add("Add", x, offset.astype(np.float32))
        grid = stage.grid(op.name)
        lo, hi = (op.attributes.whole(name) for name in ("lo", "hi"))
        free = _unclamped(stage, op)
        return self._quant(stage, x, Grid(lo, hi, grid.scale, grid.zero), mode, free)

    def _quant(
        self,
        stage: Stage,
        x: str,
        grid: Grid,
        mode: str,
        free: tuple[float, float] = (-np.inf, np.inf),
    ) -> str:
        """A Quant without a zero point, and a clamp where its word holds more than the grid.

        free: where the integers lie before they are clamped; an end that is not reached has none.
        """
        lo, hi = grid.lo - grid.zero, grid.hi - grid.zero
        wide = np.asarray(grid.scale, dtype=np.float32)
        scale = wide[None] if wide.ndim else wide
        x = self._node(stage, x, scale, (Grid(lo, hi), mode))
        low, high = _word(Grid(lo, hi))
        if lo > low and free[0] < grid.lo:
            x = stage.sheet.add("Max", x, np.asarray(scale * np.float32(lo)))
        if hi < high and free[1] > grid.hi:
            x = stage.sheet.add("Min", x, np.asarray(scale * np.float32(hi)))
        return x

    def _node(self, stage: Stage, x: str | Floats, scale: Floats, how: tuple[Grid, str]) -> str:
        grid, mode = how
        (low, high), signed = _word(grid), grid.lo < 0
        attributes: Attributes = {
            "signed": int(signed),
            "narrow": int(low == -high),
            "rounding_mode": mode,
        }
        width = np.array((high - low).bit_length(), dtype=np.float32)
        zero = np.array(0, dtype=np.float32)
        add = stage.sheet.add
        return add("Quant", x, scale, zero, width, attributes=attributes, domain=DOMAIN)

    def _thresholds(self, stage: Stage, given: Input, x: str) -> str:
        grid = given.value.grid
        if grid.hi - grid.lo >= 2**_FINEST:
            raise BackendError(
                f"rounds {given.rounding} to {grid.bits} bits, which needs too many thresholds; "
                "use half_even and power-of-two scales, or onnx"
            )
        each = Grid(grid.lo, grid.hi, np.asarray(grid.scale)[..., None], grid.zero)
        return _counted(stage, x, (_edges(given, each), given.value.shape), grid, grid.lo)


def _word(grid: Grid) -> tuple[int, int]:
    """The integers of the narrowest word, with or without the most negative one."""
    if grid.lo >= 0:
        return integer_range(grid.bits, signed=False)
    bits = max(grid.bits, 2)  # a signed bit means -1 and 1 in QONNX
    return integer_range(bits, narrow=grid.lo > -(2 ** (bits - 1)))


def _edges(given: Input, grid: Grid) -> Floats:
    """The smallest float32 that becomes k, for each k above the lowest: `(..., K)`, by channel."""
    k = np.arange(grid.lo + 1, grid.hi + 1)
    near = ((k - grid.zero - 0.5) * grid.scale).astype(np.float32)
    if given.rounding in ("floor", "toward_zero"):
        near = ((k - grid.zero) * grid.scale).astype(np.float32)
    if given.rounding == "toward_zero":
        near = np.where(k <= grid.zero, near - np.float32(grid.scale), near)
    tries = [near]
    for _ in range(4):
        tries.insert(0, np.nextafter(tries[0], np.float32(-np.inf)))
        tries.append(np.nextafter(tries[-1], np.float32(np.inf)))
    several = np.stack(tries)
    reached = grid.quantize(several, given.rounding) >= k
    return np.asarray(np.take_along_axis(several, reached.argmax(axis=0)[None], axis=0)[0])


def _plain(stage: Stage, op: Op) -> tuple[Reals, Reals, str] | None:
    """(gain, offset, rounding) such that a Quant of x * gain + offset is the requantization.

    For multipliers and scales that are powers of two, where all of it is exact in float32.
    """
    multiplier, offset, shift = _shifts(stage, op)
    here, grid, even = stage.grid(op.inputs[0]), stage.grid(op.name), op.attributes.whole("even")
    top = (stage.size(op.inputs[0]) + abs(here.zero)) * multiplier.max() + np.abs(offset).max()
    simple = (multiplier > 0).all() and powers(Grid(0, 1, multiplier.astype(np.float64)))
    if not (simple and powers(here) and powers(grid) and stage.error(op.inputs[0]) == 0):
        return None
    if top >= EXACT or (even and grid.zero % 2):
        return None
    own, step = np.asarray(grid.scale)[None], 2.0**-shift
    gain = own * multiplier[None] * step / np.asarray(here.scale)[None]
    rest = (here.zero * multiplier + offset)[None] * step - grid.zero
    return gain, own * rest, "ROUND" if even else "FLOOR"


def _unclamped(stage: Stage, op: Op) -> tuple[int, int]:
    """The smallest and the largest integer of a requantization without its clamp."""
    reach = stage.ranges[op.inputs[0]]
    ends = np.stack([reach.lo, reach.hi])
    wide = OpAttributes({**op.attributes, "lo": -_FAR, "hi": _FAR})
    found = KINDS[op.kind].run(wide, [ends, *(stage.constant(name) for name in op.inputs[1:])])
    return int(found.min()), int(found.max())


def _shifts(stage: Stage, op: Op) -> tuple[Integers, Integers, Integers]:
    """The constants of a requantization, without multiplication where that has the same steps."""
    multiplier, offset, shift = (stage.constant(name) for name in op.inputs[1:])
    if op.attributes.whole("even") or (multiplier < 0).any() or (multiplier == 1).all():
        return multiplier, offset, shift
    found = steps(stage, op)
    low, high = found.low[..., None], found.high[..., None]
    inside = (found.at > low) & (found.at <= high)
    apart = np.diff(found.at, axis=-1)[inside[..., 1:] & inside[..., :-1]]
    if apart.size == 0 or apart.min() != apart.max() or int(apart[0]).bit_count() != 1:
        return multiplier, offset, shift
    step, k = int(apart[0]), found.first + 1 + np.arange(found.at.shape[-1])
    begin = np.where(inside, k * step - found.at, np.iinfo(np.int64).min).max(axis=-1)
    reached = found.first + (found.at <= low).sum(axis=-1)
    alike = (np.clip(k * step - begin.max(), low, high + 1) == found.at).all(axis=-1)
    own = np.where(inside.any(axis=-1), begin, reached * step - found.low)
    own = np.where(alike, begin.max(), own)
    if (np.clip(k * step - own[..., None], low, high + 1) != found.at).any():
        return multiplier, offset, shift
    ones = np.ones_like(found.sign)
    return ones, own, ones * (step.bit_length() - 1)


def _multi_threshold(stage: Stage, op: Op) -> str:
    found, here, name = steps(stage, op), stage.grid(op.inputs[0]), op.inputs[0]
    x, shape = stage.read(name), stage.shape(name)
    if (found.sign < 0).any():
        x = stage.sheet.add("Mul", x, found.sign[None].astype(np.float32))
    scale = np.asarray(here.scale)
    middle = found.at - 0.5 - (found.sign * here.zero)[..., None]
    levels = (middle * (scale if scale.ndim == 0 else scale[..., None])).astype(np.float32)
    return _counted(stage, x, (levels, shape), stage.grid(op.name), found.first)


def _counted(
    stage: Stage, x: str, what: tuple[Floats, tuple[int, ...]], grid: Grid, first: int
) -> str:
    """First + the number of levels at or below x, as a real of the grid.

    levels: `(bc, K)`, those of a channel or of all; others are read element by element.
    """
    levels, shape = what
    if levels.shape[-1] == 0:  # one that nothing reaches, for readers that expect one
        levels = np.full((*levels.shape[:-1], 1), np.finfo(np.float32).max)
    add = stage.sheet.add
    bc = (1,) * (len(shape) + 1 - levels.ndim) + levels.shape[:-1]
    flat = not 1 <= len(shape) <= 4 or any(size > 1 for size in bc[1:])
    rows = levels.reshape(-1, levels.shape[-1])
    if flat:
        whole = np.broadcast_to(levels.reshape(*bc, -1), (*shape, levels.shape[-1]))
        rows = whole.reshape(-1, levels.shape[-1])
        x = add("Reshape", x, np.array([0, len(rows)], dtype=np.int64))
    low = first - grid.zero
    wide = Grid(min(low, 0), max(low + rows.shape[1], 1))
    how: Attributes = {
        "out_dtype": f"{'INT' if low < 0 else 'UINT'}{wide.bits}",
        "out_bias": float(low),
        "data_layout": _LAYOUTS[2 if flat else len(shape) + 1],
    }
    x = add("MultiThreshold", x, rows, attributes=how, domain=DOMAIN)
    if flat:
        x = add("Reshape", x, np.array([0, *shape], dtype=np.int64))
    scale = np.asarray(grid.scale, dtype=np.float32)
    return add("Mul", x, scale[None] if scale.ndim else scale)
