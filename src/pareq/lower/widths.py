"""Put a tensor on grids whose width differs from channel to channel.

An integer op clamps all its elements alike, so the channels first share a width: each on a step of
its own, so that its range is the whole of lo..hi. A shift then takes the bits that a channel does
not have, and another one puts all channels on one step again, for sums need one. Shifts are wires
in hardware. Half a step goes in before, so that dropping bits rounds half up.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pareq.errors import LoweringError
from pareq.ir.build import Builder
from pareq.lower.curve import Step, Target, Term
from pareq.numerics.grid import Grid
from pareq.quantizers import LearnedBits

__all__ = ["Widths"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


class Widths:
    """The words of each channel of an activation.

    behind, front: bits on both sides of the point, as arrays that broadcast without the batch axis.
    """

    def __init__(self, quantizer: LearnedBits, rank: int) -> None:
        behind, front = (each.double().cpu().numpy() for each in quantizer.places())
        drop = behind.ndim > rank
        self.behind: Reals = (behind[0] if drop else behind).astype(np.float64)
        self.front: Reals = (front[0] if drop else front).astype(np.float64)
        self.half_up = quantizer.rounding == "half_up"
        self.signed = quantizer.signed
        size = (self.behind + self.front).astype(np.int64)
        self.alive = size > 0
        self.size: Integers = np.where(self.alive, size, 0)
        self.widest = max(int(self.size.max(initial=0)), 1)
        if self.alive.any():  # a dead channel may have any range
            self.front = np.where(self.alive, self.front, self.front[self.alive].max())

    @property
    def even(self) -> bool:
        """Whether all channels have as many bits."""
        return bool((self.size == self.widest).all())

    def target(self) -> Target:
        """The grid on which every channel has the widest word, reached by dropping bits."""
        hi = 2**self.widest - 1
        step = 2.0 ** (self.front - self.widest)
        grid = Grid(-hi - 1 if self.signed else 0, hi, _scale(step))
        if self.even:
            return Target(grid, "half_up" if self.half_up else "floor")
        return Target(grid, "floor")

    def before(self, term: Term, path: str) -> Term:
        """A value with half of the last bit that each channel keeps added.

        A relu in front of it would give each channel another least integer; it goes, for the grid
        begins at 0, and what lies half a step below rounds to 0 too.
        """
        if self.even or not self.half_up:
            return term
        last = term.steps[-1] if term.steps else None
        if last is not None and last.kind == "clamp" and not self.signed and _is_relu(last):
            term = replace(term, steps=term.steps[:-1])
        return term.then(Step("add", (np.where(self.alive, 2.0 ** (-self.behind - 1), 0.0),), path))

    def input(self) -> Target:
        """The grid for reals that enter. Raises LoweringError where they would be rounded twice."""
        if not self.even and self.half_up:
            raise LoweringError(
                "the channels of the input have words of different widths, which cannot be rounded "
                "where they enter; give its learned_bits rounding = 'floor'"
            )
        return self.target()

    def after(self, builder: Builder, x: str, label: tuple[str, str]) -> str:
        """Drop the bits that channels do not have, and put all of them on the finest step."""
        if not self.even:
            kept = self.alive.astype(np.int64)
            step = 2.0 ** np.where(self.alive, -self.behind, self.front - self.widest)
            x = _shifted(builder, x, (kept, self.widest - self.size), step, label)
        step = np.asarray(builder.value(x).grid.scale)
        finest = float(step[self.alive].min()) if step.ndim and self.alive.any() else None
        if finest is None or (step == finest).all():
            return x
        factor = np.where(self.alive, step / finest, 0).astype(np.int64)
        return _shifted(builder, x, (factor, np.zeros_like(factor)), finest, label)


def _is_relu(step: Step) -> bool:
    low, high = step.numbers
    return bool((low == 0).all() and np.isposinf(high).all())


def _shifted(
    builder: Builder,
    x: str,
    numbers: tuple[Integers, Integers],
    scale: float | Reals,
    label: tuple[str, str],
) -> str:
    """(x * multiplier) >> shift, a channel each."""
    name, origin = label
    rank = len(builder.value(x).shape)
    shaped = [each.reshape((1,) * (rank - each.ndim) + each.shape) for each in numbers]
    multiplier, shift = np.broadcast_arrays(*shaped)
    reach = builder.range(x)
    ends = np.stack([(end * multiplier) >> shift for end in (reach.lo, reach.hi)])
    bounds = {"lo": int(ends.min()), "hi": int(ends.max()), "even": 0}
    parts = ("multiplier", multiplier), ("offset", np.zeros_like(shift)), ("shift", shift)
    inputs = [builder.constant(f"{name}.{part}", data) for part, data in parts]
    full = scale if isinstance(scale, float) else _scale(np.asarray(scale))
    return builder.op("requantize", (x, *inputs), bounds, name=name, origin=origin, scale=full)


def _scale(step: Reals) -> float | Reals:
    return float(step.ravel()[0]) if step.size == 1 else step
