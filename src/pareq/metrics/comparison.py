"""Two classifiers on the same samples: where they agree, and which one is right."""

import math
from dataclasses import asdict, dataclass

from pareq.errors import DataError, at
from pareq.metrics.scores import Array, Matrix, Values, binomial, checked, counts, finite

__all__ = ["Comparison", "agreement", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same samples.

    agreement: fraction with the same prediction. both, only_first, only_second, neither: how many
    samples are classified correctly by whom. difference: accuracy of the second minus the first,
    with the error of paired samples (McNemar 1947). confusion[predicted by the first][predicted by
    the second] counts.
    """

    samples: int
    agreement: float
    agreement_error: float
    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    difference_error: float
    confusion: Matrix

    def as_dict(self) -> dict[str, object]:
        """The fields as what JSON can hold."""
        return asdict(self)


def compare(first: Values, second: Values, labels: Values) -> Comparison:
    """Two classifiers on the same samples, beside each other.

    first, second: scores (N, C). labels: (N,). Raises DataError as `quality`.
    """
    with at("compare"):
        a, truth = checked(first, labels)
        b = finite(second)
        _check_same_shape(a, b)
        guess_a, guess_b = a.argmax(1), b.argmax(1)
        right_a, right_b = guess_a == truth, guess_b == truth
        same = float((guess_a == guess_b).mean())
        lost, won = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        n = len(truth)
        return Comparison(
            samples=n,
            agreement=same,
            agreement_error=binomial(same, n),
            both=int((right_a & right_b).sum()),
            only_first=lost,
            only_second=won,
            neither=int((~right_a & ~right_b).sum()),
            difference=(won - lost) / n,
            difference_error=math.sqrt(max(won + lost - (won - lost) ** 2 / n, 0.0)) / n,
            confusion=counts(guess_a, guess_b, a.shape[1]),
        )


def agreement(first: Values, second: Values) -> float:
    """The fraction of samples on which two classifiers predict the same class.

    first, second: scores (N, C). Raises DataError as `quality`.
    """
    with at("agreement"):
        a, b = finite(first), finite(second)
        _check_same_shape(a, b)
        return float((a.argmax(1) == b.argmax(1)).mean())


def _check_same_shape(a: Array, b: Array) -> None:
    if a.shape != b.shape:
        raise DataError(f"scores of shape {a.shape} and {b.shape} cannot be compared")
