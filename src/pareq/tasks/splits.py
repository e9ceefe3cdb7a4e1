"""Which rows train, validate and test; duplicates across them; the scaler of the inputs.

| split | test | validation |
|---|---|---|
| random | a share, seeded | a share, seeded |
| openml | scikit-learn's train_test_split(test_size=0.2, random_state=42) | the same of the rest |
| fold-1 .. fold-4 | N/4 rows after shuffle(random_state=42) | a quarter of the others, seeded |
| source | what the source itself holds out | a quarter of the others, seeded |

The folds are those of Hawks et al. 2021 (published code, remainder dropped); `source` with the
authors' archives gives their 472,500 / 157,500 / 240,000.
"""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pareq.errors import DataError, MissingExtra
from pareq.registry import suggest
from pareq.tasks.base import Data, Split
from pareq.tasks.noise import Noise
from pareq.tasks.table import Table

__all__ = ["SCALINGS", "SPLITS", "Plan", "prepare"]

FOLDS = 4
SPLITS = ("random", "openml", *(f"fold-{k}" for k in range(1, FOLDS + 1)), "source")
SCALINGS = ("train", "paper", "none")

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """How a table becomes three splits.

    val, test: shares of the rows, used by `random`. seed: of all random choices that no
    publication fixes. scaling: "train" standardises with the mean and deviation of the training
    rows; "paper" repeats a defect of the published code: training and validation rows scaled
    together, test rows with their own statistics, and duplicates removed inside each of these two
    sets instead of across the splits; "none" leaves the inputs.

    Raises DataError when made with a value out of range.
    """

    split: str = "random"
    val: float = 0.16
    test: float = 0.2
    seed: int = 0
    scaling: str = "train"

    def __post_init__(self) -> None:
        for field, value, known in (
            ("split", self.split, SPLITS),
            ("scaling", self.scaling, SCALINGS),
        ):
            if value not in known:
                raise DataError(f"unknown {field} {value!r}{suggest(value, known)}")
        for field, share in (("val", self.val), ("test", self.test)):
            if not 0 < share < 1:
                raise DataError(f"{field} must be a share inside (0, 1), got {share}")
        if self.val + self.test >= 1:
            raise DataError(f"val + test must be below 1, got {self.val + self.test:g}")
        if self.seed < 0:
            raise DataError(f"split_seed must not be negative, got {self.seed}")


def prepare(
    table: Table, plan: Plan, dropped: int = 0, noise: Noise | None = None, classes: int = 0
) -> Data:
    """Split, remove duplicates and scale a checked table; noise: in the labels of `classes` kinds.

    A row of the training split that the validation or test split holds too, and a row of the
    validation split that the test split holds, are removed: the test split stays as it is.

    Raises DataError for an empty split, and MissingExtra where scikit-learn defines the split.
    """
    parts = _parts(table, plan)
    before = sum(map(len, parts))
    keys = _bytes(table)
    parts = _within(parts, keys) if plan.scaling == "paper" else _across(parts, keys)
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        if len(part) == 0:
            raise DataError(f"the {name} split is empty ({len(table)} rows, split {plan.split!r})")
    train, val, test = parts
    if noise is not None:
        table = replace(table, y=noise.labels(table.y, train, val, classes))
    center, scale = _standard(table.x, _fitted_on(plan, train, val))
    test_center, test_scale = (
        _standard(table.x, test) if plan.scaling == "paper" else (center, scale)
    )
    return Data(
        train=_split(table, train, center, scale),
        val=_split(table, val, center, scale),
        test=_split(table, test, test_center, test_scale),
        name=table.name,
        duplicates=before - sum(map(len, parts)),
        dropped=dropped,
        center=tuple(center.tolist()),
        scale=tuple(scale.tolist()),
    )


