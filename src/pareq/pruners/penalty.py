"""Penalties: operators that leave the tensor alone and add to the loss."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pareq.errors import OperatorError
from pareq.operators.base import Operator
from pareq.registry import suggest

__all__ = ["L1"]

_COUNTS = ("training", "stopping", "both")


@dataclass(eq=False, repr=False)
class L1(Operator, name="l1"):
    """Add weight * strength * sum|x| to the loss (Hawks et al. 2021: weight 1e-4).

    x is the tensor after the operators before this one: behind a Prune, pruned weights pay nothing.
    counts_in: the training loss, as usual; or stopping, the validation loss by which the best epoch
    is chosen and a run stops early; or both, as published.
    """

    weight: float
    counts_in: Literal["training", "stopping", "both"] = "training"

    def check(self) -> None:
        """The weight is a finite number, 0 or more."""
        if not (self.weight >= 0 and math.isfinite(self.weight)):
            raise OperatorError(f"weight must be 0 or more, got {self.weight}")
        if self.counts_in not in _COUNTS:
            known = suggest(str(self.counts_in), _COUNTS)
            raise OperatorError(f"unknown counts_in {self.counts_in!r}{known}")

    @property
    def trains(self) -> bool:
        """Whether it counts in the training loss."""
        return self.counts_in != "stopping"

    @property
    def stops(self) -> bool:
        """Whether it counts in the validation loss by which epochs are judged."""
        return self.counts_in != "training"

    def penalty(self, x: Tensor) -> Tensor | None:
        """Weight * strength * sum|x|, if it counts in the training loss."""
        return self.size(x) if self.trains else None

    def size(self, x: Tensor) -> Tensor | None:
        """Weight * strength * sum|x|, wherever it counts."""
        return x.abs().sum() * (self.weight * self.value) if self.engaged else None
