"""Scores and labels of a classifier, checked once for every metric.

Scores are (N, C), one row a sample; labels are (N,) integers in 0..C-1.
"""

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pareq.errors import DataError

__all__ = ["Array", "Labels", "Matrix", "Values", "binomial", "checked", "counts", "finite"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Values = Tensor | npt.ArrayLike
Matrix = tuple[tuple[int, ...], ...]


def finite(scores: Values) -> Array:
    """Scores as float64 (N, C).

    Raises DataError for another shape, C < 2, and values that are not finite real numbers.
    """
    rows = _array(scores)
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] < 2:
        raise DataError(f"scores must be (N, C) with N >= 1 and C >= 2, got shape {rows.shape}")
    if not np.issubdtype(rows.dtype, np.number) or np.iscomplexobj(rows):
        raise DataError(f"scores must be real numbers, got {rows.dtype}")
    real = rows.astype(np.float64)
    bad = ~np.isfinite(real)
    if bad.any():
        at_rows = np.flatnonzero(bad.any(1))
        raise DataError(
            f"{int(np.isnan(real).sum())} NaN and {int(np.isinf(real).sum())} infinite of "
            f"{real.size} scores, in {len(at_rows)} of {len(real)} rows, the first is row "
            f"{at_rows[0]}; a classifier that diverged has no quality"
        )
    return real


def checked(scores: Values, labels: Values) -> tuple[Array, Labels]:
    """Scores as float64 (N, C) and labels as int64 (N,).

    Raises DataError as `finite`, and for labels of another length, type or range.
    """
    rows = finite(scores)
    given = _array(labels)
    if given.shape != (len(rows),):
        raise DataError(f"labels must be of shape ({len(rows)},) as scores, got {given.shape}")
    if not np.issubdtype(given.dtype, np.integer):
        raise DataError(f"labels must be integers, got {given.dtype}")
    truth = given.astype(np.int64)
    out = (truth < 0) | (truth >= rows.shape[1])
    if out.any():
        raise DataError(
            f"{int(out.sum())} of {len(truth)} labels are outside 0..{rows.shape[1] - 1}, "
            f"the first is {truth[out][0]} in row {np.flatnonzero(out)[0]}"
        )
    return rows, truth


def counts(rows: Labels, columns: Labels, classes: int) -> Matrix:
    """How often (row, column) occurs: counts[row][column], (C, C)."""
    found = np.bincount(rows * classes + columns, minlength=classes**2)
    return tuple(tuple(row) for row in found.reshape(classes, classes).tolist())


def binomial(fraction: float, n: int) -> float:
    """The standard error of a fraction of n independent samples."""
    return math.sqrt(max(fraction * (1 - fraction), 0.0) / n)


def _array(values: Values) -> npt.NDArray[np.generic]:
    if not isinstance(values, Tensor):
        try:
            return np.asarray(values)
        except ValueError:
            raise DataError("rows of unequal length are no array") from None
    plain = values.detach().cpu()
    return np.asarray((plain.double() if plain.is_floating_point() else plain).numpy())
