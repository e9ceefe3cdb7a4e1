"""Arms: trainings of one task that differ by their recipes, with shared beginnings trained once.

    FOLDER/NAME/            the run of an arm
    FOLDER/NAME/last.json   what its network was like after its last step, on the test split

An arm is measured after its last step, not in its best epoch: so all arms have had as many steps,
and none may choose among more epochs than another.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pareq.errors import RunError, SearchError, at
from pareq.operators.schedule import Clock
from pareq.recipe.config import parse_recipe
from pareq.recipe.recipe import Training
from pareq.tasks.base import make_task
from pareq.train import checkpoint, durable
from pareq.train.batches import Batches
from pareq.train.fork import Stems, branches, fork
from pareq.train.job import put_best
from pareq.train.loop import Keep
from pareq.train.measure import validate
from pareq.train.run import Run, open_run
from pareq.train.trial import Trial, network

__all__ = ["Arm", "Last", "arms", "clock", "read_last"]

_FILE = "last.json"
_ROWS = 1024  # of the test split at once


@dataclass(frozen=True)
class Last:
    """The test split after the last step: mean loss, and what the task is judged by."""

    loss: float
    score: float


@dataclass(frozen=True)
class Arm:
    """One training; work for an executor.

    folder: of its run. source, epoch: the run that it is forked from, after that epoch; the source
    must have ended. stems: the epochs that others are forked from.
    """

    folder: str
    trial: Trial
    source: str = ""
    epoch: int = 0
    stems: tuple[int, ...] = ()
    label: str = ""
    command: tuple[str, ...] | None = None

    @property
    def done(self) -> bool:
        """Whether it has been trained and measured."""
        return (Path(self.folder) / _FILE).exists()

    @property
    def epochs(self) -> int:
        """How many epochs it trains itself."""
        return parse_recipe(self.trial.recipe).training.epochs - self.epoch

    def run(self) -> None:
        """Train what is missing, and measure; raises what `fork` and `Trial.run` raise."""
        if self.done:
            return
        folder = Path(self.folder)
        if self.source:
            fork(Path(self.source), self.epoch, folder, self.trial.recipe)
        stems = Stems(folder, self.stems)
        stems.catch_up()
        keep = Keep(epochs=1 if self.stems else 5, label=self.label, command=self.command)
        self.trial.run(folder, on_epoch=stems, keep=keep)
        _measure(folder, self.trial)


def arms(
    folder: Path, trials: Mapping[str, Trial], command: tuple[str, ...] | None = None
) -> dict[str, Arm]:
    """The arms of trials with the same task, options, epochs and seed; a source before its forks.

    Raises SearchError without any trial.
    """
    if not trials:
        raise SearchError("no arm was given")
    recipes = {name: parse_recipe(trial.recipe) for name, trial in trials.items()}
    first = next(iter(trials))
    found = branches(recipes, clock(trials[first], recipes[first].training))
    stems: dict[str, set[int]] = {}
    for source, epoch in found.values():
        stems.setdefault(source, set()).add(epoch)
    return {
        name: Arm(
            str(folder / name),
            trial,
            str(folder / found[name][0]) if found[name][0] else "",
            found[name][1],
            tuple(sorted(stems.get(name, ()))),
            name,
            command,
        )
        for name, trial in trials.items()
    }


def clock(trial: Trial, training: Training) -> Clock:
    """How long a trial's run is; loads its data."""
    rows = len(make_task(trial.task, trial.options).load().train)
    each = Batches(rows, training.batch_size, training.seed).steps
    return Clock(training.epochs * each, each)


def read_last(folder: Path) -> tuple[Run, Last]:
    """An arm's run and its last network; raises RunError for a damaged or missing file."""
    path = folder / _FILE
    with at(str(path)):
        try:
            content = json.loads(path.read_bytes())
            last = Last(float(content["loss"]), float(content["score"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"cannot be read ({error}); remove it and run again") from None
    return open_run(folder), last


def _measure(folder: Path, trial: Trial) -> None:
    """Write last.json from the last checkpoint."""
    path = checkpoint.newest(folder / "checkpoints")
    if path is None:
        raise RunError("has no checkpoint", where=str(folder))
    task = make_task(trial.task, trial.options)
    net = network(task, parse_recipe(trial.recipe))
    put_best(net, checkpoint.read(path))
    test = task.load().test
    if task.judged.validated:
        figures = task.evaluate(net.model, test)
        loss, score = figures["loss"], figures[task.judged.figure]
    else:  # the score is that figure
        loss, score = validate(net.model, task, test, _ROWS)
    last = {"loss": loss, "score": score}
    durable.write(folder / _FILE, (json.dumps(last) + "\n").encode())
