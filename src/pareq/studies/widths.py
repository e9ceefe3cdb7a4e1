"""Bayesian optimisation of the widths of a network: what pruning is compared with.

    FOLDER/asked-00.json ...      shapes that were asked for at once, the first one being number 00
    FOLDER/proxy-00/ ...          a short run of each, by which the search judges it
    FOLDER/state-00/ ...          its whole run, after the search
    FOLDER/state-00/study.json    what its run does not measure

As published: 20 shapes, 5 of a Sobol sequence and 15 of the largest expected improvement, each
judged after a tenth of the epochs; then all are trained whole. Here the objective is the accuracy
on the whole validation split, with its statistical error, and if wanted the bit operations.

Several processes may run one search: each takes shapes that no other has. What is asked for is a
function of the seed and of the runs, so a search that was killed goes on as if it had not been.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pareq.errors import StudyError, at
from pareq.metrics.scores import binomial
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.recipe.recipe import Recipe
from pareq.registry import suggest
from pareq.report.record import read_cost
from pareq.report.variants import BOPS
from pareq.search.bayes import Bayes
from pareq.search.claim import Claim, held, under_claim
from pareq.search.space import Integers, Point, Space, placed
from pareq.search.strategy import Sobol, Told
from pareq.studies.descent import is_measured, measure_state
from pareq.tasks.base import make_task
from pareq.train import durable
from pareq.train.loop import Keep
from pareq.train.run import open_run
from pareq.train.trial import Trial

__all__ = ["GOALS", "OBJECTIVES", "WIDTHS", "WidthSearch"]

# The published bounds (Hawks et al. 2021, code of February 2021).
WIDTHS = {
    "task.widths.0": Integers(8, 128),
    "task.widths.1": Integers(4, 64),
    "task.widths.2": Integers(4, 64),
}
# What a search looks for: scores that are larger where they are better.
OBJECTIVES = ("accuracy", "bops")
GOALS = {"accuracy": ("accuracy",), "front": OBJECTIVES}
_DECADE = 0.01  # error of log10 bops; they are exact, but a Gaussian process wants a little noise


@dataclass(frozen=True)
class WidthSearch:
    """A search among shapes; fields as in `Descent`.

    states: how many shapes. initial: those that fill the space. batch: how many of the others are
    asked for at once. objectives: of OBJECTIVES, one or both; both look for the front. proxy: the
    share of the epochs after which a shape is judged; 1: by its whole run. seed: of the search.

    Raises StudyError for other values.
    """

    folder: str
    task: str
    recipe: str
    options: Mapping[str, object] = field(default_factory=dict)
    states: int = 20
    initial: int = 5
    batch: int = 1
    objectives: tuple[str, ...] = ("accuracy",)
    proxy: float = 0.1
    seed: int = 0
    label: str = ""
    command: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("states", "batch"):
            if getattr(self, name) < 1:
                raise StudyError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not 0 < self.proxy <= 1:
            raise StudyError(f"proxy must be in (0, 1], got {self.proxy}")
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise StudyError(f"unknown objective {name!r}{suggest(name, OBJECTIVES)}")
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise StudyError(f"objectives must be different ones, got {self.objectives}")

    @property
    def done(self) -> int:
        """How many shapes have been trained whole, and measured."""
        return sum(is_measured(self.state(number)) for number in range(self.states))

    def state(self, number: int) -> Path:
        """The folder of the whole run of a shape."""
        return Path(self.folder) / f"state-{number:02d}"

    def run(self) -> int:
        """Try what is missing; the number of shapes. A search that was killed goes on.

        Raises what `Trial.run` and `Bayes.ask` raise, StudyError for a damaged file.
        """
        with at(self.label or self.folder):
            points: list[Point] = []
            while len(points) < self.states:
                points += self._asked(points)
                self._train(points, whole=self.proxy == 1)
            self._train(points, whole=True)
        return self.states

    def _asked(self, points: Sequence[Point]) -> list[Point]:
        """The shapes that follow these, which are all judged."""
        path = Path(self.folder) / f"asked-{len(points):02d}.json"
        while not path.exists():
            under_claim(Path(self.folder), path.exists, partial(self._ask, path, points))
        found = _read(path)
        if not found:
            fact = "is damaged; remove it and all files asked-NN.json with a higher number"
            raise StudyError(fact, where=str(path))
        return found

    def _ask(self, path: Path, points: Sequence[Point], _: Claim) -> None:
        """Write what the strategy proposes; a shape that it had before gives way to another one."""
        space = Space(WIDTHS)
        strategy = Bayes(space, self.seed, self.initial)
        spare = Sobol(space, self.seed, asked=self.states)
        rows = len(make_task(self.task, self.options).load().val)
        for number, point in enumerate(points):
            strategy.tell(self._told(number, point, rows))
        wanted = self.batch if points else self.initial
        found: list[Point] = []
        for point in strategy.ask(min(wanted, self.states - len(points))):
            while point in (*points, *found):
                (point,) = spare.ask()
            found.append(point)
        durable.write(path, (json.dumps(found) + "\n").encode())

    def _told(self, number: int, point: Point, rows: int) -> Told:
        """What a shape came to, larger is better, with errors.

        The validation accuracy of the last epoch of its short run, or of the epoch that was kept;
        the logarithm of the bit operations.
        """
        run = open_run(self._place(number, whole=self.proxy == 1))
        if run.result is None:
            raise StudyError("has no result", where=str(run.folder))
        last = run.result.best_epoch if self.proxy == 1 else run.result.epochs
        accuracy = next(e.val_accuracy for e in run.epochs if e.epoch == last)
        bops = read_cost(run.result.cost).totals()[BOPS]
        known = {
            "accuracy": (accuracy, max(binomial(accuracy, rows), 1 / rows)),
            "bops": (-math.log10(bops), _DECADE),
        }
        scores, errors = zip(*(known[name] for name in self.objectives), strict=True)
        return Told(point, scores, errors)

    def _place(self, number: int, *, whole: bool) -> Path:
        """The folder of a run of a shape."""
        return self.state(number) if whole else Path(self.folder) / f"proxy-{number:02d}"

    def _train(self, points: Sequence[Point], *, whole: bool) -> None:
        """Train the shapes, but for those that another process trains; wait for these."""
        places = {self._place(number, whole=whole): point for number, point in enumerate(points)}
        file = "study.json" if whole else "result.json"
        claims = Path(self.folder) / "claims"
        while missing := [place for place in places if not (place / file).exists()]:
            free = [place for place in missing if not held(claims / place.name)]
            place = free[os.getpid() % len(free)] if free else missing[0]
            work = partial(self._run, place, places[place], whole)
            under_claim(claims / place.name, (place / file).exists, work)

    def _run(self, place: Path, point: Point, whole: bool, claim: Claim) -> None:
        """Train one shape."""
        recipe = parse_recipe(self.recipe)
        shape = "-".join(str(width) for width in point.values())
        label = f"{self.label} {shape}{'' if whole else ' proxy'}".strip()
        if not whole:
            epochs = max(round(self.proxy * recipe.training.epochs), 1)
            training = replace(recipe.training, epochs=epochs, patience=None)
            recipe = Recipe(*recipe.rules, training=training)
        trial = placed(Trial(self.task, dump_recipe(recipe), self.options), point)
        keep = Keep(epochs=5, label=label, command=self.command)
        trial.run(place, on_epoch=claim.check, keep=keep)
        if whole:
            measure_state(place)


def _read(path: Path) -> list[Point]:
    """The shapes of a file; none where it is damaged."""
    try:
        return [
            {name: int(each[name]) for name in WIDTHS} for each in json.loads(path.read_bytes())
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
