"""Run folders, read: what is whole becomes a `Trained`, what is not is listed with the reason.

| file | without it | damaged |
|---|---|---|
| `run.json`, `recipe.toml` | no run | left out |
| `metrics.jsonl` | no curves | left out; a torn last line is dropped |
| `result.json` | unfinished: curves only | left out |
| `weights.safetensors` | no histograms | no histograms |
| `graph/`, `build/`, `latency.json` | not shown in integers | not shown in integers |
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pareq.errors import PareqError, ReportError, at
from pareq.metrics.cost import Cost
from pareq.metrics.quality import Quality, Roc
from pareq.report.deployed import Deployed, deployed
from pareq.report.record import (
    check_types,
    read_cost,
    read_figures,
    read_quality,
    read_roc,
    read_tensors,
)
from pareq.report.words import Measure
from pareq.tasks.base import TASKS, Judged
from pareq.train.journal import Epoch
from pareq.train.run import Run, open_run

__all__ = ["Refused", "Trained", "collect"]

Array = npt.NDArray[np.float64]
Weights = Mapping[str, tuple[Array | None, Array]]

_SEED_MARK = re.compile(r"[-_. ]*(?:seed|s)[-_. ]?\d+$", re.IGNORECASE)
_WEIGHTS = ("weights-start.safetensors", "weights.safetensors")


@dataclass(frozen=True)
class Trained:
    """One readable run folder.

    variant: equal for runs that differ by their seed only. label: how a person calls it. history:
    each figure of the epochs, (epochs,). judged: what its score is. quality and rocs of a
    classifier, figures of another task, cost: of the test split, once the run is finished.
    deployed: the network in integers, once it was lowered. notes: one line each for the reader.
    """

    folder: Path
    run: Run
    variant: str
    label: str
    history: Mapping[str, Array]
    judged: Judged = field(default_factory=Judged)
    figures: Mapping[str, float] = field(default_factory=dict)
    quality: Quality | None = None
    rocs: tuple[Roc, ...] = ()
    cost: Cost | None = None
    has_weights: bool = False
    deployed: Deployed | None = None
    notes: tuple[str, ...] = ()

    @property
    def score(self) -> float | None:
        """What the task is judged by, on the test split; None for an unfinished run."""
        if self.quality is not None:
            return self.quality.accuracy
        return self.figures.get(self.judged.figure)

    def weights(self) -> Weights:
        """Site -> values before training (None if not stored) and after, in the network's order."""
        if not self.has_weights:
            return {}
        stored: dict[str, Array] = {}
        for file in (self.folder / name for name in _WEIGHTS):
            stored |= read_tensors(file) if file.exists() else {}
        rows = self.cost.rows if self.cost else ()
        place = {row.path: number for number, row in enumerate(rows)}
        sites = [name.removeprefix("value/") for name in stored if name.startswith("value/")]
        sites.sort(key=lambda site: (place.get(site.rpartition(":")[0], len(place)), site))
        return {
            site: (stored.get(f"start/{site}"), stored[f"value/{site}"])
            for site in sites
            if stored[f"value/{site}"].size
        }


@dataclass(frozen=True)
class Refused:
    """A folder that is left out of a report, and why."""

    folder: Path
    reason: str


def collect(paths: Sequence[Path]) -> tuple[tuple[Trained, ...], tuple[Refused, ...]]:
    """Read the run folders, and those found below folders that are none, each once.

    Of several finished runs of one recipe and seed the first counts.

    Raises ReportError for a path that is no folder.
    """
    found: dict[tuple[str, int], Trained] = {}
    refused: list[Refused] = []
    for folder in _folders(paths):
        try:
            trained = _read(folder)
        except PareqError as error:
            reason = str(error).replace(f"{folder}{os.sep}", "").removeprefix(f"{folder}: ")
            refused.append(Refused(folder, reason))
            continue
        key = (trained.variant, trained.run.about.seed)
        twin = found.setdefault(key, trained)
        if twin is not trained:
            better, worse = twin, trained
            if twin.score is None and trained.score is not None:
                better, worse = trained, twin
            found[key] = better
            refused.append(
                Refused(worse.folder, f"same recipe and seed as {better.folder}, which counts")
            )
    return tuple(found.values()), tuple(refused)


