"""Figures of curves: ROC, loss and score over time, sparsity and bits over time."""

import math
from collections.abc import Iterable
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from pareq.report.canvas import Axis, Canvas
from pareq.report.figure import Figure, Panel, Table, left_out, legend
from pareq.report.variants import Section, Variant
from pareq.report.words import Measure, bits, join, percent, plural

__all__ = ["learning", "roc", "shrinking"]

Array = npt.NDArray[np.float64]

_CLASSES: Final = 12  # panels at most in one figure
_SIGNAL: Final = np.linspace(0.02, 1.0, 99)  # where the ROC curves of several seeds are averaged
_UP: Final = math.nan  # the upper end of an axis that follows the data
_QUARTERS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


def roc(section: Section) -> Figure | None:
    """Background against signal efficiency, a panel a class, mean and spread of the seeds."""
    with_curves = [(s, v) for s, v in section.drawn if any(run.rocs for run in v.runs)]
    if not with_curves:
        return None
    point, low = section.signal_efficiency, _lowest(with_curves)
    panels = [
        _roc_panel(section, with_curves, c, low) for c in range(len(section.classes))[:_CLASSES]
    ]
    levels = (0.3, 0.5, 0.7, 0.9)
    rows = [
        (v.label, name, *_percents(np.interp(levels, _SIGNAL, _roc_mean(v, c)[0])))
        for _, v in with_curves
        for c, name in enumerate(section.classes)
    ]
    more = len(section.classes) - len(panels)
    caption = (
        "Each class against all others: the fraction of the other classes that is accepted, over"
        f" the fraction of the class that is accepted. Lower is better. The dotted line marks"
        f" {percent(point, 0)}, where the table above is read; a shaded band is one standard"
        f" deviation over the seeds.{left_out(section)}"
    ) + (
        f" {plural(more, 'further class', 'further classes')} stand in the table only."
        if more
        else ""
    )
    head = ("Variant", "Class", *(f"at {percent(level, 0)} signal" for level in levels))
    return Figure(
        f"{section.key}-roc",
        "ROC curves",
        caption,
        legend(section),
        tuple(panels),
        Table("Background efficiency by signal efficiency", head, tuple(rows)),
    )


def _lowest(drawn: Iterable[tuple[int, Variant]]) -> float:
    """The decade below one background sample: where the vertical axis begins, in all panels."""
    samples = [
        entry.backgrounds
        for _, variant in drawn
        for run in variant.runs
        for entry in (run.quality.classes if run.quality else ())
    ]
    return float(10.0 ** math.floor(-math.log10(max(*samples, 10))))


def _roc_panel(section: Section, drawn: Iterable[tuple[int, Variant]], c: int, low: float) -> Panel:
    name = section.classes[c]
    means = [(series, v, *_roc_mean(v, c)) for series, v in drawn]
    decades = tuple(10.0**k for k in range(round(math.log10(low)), 1))
    canvas = Canvas(
        Axis("signal efficiency", partial(percent, decimals=0), (0, 1), ticks=_QUARTERS),
        Axis("background efficiency", _decade, (low, 1), log=True, ticks=decades),
    )
    canvas.guide(section.signal_efficiency)
    for series, _, mean, spread in means:
        shown = np.where(mean > 0, mean, np.nan)
        if spread.any():
            below = np.maximum(mean - spread, low / 10)
            canvas.band(series, _SIGNAL, below, np.maximum(mean + spread, low / 10))
        canvas.line(series, _SIGNAL, shown)
    at_point = join(
        f"{percent(np.interp(section.signal_efficiency, _SIGNAL, mean), 2)} for {v.label}"
        for _, v, mean, _ in means
    )
    label = (
        f"ROC curve of class {name}. At {percent(section.signal_efficiency, 0)} signal efficiency"
        f" the background efficiency is {at_point}."
    )
    return Panel(f"Class {name}", canvas.svg(f"{section.key}-roc-{c}", label))


def _percents(values: Array) -> tuple[str, ...]:
    return tuple(percent(value, 2) for value in values.tolist())


def _decade(value: float) -> str:
    """A tick of a logarithmic axis of fractions: 0.001 -> 0.1 %."""
    return percent(value, max(0, -2 - round(math.log10(value))))


def _roc_mean(variant: Variant, c: int) -> tuple[Array, Array]:
    """Mean and standard deviation over the seeds on the points _SIGNAL."""
    each = [
        np.interp(_SIGNAL, run.rocs[c].signal, run.rocs[c].background)
        for run in variant.runs
        if run.rocs
    ]
    spread = np.std(each, axis=0, ddof=1) if len(each) > 1 else np.zeros_like(_SIGNAL)
    return np.mean(each, axis=0), spread


