"""A graph on reals: what QDQ and QONNX models have in common.

A value is a float32 tensor of `scale * (n - zero)`, wrong by less than `error` steps; where scales
are powers of two and sums stay below 2^24 it is exact. An op that rounds needs less than half a
step, so that no integer changes: what float32 cannot keep apart is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pareq.backends.onnx.whole import Scene
from pareq.errors import BackendError
from pareq.ir.graph import Input, Op
from pareq.numerics.grid import Grid

__all__ = ["EXACT", "UNIT", "Stage", "Style", "powers"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

EXACT = 2**24  # whole numbers below it are float32
UNIT = 2.0**-24  # the relative error of one operation
_CLEAR = 0.45  # steps: an error below it changes no rounded integer


class Style(Protocol):
    """How a family of models writes what is quantized."""

    def enter(self, stage: "Stage", given: Input, x: str) -> None:
        """The input of the model, rounded to its grid."""
        ...

    def weight(self, stage: "Stage", data: Integers, scale: Reals, axis: int) -> str:
        """Integers times a scale: one number, or one for each index along an axis."""
        ...

    def bias(self, stage: "Stage", data: Integers, scale: Reals) -> str:
        """The same for what is added, along axis 1."""
        ...

    def operand(self, stage: "Stage", name: str) -> str:
        """A value as an operand of a product."""
        ...

    def settle(self, stage: "Stage", op: Op) -> str:
        """The result of a requantize or threshold op."""
        ...


@dataclass
class Stage(Scene):
    """A scene of reals; strict: refuse what float32 could get wrong, else note it in `doubts`."""

    strict: bool = True
    errors: dict[str, float] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def read(self, name: str, dtype: npt.DTypeLike = np.float32) -> str:
        """The tensor of reals of a value."""
        data = self.graph.constant(name)
        if data is None:
            return super().read(name, np.float32)
        return self.sheet.array(self.real(name, data).astype(np.float32)[None], name)

    def batched(self, name: str, tensor: str, others: Sequence[str]) -> str:
        """A tensor with as many samples as one that is not fixed: plus a zero of each sample.

        A model of fixed shapes then says its batch size at its ports alone.
        """
        moving = [each for each in others if not self.fixed(each)]
        if not moving or not self.fixed(name):
            return tensor
        add, rank = self.sheet.add, len(self.shape(moving[0]))
        axes = np.arange(1, rank + 1, dtype=np.int64)
        one = add("ReduceSum", self.read(moving[0]), axes) if rank else self.read(moving[0])
        ones = np.array([0, *(1,) * len(self.shape(name))], dtype=np.int64)
        nothing = add("Mul", add("Reshape", one, ones), np.array(0, dtype=np.float32))
        return add("Add", tensor, nothing)

    def grid(self, name: str) -> Grid:
        """The grid of a value."""
        return self.graph.value(name).grid

    def scale(self, name: str) -> Reals:
        """The scale of each element of a value."""
        return np.broadcast_to(np.asarray(self.grid(name).scale), self.shape(name))

    def real(self, name: str, n: Integers | int) -> Reals:
        """What integers of a value stand for."""
        grid = self.grid(name)
        return np.asarray((n - grid.zero) * np.asarray(grid.scale), dtype=np.float64)

    def fill(self, name: str, n: int) -> Floats:
        """What an integer put beside those of a value stands for.

        Raises BackendError where that depends on the channel.
        """
        real = np.unique(self.real(name, n)).astype(np.float32)
        if real.size > 1:
            raise BackendError(f"pads channels of several scales with {n}; use c or onnx")
        return real.reshape(())

    def size(self, name: str) -> int:
        """The largest number of steps from zero."""
        return max(abs(end - self.grid(name).zero) for end in self.limits(name))

    def error(self, name: str) -> float:
        """By how many steps a tensor may be wrong."""
        if self.graph.constant(name) is not None:
            return 0.0 if powers(self.grid(name)) else UNIT * self.size(name)
        return self.errors[name]

    def finish(self, op: Op, tensor: str, error: float, exact: bool = True) -> None:
        """Enter a result that may be wrong by `error` steps.

        exact: the op does not round where its operands are exact and its result is below 2^24.
        """
        size = self.size(op.name)
        inside = all(self.errors.get(name, 0.0) == 0 for name in op.inputs)
        whole = exact and inside and powers(self.grid(op.name)) and size < EXACT
        self.errors[op.name] = 0.0 if whole else error + 4 * UNIT * size
        self.enter(op.name, tensor, np.float32)

    def clear(self, name: str) -> None:
        """Raise BackendError where an error could change an integer."""
        if self.error(name) > _CLEAR and not self.strict:
            self.doubts.append(name)
        elif self.error(name) > _CLEAR:
            raise BackendError(
                f"reaches {self.size(name)}, which float32 cannot round exactly; "
                "use fewer bits, or the exact back ends c and onnx"
            )

    def settled(self, name: str, tensor: str) -> None:
        """A value that was just rounded."""
        exact = powers(self.grid(name)) and self.size(name) < EXACT
        self.errors[name] = 0.0 if exact else 4 * UNIT * self.size(name)
        self.enter(name, tensor, np.float32)

    def integers(self, name: str) -> str:
        """N - zero of a value, as whole float32 numbers."""
        scale = np.asarray(self.grid(name).scale, dtype=np.float32)
        steps = self.read(name)
        if (scale != 1).any():
            steps = self.sheet.add("Div", steps, scale if scale.ndim == 0 else scale[None])
        return self.sheet.add("Round", steps)

    def stepped(self, name: str, n: str) -> str:
        """The reals of a value from whole float32 numbers n."""
        grid, add = self.grid(name), self.sheet.add
        if grid.zero:
            n = add("Sub", n, np.array(grid.zero, dtype=np.float32))
        scale = np.asarray(grid.scale, dtype=np.float32)
        return add("Mul", n, scale if scale.ndim == 0 else scale[None]) if (scale != 1).any() else n


def powers(grid: Grid) -> bool:
    """Whether all scales are powers of two, far from the ends of float32."""
    mantissa, exponent = np.frexp(np.asarray(grid.scale))
    return bool((mantissa == 0.5).all() and (np.abs(exponent) < 60).all())
