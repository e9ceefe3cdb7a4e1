"""A scale that is trained with the network."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pareq.errors import OperatorError
from pareq.numerics.gradients import project_learned
from pareq.numerics.grid import Grid, integer_range
from pareq.operators.base import Quantizer

__all__ = ["LearnedScale"]

_LN2 = math.log(2.0)


@dataclass(eq=False, repr=False)
class LearnedScale(Quantizer, name="learned_scale"):
    """A quantizer whose largest value s = 2^v is learned (the published activation quantizer).

    y = round(clamp(x / s * N, lo, N)) / N * s. Unsigned: lo = 0, N = 2^bits - 1; signed: the
    symmetric narrow range. v starts at log2(initial); 6.0 is published (Hawks et al. 2021, from
    Brevitas). domain: "log2" learns v, "linear" learns s itself. gradient: "published" as it comes,
    "lsq" times 1 / sqrt(values * N) (Esser et al. 2020 section 2.2).
    """

    signed: bool = False
    initial: float = 6.0
    per_channel: bool = False
    domain: Literal["log2", "linear"] = "log2"
    gradient: Literal["published", "lsq"] = "published"

    def check(self) -> None:
        """Every field, each with its own message."""
        super().check()
        if self.signed and self.bits == 1:
            raise OperatorError("bits must be in 2..32, got 1: a symmetric bit holds only zero")
        if not (self.initial > 0 and math.isfinite(self.initial)):
            raise OperatorError(f"initial must be positive, got {self.initial}")
        if self.domain not in ("log2", "linear"):
            raise OperatorError(f"domain must be 'log2' or 'linear', got {self.domain!r}")
        if self.gradient not in ("published", "lsq"):
            raise OperatorError(f"gradient must be 'published' or 'lsq', got {self.gradient!r}")
        self.bounds = integer_range(self.bits, signed=self.signed, narrow=True)

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Parameter `scale`: v or s, 0-dim, or one per channel, shaped to broadcast."""
        self.axis = axis if self.per_channel else None
        shape: tuple[int, ...] = ()
        if self.per_channel:
            if like is None:
                raise OperatorError(
                    "per_channel needs the shape of the activation; give attach an example input"
                )
            shape = tuple(n if d == axis % like.ndim else 1 for d, n in enumerate(like.shape))
        first = math.log2(self.initial) if self.domain == "log2" else self.initial
        device = None if like is None else like.device
        self.scale = nn.Parameter(torch.full(shape, first, device=device))
        self.strength = self.strength.to(device)

    def _step(self) -> Tensor:
        """The present step, s / N, with s at least 2^-16; rounded to float32 in any format."""
        scale = self.scale.detach()
        largest = torch.exp2(scale.clamp(min=-16.0)) if self.domain == "log2" else scale
        return (largest.clamp(min=2.0**-16) / self.bounds[1]).float().to(scale.dtype)

    def project(self, x: Tensor) -> Tensor:
        """The tensor on the grid, the gradient also to the scale."""
        hi = self.bounds[1]
        step: Tensor | float
        slope: Tensor | float = _LN2
        if x.is_cpu and self.scale.ndim == 0 and not torch.compiler.is_compiling():
            v = self.scale.item()  # on a CPU a number is at hand at no cost
            largest = 2.0 ** max(v, -16.0) if self.domain == "log2" else max(v, 2.0**-16)
            step = largest / hi if x.dtype != torch.float64 else float(self._step())
            slope = slope if self.domain == "log2" else 1.0 / largest
        else:
            step = self._step()
            slope = slope if self.domain == "log2" else 1.0 / (step * hi)
        if self.gradient == "lsq":
            slope = slope / math.sqrt(x.numel() // self.scale.numel() * hi)
        return project_learned(x, self.bounds, step, self.scale, slope, self.axis)

    def grid(self) -> Grid:
        """The grid as it is now."""
        step = self._step().double().cpu().numpy()
        return Grid(*self.bounds, float(step) if step.ndim == 0 else step)
