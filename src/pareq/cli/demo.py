"""The demonstration: four variants of one network, trained side by side, lowered, compared, built.

Each training is a process of its own with a run folder. What is shown is read from the folders, so
that a demonstration that was stopped goes on where it was.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pareq.cli.finish import finish, lower_all
from pareq.cli.live import Board
from pareq.cli.options import say
from pareq.cli.tables import comparison
from pareq.errors import RunError
from pareq.recipe.config import change_recipe, dump_recipe, parse_recipe
from pareq.recipe.presets import find_recipe
from pareq.report.page import report
from pareq.search.executor import Outcome, usable_cores
from pareq.search.pool import Pool
from pareq.train import journal
from pareq.train.loop import Keep
from pareq.train.trial import Trial

__all__ = ["Demo"]

VARIANTS = {"float": "float", "pruned": "pruned", "quantized": "quantized", "qap": "QAP"}
LOWERED = ("quantized", "qap")
DEPLOYED = "qap"
_MOST_WORKERS = 4


@dataclass(frozen=True)
class Demo:
    """What is to be trained. epochs: else the recipes'. workers: else one a core."""

    task: str
    out: Path
    seeds: int = 1
    epochs: int | None = None
    workers: int | None = None

    def run(self, console: Console) -> Path:
        """Do what is missing, print the table, build, write the report and return its path.

        Raises RunError when a training fails, and what `finish` and `report` raise.
        """
        began = time.monotonic()
        trials = self._trials()
        folders = {name: self.out / name for name in trials}
        workers = min(self.workers or usable_cores(), len(trials), _MOST_WORKERS)
        say(console, f"{len(trials)} trainings, {workers} at a time; if stopped, say it again")
        with Board(console, {name: _epochs(trial) for name, trial in trials.items()}) as board:
            _train(trials, folders, workers, board)
        whole = [folder for name, folder in folders.items() if name.split("-")[0] in LOWERED]
        with console.status("lowering to integers"):
            lower_all(whole)
        console.print(comparison(list(folders.values())))
        finish(console, whole, folders[_name(DEPLOYED, 1, self.seeds)])
        page = report(list(folders.values()), self.out / "report.html")
        minutes, seconds = divmod(round(time.monotonic() - began), 60)
        say(console, f"report: {page} ({minutes}:{seconds:02d} minutes)")
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


def _epochs(trial: Trial) -> int:
    return parse_recipe(trial.recipe).training.epochs


@dataclass(frozen=True)
class _Training:
    """One training, for the process that does it."""

    trial: Trial
    folder: Path
    label: str

    def run(self) -> None:
        """Train, or go on."""
        self.trial.run(self.folder, keep=Keep(label=self.label, command=("pareq", "demo")))


def _train(
    trials: Mapping[str, Trial], folders: Mapping[str, Path], workers: int, board: Board
) -> None:
    """Train all, so many at a time; stops them when it is stopped or one fails."""

    def watch() -> None:
        for name, folder in folders.items():
            for epoch in journal.read(folder / "metrics.jsonl")[-1:]:
                board.tell(name, epoch)

    works = {
        name: _Training(trial, folders[name], VARIANTS[name.split("-")[0]])
        for name, trial in trials.items()
    }
    try:
        Pool(workers).run(works, _check, watch)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from None


def _check(outcome: Outcome) -> None:
    """Raise RunError unless a training that is over went well."""
    if outcome.error:
        raise RunError(outcome.error, where=outcome.name)
