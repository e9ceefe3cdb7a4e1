"""What a descent study measured: a point a training, and the points of all repeats together."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pareq.errors import PareqError, StudyError, at
from pareq.metrics.comparison import agreement
from pareq.metrics.information import Information
from pareq.metrics.quality import Quality
from pareq.report.record import read_cost, read_quality
from pareq.report.variants import BOPS
from pareq.report.words import Measure, measure
from pareq.studies.descent import Descent, is_measured, read_state
from pareq.studies.matrix import Setting
from pareq.studies.widths import WidthSearch
from pareq.train.run import Run, open_run

__all__ = ["FIGURES", "Place", "Point", "Results", "gather", "standard"]

FIGURES = ("accuracy", "auc", "background", "efficiency", "corrected", "aiq", "agreement")


@dataclass(frozen=True)
class Point:
    """One training. totals: of its cost. validation: accuracy of the epoch that was kept.

    agreement: with the predictions of the nominal network of the same repeat; NaN without one.
    """

    setting: Setting
    repeat: int
    state: int
    run: Run
    quality: Quality
    totals: Mapping[str, float]
    validation: float
    information: Information
    predicted: npt.NDArray[np.uint8]
    agreement: float = math.nan

    @property
    def bops(self) -> float:
        """Bit operations by the paper's formula."""
        return self.totals[BOPS]

    @property
    def pruned(self) -> float:
        """The share of the weights that has fallen."""
        return 1 - self.totals["alive"] / self.totals["weights"]

    def figure(self, name: str) -> float:
        """One of FIGURES; background: the mean over the classes, "background of g" of one."""
        q, info = self.quality, self.information
        each = {f"background of {c.name}": c.background for c in q.classes}
        if name in each:
            return each[name]
        figures = {
            "accuracy": q.accuracy,
            "auc": q.auc_macro,
            "background": sum(c.background for c in q.classes) / len(q.classes),
            "efficiency": info.efficiency,
            "corrected": info.corrected_efficiency,
            "aiq": info.aiq(q.auc_macro),
            "agreement": self.agreement,
        }
        return figures[name]


@dataclass(frozen=True)
class Place:
    """The repeats of one setting in one state."""

    setting: Setting
    state: int
    points: tuple[Point, ...]

    @property
    def bops(self) -> float:
        """Mean bit operations."""
        return float(np.mean([point.bops for point in self.points]))

    @property
    def pruned(self) -> float:
        """Mean share of the weights that has fallen."""
        return float(np.mean([point.pruned for point in self.points]))

    @property
    def fallen(self) -> bool:
        """Whether any weight has fallen."""
        return self.pruned > 0

    @property
    def validation(self) -> float:
        """Mean validation accuracy, by which places are chosen; the test is only reported."""
        return float(np.mean([point.validation for point in self.points]))

    def measure(self, name: str) -> Measure:
        """Mean and standard deviation of one of FIGURES; of one accuracy its statistical error.

        NaN where no point has it.
        """
        errors = [p.quality.accuracy_error for p in self.points] if name == "accuracy" else []
        values = [value for p in self.points if math.isfinite(value := p.figure(name))]
        return measure(values, errors) or Measure(math.nan, None, 0)

    def against(self, other: "Place", name: str) -> Measure:
        """How much larger one of FIGURES is than at `other`: of the pairs of the same repeat.

        Their mean and standard deviation; of one accuracy the statistical errors together. NaN
        without a pair.
        """
        mates = {point.repeat: point for point in other.points}
        pairs = [(point, mates[point.repeat]) for point in self.points if point.repeat in mates]
        changes = [a.figure(name) - b.figure(name) for a, b in pairs]
        errors = [math.hypot(a.quality.accuracy_error, b.quality.accuracy_error) for a, b in pairs]
        known = errors if name == "accuracy" else []
        return measure(changes, known) or Measure(math.nan, None, 0)