def _parts(table: Table, plan: Plan) -> list[Rows]:
    """The rows of the training, validation and test split."""
    count = len(table)
    random = np.random.default_rng(plan.seed)
    if plan.split == "random":
        order = random.permutation(count)
        first, second = round(plan.test * count), round((plan.test + plan.val) * count)
        return [order[second:], order[first:second], order[:first]]
    if plan.split == "openml":
        if count < 5:
            raise DataError(f"split 'openml' needs at least 5 rows, got {count}")
        cut = _scikit_learn("model_selection").train_test_split
        rest, test = cut(np.arange(count), test_size=0.2, random_state=42)
        train, val = cut(rest, test_size=0.2, random_state=42)
        return [train, val, test]
    if plan.split == "source":
        if table.held_out is None:
            raise DataError("split 'source': this source does not hold out a test sample")
        test, rest = np.flatnonzero(table.held_out), np.flatnonzero(~table.held_out)
    else:
        fold, size = SPLITS.index(plan.split) - SPLITS.index("fold-1"), count // FOLDS
        order = _scikit_learn("utils").shuffle(np.arange(count), random_state=42)[: FOLDS * size]
        test = order[fold * size : (fold + 1) * size]
        rest = np.concatenate([order[: fold * size], order[(fold + 1) * size :]])
    rest = random.permutation(rest)
    return [rest[len(rest) // 4 :], rest[: len(rest) // 4], test]


def _scikit_learn(module: str) -> Any:
    try:
        import sklearn.model_selection
        import sklearn.utils
    except ImportError:
        raise MissingExtra("scikit-learn", "tasks") from None
    return getattr(sklearn, module)


def _bytes(table: Table) -> NDArray[np.uint64]:
    """Each row with its label as (F + 1) words; rows are equal when the words are."""
    rows = np.column_stack([table.x.astype(np.float64), table.y.astype(np.float64)])
    rows += 0.0  # minus zero is zero
    return rows.view(np.uint64)


def _across(parts: list[Rows], keys: NDArray[np.uint64]) -> list[Rows]:
    """Without the rows that a later split holds too."""
    parts = list(parts)
    for first, second in combinations(range(len(parts)), 2):
        twice = _contained(keys[parts[first]], keys[parts[second]])
        parts[first] = parts[first][~twice]
    return parts


def _within(parts: list[Rows], keys: NDArray[np.uint64]) -> list[Rows]:
    """Without repeated rows inside the training and validation rows, and inside the test rows."""
    train, val, test = parts
    rest = np.sort(np.concatenate([train, val]))
    kept = [rest[_first(keys[rest])], test[_first(keys[test])]]
    return [
        train[np.isin(train, kept[0])],
        val[np.isin(val, kept[0])],
        kept[1],
    ]


def _first(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which rows are the first of their kind."""
    seen: set[bytes] = set()
    fresh = np.ones(len(keys), bool)
    codes = _hashed(keys)
    _, place, count = np.unique(codes, return_inverse=True, return_counts=True)
    for row in np.flatnonzero(count[place] > 1):
        key = keys[row].tobytes()
        fresh[row] = key not in seen
        seen.add(key)
    return fresh


def _contained(keys: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which rows are among the others: suspected by a hash, decided by all their bytes."""
    codes, other_codes = _hashed(keys), _hashed(others)
    found = np.isin(codes, other_codes)
    suspects = np.isin(other_codes, codes[found])
    known = {row.tobytes() for row in others[suspects]}
    for row in np.flatnonzero(found):
        found[row] = keys[row].tobytes() in known
    return found


def _hashed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One word per row."""
    factors = np.random.default_rng(0).integers(2**63, size=keys.shape[1], dtype=np.uint64)
    mixed = keys ^ (keys >> np.uint64(29))
    codes: NDArray[np.uint64] = (mixed * (2 * factors + 1)).sum(1, dtype=np.uint64)
    return codes


def _fitted_on(plan: Plan, train: Rows, val: Rows) -> Rows | None:
    """The rows that the scaler sees."""
    if plan.scaling == "none":
        return None
    return np.concatenate([train, val]) if plan.scaling == "paper" else train


def _standard(x: NDArray[np.floating], rows: Rows | None) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column, as float64; a constant column keeps scale 1."""
    if rows is None:
        return np.zeros(x.shape[1]), np.ones(x.shape[1])
    part = x[rows].astype(np.float64)
    scale = part.std(0)
    scale[np.ptp(part, 0) == 0] = 1.0
    return part.mean(0), scale


def _split(table: Table, rows: Rows, center: Floats, scale: Floats) -> Split:
    x = ((table.x[rows] - center) / scale).astype(np.float32)
    return Split(torch.from_numpy(x), torch.from_numpy(table.y[rows]))
