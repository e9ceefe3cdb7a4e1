"""Where work runs: the protocol of all executors, and the one that needs no other process.

Work is plain data that crosses processes. It is idempotent: running it again after a kill goes on
where it was, running it after its end changes nothing. So an executor may run it twice.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from pareq.errors import PareqError

__all__ = [
    "FAILURES",
    "SINGLE_THREAD",
    "Executor",
    "InProcess",
    "Outcome",
    "Tell",
    "Work",
    "attempt",
    "described",
    "environment",
    "usable_cores",
]

# What makes the processes that begin under it compute with one thread each.
SINGLE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)

# What a piece of work may raise without ending those beside it; anything else is a fault of pareq.
FAILURES = (
    PareqError,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Work(Protocol):
    """A piece of work."""

    def run(self) -> object:
        """Do it, or what is left of it; the value is plain data."""


@dataclass(frozen=True)
class Outcome:
    """How a piece of work ended. error: in one line, empty when it went well. attempts: 1 or more.

    seconds: of the last attempt.
    """

    name: str
    value: object = None
    error: str = ""
    attempts: int = 1
    seconds: float = 0.0


@dataclass(frozen=True)
class Taken:
    """A piece of work that a worker has. attempt: 1 or more; began: by the monotonic clock."""

    name: str
    work: Work
    attempt: int
    began: float


Tell = Callable[[Outcome], None]


class Executor(Protocol):
    """Runs work somewhere."""

    @property
    def places(self) -> int:
        """How many pieces of work run at a time."""

    def run(
        self, works: Mapping[str, Work], tell: Tell, watch: Callable[[], None] | None = None
    ) -> None:
        """Run all, in any order, and tell each outcome as it comes; errors are outcomes.

        watch: is called now and then meanwhile. What `tell` or `watch` raises, and Ctrl-C, stops
        everything; what was saved stays.
        """


@dataclass(frozen=True)
class InProcess:
    """Runs one piece of work after the other in this process."""

    @property
    def places(self) -> int:
        """One."""
        return 1

    def run(
        self, works: Mapping[str, Work], tell: Tell, watch: Callable[[], None] | None = None
    ) -> None:
        """See `Executor.run`; watch is called between two pieces."""
        for name, work in works.items():
            tell(attempt(name, work))
            if watch is not None:
                watch()


def attempt(name: str, work: Work) -> Outcome:
    """Run a piece of work once; an error is an outcome."""
    began = time.monotonic()
    value, error = None, ""
    try:
        value = work.run()
    except FAILURES as failure:
        error = described(failure)
    return Outcome(name, value, error, seconds=time.monotonic() - began)


def described(failure: Exception) -> str:
    """An exception in one line; those of pareq say all themselves."""
    text = " ".join(str(failure).split())
    return text if isinstance(failure, PareqError) else f"{type(failure).__name__}: {text}"


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have these variables for as long as the block runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
