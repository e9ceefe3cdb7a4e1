"""Which inputs share a quad, so that as few quads as possible meet a non-zero weight."""

import math
import random

import numpy as np
import numpy.typing as npt

__all__ = ["grouped"]

_TRIALS = 40_000
_HOT, _COLD = 2.0, 0.05  # temperatures, in vector products


def grouped(used: npt.NDArray[np.bool_], size: int) -> list[list[int]]:
    """Groups of `size` inputs; the last may hold fewer. used: `(outputs, inputs)`.

    Lowers the number of (output, group) pairs with a weight in them, which is the number of vector
    products, by exchanging inputs at falling temperature (Kirkpatrick et al. 1983). The seed is
    fixed: equal weights give equal groups.
    """
    count = used.shape[1]
    masks = [int("".join("01"[bit] for bit in column) or "0", 2) for column in used.T.astype(int)]
    places = list(range(count)) + [-1] * (-count % size)
    masks.append(0)  # of the places that hold no input
    groups = [places[k : k + size] for k in range(0, len(places), size)]
    if len(groups) > 1:
        _anneal(groups, masks)
    kept = [[each for each in group if each >= 0] for group in groups]
    return sorted((group for group in kept if group), key=len, reverse=True)


def _anneal(groups: list[list[int]], masks: list[int]) -> None:
    rng = random.Random(0)
    costs = [_cost(group, masks) for group in groups]
    size, total = len(groups[0]), sum(costs)
    best, kept = total, [list(group) for group in groups]
    for trial in range(_TRIALS):
        a, b = rng.randrange(len(groups)), rng.randrange(len(groups))
        i, j = rng.randrange(size), rng.randrange(size)
        if a == b:
            continue
        left, right = groups[a], groups[b]
        left[i], right[j] = right[j], left[i]
        new = _cost(left, masks), _cost(right, masks)
        rise = sum(new) - costs[a] - costs[b]
        heat = _HOT * (_COLD / _HOT) ** (trial / _TRIALS)
        if rise > 0 and rng.random() >= math.exp(-rise / heat):
            left[i], right[j] = right[j], left[i]
            continue
        costs[a], costs[b] = new
        total += rise
        if total < best:
            best, kept = total, [list(group) for group in groups]
    groups[:] = kept


def _cost(group: list[int], masks: list[int]) -> int:
    """How many outputs use an input of the group."""
    together = 0
    for each in group:
        together |= masks[each]
    return together.bit_count()
