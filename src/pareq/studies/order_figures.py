"""The figures of the order study: contrasts, what happens when, and the score over both times."""

from collections.abc import Callable, Sequence

import numpy as np

from pareq.report.canvas import Axis, Canvas
from pareq.report.figure import Figure, Key, Panel, Table
from pareq.report.svg import SERIES, box, swatch
from pareq.report.words import NONE, join
from pareq.studies.order_results import Setting, interval, signed
from pareq.studies.order_statistics import Difference

__all__ = ["contrasts", "surface", "timeline"]

_DRAWN = (
    *("float", "pq-early", "qp-early", "p-early-q-late"),
    *("q-early-p-late", "pq-late", "qp-late"),
)
_ROW = 24  # pixels of a row of names


def contrasts(setting: Setting) -> Figure | None:
    """Every contrast with its interval; what leaves 0 out is seen."""
    found = {name: d for name, d in setting.contrasts.items() if d.seeds > 1}
    if not found:
        return None
    judged, factor = setting.judged, setting.judged.factor
    unit = "points" if judged.unit == "%" else judged.unit
    names = tuple(name.partition(":")[0] for name in found)
    canvas = Canvas(
        Axis(f"difference, {unit}", "{:g}".format),
        Axis("", categories=names),
        width=420,
        height=70 + _ROW * len(names),
    )
    canvas.guide(0.0)
    for place, d in enumerate(found.values()):
        series = 1 if d.seen else 0
        canvas.line(series, [factor * d.low, factor * d.high], [place, place])
        canvas.point(series, factor * d.mean, place)
    told = join(f"{name} {signed(d.mean, judged)}" for name, d in found.items())
    keys = (
        Key("beyond noise: the interval leaves 0 out", swatch(1), 1),
        Key("within noise", swatch(0), 0),
    )
    return Figure(
        f"{setting.name}-contrasts",
        "Order and timing",
        "Paired differences of the score on the test split, with intervals of 95 % over the seeds.",
        keys,
        (Panel("", canvas.svg(f"{setting.name}-contrasts-0", f"Differences: {told}.")),),
        contrast_table(setting),
    )


def contrast_table(setting: Setting) -> Table:
    """Every contrast: mean, interval, seeds, and whether it is beyond noise."""
    judged = setting.judged
    unit = "points" if judged.unit == "%" else judged.unit
    rows = tuple(
        (name, signed(d.mean, judged), interval(d, judged), str(d.seeds), _seen(d))
        for name, d in setting.contrasts.items()
    )
    head = ("Contrast", f"Difference, {unit}", "95 % interval", "Seeds", "Beyond noise")
    return Table("Order and timing, differences paired by seed", head, rows)


def _seen(d: Difference) -> str:
    return NONE if d.seeds < 2 else "yes" if d.seen else "no"


def timeline(setting: Setting) -> Figure | None:
    """When each arm acts, beside loss and score on the validation split, mean over the seeds."""
    drawn = [arm for arm in _DRAWN if setting.runs.get(arm)][:SERIES]
    if not drawn:
        return None
    epochs = max(len(run.epochs) for arm in drawn for run in setting.runs[arm].values())
    judged = setting.judged
    panels = (
        Panel("What happens when", _bars(setting, drawn, epochs)),
        _curve(setting, drawn, "train_loss", ("Training loss", "{:g}".format)),
        _curve(setting, drawn, "val_loss", ("Validation loss", "{:g}".format)),
        _curve(
            setting,
            drawn,
            "val_accuracy",
            (f"Validation {judged.validated or judged.label}", _ticked(setting)),
        ),
    )
    head = ("Arm", "Pruning rises", "Quantization begins")
    rows = tuple((t.label, *when(t.prune, t.quantize)) for t in setting.times.values())
    return Figure(
        f"{setting.name}-timeline",
        "Timeline",
        "Above what is done when, in epochs; beside it loss and score after every epoch, as the"
        " network computes then. Means over the seeds. Until two arms part, they are one training.",
        (
            Key("pruning, rising and then kept", box(1), None),
            Key("quantized", box(2), None),
            *(Key(setting.times[a].label, swatch(k), k) for k, a in enumerate(drawn)),
        ),
        panels,
        Table("When each arm prunes and quantizes, in shares of the run", head, rows),
    )


