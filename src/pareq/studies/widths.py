"""Bayesian optimisation of the widths of a network: what pruning is compared with.

    FOLDER/state-00/ ...          a run for each shape that was tried
    FOLDER/state-NN/study.json    what its run does not measure

As published: 20 shapes, 5 of a Sobol sequence and 15 of the largest expected improvement. Here the
objective is the accuracy on the whole validation split, with its statistical error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pareq.errors import StudyError, at
from pareq.metrics.scores import binomial
from pareq.search.bayes import Bayes
from pareq.search.claim import claimed
from pareq.search.space import Integers, Point, Space, placed
from pareq.search.strategy import Told
from pareq.studies.descent import is_measured, measure_state
from pareq.tasks.base import make_task
from pareq.train.loop import Keep
from pareq.train.run import Run, open_run
from pareq.train.trial import Trial

__all__ = ["WIDTHS", "WidthSearch"]

# The published bounds (Hawks et al. 2021, code of February 2021).
WIDTHS = {
    "task.widths.0": Integers(8, 128),
    "task.widths.1": Integers(4, 64),
    "task.widths.2": Integers(4, 64),
}


@dataclass(frozen=True)
class WidthSearch:
    """A search among shapes, one after the other; fields as in `Descent`.

    states: how many shapes. initial: those that fill the space. seed: of the search.
    """

    folder: str
    task: str
    recipe: str
    options: Mapping[str, object] = field(default_factory=dict)
    states: int = 20
    initial: int = 5
    seed: int = 0
    label: str = ""
    command: tuple[str, ...] | None = None

    @property
    def done(self) -> int:
        """How many shapes have been trained and measured."""
        return sum(is_measured(self.state(number)) for number in range(self.states))

    def state(self, number: int) -> Path:
        """The folder of a shape."""
        return Path(self.folder) / f"state-{number:02d}"

    def run(self) -> int:
        """Try what is missing; the number of shapes. A search that was killed goes on.

        Raises what `Trial.run` and `Bayes.ask` raise, SearchError while another process trains it.
        """
        with at(self.label or self.folder), claimed(Path(self.folder)) as claim:
            rows = len(make_task(self.task, self.options).load().val)
            strategy = Bayes(Space(WIDTHS), self.seed, self.initial)
            for number in range(self.states):
                folder = self.state(number)
                point = _tried(folder) or strategy.ask()[0]
                trial = placed(Trial(self.task, self.recipe, self.options), point)
                label = f"{self.label} {'-'.join(str(width) for width in point.values())}".strip()
                keep = Keep(epochs=5, label=label, command=self.command)
                run = trial.run(folder, on_epoch=claim.check, keep=keep)
                if not is_measured(folder):
                    measure_state(folder)
                strategy.tell(_told(run, point, rows))
        return self.states


def _tried(folder: Path) -> Point | None:
    """The shape of a training that has begun already."""
    if not (folder / "run.json").exists():
        return None
    widths = open_run(folder).about.task_options["widths"]
    if not isinstance(widths, list) or len(widths) != len(WIDTHS):
        raise StudyError("was trained with other widths than a search has", where=str(folder))
    return {name: int(str(width)) for name, width in zip(WIDTHS, widths, strict=True)}


def _told(run: Run, point: Point, rows: int) -> Told:
    """The validation accuracy of the epoch that was kept, and its statistical error."""
    if run.result is None:
        raise StudyError("has no result", where=str(run.folder))
    best = run.result.best_epoch
    accuracy = next(e.val_accuracy for e in run.epochs if e.epoch == best)
    return Told(point, (accuracy,), (max(binomial(accuracy, rows), 1 / rows),))
