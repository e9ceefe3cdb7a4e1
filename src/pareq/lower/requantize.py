"""Exact requantization: a monotone float64 function as integers, proved on its whole range.

1. `thresholds`: where the function steps, by bisection of the function itself.
2. `solve`: the smallest shift s, with m and b, whose `(acc * m + b) >> s` steps at the same places.
   For a step up to k at T that is `k 2^s - m T <= b <= k 2^s - 1 - m (T - 1)`. For a given s the
   room between the largest lower and the smallest upper bound is concave in m, so bisection on its
   slope finds an m with room, or shows that there is none.
   Ties that go to even alternate, and no line follows that; a second form rounds to nearest even,
   `(t + 2^(s-1) - 1 + ((t >> s) & 1)) >> s` with t = acc * m + b, and only moves the bounds.
3. `prove`: the integer function equals the float64 one at both ends of each flat stretch. Both are
   monotone, so they are equal between the ends: for every accumulator, not for a sample.

Where no constants fit into 64 bits the thresholds themselves are the answer: a table.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pareq.errors import LoweringError
from pareq.lower.transfer import Transfer

__all__ = ["Constants", "Steps", "prove", "requantize", "solve", "thresholds"]

Integers = npt.NDArray[np.int64]
Function = Callable[[Integers], Integers]

_WIDEST = 2**61  # products and sums stay below it, so int64 holds every intermediate result
_MOST_SHIFT = 48
_CHUNK = 2**16  # numbers bisected at a time, few enough for the cache


@dataclass(frozen=True, eq=False)
class Steps:
    """base + step * #{k : acc >= at[k]}, per channel.

    base: `(C,)`; step: `(C,)` of 1 or -1; at: `(C, K)`, ascending, filled up with a number beyond
    the range of the accumulator.
    """

    base: Integers
    step: Integers
    at: Integers

    def __call__(self, accumulator: Integers) -> Integers:
        """Integers `(C, M)` to integers."""
        rows = zip(self.at, accumulator, strict=True)
        count = np.stack([np.searchsorted(levels, row, side="right") for levels, row in rows])
        return np.asarray(self.base[:, None] + self.step[:, None] * count)

    def of(self, channels: npt.NDArray[np.intp]) -> "Steps":
        """The same for some channels, in this order."""
        return Steps(self.base[channels], self.step[channels], self.at[channels])


@dataclass(frozen=True, eq=False)
class Constants:
    """clamp((acc * multiplier + offset) >> shift, lo, hi), per channel; arrays `(C,)`.

    even: the quotient is rounded to nearest, ties to even, instead of down; shift is then above 0.
    """

    multiplier: Integers
    offset: Integers
    shift: Integers
    lo: int
    hi: int
    even: bool = False

    def __call__(self, accumulator: Integers) -> Integers:
        """Integers `(C, M)` to integers."""
        shift = self.shift[:, None]
        moved = accumulator * self.multiplier[:, None] + self.offset[:, None]
        if self.even:
            moved += (np.int64(1) << (shift - 1)) - 1 + ((moved >> shift) & 1)
        return np.asarray(np.clip(moved >> shift, self.lo, self.hi))

    def of(self, channels: npt.NDArray[np.intp]) -> "Constants":
        """The same for some channels, in this order."""
        parts = (self.multiplier[channels], self.offset[channels], self.shift[channels])
        return Constants(*parts, self.lo, self.hi, self.even)


def requantize(
    transfer: Transfer, lo: npt.ArrayLike, hi: npt.ArrayLike, *, shared_shift: bool = False
) -> Constants | Steps:
    """Integers that equal a float64 function for every accumulator in lo..hi, proved.

    lo, hi: `(C,)`, the reachable range of each channel. shared_shift: one shift for all channels.
    Gives Steps when no constants exist within 64-bit arithmetic. Raises LoweringError.
    """
    low, high = _bounds(lo, hi, len(transfer.gain))
    steps = thresholds(transfer, low, high)
    found = solve(steps, low, high, shared_shift=shared_shift)
    if found is None:
        found = solve(steps, low, high, shared_shift=shared_shift, even=True)
    result = steps if found is None else found
    prove(result, transfer, low, high, steps=steps)
    return result


def thresholds(function: Function, lo: npt.ArrayLike, hi: npt.ArrayLike) -> Steps:
    """Every place where a function steps, by bisection.

    function: integers `(C, M)` to integers `(C, M)`, in each channel never falling or never rising
    on lo..hi; it must not look at how many accumulators it gets. lo, hi: `(C,)`.
    """
    low, high = _bounds(lo, hi, None)
    ends = function(np.stack([low, high], axis=1))
    base, step = ends[:, 0], np.where(ends[:, 1] < ends[:, 0], -1, 1)
    levels = np.abs(ends[:, 1] - base)
    width = max(int(levels.max(initial=0)), 1)
    at = np.empty((len(low), width), dtype=np.int64)
    every = max(_CHUNK // len(low), 1)
    for begin in range(0, width, every):
        wanted = np.arange(begin + 1, min(begin + every, width) + 1)
        at[:, begin : begin + every] = _bisect(function, (low, high), (base, step), wanted)
    return Steps(base, step.astype(np.int64), at)


def _bisect(
    function: Function,
    limits: tuple[Integers, Integers],
    start: tuple[Integers, Integers],
    wanted: Integers,
) -> Integers:
    """The first accumulator at which step * (f - base) >= wanted, else one beyond the range."""
    (low, high), (base, step) = limits, start
    shape = (len(low), len(wanted))
    left = np.broadcast_to(low[:, None], shape).copy()
    right = np.broadcast_to(high[:, None] + 1, shape).copy()
    while (open_ := left < right).any():
        middle = left + (right - left) // 2
        risen = (function(np.minimum(middle, high[:, None])) - base[:, None]) * step[:, None]
        there = risen >= wanted
        right = np.where(open_ & there, middle, right)
        left = np.where(open_ & ~there, middle + 1, left)
    return right


@dataclass(frozen=True, eq=False)
class _Bounds:
    """What m and b must satisfy: m * above + b >= R(floor) and m * below + b < R(ceiling).

    R(k) = k 2^s, the smallest t that gives k; rounding to even it is k 2^s - 2^(s-1), and one more
    where k is odd. Arrays `(C, K + 1)`, centred at `origin` and `level` `(C,)`, rising everywhere.
    """

    above: Integers
    floor: Integers
    below: Integers
    ceiling: Integers
    origin: Integers
    level: Integers
    even: bool

    def of(self, channels: npt.NDArray[np.intp]) -> "_Bounds":
        """The same for some channels."""
        parts = ("above", "floor", "below", "ceiling", "origin", "level")
        return replace(self, **{name: getattr(self, name)[channels] for name in parts})

    def at(self, shift: int) -> tuple[Integers, Integers]:
        """The bounds R(floor) and R(ceiling) - 1."""
        low, high = self.floor << shift, (self.ceiling << shift) - 1
        if not self.even:
            return low, high
        odd = (self.level & 1)[:, None]
        half = 1 << (shift - 1)
        return low - half + ((self.floor ^ odd) & 1), high - half + ((self.ceiling ^ odd) & 1)

    @property
    def most_shift(self) -> int:
        """The largest shift whose bounds, times four, int64 holds."""
        widest = int(max(np.abs(self.ceiling).max(), np.abs(self.floor).max())) + 1
        return min(_MOST_SHIFT, (_WIDEST // widest).bit_length() - 4)


def solve(
    steps: Steps,
    lo: npt.ArrayLike,
    hi: npt.ArrayLike,
    *,
    shared_shift: bool = False,
    even: bool = False,
) -> Constants | None:
    """The constants with the smallest shift that step where `steps` does on lo..hi.

    even: of the form that rounds to nearest even. None when some channel has none within 64-bit
    arithmetic.
    """
    low, high = _bounds(lo, hi, len(steps.base))
    count = (steps.at <= high[:, None]).sum(axis=1)
    last = steps.base + steps.step * count
    clamp = int(min(steps.base.min(), last.min())), int(max(steps.base.max(), last.max()))
    first_shift = int(even)
    m, s = np.zeros_like(low), np.full_like(low, first_shift)
    b = steps.base << first_shift
    open_ = np.flatnonzero(count > 0)
    bounds = _constraints(steps, (low, high), count, (*clamp, even))
    if len(open_) and not _solvable(bounds.of(open_)):
        return None
    shift = first_shift
    while len(open_):
        here = bounds.of(open_)
        factor, least, most = _search(here, shift)
        done = least <= most
        who, factor = open_[done], factor[done]
        origin, level = here.origin[done], here.level[done]
        size = np.abs(level) * 2.0**shift + factor * np.abs(origin.astype(np.float64))
        if (size >= _WIDEST).any():
            return None
        moved = (level << shift) - factor * origin
        m[who] = factor * steps.step[who]
        b[who] = np.clip(0, least[done] + moved, most[done] + moved)
        s[who] = shift
        open_, shift = open_[~done], shift + 1
    return _fitting(Constants(m, b, s, *clamp, even), (low, high), shared_shift)


def _solvable(bounds: _Bounds) -> bool:
    """Whether every channel has constants at the largest shift; if not, none has at a smaller."""
    shift = bounds.most_shift
    if shift < 1:
        return False
    _, least, most = _search(bounds, shift)
    return bool((least <= most).all())


def _fitting(found: Constants, limits: tuple[Integers, Integers], shared: bool) -> Constants | None:
    """The constants, with one shift when it is to be shared; None when int64 does not hold them."""
    more = found.shift.max() - found.shift if shared else np.zeros_like(found.shift)
    farthest = np.maximum(np.abs(limits[0]), np.abs(limits[1])).astype(np.float64)
    size = np.abs(found.multiplier) * farthest + np.abs(found.offset) + 2.0**found.shift
    if (size * 2.0**more >= _WIDEST).any():
        return None
    return replace(
        found,
        multiplier=found.multiplier << more,
        offset=found.offset << more,
        shift=found.shift + more,
    )


def _constraints(
    steps: Steps,
    limits: tuple[Integers, Integers],
    count: Integers,
    form: tuple[int, int, bool],
) -> _Bounds:
    """The steps and both ends of the range, in a falling channel with the accumulator mirrored."""
    (low, high), falls, (bottom_clamp, top_clamp, even) = limits, steps.step < 0, form
    levels = np.arange(1, steps.at.shape[1] + 1)
    place = np.where(falls[:, None], 1 - steps.at, steps.at)
    value = np.where(falls[:, None], steps.base[:, None] - levels + 1, steps.base[:, None] + levels)
    met = levels <= count[:, None]
    first, bottom = place[:, :1], value[:, :1]  # an entry repeated says nothing new
    place, value = np.where(met, place, first), np.where(met, value, bottom)
    begin, end = np.where(falls, -high, low)[:, None], np.where(falls, -low, high)[:, None]
    least = np.where(falls, steps.base - count, steps.base)[:, None]
    most = least + count[:, None]
    from_below, from_above = least > bottom_clamp, most < top_clamp
    origin, level = first[:, 0], least[:, 0]
    return _Bounds(
        np.hstack([place, np.where(from_below, begin, first)]) - origin[:, None],
        np.hstack([value, np.where(from_below, least, bottom)]) - level[:, None],
        np.hstack([place, np.where(from_above, end + 1, first)]) - origin[:, None] - 1,
        np.hstack([value, np.where(from_above, most + 1, bottom)]) - level[:, None],
        origin,
        level,
        even,
    )


def _search(bounds: _Bounds, shift: int) -> tuple[Integers, Integers, Integers]:
    """Per channel m and the interval of b, empty (least > most) where no m has one."""
    floor, ceiling = bounds.at(shift)
    least_m, most_m = _slopes(bounds, floor, ceiling)
    m = np.ones_like(least_m)
    least, most = np.ones_like(m), np.zeros_like(m)
    open_ = np.flatnonzero(least_m <= most_m)
    while len(open_):
        middle = least_m[open_] + (most_m[open_] - least_m[open_]) // 2
        under = floor[open_] - middle[:, None] * bounds.above[open_]
        over = ceiling[open_] - middle[:, None] * bounds.below[open_]
        k, j = under.argmax(axis=1)[:, None], over.argmin(axis=1)[:, None]
        m[open_] = middle
        least[open_] = np.take_along_axis(under, k, 1)[:, 0]
        most[open_] = np.take_along_axis(over, j, 1)[:, 0]
        slope = np.take_along_axis(bounds.above[open_], k, 1)
        slope = (slope - np.take_along_axis(bounds.below[open_], j, 1))[:, 0]
        least_m[open_] = np.where(slope > 0, middle + 1, least_m[open_])
        most_m[open_] = np.where(slope < 0, middle - 1, most_m[open_])
        again = (least[open_] > most[open_]) & (slope != 0) & (least_m[open_] <= most_m[open_])
        open_ = open_[again]
    return m, least, most


def _slopes(bounds: _Bounds, floor: Integers, ceiling: Integers) -> tuple[Integers, Integers]:
    """The m between which all solutions lie, from the outermost steps."""
    run = bounds.above.max(axis=1) - bounds.below.min(axis=1)  # at least 1
    rise = floor.max(axis=1) - ceiling.min(axis=1)
    least = np.maximum(-(-rise // run), 1)
    run = bounds.below.max(axis=1) - bounds.above.min(axis=1)
    rise = ceiling.max(axis=1) - floor.min(axis=1)
    return least, np.where(run > 0, rise // np.maximum(run, 1), rise + 1)


def prove(
    candidate: Constants | Steps | Function,
    function: Function,
    lo: npt.ArrayLike,
    hi: npt.ArrayLike,
    *,
    steps: Steps | None = None,
) -> None:
    """Return when a candidate equals a function for every accumulator in lo..hi.

    Both are monotone in each channel; a function of another kind proves nothing. steps: those of
    `function`, when they are known. Raises LoweringError with the channel, the first accumulator
    at which they differ, and both values.
    """
    low, high = _bounds(lo, hi, None)
    _check_candidate(candidate, np.maximum(np.abs(low), np.abs(high)))
    known = steps or thresholds(function, low, high)
    at = np.stack([known.at - 1, known.at], axis=2).reshape(len(low), -1)
    ends = np.hstack([low[:, None], at, high[:, None]])
    points = np.clip(ends, low[:, None], high[:, None])
    wrong = candidate(points) != function(points)
    if not wrong.any():
        return
    channel = int(wrong.any(axis=1).argmax())
    place = int(wrong[channel].argmax())
    before = int(points[channel, max(place - 1, 0)])
    first = _first_difference(
        candidate, function, (channel, len(low)), (before, int(points[channel, place]))
    )
    row = np.full((len(low), 1), first)
    found, expected = int(candidate(row)[channel, 0]), int(function(row)[channel, 0])
    raise LoweringError(
        f"channel {channel}, accumulator {first}: integers give {found}, float64 gives {expected}"
    )


def _first_difference(
    candidate: Function, function: Function, channel: tuple[int, int], between: tuple[int, int]
) -> int:
    """Bisect a stretch on which the function is flat and the candidate begins equal."""
    left, right = between
    while left < right:
        middle = (left + right) // 2
        row = np.full((channel[1], 1), middle)
        if candidate(row)[channel[0], 0] != function(row)[channel[0], 0]:
            right = middle
        else:
            left = middle + 1
    return right


def _check_candidate(candidate: Constants | Steps | Function, farthest: Integers) -> None:
    """Raise LoweringError when a candidate overflows int64, or is not monotone."""
    if isinstance(candidate, Constants):
        size = np.abs(candidate.multiplier.astype(np.float64)) * farthest
        size += np.abs(candidate.offset.astype(np.float64))
        if (
            (size >= 2.0**62).any()
            or (candidate.shift < candidate.even).any()
            or (candidate.shift > 62).any()
        ):
            raise LoweringError("constants leave int64; use a table of thresholds")
    if isinstance(candidate, Steps) and (np.diff(candidate.at, axis=1) < 0).any():
        raise LoweringError("thresholds do not ascend; sort them")


def _bounds(lo: npt.ArrayLike, hi: npt.ArrayLike, count: int | None) -> tuple[Integers, Integers]:
    low, high = (np.atleast_1d(np.asarray(each, dtype=np.int64)) for each in (lo, hi))
    if low.shape != high.shape or low.ndim != 1 or (count is not None and len(low) != count):
        raise LoweringError(f"ranges have shapes {low.shape}, {high.shape} for {count} channels")
    if (low > high).any() or (np.abs(low) >= _WIDEST).any() or (np.abs(high) >= _WIDEST).any():
        raise LoweringError("the range of an accumulator is empty or beyond 2^61; use fewer bits")
    return low, high
