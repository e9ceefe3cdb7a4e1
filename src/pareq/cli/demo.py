"""The demonstration: four variants of one network, trained side by side, compared, reported.

Each training is a process of its own with a run folder. What is shown is read from the folders, so
that a demonstration that was stopped goes on where it was.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from rich.console import Console

from pareq.cli.live import Board
from pareq.cli.tables import comparison
from pareq.errors import PareqError, RunError
from pareq.recipe.config import change_recipe, dump_recipe, parse_recipe
from pareq.recipe.presets import find_recipe
from pareq.report.page import report
from pareq.train import journal
from pareq.train.loop import Keep
from pareq.train.trial import Trial

__all__ = ["Demo"]

VARIANTS = {"float": "float", "pruned": "pruned", "quantized": "quantized", "qap": "QAP"}
_MOST_WORKERS = 4
_GLANCE = 0.2  # seconds between two looks at the journals


@dataclass(frozen=True)
class Demo:
    """What is to be trained. epochs: else the recipes'. workers: else one a core."""

    task: str
    out: Path
    seeds: int = 1
    epochs: int | None = None
    workers: int | None = None

    def run(self, console: Console) -> Path:
        """Train what is missing, print the table, write the report and return its path.

        Raises RunError when a training fails, and what `report` raises.
        """
        began = time.monotonic()
        trials = self._trials()
        folders = {name: self.out / name for name in trials}
        workers = min(self.workers or usable_cores(), len(trials), _MOST_WORKERS)
        _say(console, f"{len(trials)} trainings, {workers} at a time; if stopped, say it again")
        with Board(console, {name: _epochs(trial) for name, trial in trials.items()}) as board:
            _train(trials, folders, workers, board)
        minutes, seconds = divmod(round(time.monotonic() - began), 60)
        console.print(comparison(list(folders.values())))
        page = report(list(folders.values()), self.out / "report.html")
        _say(console, f"report: {page} ({minutes}:{seconds:02d} minutes)")
        return page

    def _trials(self) -> dict[str, Trial]:
        """Each training by the name of its folder."""
        changes = [] if self.epochs is None else [f"training.epochs={self.epochs}"]
        return {
            _name(variant, seed, self.seeds): Trial(
                self.task,
                dump_recipe(
                    change_recipe(find_recipe(variant), [*changes, f"training.seed={seed}"])
                ),
            )
            for seed in range(1, self.seeds + 1)
            for variant in VARIANTS
        }


def _name(variant: str, seed: int, seeds: int) -> str:
    return variant if seeds == 1 else f"{variant}-seed{seed}"


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _epochs(trial: Trial) -> int:
    return parse_recipe(trial.recipe).training.epochs


@dataclass(frozen=True)
class _Worker:
    """A training that runs. answer: where its error comes from."""

    process: BaseProcess
    answer: Connection


def _train(
    trials: Mapping[str, Trial], folders: Mapping[str, Path], workers: int, board: Board
) -> None:
    """Train all, so many at a time; stops them when it is stopped or one fails."""
    waiting, running = deque(trials), dict[str, _Worker]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                name = waiting.popleft()
                running[name] = _start(trials[name], folders[name], VARIANTS[name.split("-")[0]])
            time.sleep(_GLANCE)
            for name in list(running):
                over = not running[name].process.is_alive()
                for epoch in journal.read(folders[name] / "metrics.jsonl")[-1:]:
                    board.tell(name, epoch)
                if over:
                    _check(name, running.pop(name))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from None
    finally:
        for worker in running.values():
            worker.process.terminate()  # nothing that was saved is lost
            worker.process.join()


def _start(trial: Trial, folder: Path, label: str) -> _Worker:
    context = multiprocessing.get_context("spawn")
    answer, end = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(trial, folder, label, end), daemon=True)
    with _deaf_to_interrupts():
        process.start()
    end.close()
    return _Worker(process, answer)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C is for the parent alone, which then ends what it started."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _work(trial: Trial, folder: Path, label: str, answer: Connection) -> None:
    """In the process of one training, which ends when its parent does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    try:
        trial.run(folder, keep=Keep(label=label, command=("pareq", "demo")))
    except PareqError as error:
        answer.send(str(error))


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)  # nothing that was saved is lost


def _check(name: str, worker: _Worker) -> None:
    """Raise RunError unless a training that is over went well."""
    worker.process.join()
    with suppress(EOFError):  # nothing was said
        raise RunError(worker.answer.recv(), where=name)
    code = worker.process.exitcode
    if code:
        raise RunError(
            f"its process ended with status {code}; the same command goes on", where=name
        )


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