@dataclass(frozen=True)
class Results:
    """All points of a study. searched: those of searches, each a shape of its own.

    skipped: folders that could not be read, and why.
    """

    points: tuple[Point, ...]
    searched: tuple[Point, ...] = ()
    skipped: tuple[tuple[Path, str], ...] = ()

    @cached_property
    def curves(self) -> dict[Setting, list[Place]]:
        """The places of each setting, from dense to sparse."""
        groups: dict[Setting, dict[int, list[Point]]] = {}
        for point in self.points:
            groups.setdefault(point.setting, {}).setdefault(point.state, []).append(point)
        return {
            setting: [Place(setting, n, tuple(states[n])) for n in sorted(states)]
            for setting, states in groups.items()
        }

    @property
    def shapes(self) -> list[Place]:
        """A place for each shape that a search has tried, by rising cost."""
        places = [Place(point.setting, point.state, (point,)) for point in self.searched]
        return sorted(places, key=lambda place: place.bops)

    def curve(self, setting: Setting) -> list[Place]:
        """The places of a setting; none when it was not run."""
        return self.curves.get(setting, [])

    def dense(self, setting: Setting, state: int = 0) -> Place | None:
        """The place of the dense network with the training budget of `state`, if there is one.

        That of the setting itself, or of its control, which prunes nothing.
        """
        control = replace(setting, method="dense")
        for curve in (self.curve(control), self.curve(setting)):
            for place in curve:
                if place.state == state and not place.fallen:
                    return place
        return None

    def at(self, setting: Setting, pruned: float) -> Place | None:
        """The place within half a percent of so much pruned."""
        near = [p for p in self.curve(setting) if abs(p.pruned - pruned) < 0.005]
        return near[0] if near else None


def gather(
    trials: Mapping[str, Descent | WidthSearch], planned: Mapping[str, tuple[Setting, int]]
) -> Results:
    """Read every finished training of a study."""
    points: list[Point] = []
    skipped: list[tuple[Path, str]] = []
    for name, trial in trials.items():
        setting, repeat = planned[name]
        for state in range(trial.states):
            folder = trial.state(state)
            if not is_measured(folder):
                continue
            try:
                points.append(_point(folder, setting, repeat, state))
            except PareqError as error:
                skipped.append((folder, str(error)))
    compared = _compared(points)
    return Results(
        tuple(point for point in compared if point.setting.method != "bo"),
        tuple(point for point in compared if point.setting.method == "bo"),
        tuple(skipped),
    )


def standard(value: Measure) -> Measure:
    """The same mean with its standard error: standard deviation over the root of the repeats."""
    error = None if value.error is None else value.error / math.sqrt(value.seeds)
    return Measure(value.mean, error, value.seeds)


def _point(folder: Path, setting: Setting, repeat: int, state: int) -> Point:
    run = open_run(folder)
    with at(str(folder)):
        if run.result is None:
            raise StudyError("has no result; run the study again")
        best = run.result.best_epoch
        validation = next(e.val_accuracy for e in run.epochs if e.epoch == best)
        measured = read_state(folder)
        return Point(
            setting=setting,
            repeat=repeat,
            state=state,
            run=run,
            quality=read_quality(run.result.test),
            totals=read_cost(run.result.cost).totals(),
            validation=validation,
            information=measured.information,
            predicted=measured.predicted,
        )


def _compared(points: Iterable[Point]) -> list[Point]:
    """With the agreement with the nominal network."""
    points = list(points)
    nominal = {p.repeat: p for p in points if p.setting == Setting(32, "dense") and p.state == 0}
    made = []
    for point in points:
        other = nominal.get(point.repeat)
        if other is not None and len(other.predicted) == len(point.predicted):
            classes = np.eye(len(point.quality.classes))
            same = agreement(classes[point.predicted], classes[other.predicted])
            made.append(replace(point, agreement=same))
        else:
            made.append(point)
    return made
