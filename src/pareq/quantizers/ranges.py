"""Range estimators: how large a magnitude a grid should reach, from the values it will hold.

| name | of one tensor | over several tensors |
|---|---|---|
| max | largest magnitude | largest |
| moving_average | largest magnitude | exponential average, momentum 0.9 |
| percentile | 99.9 % quantile of the magnitude | exponential average, momentum 0.9 |
| mse | the bound whose power-of-two grid has the least mean square error | exponential average |

An estimator sees magnitudes as rows, one per channel (one row for a whole tensor).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pareq.registry import Registry

__all__ = ["RANGES", "RangeEstimator", "rows", "sample"]

_MOST = 2**16  # values per channel that a sorting or searching estimator looks at


@dataclass(frozen=True)
class RangeEstimator:
    """`bound(rows, lo, hi)` of one tensor, and how bounds of several tensors merge.

    rows: (channels, values). lo, hi: the integers of the grid. The bound is a positive magnitude
    per channel; the step follows as bound / hi. momentum None takes the largest bound.
    """

    bound: Callable[[Tensor, int, int], Tensor]
    momentum: float | None = None

    def merge(self, old: Tensor, new: Tensor) -> Tensor:
        """The bound after one more tensor."""
        if self.momentum is None:
            return torch.maximum(old, new)
        return old.lerp(new, 1 - self.momentum)


def rows(x: Tensor, axis: int | None) -> Tensor:
    """X as (channels, values): one row for all, or a row per index of `axis`."""
    return x.reshape(1, -1) if axis is None else x.movedim(axis, 0).reshape(x.shape[axis], -1)


def _largest(x: Tensor, lo: int, hi: int) -> Tensor:
    return (x if lo == 0 else x.abs()).amax(1).clamp(min=0)


def sample(x: Tensor, most: int = _MOST) -> Tensor:
    """At most so many values of each row, evenly spaced; the odd stride meets every column."""
    return x[:, :: -(-x.shape[1] // most) | 1].contiguous()


def _percentile(x: Tensor, lo: int, hi: int) -> Tensor:
    few = sample(x)
    few = few.clamp(min=0) if lo == 0 else few.abs()
    return torch.quantile(few.float(), 0.999, dim=1).to(x.dtype)


def _least_square(x: Tensor, lo: int, hi: int) -> Tensor:
    """Try the power-of-two steps at and below the one that clips nothing."""
    few = sample(x).float()
    top = torch.exp2(torch.ceil(torch.log2(_largest(few, lo, hi).clamp(min=1e-30) / max(hi, 1))))
    steps = torch.stack([top * 2.0**-k for k in range(8)])  # (candidates, channels)
    errors = torch.stack(
        [
            ((few / s[:, None]).round().clamp(lo, hi) * s[:, None] - few).square().mean(1)
            for s in steps
        ]
    )
    best = errors.argmin(0)
    return (steps.gather(0, best[None])[0] * max(hi, 1)).to(x.dtype)


RANGES: Registry[RangeEstimator] = Registry("range estimator")
RANGES.add("max", RangeEstimator(_largest))
RANGES.add("moving_average", RangeEstimator(_largest, momentum=0.9))
RANGES.add("percentile", RangeEstimator(_percentile, momentum=0.9))
RANGES.add("mse", RangeEstimator(_least_square, momentum=0.9))
