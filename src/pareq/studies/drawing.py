"""The figures of the QAP study: what is drawn against what, with mean and standard error."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pareq.report.canvas import Axis, Canvas
from pareq.report.figure import Figure, Key, Panel, Table
from pareq.report.svg import SERIES, swatch
from pareq.report.variants import pareto
from pareq.report.words import count, join, percent, short, tick
from pareq.studies.matrix import Setting
from pareq.studies.points import Place, Results, standard

__all__ = ["Line", "against", "every_point", "noise", "text"]

_NAMES = {
    "accuracy": "accuracy",
    "auc": "macro AUC",
    "background": "background efficiency, mean of the classes",
    "efficiency": "neural efficiency",
    "corrected": "neural efficiency, corrected for bias",
    "aiq": "aIQ",
    "agreement": "agreement with the nominal network",
}
_PERCENT = ("accuracy", "agreement")
_FAR = 0.05  # below the best accuracy: these are not drawn


@dataclass(frozen=True)
class Line:
    """One curve of a figure: its name in the legend and its places.

    joined: by a line; else a quiet one joins those that no other beats in both.
    """

    label: str
    places: Sequence[Place]
    joined: bool = True


def against(
    key: str, title: str, caption: str, lines: Sequence[Line], what: Mapping[str, str]
) -> Figure | None:
    """A panel for each figure of `what`, over what its value names: bops or pruned.

    None without any line. At most nine lines are drawn, the table has all.
    """
    lines = [line for line in lines if line.places]
    if not lines:
        return None
    drawn, note = _near(lines)
    panels = [
        _panel(f"{key}-{number}", drawn[:SERIES], name, over)
        for number, (name, over) in enumerate(what.items())
    ]
    rows = [
        (
            line.label,
            percent(place.pruned),
            count(place.bops),
            *(text(place, name) for name in what),
        )
        for line in lines
        for place in line.places
    ]
    head = ("Network", "Pruned", "Bit operations", *(_name(name) for name in what))
    return Figure(
        key,
        title,
        f"{caption}{note}",
        tuple(Key(line.label, swatch(k), k) for k, line in enumerate(drawn[:SERIES])),
        tuple(panels),
        Table(title, head, tuple(rows)),
        small=len(panels) > 2,
    )


def _near(lines: Sequence[Line]) -> tuple[list[Line], str]:
    """Without the places that would flatten all others, and a sentence for the caption."""
    best = max(place.measure("accuracy").mean for line in lines for place in line.places)

    def kept(line: Line) -> list[Place]:
        return [p for p in line.places if p.measure("accuracy").mean > best - _FAR]

    drawn = [replace(line, places=found) for line in lines if (found := kept(line))]
    if sum(len(line.places) for line in drawn) == sum(len(line.places) for line in lines):
        return drawn, ""
    far = (
        f" Networks {100 * _FAR:.0f} points or more below the best accuracy are in the table only."
    )
    return drawn, far


def noise(results: Results, settings: Sequence[Setting], pruned: float) -> Figure | None:
    """Accuracy on clean labels over the share of random training labels; a line a setting."""
    lines = [
        (label, points)
        for label, points in (_noise_line(results, setting, pruned) for setting in settings)
        if len(points) > 1
    ]
    if not lines:
        return None
    canvas = Canvas(
        Axis("random training labels", partial(percent, decimals=0), (-0.02, 1.0)),
        Axis("accuracy on clean labels", tick),
    )
    for k, (_, points) in enumerate(lines[:SERIES]):
        xs, places = zip(*points, strict=True)
        measures = [standard(place.measure("accuracy")) for place in places]
        canvas.line(k, xs, [m.mean for m in measures])
        for x, m in zip(xs, measures, strict=True):
            canvas.point(k, x, m.mean, m.error or 0.0)
    rows = [
        (label, percent(share, 0), text(place, "accuracy"), text(place, "efficiency"))
        for label, points in lines
        for share, place in points
    ]
    ends = join(
        f"{percent(p[-1][1].measure('accuracy').mean)} at {percent(p[-1][0], 0)} for {label}"
        for label, p in lines
    )
    panel = Panel("Accuracy", canvas.svg("noise-0", f"Accuracy over label noise: {ends}."))
    return Figure(
        "noise",
        "Training on random labels",
        "The share of the training labels that was replaced by random ones; the test labels are"
        " clean. Bars are standard errors over the repeats.",
        tuple(Key(label, swatch(k), k) for k, (label, _) in enumerate(lines[:SERIES])),
        (panel,),
        Table(
            "Accuracy by the share of random labels",
            ("Network", "Random labels", "Accuracy", "Neural efficiency"),
            tuple(rows),
        ),
    )


def every_point(results: Results) -> Figure:
    """All places as one table, shown on demand."""
    rows = tuple(
        (
            place.setting.name,
            percent(place.pruned),
            count(place.bops),
            str(len(place.points)),
            *(text(place, name) for name in _NAMES),
        )
        for places in results.curves.values()
        for place in places
    )
    head = ("Setting", "Pruned", "Bit operations", "Repeats", *_NAMES.values())
    return Figure(
        "points",
        "Every point",
        "Mean and standard error over the repeats. The commands stand below, with each setting.",
        (),
        (),
        Table("Every setting in every state", head, rows),
        folded=True,
    )


def text(place: Place, name: str) -> str:
    """A figure of a place with its standard error."""
    value = standard(place.measure(name))
    return value.text(100, "%") if name in _PERCENT else value.text(decimals=4)


def _noise_line(
    results: Results, setting: Setting, pruned: float
) -> tuple[str, list[tuple[float, Place]]]:
    found = []
    for share in (0, 25, 50, 75, 90, 100):
        noisy = Setting(setting.bits, setting.method, setting.norm, setting.l1, share)
        place = results.at(noisy, pruned)
        if place is not None:
            found.append((share / 100, place))
    return f"{setting.name}, {percent(pruned, 0)} pruned", found


def _panel(key: str, lines: Sequence[Line], name: str, over: str) -> Panel:
    costs = [place.bops for line in lines for place in line.places]
    canvas = Canvas(_horizontal(over, costs), _vertical(name))
    ends = []
    for k, line in enumerate(lines):
        xs = [getattr(place, over) for place in line.places]
        measures = [standard(place.measure(name)) for place in line.places]
        if line.joined:
            canvas.line(k, xs, [m.mean for m in measures])
        else:
            gain = -1 if name.startswith("background") else 1
            best = pareto([(x, gain * m.mean) for x, m in zip(xs, measures, strict=True)])
            canvas.path([xs[n] for n in best], [measures[n].mean for n in best])
        for x, m in zip(xs, measures, strict=True):
            canvas.point(k, x, m.mean, m.error or 0.0)
        ends.append(
            f"{line.label} from {measures[0].mean:.3f} at {count(line.places[0].bops)} bit"
            f" operations to {measures[-1].mean:.3f} at {count(line.places[-1].bops)}"
        )
    label = f"{_name(name)}: {join(ends)}."
    title = _name(name) if name == "aiq" else _name(name)[0].upper() + _name(name)[1:]
    return Panel(title, canvas.svg(key, label))


def _horizontal(over: str, costs: Sequence[float]) -> Axis:
    """With the ticks 1, 2, 5, 10, ... that lie among the costs; every second one where many do."""
    if over == "bops":
        round_ones = [digit * 10.0**power for power in range(2, 12) for digit in (1, 2, 5)]
        inside = [tick for tick in round_ones if min(costs) / 1.2 <= tick <= max(costs) * 1.2]
        return Axis("bit operations", short, log=True, ticks=tuple(inside[:: 1 + len(inside) // 5]))
    return Axis("weights pruned", partial(percent, decimals=0), (-0.02, 1.02))


def _vertical(name: str) -> Axis:
    show: Callable[[float], str] = tick if name in _PERCENT else "{:g}".format
    return Axis(_name(name) if len(_name(name)) < 30 else name, show)


def _name(name: str) -> str:
    return _NAMES.get(name, name)
