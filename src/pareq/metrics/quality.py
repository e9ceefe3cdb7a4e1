"""How well a classifier does: accuracy, one-vs-rest AUC, background efficiency, confusion.

| figure | per | definition | statistical error |
|---|---|---|---|
| accuracy | sample | the largest score (the first of equal ones) is the label's | binomial |
| AUC | class | area under the one-vs-rest ROC; macro: mean over classes | Hanley & McNeil (1982) |
| background efficiency | class | false positives at a given signal efficiency | binomial |

One-vs-rest scores come from a softmax over the *class* axis. Rows that are non-negative and sum to
one are taken as probabilities already. Logits are ranked by their log-odds, which orders the
samples as the softmax does but does not round the sure ones to a tie at 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from pareq.errors import DataError, MissingExtra, at
from pareq.metrics.scores import Array, Labels, Matrix, Values, binomial, checked, counts

__all__ = [
    "ClassQuality",
    "Quality",
    "Roc",
    "accuracy",
    "confusion",
    "quality",
    "roc",
]

_SUM_OF_ONE = 1e-2  # how far a row of probabilities may be from 1; a bfloat16 softmax is nearer


@dataclass(frozen=True)
class ClassQuality:
    """One class against all others together.

    auc: 0..1. background: the fraction of the other classes' samples accepted at the signal
    efficiency of the Quality, 0..1, lower is better. signals, backgrounds: how many samples each.
    """

    name: str
    auc: float
    auc_error: float
    background: float
    background_error: float
    signals: int
    backgrounds: int


@dataclass(frozen=True)
class Quality:
    """The quality of one classifier on one labelled sample; plain numbers only.

    confusion: confusion[label][predicted] counts, (C, C). The errors are statistical.
    """

    samples: int
    accuracy: float
    accuracy_error: float
    auc_macro: float
    signal_efficiency: float
    classes: tuple[ClassQuality, ...]
    confusion: Matrix

    def as_dict(self) -> dict[str, object]:
        """The fields as what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """The inverse of `as_dict`, also after JSON.

        Raises DataError for keys that are missing or unknown.
        """
        with at("quality"):
            _check_keys(data, cls)
            made = dict(data)
            made["classes"] = tuple(
                _class_from(entry) for entry in _list(data["classes"], "classes")
            )
            made["confusion"] = tuple(
                tuple(_list(row, "a row of confusion"))
                for row in _list(data["confusion"], "confusion")
            )
            return cls(**made)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Roc:
    """Points of a one-vs-rest ROC curve, from (0, 0) to (1, 1), both coordinates rising.

    signal: true positive rates; background: false positive rates. auc: of the whole curve.
    """

    signal: tuple[float, ...]
    background: tuple[float, ...]
    auc: float

    def as_dict(self) -> dict[str, object]:
        """The fields as what JSON can hold."""
        return asdict(self)


def quality(
    scores: Values, labels: Values, classes: Sequence[str], *, signal_efficiency: float = 0.5
) -> Quality:
    """All figures of one classifier.

    scores: (N, C), logits or probabilities. labels: (N,) integers in 0..C-1. classes: C names.
    signal_efficiency: where the background efficiency is read, inside (0, 1), by linear
    interpolation of the ROC points (Hawks 2021, published code). Its error is the binomial one of
    the background count; that of the threshold is not included.

    Raises DataError for scores that are not finite, labels out of range, shapes that do not fit,
    and a class without samples; MissingExtra without scikit-learn.
    """
    with at("quality"):
        if not 0 < signal_efficiency < 1:
            raise DataError(f"signal_efficiency must be inside (0, 1), got {signal_efficiency}")
        rows, truth = checked(scores, labels)
        if len(classes) != rows.shape[1]:
            raise DataError(f"{rows.shape[1]} score columns for {len(classes)} classes")
        _check_present(truth, classes)
        each = tuple(
            _one_class(_one_vs_rest(rows, c), truth == c, name, signal_efficiency)
            for c, name in enumerate(classes)
        )
        hits = float((rows.argmax(1) == truth).mean())
        return Quality(
            samples=len(truth),
            accuracy=hits,
            accuracy_error=binomial(hits, len(truth)),
            auc_macro=sum(c.auc for c in each) / len(each),
            signal_efficiency=signal_efficiency,
            classes=each,
            confusion=counts(truth, rows.argmax(1), rows.shape[1]),
        )


def accuracy(scores: Values, labels: Values) -> float:
    """The fraction of samples whose largest score (the first of equal ones) is the label's.

    Shapes and Raises as in `quality`, but classes may be absent.
    """
    with at("accuracy"):
        rows, truth = checked(scores, labels)
        return float((rows.argmax(1) == truth).mean())


def confusion(scores: Values, labels: Values) -> Matrix:
    """Counts [label][predicted], (C, C); shapes and Raises as in `quality`."""
    with at("confusion"):
        rows, truth = checked(scores, labels)
        return counts(truth, rows.argmax(1), rows.shape[1])