def _folders(paths: Sequence[Path]) -> list[Path]:
    """Every run folder once, in the order given; those below one path by name, 2 before 10."""
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            kind = "is a file" if path.exists() else "does not exist"
            raise ReportError(
                f"{kind}; give the folder of a run, or one that holds runs", where=str(path)
            )
        inside = [path]
        if not (path / "run.json").exists():
            inside = [file.parent for file in path.rglob("run.json")] or [path]
        for folder in sorted(inside, key=_natural):
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _read(folder: Path) -> Trained:
    run, history = _open(folder)
    trained = Trained(
        folder=folder,
        run=run,
        variant=_variant(run),
        label=run.about.label.strip() or _named_after(folder),
        history=history,
        judged=_judged(run),
    )
    if run.result is None:
        state = f"unfinished after epoch {len(run.epochs)}"
        return _note(trained, f"{state}: its curves are drawn, it counts in no mean")
    with at("result.json"):
        trained = _with_weights(_with_result(trained, run.result.test, run.result.cost))
    return _with_integers(trained)


def _with_result(
    trained: Trained, test: Mapping[str, object], cost: Mapping[str, object]
) -> Trained:
    if not trained.run.about.classes:
        with at("test"):
            figures = read_figures(test, trained.judged.figure)
        paid = read_cost(cost) if cost else None
        done = replace(trained, figures=figures, cost=paid)
        return done if paid else _note(done, "result.json has no cost")
    curves = test.get("roc", [])
    with at("test"):
        quality = read_quality(test)
        names = tuple(entry.name for entry in quality.classes)
        if names != trained.run.about.classes:
            known = ", ".join(trained.run.about.classes)
            raise ReportError(f"classes are {', '.join(names)}, but in run.json {known}")
    with at("test.roc"):
        rocs = tuple(read_roc(entry) for entry in curves) if isinstance(curves, list) else ()
        if rocs and len(rocs) != len(quality.classes):
            raise ReportError(f"{len(rocs)} curves for {len(quality.classes)} classes")
    paid = read_cost(cost) if cost else None
    trained = replace(trained, quality=quality, rocs=rocs, cost=paid)
    missing = [name for name, there in (("cost", paid), ("ROC curves", rocs)) if not there]
    return _note(trained, f"result.json has no {' and no '.join(missing)}") if missing else trained


def _with_weights(trained: Trained) -> Trained:
    files = [trained.folder / name for name in _WEIGHTS]
    if not files[-1].exists():
        return trained
    try:
        for file in files:
            if file.exists():
                read_tensors(file, header_only=True)
    except ReportError as error:
        return _note(trained, f"{error}: no histograms")
    return replace(trained, has_weights=True)


def _with_integers(trained: Trained) -> Trained:
    try:
        return replace(trained, deployed=deployed(trained.folder, _measured(trained)))
    except PareqError as error:
        reason = str(error).removeprefix(f"{trained.folder}: ")
        reason = reason.replace(f"{trained.folder}{os.sep}", "")
        return _note(trained, f"{reason}: not shown in integers")


def _judged(run: Run) -> Judged:
    """What a run is judged by: its accuracy, or what its task says where there are no classes."""
    if run.about.classes:
        return Judged()
    with at(f"task {run.about.task}"):
        return TASKS[run.about.task].judged


def _measured(trained: Trained) -> Callable[[Mapping[str, object]], Measure]:
    """How a test result of this run is read: the score and its error."""

    def measured(test: Mapping[str, object]) -> Measure:
        if trained.run.about.classes:
            quality = read_quality(test)
            return Measure(quality.accuracy, quality.accuracy_error, 1)
        name = trained.judged.figure
        return Measure(read_figures(test, name)[name], None, 1)

    return measured


def _note(trained: Trained, note: str) -> Trained:
    return replace(trained, notes=(*trained.notes, note))


def _open(folder: Path) -> tuple[Run, dict[str, Array]]:
    """The run and its columns; a value of a wrong type is a ReportError too."""
    try:
        run = open_run(folder)
        check_types(run)
        tomllib.loads(run.recipe)
        columns = {
            f.name: np.array([getattr(epoch, f.name) for epoch in run.epochs], dtype=np.float64)
            for f in fields(Epoch)
        }
    except (TypeError, ValueError) as error:
        raise ReportError(f"holds a value of the wrong type ({error})") from None
    return run, columns


def _variant(run: Run) -> str:
    """The same text for runs that differ by their seed (and number of threads) only."""
    recipe = tomllib.loads(run.recipe)
    training = recipe.get("training")
    if isinstance(training, dict):
        kept = {key: value for key, value in training.items() if key not in ("seed", "threads")}
        recipe["training"] = kept
    about = run.about
    same = [about.task, about.task_options, about.classes, recipe]
    return json.dumps(same, sort_keys=True, default=str)


def _named_after(folder: Path) -> str:
    """The folder's name without its seed: qap-seed3 -> qap; the parent's where nothing is left."""
    path = folder.resolve()
    return _SEED_MARK.sub("", path.name) or path.parent.name
