"""Tables for a terminal: variants beside each other, one run, one data set."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pareq.attach.attach import Attached
from pareq.errors import ReportError, at
from pareq.metrics.quality import Quality
from pareq.report.collect import collect
from pareq.report.record import read_cost, read_quality
from pareq.report.variants import BOPS, Section, Variant, sections
from pareq.report.words import NONE, Measure, count, percent, plural, size
from pareq.tasks.base import Data
from pareq.train.run import Run

__all__ = ["comparison", "contents", "figures_table", "meetings", "outcome", "quality_table"]


def comparison(folders: Sequence[Path]) -> Table:
    """Finished runs of one task side by side, those of one recipe as one variant.

    Raises ReportError when there is none.
    """
    found, refused = collect(folders)
    finished = [s for s in sections(found) if any(v.finished for v in s.variants)]
    if not finished:
        reason = f": {refused[0].folder}: {refused[0].reason}" if refused else ""
        raise ReportError(f"no finished run to compare{reason}")
    section = finished[0]
    variants = [v for v in section.variants if v.finished]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=_explained(section))
    table.caption_justify = "left"
    table.add_column("", no_wrap=True)
    for variant in variants:
        table.add_column(variant.label, justify="right")
    for name, cell in _rows(section):
        table.add_row(name, *(_text(cell(v)) for v in variants))
    return table


def _rows(section: Section) -> Iterator[tuple[str, Callable[[Variant], str | None]]]:
    """Each figure: its name, and its text for a variant."""
    judged = section.judged
    unit = f", {judged.unit}" if judged.unit else ""
    yield f"{judged.label}{unit}", lambda v: _scaled(v.score, judged.factor, 2)
    if any(v.integers for v in section.variants):
        yield f"in integers{unit}", lambda v: _scaled(v.integers, judged.factor, 2)
    if section.classes:
        yield "macro AUC, %", lambda v: _percent(v.auc, 2)
    for index, name in enumerate(section.classes):
        yield f"background {name}, %", lambda v, c=index: _percent(v.background(c), 3)  # type: ignore[misc]
    yield "bit operations", lambda v: _whole(v.total(BOPS))
    yield "memory", lambda v: size(m.mean) if (m := v.total("memory")) else None
    yield "non-zero weights", lambda v: _whole(v.total("nonzero"))


def _explained(section: Section) -> str:
    """What the table cannot say in a cell."""
    point, lines = _text(percent(section.signal_efficiency, 0)), []
    if section.classes:
        lines = [f"background: how many others pass where {point} of a class do (less is better)"]
    seeds = min(len(v.finished) for v in section.variants if v.finished)
    tested = [q.samples for v in section.variants for run in v.runs if (q := run.quality)]
    if seeds > 1:
        lines.append(f"±: standard deviation over {plural(seeds, 'seed')}")
    elif tested:
        lines.append(f"±: statistical error of {tested[0]:,} test samples")
    return "\n".join(lines)


def _percent(value: Measure | None, places: int) -> str | None:
    return _scaled(value, 100, places)


def _scaled(value: Measure | None, factor: float, places: int) -> str | None:
    """With the error to two digits, but no more places than that: four columns fit a terminal."""
    if value is None:
        return None
    if not value.error:
        return f"{factor * value.mean:.2f}"
    error = factor * value.error
    shown = min(max(1 - math.floor(math.log10(error)), 0), places)
    return f"{factor * value.mean:.{shown}f} ± {error:.{shown}f}"


def _whole(value: Measure | None) -> str | None:
    return count(value.mean) if value else None


def _text(cell: str | None) -> str:
    """With plain spaces, which every terminal has."""
    return (cell or NONE).replace("\u202f", " ")


def figures_table(figures: Mapping[str, object]) -> Table:
    """What `Task.evaluate` gives: a row a class, or for a task without labels a row a figure.

    Raises ReportError when it is not that.
    """
    if "accuracy" in figures:
        return quality_table(figures)
    table = Table(box=SIMPLE_HEAD, show_header=False)
    for name, value in figures.items():
        if isinstance(value, int | float):
            table.add_row(name, f"{value:.4g}")
    return table


def quality_table(figures: Mapping[str, object]) -> Table:
    """What `Task.evaluate` gives, a row a class.

    Raises ReportError when it is not that.
    """
    with at("quality"):
        known = {f.name for f in fields(Quality)}
        quality = read_quality({key: value for key, value in figures.items() if key in known})
    accuracy = Measure(quality.accuracy, quality.accuracy_error, 1).text(100)
    table = Table(
        box=SIMPLE_HEAD,
        title=_text(f"accuracy {accuracy} %, macro AUC {quality.auc_macro:.4f}"),
        caption=f"±: statistical error of {quality.samples:,} samples",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("class")
    table.add_column("AUC", justify="right")
    point = _text(percent(quality.signal_efficiency, 0))
    table.add_column(f"background, %, at {point} signal", justify="right")
    for entry in quality.classes:
        auc = Measure(entry.auc, entry.auc_error, 1).text()
        background = Measure(entry.background, entry.background_error, 1).text(100)
        table.add_row(entry.name, _text(auc), _text(background))
    return table


def outcome(run: Run) -> RenderableType:
    """How a run ended: its quality on the test split, its cost, the best epoch."""
    result = run.result
    if result is None:
        return Text("not finished")
    totals = read_cost(result.cost).totals()
    ended = f"best of {plural(result.epochs, 'epoch')}: {result.best_epoch}"
    if result.stopped == "early":
        ended += " (stopped early)"
    weights = f"{count(totals['nonzero'])} of {count(totals['weights'])} weights are not zero"
    line = f"{ended}; {count(totals[BOPS])} bit operations; {weights}"
    return Group(figures_table(result.test), Text(line))


def meetings(net: Attached) -> Table:
    """The sites that each rule of a recipe meets, with the number of values of each weight."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for number, rule in enumerate(net.recipe.rules):
        fields_given = rule.op.extra_repr()
        table.add_row(
            Text(f"rule {number + 1}", "bold"),
            Text(f"{rule.where}  {rule.op.name}({fields_given})  {rule.when}"),
        )
        for site in net.sites:
            if number in site.chain.rules:
                latent = site.latent()
                values = f"  {latent.numel():,} values" if latent is not None else ""
                table.add_row("", Text(f"{site.name}{values}"))
    if not net.recipe.rules:
        table.add_row("no rules", "nothing is pruned or quantized")
    return table


def contents(data: Data, classes: Sequence[str]) -> Table:
    """The splits of a data set, a row a class."""
    splits = {"training": data.train, "validation": data.val, "test": data.test}
    removed = [f"{data.duplicates:,} duplicates across splits removed"] if data.duplicates else []
    removed += [f"{data.dropped:,} rows that were not finite dropped"] if data.dropped else []
    table = Table(
        box=SIMPLE_HEAD,
        title=data.name,
        caption="; ".join(removed) or None,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("class")
    for name in splits:
        table.add_column(name, justify="right")
    for label, name in enumerate(classes):
        table.add_row(name, *(f"{int((s.y == label).sum()):,}" for s in splits.values()))
    table.add_section()
    table.add_row("all", *(f"{len(s):,}" for s in splits.values()))
    return table
