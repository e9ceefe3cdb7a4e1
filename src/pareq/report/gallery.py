"""Figures of what networks make: what they were given, what each makes of it, what is true."""

from collections.abc import Sequence
from pathlib import Path

from pareq.errors import PareqError, ReportError
from pareq.report.collect import Trained
from pareq.report.figure import Figure, Panel, Table
from pareq.report.png import image
from pareq.report.variants import Section
from pareq.report.words import NONE, plural
from pareq.tasks.base import TASKS, Data, Picture, Task
from pareq.train.trial import reopen

__all__ = ["gallery"]

Notes = list[tuple[Path, str]]


def gallery(section: Section) -> tuple[tuple[Figure, ...], Notes]:
    """A figure a picture, of the first finished run of each variant; notes where there is none.

    The networks are opened again and run on a few rows of their test split, which must be there as
    it was when they were trained.
    """
    if section.task not in TASKS or TASKS[section.task].pictures is Task.pictures:
        return (), []
    made: list[tuple[str, Sequence[Picture]]] = []
    notes: Notes = []
    loaded: dict[Task, Data] = {}
    for _, variant in section.drawn:
        for run in variant.finished[:1]:
            try:
                made.append((variant.label, _made(run, loaded)))
            except PareqError as error:
                notes.append((run.folder, f"{error}: no pictures"))
    count = min((len(pictures) for _, pictures in made), default=0)
    figures = tuple(
        _figure(section, number, [(label, pictures[number]) for label, pictures in made])
        for number in range(count)
    )
    return figures, notes


def _made(run: Trained, loaded: dict[Task, Data]) -> Sequence[Picture]:
    _, task, net = reopen(run.folder)
    if task not in loaded:
        loaded[task] = task.load()
    data, before = loaded[task], run.run.about.data
    if data.name != before:
        raise ReportError(f"the data are {data.name} now, the run was trained on {before}")
    return task.pictures(net.model, data.test)


def _figure(section: Section, number: int, made: Sequence[tuple[str, Picture]]) -> Figure:
    """What was given, what is true, and what each variant makes."""
    first = made[0][1]
    begin = f"Picture {number + 1}"
    shown = [("given", first.given), ("truth", first.truth)]
    panels = [Panel(name, image(pixels, f"{begin}: {name}.")) for name, pixels in shown]
    panels += [
        Panel(
            f"{label}, {picture.score}" if picture.score else label,
            image(picture.made, f"{begin}: what {label} makes of it ({picture.score or NONE})."),
        )
        for label, picture in made
    ]
    return Figure(
        f"{section.key}-picture-{number}",
        f"Before and after: {begin.lower()}",
        f"What the network is given, what it should make of it, and what"
        f" {plural(len(made), 'variant')} of it"
        f" {'makes' if len(made) == 1 else 'make'}: row {number + 1} of those that the task"
        " shows of its test split, and the score there.",
        (),
        tuple(panels),
        Table(
            f"{begin}: scores",
            ("Variant", "Score"),
            tuple((label, picture.score or NONE) for label, picture in made),
        ),
        small=True,
        folded=number > 0,
    )
