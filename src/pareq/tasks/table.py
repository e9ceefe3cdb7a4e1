"""`Table`: labelled rows as read from a source, and the checks that every source passes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pareq.errors import DataError

__all__ = ["Table", "integer_labels"]

_NAMED = 5  # row numbers told in an error


@dataclass(frozen=True)
class Table:
    """Rows with labels.

    x: (N, F) floats. y: (N,) int64, a class each. name: where they come from. columns: F names.
    held_out: (N,) which rows the source itself calls its test sample, None when it does not say.
    """

    x: NDArray[np.floating]
    y: NDArray[np.int64]
    name: str
    columns: tuple[str, ...]
    held_out: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Table":
        """These rows only."""
        held_out = None if self.held_out is None else self.held_out[which]
        return replace(self, x=self.x[which], y=self.y[which], held_out=held_out)

    def checked(self, classes: int, *, drop_nonfinite: bool) -> "Table":
        """The table when all is in order, without its non-finite rows if these may be dropped.

        Raises DataError for no rows, lengths that differ, labels outside 0..classes-1 and NaN or
        infinite values, with the first row numbers (from 0).
        """
        if len(self.x) != len(self.y):
            raise DataError(f"{len(self.x)} rows but {len(self.y)} labels")
        if len(self) == 0:
            raise DataError("the table has no rows")
        wrong = (self.y < 0) | (self.y >= classes)
        if wrong.any():
            raise DataError(
                f"{wrong.sum()} labels are outside 0..{classes - 1}: the first is"
                f" {self.y[wrong.argmax()]} in row {wrong.argmax()}"
            )
        return self._finite(drop_nonfinite)

    def _finite(self, drop: bool) -> "Table":
        bad = ~np.isfinite(self.x)
        rows = bad.any(1)
        if not rows.any():
            return self
        if drop:
            if rows.all():
                raise DataError("every row has a NaN or infinite value; nothing is left")
            return self.rows(~rows)
        column = self.columns[bad[rows.argmax()].argmax()]
        raise DataError(
            f"{bad.sum()} values in {rows.sum()} rows are NaN or infinite, first in column"
            f" {column!r} ({_numbers(rows)}); repair the rows or set drop_nonfinite"
        )


def integer_labels(values: Sequence[object] | NDArray[np.generic]) -> NDArray[np.int64]:
    """Labels as int64; raises DataError for numbers that are not whole."""
    found = np.asarray(values)
    if found.dtype.kind not in "iufb":
        raise DataError(f"labels must be integers, got {found.dtype}")
    wrong = found != np.floor(found)  # NaN is wrong, too
    if wrong.any():
        raise DataError(
            f"labels must be integers, got {found[wrong.argmax()]} in row {wrong.argmax()}"
        )
    return found.astype(np.int64)


def _numbers(rows: NDArray[np.bool_]) -> str:
    """Such as "rows 3, 17, ..."."""
    first = [str(row) for row in np.flatnonzero(rows)[: _NAMED + 1]]
    shown = ", ".join(first[:_NAMED]) + (", ..." if len(first) > _NAMED else "")
    return f"row {shown}" if len(first) == 1 else f"rows {shown}"
