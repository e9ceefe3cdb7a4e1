"""The published weight quantizer: the largest weight is the largest integer, at every step."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pareq.errors import OperatorError
from pareq.numerics.gradients import max_abs, project_max
from pareq.numerics.grid import Grid
from pareq.operators.base import Quantizer

__all__ = ["MaxAbs"]


@dataclass(eq=False, repr=False)
class MaxAbs(Quantizer, name="max_abs"):
    """Symmetric narrow range, scale max|W| recomputed at every step (Hawks et al. 2021).

    With N = 2^(bits-1) - 1 and s = max(max|W|, 2^-16): y = round(W / s * N) / N * s, rounding half
    to even. gradient: "through" lets it reach the largest weight by way of s, as published;
    "frozen" treats s as a constant. bits: 2..32 (one bit would hold zero alone).
    """

    per_channel: bool = False
    gradient: Literal["through", "frozen"] = "through"
    floor: float = 2.0**-16

    def check(self) -> None:
        """Every field, each with its own message."""
        super().check()
        if self.bits == 1:
            raise OperatorError("bits must be in 2..32, got 1: a symmetric bit holds only zero")
        if self.gradient not in ("through", "frozen"):
            raise OperatorError(f"gradient must be 'through' or 'frozen', got {self.gradient!r}")
        if not self.floor > 0:
            raise OperatorError(f"floor must be positive, got {self.floor}")
        self.hi = 2 ** (self.bits - 1) - 1

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Buffer `step`: what the last forward pass used; for reading the grid."""
        self.axis = axis if self.per_channel else None
        if like is None and self.per_channel:
            raise OperatorError(
                "per_channel needs the shape of the activation; give attach an example input"
            )
        first = torch.zeros(()) if like is None else self._step(like.detach())
        self.register_buffer("step", first)
        self.step: Tensor
        self.strength = self.strength.to(first.device)

    def _step(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        step: Tensor = max_abs(wide, self.axis).clamp(min=self.floor) / self.hi
        return step

    def project(self, x: Tensor) -> Tensor:
        """The tensor on the grid of its own largest magnitude."""
        y = project_max(x, self.hi, self.axis, self.floor, self.gradient == "through")
        if not self.training:
            with torch.no_grad():
                self.step.copy_(self._step(x))
        return y

    def grid(self) -> Grid:
        """The grid of the last evaluation."""
        step = self.step.double().cpu().numpy()
        return Grid(-self.hi, self.hi, float(step) if step.ndim == 0 else step)
