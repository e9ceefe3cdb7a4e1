"""Rounding and overflow, defined once, on integers.

| rounding | n / 2 for n = -3, -1, 1, 3 | note |
|---|---|---|
| half_even | -2, 0, 0, 2 | IEEE default, ONNX, torch.round |
| half_up | -1, 0, 1, 2 | floor(x + 1/2): the usual hardware rounding |
| floor | -2, -1, 0, 1 | two's complement truncation |
| toward_zero | -1, 0, 0, 1 | C integer division |
| stochastic | up with the probability of the fraction | needs a source of randomness |

`divide` is the definition: an exact quotient of integers. `round_real` is the same function on
float64, and `pareq.numerics.gradients` the same on torch tensors; tests hold the three equal.
"""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pareq.errors import GridError
from pareq.registry import suggest

__all__ = [
    "OVERFLOWS",
    "ROUNDINGS",
    "Overflow",
    "Rounding",
    "check_overflow",
    "check_rounding",
    "divide",
    "fit",
    "round_real",
    "saturate",
    "wrap",
]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Rounding = Literal["half_even", "half_up", "floor", "toward_zero", "stochastic"]
Overflow = Literal["saturate", "wrap"]
ROUNDINGS: tuple[str, ...] = get_args(Rounding)
OVERFLOWS: tuple[str, ...] = get_args(Overflow)


def check_rounding(name: str) -> None:
    """Raise GridError unless `name` is a rounding."""
    if name not in ROUNDINGS:
        raise GridError(f"unknown rounding {name!r}{suggest(name, ROUNDINGS)}")


def check_overflow(name: str) -> None:
    """Raise GridError unless `name` is an overflow rule."""
    if name not in OVERFLOWS:
        raise GridError(f"unknown overflow {name!r}{suggest(name, OVERFLOWS)}")


def divide(
    n: npt.ArrayLike,
    by: int,
    rounding: Rounding = "half_even",
    rng: np.random.Generator | None = None,
) -> Integers:
    """Round n / by to an integer, exactly.

    n: integers of any shape (int64). by: positive integer, the same for all (a power of two is a
    right shift). Raises GridError for an unknown rounding or by < 1.
    """
    check_rounding(rounding)
    if by < 1:
        raise GridError(f"divisor is {by}, expected a positive integer")
    whole = np.asarray(n, dtype=np.int64)
    down: Integers = whole // by
    rest: Integers = whole - down * by  # 0 <= rest < by
    if rounding == "floor":
        return down
    if rounding == "toward_zero":
        return np.asarray(down + ((whole < 0) & (rest > 0)))
    if rounding == "stochastic":
        draw = (rng or np.random.default_rng()).integers(0, by, size=whole.shape)
        return down + (rest > draw)
    above = rest > by - rest
    tie = rest == by - rest
    if rounding == "half_up":
        return np.asarray(down + (above | tie))
    return np.asarray(down + (above | (tie & (down % 2 != 0))))


def round_real(
    x: npt.ArrayLike,
    rounding: Rounding = "half_even",
    rng: np.random.Generator | None = None,
) -> Reals:
    """Round float64 values to whole float64 values; the same function as `divide` on exact input.

    half_up compares the fraction with one half instead of adding one half, which would round
    0.49999999999999994 to 1.
    """
    check_rounding(rounding)
    real = np.asarray(x, dtype=np.float64)
    if rounding == "half_even":
        return np.asarray(np.rint(real))
    if rounding == "toward_zero":
        return np.asarray(np.trunc(real))
    down = np.floor(real)
    if rounding == "floor":
        return np.asarray(down)
    with np.errstate(invalid="ignore"):  # an infinity has no fraction and stays one
        fraction = real - down
    if rounding == "half_up":
        return np.asarray(down + (fraction >= 0.5))
    draw = (rng or np.random.default_rng()).random(real.shape)
    return np.asarray(down + (fraction > draw))


def saturate(n: npt.ArrayLike, lo: int, hi: int) -> Integers:
    """Clamp integers to lo..hi."""
    return np.asarray(np.clip(np.asarray(n, dtype=np.int64), lo, hi))


def wrap(n: npt.ArrayLike, lo: int, hi: int) -> Integers:
    """Reduce integers modulo hi - lo + 1 into lo..hi, as a register of that range does."""
    return (np.asarray(n, dtype=np.int64) - lo) % (hi - lo + 1) + lo


def fit(n: npt.ArrayLike, lo: int, hi: int, overflow: Overflow = "saturate") -> Integers:
    """Bring integers into lo..hi by the named rule."""
    check_overflow(overflow)
    return saturate(n, lo, hi) if overflow == "saturate" else wrap(n, lo, hi)
