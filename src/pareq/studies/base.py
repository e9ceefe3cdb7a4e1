"""A study: a published experiment as data, and the driver that runs it.

OUT/study.json          which study, with which settings
OUT/errors/NAME.txt     why a trial failed; it is tried again when the study goes on
OUT/NAME/...            a trial
OUT/report.html         at the end

Several drivers may work in one OUT at a time, each on trials of its own.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar, Protocol, Self

from pareq.errors import MissingExtra, RunError, StudyError, at
from pareq.registry import Registry
from pareq.search.executor import Executor, Outcome, Work
from pareq.train import durable

__all__ = ["STUDIES", "Part", "Progress", "Study", "drive", "left_out", "read_errors"]

_LOOK = 2.0  # seconds between two looks at what is done, or more where a look takes long
_SHARE = 0.05  # of the time that looks may take

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
    """An experiment; `class X(Study, name="x")` registers it. Its fields are its settings.

    together: how many trials a process trains at a time, where it is not said; 1: it cannot.
    """

    name: ClassVar[str]
    together: ClassVar[int] = 1

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

    def on(self, task: str, options: Mapping[str, object], changes: Sequence[str]) -> Self:
        """The same study of another task (or "") and its options, with changes `KEY=VALUE`.

        Raises StudyError for a study that is of one task, or a key that it does not know.
        """
        raise StudyError(f"{self.name} is a study of its own task alone", where="--task")

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """What the trials depend on, as JSON holds it."""

    @abstractmethod
    def trials(self, out: Path) -> Mapping[str, Part]:
        """Every trial by its name, which is its folder below `out`."""

    @abstractmethod
    def report(self, out: Path) -> Path:
        """Write OUT/report.html from what there is, and return its path."""

    def groups(self, trials: Mapping[str, Part], most: int) -> list[tuple[Work, tuple[str, ...]]]:
        """Work for the trials, and the names of those that it does: at most so many together.

        Work for several gives a dict of errors by name. Here each trial is by itself.
        """
        del most
        return [(trial, (name,)) for name, trial in trials.items()]

    def helpers(self, trials: Mapping[str, Part]) -> list[tuple[Work, str]]:
        """More work for some trials, and their names: for workers that have no other.

        It may run beside the trial itself, which does all of it that nobody else does.
        """
        del trials
        return []

    def lacking(self, trials: Iterable[str]) -> dict[str, MissingExtra]:
        """Those of the trials, by name, that need a package which is not installed, and which."""
        del trials
        return {}

    def notices(self) -> Iterable[str]:
        """Lines that a person should read before it runs, such as that a program is missing."""
        return ()


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
    together: int | None = None,
    tell: Callable[[Progress], None] | None = None,
) -> dict[str, str]:
    """Run what is missing of a study; the errors of trials by name.

    only: a glob of trial names. together: how many trials a process trains at a time, which is
    faster and adds floats in another order; None: as many as the study says. They are fewer where
    some workers would else have nothing to do. A failed trial stops nothing; one that lacks a
    package is left out, see `left_out`. The same call goes on where it stopped.

    Raises StudyError for a folder of another study or settings, a glob that no trial has, a study
    that trains one trial at a time, and workers that do not write into `out`; MissingExtra when
    every trial of the glob lacks a package.
    """
    with at(f"study {study.name}"):
        most = _together(study, together)
        chosen = _chosen(study, out, only)
        lacking = study.lacking(_missing(chosen))
        if len(lacking) == len(chosen):
            raise next(iter(lacking.values()))
        _begin(study, out)
        errors = {name: text for name, text in read_errors(out).items() if name not in chosen}
        for name in chosen:
            _error_path(out, name).unlink(missing_ok=True)
        told = {name: trial for name, trial in chosen.items() if name not in lacking}
        watch = _Watch(told, tell)

        groups: dict[str, tuple[Work, tuple[str, ...]]] = {}

        def ended(outcome: Outcome) -> None:
            failed = outcome.value if isinstance(outcome.value, dict) else {}
            for name in groups[outcome.name][1]:
                over = told[name].done == told[name].states
                error = failed.get(name, "" if over else outcome.error)
                if error:
                    errors[name] = error
                    _write_error(out, name, error)
                elif over:  # though somebody who helped may have failed
                    errors.pop(name, None)
                    _error_path(out, name).unlink(missing_ok=True)
                else:
                    raise StudyError(
                        f"{name} has ended, but {out.absolute()} does not hold it;"
                        " use a folder that this process and all workers share"
                    )
            watch.failed = len(errors.keys() & told.keys())
            watch.look()

        watch.look()
        groups |= _groups(study, _missing(told), most, executor)
        executor.run({name: work for name, (work, _) in groups.items()}, ended, watch.glance)
        return errors


def left_out(study: Study, out: Path, only: str = "*") -> dict[str, MissingExtra]:
    """The unfinished trials, by name, that `drive` leaves out because they lack a package."""
    with at(f"study {study.name}"):
        return study.lacking(_missing(_chosen(study, out, only)))


def read_errors(out: Path) -> dict[str, str]:
    """The trials of a study that failed, by name, with their errors."""
    folder = out / "errors"
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text().strip()
        for path in sorted(folder.rglob("*.txt"))
    }


def _together(study: Study, wanted: int | None) -> int:
    """How many trials a process may train at a time."""
    if wanted is not None and wanted > 1 and study.together == 1:
        raise StudyError(
            f"trains each trial by itself, got together {wanted}; leave it out, or give 1"
        )
    return study.together if wanted is None else wanted


def _groups(
    study: Study, missing: Mapping[str, Part], most: int, executor: Executor
) -> dict[str, tuple[Work, tuple[str, ...]]]:
    """Work by a name of its own, and the names of the trials that it does."""
    if not missing:
        return {}
    places = executor.places
    spread = max(min(most, -(-len(missing) // places)), 1)
    groups = {names[0]: (work, names) for work, names in study.groups(missing, spread)}
    for number, (work, name) in enumerate(study.helpers(missing) if places > 1 else ()):
        groups[f"{name} helper {number + 1}"] = work, (name,)
    return groups


def _write_error(out: Path, name: str, error: str) -> None:
    path = _error_path(out, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write(path, f"{error}\n".encode())


def _error_path(out: Path, name: str) -> Path:
    return out / "errors" / f"{name}.txt"


def _chosen(study: Study, out: Path, only: str) -> dict[str, Part]:
    """The trials of a glob."""
    trials = study.trials(out)
    chosen = {name: trial for name, trial in trials.items() if fnmatch(name, only)}
    if not chosen:
        raise StudyError(
            f"none of {len(trials):,} trials is called {only!r}; a name is such as"
            f" {next(iter(trials))!r}, pareq study {study.name} --dry-run lists them"
        )
    return chosen


def _missing(trials: Mapping[str, Part]) -> dict[str, Part]:
    """Those that have not ended."""
    return {name: trial for name, trial in trials.items() if trial.done < trial.states}


@dataclass
class _Watch:
    """Counts what is done, from the folders."""

    trials: Mapping[str, Part]
    tell: Callable[[Progress], None] | None
    failed: int = 0
    began: float = field(default_factory=time.monotonic)
    looked: float = 0.0
    pause: float = _LOOK
    before: int | None = None

    def glance(self) -> None:
        """Look, if the last look is a while ago."""
        if time.monotonic() - self.looked > self.pause:
            self.look()

    def look(self) -> None:
        """Count, and tell."""
        self.looked = time.monotonic()
        done = sum(trial.done for trial in self.trials.values())
        total = sum(trial.states for trial in self.trials.values())
        if self.before is None:
            self.before = done
        new = done - self.before
        self.pause = max(_LOOK, (time.monotonic() - self.looked) / _SHARE)
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
        try:
            durable.write(path, (json.dumps(now, indent=2) + "\n").encode())
            return
        except RunError:  # another driver may have been faster
            if not path.exists():
                raise
    was, is_now = _leaves(_read(path)), _leaves(json.loads(json.dumps(now)))
    for key in is_now | was:
        if was.get(key) != is_now.get(key):
            raise StudyError(
                f"began with {key} = {was.get(key)!r}, now it is {is_now.get(key)!r};"
                " go back to the former value, or use another folder",
                where=str(out),
            )


def _leaves(settings: Mapping[str, object]) -> dict[str, object]:
    """Each setting by its path, such as protocol.epochs."""
    found: dict[str, object] = {}
    for key, value in settings.items():
        inner = _leaves(value) if isinstance(value, dict) else {"": value}
        found |= {f"{key}.{name}".rstrip("."): leaf for name, leaf in inner.items()}
    return found


def _read(path: Path) -> dict[str, object]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise StudyError(f"cannot be read ({error}); remove it", where=str(path)) from None
