"""Penalties: operators that leave the tensor alone and add to the loss."""

import math
from dataclasses import dataclass

from torch import Tensor

from pareq.errors import OperatorError
from pareq.operators.base import Operator

__all__ = ["L1"]


@dataclass(eq=False, repr=False)
class L1(Operator, name="l1"):
    """Add weight * strength * sum|x| to the loss (Hawks et al. 2021: weight 1e-4).

    x is the tensor after the operators before this one: behind a Prune, pruned weights pay nothing.
    """

    weight: float

    def check(self) -> None:
        """The weight is a finite number, 0 or more."""
        if not (self.weight >= 0 and math.isfinite(self.weight)):
            raise OperatorError(f"weight must be 0 or more, got {self.weight}")

    def penalty(self, x: Tensor) -> Tensor | None:
        """Weight * strength * sum|x|."""
        return x.abs().sum() * (self.weight * self.value) if self.engaged else None
