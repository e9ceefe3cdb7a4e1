"""How long a built artefact takes, on this machine and now."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pareq.backends.base import Artefact
from pareq.backends.vectors import uniform
from pareq.errors import BackendError

__all__ = ["Timing", "measure"]


@dataclass(frozen=True)
class Timing:
    """The shortest times that were seen.

    sample_ns: nanoseconds a sample in a batch of `rows`; call_us: microseconds of one call with one
    sample from Python.
    """

    rows: int
    sample_ns: float
    call_us: float


def measure(artefact: Artefact, *, rows: int = 1024, seconds: float = 0.3) -> Timing:
    """Run random samples for about so many seconds. Raises BackendError.

    The shortest time is the one that other programs on the machine disturbed least.
    """
    if rows < 1 or not seconds > 0:
        raise BackendError(f"got {rows} rows and {seconds} seconds, expected more than 0")
    many, one = artefact.bind(rows), artefact.bind(1)
    arrays = uniform(artefact.graph, rows, np.random.default_rng(0))
    for bound, size in ((many, rows), (one, 1)):
        for to, n in zip(bound.x, arrays, strict=True):
            to[...] = n[:size]
    return Timing(
        rows, _shortest(many, seconds / 2) / rows * 1e9, _shortest(one, seconds / 2) * 1e6
    )


def _shortest(call: Callable[[], None], seconds: float) -> float:
    end, best = time.perf_counter() + seconds, float("inf")
    call()
    while best == float("inf") or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best
