"""Entropy of a sample of states, in bits, from how often each state was seen.

| estimator | H | source |
|---|---|---|
| entropy | -sum p log2 p, the frequencies as probabilities | Shannon 1948 |
| renyi | log2(sum p^alpha) / (1 - alpha) | Renyi 1961 |
| miller_madow | entropy + (K - 1) / (2 N ln 2) for K states in N samples | Miller 1955 |

N samples cannot show more than log2 N bits (`cap`). The first estimator is too small by about what
Miller's term adds, as long as most states were seen often; `coverage` says whether they were.
"""

import math

import numpy as np
import numpy.typing as npt

from pareq.errors import DataError, at

__all__ = ["cap", "coverage", "entropy", "miller_madow", "renyi", "state_counts"]

Counts = npt.NDArray[np.int64]


def state_counts(on: npt.ArrayLike) -> Counts:
    """How often each state occurs, (states,); on: (N, W) truth values, a row is one state.

    Raises DataError for another shape, or no samples.
    """
    rows = np.asarray(on)
    if rows.ndim != 2 or 0 in rows.shape:
        raise DataError(f"states must be (N, W) with N, W >= 1, got shape {rows.shape}")
    packed = np.ascontiguousarray(np.packbits(rows.astype(bool), axis=1))
    whole = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    return np.unique(whole, return_counts=True)[1].astype(np.int64)


def entropy(counts: npt.ArrayLike) -> float:
    """Bits of the observed frequencies; 0 for a single state. Raises DataError as `renyi`."""
    return renyi(counts, 1.0)


def renyi(counts: npt.ArrayLike, alpha: float) -> float:
    """Renyi entropy, bits: alpha 0 counts states, 1 is Shannon's, infinity sees the likeliest.

    Raises DataError for an alpha below 0, and counts that are none.
    """
    with at("renyi"):
        if not alpha >= 0:
            raise DataError(f"alpha must be 0 or more, got {alpha}")
        share = _shares(counts)
        if alpha == 1:
            return max(-float((share * np.log2(share)).sum()), 0.0)
        if math.isinf(alpha):
            return max(-math.log2(float(share.max())), 0.0)
        return max(math.log2(float((share**alpha).sum())) / (1 - alpha), 0.0)


def miller_madow(counts: npt.ArrayLike) -> float:
    """Bits with the first-order correction of the bias; may exceed what W bits can hold."""
    with at("miller_madow"):
        seen = _checked(counts)
        return entropy(seen) + (len(seen) - 1) / (2 * float(seen.sum()) * math.log(2))


def coverage(counts: npt.ArrayLike) -> float:
    """The estimated probability of all states that were seen, 0..1: 1 - singletons / N (Good 1953).

    Well below 1 the sample is too small for any estimate of the entropy.
    """
    with at("coverage"):
        seen = _checked(counts)
        return 1 - float((seen == 1).sum()) / float(seen.sum())


def cap(samples: int, width: int) -> float:
    """The most bits that so many samples of a state of `width` bits can show: min(log2 N, W)."""
    if samples < 1 or width < 1:
        raise DataError(f"samples and width must be 1 or more, got {samples} and {width}")
    return min(math.log2(samples), float(width))


def _checked(counts: npt.ArrayLike) -> Counts:
    seen = np.asarray(counts)
    if seen.ndim != 1 or seen.dtype.kind not in "iu" or (seen < 0).any() or not (seen > 0).any():
        raise DataError("counts must be whole numbers, 0 or more, not all 0")
    return seen[seen > 0].astype(np.int64)


def _shares(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    seen = _checked(counts)
    share: npt.NDArray[np.float64] = seen / seen.sum()
    return share
