"""Random labels: rows that train, and may validate, whose label says nothing; the test is clean.

| rows | which |
|---|---|
| random | a share of the rows of each split, drawn with the seed |
| paper | the first share of each file of 10,000 rows, training and validation alike |

Each such row gets a class drawn uniformly from all, its own included, so that of C classes a share
r leaves (C - 1) / C r of the labels wrong (Zhang et al. 2017; Hawks et al. 2021, whose published
code does "paper", without a seed).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pareq.errors import DataError
from pareq.registry import suggest

__all__ = ["NOISES", "Noise"]

NOISES = ("random", "paper")
_FILE = 10_000  # rows in a file of the published data

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Noise:
    """Which labels are random. share: of the rows, 0..1. rows: see the table above.

    validation: whether the validation split is noisy as well; with "paper" it must be, as its rows
    come from the same files.

    Raises DataError when made with a value out of range.
    """

    share: float = 0.0
    rows: str = "random"
    validation: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise DataError(f"noise must be a share in 0..1, got {self.share}")
        if self.rows not in NOISES:
            raise DataError(f"unknown noise_rows {self.rows!r}{suggest(self.rows, NOISES)}")
        if self.seed < 0:
            raise DataError(f"noise_seed must not be negative, got {self.seed}")
        if self.rows == "paper" and self.share and not self.validation:
            raise DataError(
                "noise_rows 'paper' makes the validation labels noisy too, as published;"
                " set noise_validation, or use 'random'"
            )

    def labels(self, y: Rows, train: Rows, val: Rows, classes: int) -> Rows:
        """The labels with the noise in them, (N,); train, val: the rows of these splits."""
        if not self.share:
            return y
        draws = np.random.default_rng(self.seed)
        noisy = y.copy()
        for rows in (train, val) if self.validation else (train,):
            chosen = self._chosen(rows, draws)
            noisy[chosen] = draws.integers(classes, size=len(chosen))
        return noisy

    def _chosen(self, rows: Rows, draws: np.random.Generator) -> Rows:
        if self.rows == "paper":
            return rows[rows % _FILE < int(_FILE * self.share)]
        return draws.permutation(rows)[: round(self.share * len(rows))]
