"""A study: a published experiment as data, and the driver that runs it.

OUT/study.json      which study, with which settings
OUT/errors.json     trials that failed, by name; they are tried again when the study goes on
OUT/NAME/...        a trial
OUT/report.html     at the end
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar, Protocol, Self

from pareq.errors import StudyError, at
from pareq.registry import Registry
from pareq.search.executor import Executor, Outcome
from pareq.train import durable

__all__ = ["STUDIES", "Part", "Progress", "Study", "drive", "read_errors"]

_LOOK = 2.0  # seconds between two looks at what is done

STUDIES: "Registry[type[Study]]" = Registry("study")


class Part(Protocol):
    """A trial of a study: several trainings, one after the other."""

    @property
    def states(self) -> int:
        """How many trainings there are."""

    @property
    def done(self) -> int:
        """How many have ended."""

    def run(self) -> object:
        """Train what is missing."""


class Study(ABC):
    """An experiment; `class X(Study, name="x")` registers it. Its fields are its settings."""

    name: ClassVar[str]

    def __init_subclass__(cls, *, name: str = "") -> None:
        super().__init_subclass__()
        if name:
            cls.name = name
            STUDIES.add(name, cls)

    @classmethod
    @abstractmethod
    def made(cls, matrix: str, data: str, epochs: int | None, repeats: int | None) -> Self:
        """The study of that matrix and data; epochs, repeats: instead of its own.

        Raises StudyError for a value that it does not know.
        """

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """What the trials depend on, as JSON holds it."""

    @abstractmethod
    def trials(self, out: Path) -> Mapping[str, Part]:
        """Every trial by its name, which is its folder below `out`."""

    @abstractmethod
    def report(self, out: Path) -> Path:
        """Write OUT/report.html from what there is, and return its path."""


@dataclass(frozen=True)
class Progress:
    """How far a study is. done, total: trainings. left: seconds, None before there is a measure.

    failed: trials that have failed.
    """

    done: int
    total: int
    left: float | None
    failed: int


def drive(
    study: Study,
    out: Path,
    executor: Executor,
    *,
    only: str = "*",
    tell: Callable[[Progress], None] | None = None,
) -> dict[str, str]:
    """Run what is missing of a study; the errors of trials by name.

    only: a glob of trial names. A failed trial stops nothing. The same call goes on where it
    stopped.

    Raises StudyError for a folder of another study or settings, and a glob that no trial has.
    """
    with at(f"study {study.name}"):
        trials = study.trials(out)
        chosen = {name: trial for name, trial in trials.items() if fnmatch(name, only)}
        if not chosen:
            raise StudyError(
                f"none of {len(trials):,} trials is called {only!r}; a name is such as"
                f" {next(iter(trials))!r}, pareq study {study.name} --dry-run lists them"
            )
        _begin(study, out)
        errors = {name: text for name, text in read_errors(out).items() if name not in chosen}
        _write(out / "errors.json", errors)
        watch = _Watch(chosen, tell)
        missing = {name: trial for name, trial in chosen.items() if trial.done < trial.states}

        def ended(outcome: Outcome) -> None:
            if outcome.error:
                errors[outcome.name] = outcome.error
                watch.failed += 1
                _write(out / "errors.json", errors)
            watch.look()

        watch.look()
        executor.run(missing, ended, watch.glance)
        return errors


def read_errors(out: Path) -> dict[str, str]:
    """The trials of a study that failed, by name, with their errors."""
    path = out / "errors.json"
    return dict(_read(path)) if path.exists() else {}


@dataclass
class _Watch:
    """Counts what is done, from the folders."""

    trials: Mapping[str, Part]
    tell: Callable[[Progress], None] | None
    failed: int = 0
    began: float = field(default_factory=time.monotonic)
    looked: float = 0.0
    before: int | None = None

    def glance(self) -> None:
        """Look, if the last look is a while ago."""
        if time.monotonic() - self.looked > _LOOK:
            self.look()

    def look(self) -> None:
        """Count, and tell."""
        self.looked = time.monotonic()
        done = sum(trial.done for trial in self.trials.values())
        total = sum(trial.states for trial in self.trials.values())
        if self.before is None:
            self.before = done
        new = done - self.before
        left = (self.looked - self.began) / new * (total - done) if new else None
        if self.tell is not None:
            self.tell(Progress(done, total, left, self.failed))


def _begin(study: Study, out: Path) -> None:
    """Note what the folder is, or find that it is this."""
    path, now = out / "study.json", {"study": study.name, **study.settings()}
    if not path.exists():
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"cannot be made ({error.strerror})", where=str(out)) from None
        _write(path, now)
        return
    was = _read(path)
    for key in now | was:
        if was.get(key) != json.loads(json.dumps(now.get(key))):
            raise StudyError(
                f"began with {key} = {was.get(key)!r}, now it is {now.get(key)!r};"
                " go back to the former value, or use another folder",
                where=str(out),
            )


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise StudyError(f"cannot be read ({error}); remove it", where=str(path)) from None


def _write(path: Path, content: Mapping[str, object]) -> None:
    durable.write(path, (json.dumps(content, indent=2) + "\n").encode())