def when(prune: tuple[float, float] | None, quantize: float | None) -> tuple[str, str]:
    """Both times of an arm as texts."""
    first = NONE if prune is None else f"{prune[0]:g} to {prune[1]:g}"
    return first, NONE if quantize is None else f"{quantize:g}"


def _bars(setting: Setting, drawn: Sequence[str], epochs: int) -> str:
    """A row an arm: pruning above, quantization below within it."""
    labels: list[str] = []
    spans = []
    for arm in drawn:
        times = setting.times[arm]
        for letter, series, moves in (("P", 1, times.prune), ("Q", 2, times.quantize)):
            if moves is None:
                continue
            begin, end = moves if isinstance(moves, tuple) else (moves, moves)
            spans.append((len(labels), series, begin * epochs, end * epochs))
            labels.append(f"{letter}: {times.label}")
    canvas = Canvas(
        Axis("epoch", limits=(0.0, float(epochs))),
        Axis("", categories=tuple(labels)),
        width=460,
        height=70 + _ROW * len(labels),
    )
    for place, series, begin, end in spans:
        canvas.span(series, place, (begin, end), faint=True)
        canvas.span(series, place, (end, float(epochs)))
    told = join(f"{labels[place]} from epoch {begin:.3g}" for place, _, begin, _ in spans)
    return canvas.svg(f"{setting.name}-timeline-bars", f"When arms act: {told}.")


def _curve(
    setting: Setting, drawn: Sequence[str], name: str, axis: tuple[str, Callable[[float], str]]
) -> Panel:
    title, text = axis
    canvas = Canvas(Axis("epoch"), Axis("", text))
    ends = []
    for series, arm in enumerate(drawn):
        runs = list(setting.runs[arm].values())
        least = min(len(run.epochs) for run in runs)
        values = np.mean([[getattr(e, name) for e in run.epochs[:least]] for run in runs], axis=0)
        canvas.line(series, list(range(1, least + 1)), values)
        ends.append(f"{setting.times[arm].label} {text(float(values[-1]))}")
    label = f"{title} over the epochs, at the end {join(ends)}."
    return Panel(title, canvas.svg(f"{setting.name}-timeline-{name}", label))


def _ticked(setting: Setting) -> Callable[[float], str]:
    judged = setting.judged
    return lambda value: f"{judged.factor * value:.4g} {judged.unit}".rstrip()


def surface(setting: Setting) -> Figure | None:
    """The score over the time of pruning and that of quantization, where a grid was asked for."""
    cells = {
        (times.prune[0], times.quantize): found.mean
        for arm, times in setting.times.items()
        if arm.startswith("grid-") and times.prune and times.quantize is not None
        if (found := setting.score(arm))
    }
    if len(cells) < 2:
        return None
    starts = sorted({start for start, _ in cells})
    begins = sorted({begin for _, begin in cells})
    text = _ticked(setting)
    low, high = min(cells.values()), max(cells.values())
    canvas = Canvas(
        Axis("pruning begins, share of the run", categories=tuple(f"{s:g}" for s in starts)),
        Axis("quantization begins", categories=tuple(f"{b:g}" for b in begins)),
        width=360,
        height=90 + 40 * len(begins),
    )
    for (start, begin), score in cells.items():
        shade = (score - low) / (high - low) if high > low else 0.5
        canvas.cell(1, (starts.index(start), begins.index(begin)), shade, text(score))
    rows = tuple(
        (f"{begin:g}", *(text(cells[s, begin]) if (s, begin) in cells else NONE for s in starts))
        for begin in begins
    )
    best = max(cells, key=lambda cell: cells[cell])
    label = f"Best at pruning from {best[0]:g} and quantization from {best[1]:g}: {text(high)}."
    return Figure(
        f"{setting.name}-surface",
        "Score over both times",
        "Mean score on the test split; the darker, the better. Pruning rises over"
        " 0.16 of the run. Below the diagonal pruning comes first.",
        (),
        (Panel("", canvas.svg(f"{setting.name}-surface-0", label)),),
        Table(
            "Score by the time of quantization (rows) and of pruning (columns)",
            ("Quantization begins", *(f"P {s:g}" for s in starts)),
            rows,
        ),
    )
