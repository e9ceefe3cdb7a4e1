"""The exceptions of pareq.

    PareqError
    ├── RecipeError        a recipe file or object that cannot be meant
    ├── SiteError          a rule that meets no tensor, or one tensor twice
    ├── OperatorError      an operator used in a way that has no meaning
    ├── GridError          numbers that no grid can hold
    ├── GraphError         an integer graph that is not whole, or a number that leaves its range
    ├── LoweringError      a network, or part of one, that has no exact integer meaning
    ├── BackendError       a graph that a back end cannot build, or builds differently
    ├── DataError          a data file or data set that cannot be used
    ├── RunError           a run folder that cannot be continued
    │   └── CheckpointError    a checkpoint that is damaged or does not fit
    ├── ReportError        a report that cannot be made
    ├── SearchError        a search space or strategy that cannot be meant
    ├── StudyError         a study that cannot be run or continued
    ├── UnknownName        a name that no registry holds
    └── MissingExtra       an optional package that is not installed

Each prints one line: `where: what was found, what was expected; what to do`. The fact is raised
inside; `at(place)` adds the place at the public edge.
"""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "BackendError",
    "CheckpointError",
    "DataError",
    "GraphError",
    "GridError",
    "LoweringError",
    "MissingExtra",
    "OperatorError",
    "PareqError",
    "RecipeError",
    "ReportError",
    "RunError",
    "SearchError",
    "SiteError",
    "StudyError",
    "UnknownName",
    "at",
]


class PareqError(Exception):
    """Anything pareq refuses to do; `str()` is one line for a person."""

    def __init__(self, fact: str, *, where: str = "") -> None:
        super().__init__(fact)
        self.fact = fact
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.fact}" if self.where else self.fact


class RecipeError(PareqError):
    """A recipe that cannot be meant."""


class SiteError(PareqError):
    """A rule that meets no tensor, one tensor twice, or one that cannot be reached."""


class OperatorError(PareqError):
    """An operator used in a way that has no meaning."""


class GridError(PareqError):
    """Numbers that no grid can hold."""


class GraphError(PareqError):
    """An integer graph that is not whole, or a number that leaves its range."""


class LoweringError(PareqError):
    """A network, or part of one, that has no exact integer meaning."""


class BackendError(PareqError):
    """A graph that a back end cannot build, or builds differently."""


class DataError(PareqError):
    """A data file or data set that cannot be used."""


class RunError(PareqError):
    """A run folder that cannot be started, continued or read."""


class CheckpointError(RunError):
    """A checkpoint that is damaged or belongs to something else."""


class ReportError(PareqError):
    """A report that cannot be made."""


class SearchError(PareqError):
    """A search space or strategy that cannot be meant."""


class StudyError(PareqError):
    """A study that cannot be run or continued."""


class UnknownName(PareqError):  # noqa: N818 - says what it is
    """A name that a registry does not hold."""


class MissingExtra(PareqError):  # noqa: N818 - says what it is
    """An optional package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'pareq[{extra}]'")


@contextmanager
def at(place: str) -> Iterator[None]:
    """Add `place` in front of the `where` of any PareqError raised inside."""
    try:
        yield
    except PareqError as error:
        error.where = f"{place}: {error.where}" if error.where else place
        raise
