"""That a computed function is monotone where rounding errors could make it turn back.

Libraries compute tanh or exp with errors of a unit in the last place or so. The function itself
rises; what is computed can only fall between two arguments whose results are as near to each other
as those errors. A threshold found by bisection is therefore certain once the function was seen to
be monotone on the stretch around it on which its reals are that near.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pareq.errors import LoweringError
from pareq.lower.requantize import Steps

__all__ = ["check_plateaus"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

_ULPS = 8.0  # units in the last place within which two results count as near
_MOST = 2**26  # accumulators looked at one by one, over all channels
_CHUNK = 2**20


def check_plateaus(
    function: Callable[[Integers], Integers],
    real: Callable[[Integers], Reals],
    steps: Steps,
    lo: Integers,
    hi: Integers,
) -> None:
    """Return when `function` is monotone wherever `real` is nearly flat next to a threshold.

    real: what `function` rounds, of integers `(C, M)`; steps: its thresholds; lo, hi: `(C,)`.
    Raises LoweringError with the channel and the accumulator where it is not, or when the stretches
    are too long to be looked at.
    """
    low, high = lo[:, None], hi[:, None]
    met = steps.at <= high
    at = np.clip(steps.at, low, high)
    level = real(at)
    near = np.abs(level) * (_ULPS * np.finfo(np.float64).eps)
    left, right = at.copy(), at.copy()
    open_, width = met.copy(), np.int64(1)
    while open_.any() and width <= int((hi - lo).max()) * 2:
        left = np.where(open_, np.maximum(at - width, low), left)
        right = np.where(open_, np.minimum(at + width, high), right)
        with np.errstate(invalid="ignore"):  # two infinities
            flat_left = (left > low) & (np.abs(real(left) - level) <= near)
            flat_right = (right < high) & (np.abs(real(right) - level) <= near)
        open_, width = open_ & (flat_left | flat_right), width * 2
    if int((right - left).sum()) > _MOST:
        raise LoweringError(
            f"{int((right - left).sum())} accumulators lie where the function is flat, at most"
            f" {_MOST} are looked at; put a quantizer of fewer bits in front of it"
        )
    for channel, place in zip(*np.nonzero(right - left > 2), strict=True):
        _check(
            function, steps, int(channel), (int(left[channel, place]), int(right[channel, place]))
        )


def _check(
    function: Callable[[Integers], Integers], steps: Steps, channel: int, ends: tuple[int, int]
) -> None:
    """Look at every accumulator of a stretch of one channel."""
    count, step, before = len(steps.base), int(steps.step[channel]), None
    for begin in range(ends[0], ends[1] + 1, _CHUNK // count + 1):
        row = np.arange(begin, min(begin + _CHUNK // count + 1, ends[1] + 1))
        found = function(np.broadcast_to(row, (count, len(row))))[channel] * step
        chain = found if before is None else np.concatenate([[before], found])
        back = np.flatnonzero(np.diff(chain) < 0)
        if len(back):
            place = int(row[0]) + int(back[0]) + (before is None)
            raise LoweringError(
                f"channel {channel}: the function turns back at accumulator {place}, so it has no"
                " thresholds; put a quantizer of fewer bits in front of it"
            )
        before = int(found[-1])