def roc(scores: Values, labels: Values, c: int, *, points: int = 400) -> Roc:
    """The ROC curve of class `c` against all others, thinned for a plot.

    At most `points` (two or more) of the curve's own points are kept, spread half over the signal
    efficiency and half over the logarithm of the background efficiency, so that both axes may be
    logarithmic. Shapes and Raises as in `quality`.
    """
    with at("roc"):
        rows, truth = checked(scores, labels)
        if not 0 <= c < rows.shape[1]:
            raise DataError(f"class {c} is not in 0..{rows.shape[1] - 1}")
        if points < 2:
            raise DataError(f"points must be 2 or more, got {points}")
        signal = truth == c
        if signal.all() or not signal.any():
            raise DataError(
                f"{int(signal.sum())} of {len(signal)} samples are of class {c}; "
                "a ROC curve needs signal and background"
            )
        background, accepted, area = _curve(_one_vs_rest(rows, c), signal)
        kept = _thin(background, accepted, points)
        return Roc(tuple(accepted[kept].tolist()), tuple(background[kept].tolist()), area)


def _check_present(truth: Labels, classes: Sequence[str]) -> None:
    counts = np.bincount(truth, minlength=len(classes))
    absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if absent:
        raise DataError(
            f"no sample of class {', '.join(absent)} among {len(truth)}, so AUC has no value; "
            "evaluate on more samples"
        )


def _one_vs_rest(rows: Array, c: int) -> Array:
    """A score for class c that orders the samples as its softmax probability does, (N,).

    The other logits are sorted before they are summed, so that equal probabilities are equal
    numbers whichever classes they come from: logits of an integer network hold many ties.
    """
    if (rows >= 0).all() and (np.abs(rows.sum(1) - 1) < _SUM_OF_ONE).all():
        return rows[:, c]
    others = np.sort(np.delete(rows, c, axis=1), axis=1)
    top = others[:, -1]
    with np.errstate(under="ignore"):
        total: Array = np.exp(others - top[:, None]).sum(1)
    return np.asarray(rows[:, c] - top - np.log(total))


def _curve(score: Array, signal: npt.NDArray[np.bool_]) -> tuple[Array, Array, float]:
    """False and true positive rates by falling threshold, and the area."""
    try:
        from sklearn.metrics import auc, roc_curve
    except ImportError:
        raise MissingExtra("scikit-learn", "tasks") from None
    background, accepted, _ = roc_curve(signal, score)
    return np.asarray(background), np.asarray(accepted), float(auc(background, accepted))


def _one_class(
    score: Array, signal: npt.NDArray[np.bool_], name: str, efficiency: float
) -> ClassQuality:
    background, accepted, area = _curve(score, signal)
    signals = int(signal.sum())
    backgrounds = len(signal) - signals
    passed = float(np.interp(efficiency, accepted, background))
    return ClassQuality(
        name=name,
        auc=area,
        auc_error=_area_error(area, signals, backgrounds),
        background=passed,
        background_error=binomial(passed, backgrounds),
        signals=signals,
        backgrounds=backgrounds,
    )


def _area_error(area: float, signals: int, backgrounds: int) -> float:
    """Standard error of an AUC (Hanley & McNeil 1982, equations 1 and 2)."""
    above_two = area / (2 - area) - area**2
    two_above = 2 * area**2 / (1 + area) - area**2
    spread = area * (1 - area) + (signals - 1) * above_two + (backgrounds - 1) * two_above
    return math.sqrt(max(spread, 0.0) / (signals * backgrounds))


def _thin(background: Array, accepted: Array, points: int) -> npt.NDArray[np.int64]:
    """Indices of the points to keep, always with the first and the last."""
    last = len(background) - 1
    if last < points:
        return np.arange(last + 1)
    half = (points - 2) // 2
    linear = np.searchsorted(accepted, np.linspace(0, 1, half + 2)[1:-1])
    floor = background[background > 0][0]
    decades = np.searchsorted(background, np.geomspace(floor, 1, half + 2)[1:-1])
    kept = np.unique(np.concatenate(([0, last], linear, decades)))
    return np.asarray(kept[kept <= last], dtype=np.int64)


def _check_keys(data: Mapping[str, object], kind: type[Quality] | type[ClassQuality]) -> None:
    known = {f.name for f in fields(kind)}
    missing, unknown = sorted(known - set(data)), sorted(set(data) - known)
    if missing or unknown:
        raise DataError(
            f"{kind.__name__} lacks {', '.join(missing) or 'nothing'} and does not know "
            f"{', '.join(unknown) or 'nothing else'}; expected what as_dict gave"
        )


def _list(value: object, what: str) -> Sequence[object]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise DataError(f"{what} must be a list, got {type(value).__name__}")
    return value


def _class_from(entry: object) -> ClassQuality:
    if not isinstance(entry, Mapping):
        raise DataError(f"a class must be a table, got {type(entry).__name__}")
    _check_keys(entry, ClassQuality)
    return ClassQuality(**entry)