def learning(section: Section) -> Figure | None:
    """Loss and score over the epochs, a line a run."""
    if not _epochs(section):
        return None
    label = section.judged.validated or section.judged.label
    panels = (
        _curve(section, "train_loss", "Training loss", Axis("loss")),
        _curve(section, "val_loss", "Validation loss", Axis("loss")),
        _curve(section, "val_accuracy", f"Validation {label}", Axis(label, section.ticked)),
    )
    return Figure(
        f"{section.key}-learning",
        "Training",
        "One line a run. The loss is without penalties; validation is measured after every epoch on"
        f" the network as it computes then, pruned and quantized.{left_out(section)}",
        legend(section),
        panels,
        _learning_table(section),
    )


def shrinking(section: Section) -> Figure | None:
    """Sparsity and bits over the epochs, a line a run."""
    if not _epochs(section):
        return None
    whole = partial(percent, decimals=0)
    zeros = Axis("weights that are zero", whole, (-0.02, 1.02), ticks=_QUARTERS)
    widths = Axis("mean bits of a weight", bits, (0.0, 33.0), ticks=(0, 8, 16, 24, 32))
    panels = (
        _curve(section, "sparsity", "Pruning", zeros),
        _curve(section, "bits", "Quantization", widths),
        _curve(section, "learning_rate", "Learning rate", Axis("step size", limits=(0.0, _UP))),
    )
    return Figure(
        f"{section.key}-shrinking",
        "Pruning and quantization over time",
        "One line a run. Pruning is the fraction of the weights that compute as zero; the bits of a"
        f" weight are 32 where nothing is quantized.{left_out(section)}",
        legend(section),
        panels,
        _shrinking_table(section),
    )


def _epochs(section: Section) -> bool:
    return any(run.run.epochs for _, variant in section.drawn for run in variant.runs)


def _curve(section: Section, name: str, title: str, axis: Axis) -> Panel:
    canvas = Canvas(Axis("epoch"), axis)
    ends = []
    for series, variant in section.drawn:
        runs = [run.history for run in variant.runs if run.run.epochs]
        lines = {history[name].tobytes(): history for history in runs}
        for history in lines.values():
            canvas.line(series, history["epoch"], history[name], faint=len(lines) > 1)
        if runs:
            last = float(np.mean([history[name][-1] for history in runs]))
            ends.append(f"{axis.text(float(f'{last:.4g}'))} for {variant.label}")
    label = f"{title}: {axis.label} over the epochs. At the end it is {join(ends)}."
    return Panel(title, canvas.svg(f"{section.key}-{name.replace('_', '-')}", label))


def _learning_table(section: Section) -> Table:
    head = (
        "Variant",
        "Epochs",
        "Training loss, first",
        "last",
        "Validation loss, lowest",
        f"Validation {section.judged.validated or section.judged.label}, best",
    )
    rows = []
    for variant in section.variants:
        runs = [run.history for run in variant.runs if run.run.epochs]
        if runs:
            first = np.mean([run["train_loss"][0] for run in runs])
            last = np.mean([run["train_loss"][-1] for run in runs])
            lowest = np.mean([run["val_loss"].min() for run in runs])
            best = float(np.mean([run["val_accuracy"].max() for run in runs]))
            epochs = join(str(len(run["epoch"])) for run in runs)
            losses = (f"{loss:.4f}" for loss in (first, last, lowest))
            rows.append((variant.label, epochs, *losses, section.said(Measure(best, None, 1))))
    return Table("Loss and score over time, mean over the seeds", head, tuple(rows))


def _shrinking_table(section: Section) -> Table:
    parts = (0.25, 0.5, 0.75, 1.0)
    head = ("Variant", "Quantity", *(f"after {percent(part, 0)} of the run" for part in parts))
    rows = []
    for variant in section.variants:
        runs = [run.history for run in variant.runs if run.run.epochs]
        for name, text in (("sparsity", percent), ("bits", bits)) if runs else ():
            at_parts = (
                np.mean([run[name][math.ceil(part * len(run[name])) - 1] for run in runs])
                for part in parts
            )
            rows.append((variant.label, name, *(text(float(value)) for value in at_parts)))
    return Table("Pruning and quantization over time, mean over the seeds", head, tuple(rows))
