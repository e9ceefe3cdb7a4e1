"""Named columns of any jet table -> the 16 features in their order and a label per row.

Names may carry the prefix j_ and any case. Labels are a column of class names or integers, or one
column per class (one-hot). Columns beyond these are left alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pareq.errors import DataError
from pareq.registry import suggest
from pareq.tasks.jets.features import CLASSES, FEATURES
from pareq.tasks.table import Table, integer_labels

__all__ = ["class_numbers", "one_hot", "table_from_columns"]

LABELS = ("class", "label", "labels", "target", "y")


def table_from_columns(columns: Mapping[str, NDArray[np.generic]], name: str) -> Table:
    """The features and labels among these columns, (N,) each.

    Raises DataError for a missing, doubled or non-numeric feature and for no or several labels.
    """
    named = _plain_names(columns)
    missing = [feature for feature in FEATURES if feature not in named]
    if missing:
        spare = [column for column in named if column not in FEATURES]
        near = suggest(missing[0], spare) if spare else ""
        near = near if "did you mean" in near else ""
        beyond = [column for column in spare if column not in (*LABELS, *CLASSES)]
        also = f" (not known: {', '.join(beyond[:5])})" if beyond else ""
        raise DataError(
            f"{len(missing)} of {len(FEATURES)} columns are missing:"
            f" {', '.join(missing)}{also}{near}"
        )
    x = np.column_stack([_floats(named[feature], feature) for feature in FEATURES])
    return Table(x, _labels(named), name, FEATURES)


def class_numbers(
    labels: NDArray[np.generic] | Sequence[str], order: Sequence[str] = CLASSES
) -> NDArray[np.int64]:
    """Class names, or integers that count `order`, as the numbers of CLASSES.

    Integers outside the order are kept: the table's check tells the row.
    """
    values = np.asarray(labels)
    if values.dtype.kind not in "SUO":
        numbers = integer_labels(values)
        inside = (numbers >= 0) & (numbers < len(order))
        place = np.array([CLASSES.index(c) for c in order], np.int64)
        return np.where(inside, place[np.where(inside, numbers, 0)], numbers)
    kinds, member = np.unique(values.astype(str), return_inverse=True)
    numbers = np.empty(len(kinds), np.int64)
    for number, kind in enumerate(kinds):
        plain = _plain(str(kind))
        if plain not in CLASSES:
            raise DataError(
                f"label {str(kind)!r} in row {(member == number).argmax()} is none of"
                f" {', '.join(CLASSES)}"
            )
        numbers[number] = CLASSES.index(plain)
    return numbers[member]


def one_hot(rows: NDArray[np.generic], order: Sequence[str]) -> NDArray[np.int64]:
    """The class of each row of (N, C), one column per class of `order`."""
    wrong = (np.sort(rows, 1) != np.eye(len(order))[-1]).any(1)
    if wrong.any():
        raise DataError(
            f"one-hot labels need a single 1 per row, got"
            f" {', '.join(f'{v:g}' for v in rows[wrong.argmax()])} in row {wrong.argmax()}"
        )
    return class_numbers(rows.argmax(1), order)


def _plain_names(columns: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """Without prefixes and capitals; two columns of one name are an error."""
    named: dict[str, NDArray[np.generic]] = {}
    for column, values in columns.items():
        plain = _plain(column)
        if plain in named:
            raise DataError(f"two columns are called {plain!r}; keep one")
        named[plain] = values
    return named


def _plain(name: str) -> str:
    return name.strip().strip("'\"").lower().removeprefix("j_")


def _floats(values: NDArray[np.generic], name: str) -> NDArray[np.float64]:
    if values.dtype.kind not in "iufb":
        raise DataError(f"column {name!r} must hold numbers, got {values.dtype}")
    return values.astype(np.float64)


def _labels(named: Mapping[str, NDArray[np.generic]]) -> NDArray[np.int64]:
    """From the one label column or the five one-hot columns."""
    given = [name for name in LABELS if name in named]
    if len(given) > 1:
        raise DataError(f"several label columns: {', '.join(given)}; keep one")
    if given:
        return class_numbers(named[given[0]])
    absent = [name for name in CLASSES if name not in named]
    if absent:
        raise DataError(
            f"no labels: expected a column {LABELS[0]!r}, or one column per class"
            f" ({', '.join(CLASSES)})"
        )
    return one_hot(np.column_stack([_floats(named[c], c) for c in CLASSES]), CLASSES)
