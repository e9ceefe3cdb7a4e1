"""Figures of time: when each operator acts, beside loss and score of the same epochs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pareq.errors import PareqError
from pareq.operators.base import Operator
from pareq.operators.schedule import Clock
from pareq.recipe.config import parse_recipe
from pareq.recipe.recipe import Rule
from pareq.report.canvas import Axis, Canvas
from pareq.report.collect import Trained
from pareq.report.figure import Figure, Key, Panel, Table
from pareq.report.svg import box
from pareq.report.variants import Section, Variant
from pareq.report.words import join

__all__ = ["timelines"]

_LETTERS = 20  # of a rule beside its bar
_RULES = 16  # bars at most


@dataclass(frozen=True)
class _Event:
    """A rule of a run: what it does, from which epoch it moves and from which it stays."""

    name: str
    where: str
    first: float
    last: float
    to: float


def timelines(section: Section) -> list[Figure]:
    """A figure a variant with operators, all but the cheapest one's folded."""
    found = []
    for series, variant in reversed(list(section.drawn)):
        run = next((run for run in variant.runs if run.run.epochs), None)
        events = _events(run) if run else []
        if run is not None and events:
            found.append(_figure(section, (series, variant), run, events))
    return [replace(each, folded=place > 0) for place, each in enumerate(found)]


def _events(run: Trained) -> list[_Event]:
    """The rules in the order of the recipe, in epochs; none of a recipe that cannot be read.

    Such a recipe is of another pareq, or of operators that are not registered here; the page still
    holds its text.
    """
    try:
        recipe = parse_recipe(run.run.recipe, "recipe.toml")
    except PareqError:
        return []
    last = run.run.epochs[-1]
    each = max(last.step // last.epoch, 1)
    clock = Clock(each * recipe.training.epochs, each)
    found = []
    for rule in recipe.rules:
        when = rule.when.resolve(clock)
        found.append(
            _Event(_name(rule), rule.where, when.first / each, when.last / each, when.largest)
        )
    return found


def _name(rule: Rule) -> str:
    """What a rule does, in short."""
    if rule.op.name.startswith("prune"):
        return "prune"
    bits = _bits(rule.op)
    return f"{bits:g} bits" if bits else rule.op.name


def _bits(op: Operator) -> float | None:
    found = op.config().get("bits")
    return found if isinstance(found, int | float) else None


def _figure(
    section: Section, shown: tuple[int, Variant], run: Trained, events: Sequence[_Event]
) -> Figure:
    series, variant = shown
    key = f"{section.key}-timeline-{series}"
    end = float(run.run.epochs[-1].epoch)
    marks = sorted({event.first for event in events if 0 < event.first < end})
    label = section.judged.validated or section.judged.label
    panels = (
        Panel("Operators", _bars(key, series, events, end)),
        _curve((key, series), variant, ("val_loss", "Validation loss", Axis("loss")), marks),
        _curve(
            (key, series),
            variant,
            ("val_accuracy", f"Validation {label}", Axis(label, section.ticked)),
            marks,
        ),
    )
    head = ("Operator", "On", "Begins at epoch", "Stays from epoch", "Strength")
    rows = tuple(
        (e.name, e.where, f"{e.first:.4g}", f"{e.last:.4g}", f"{e.to:.4g}") for e in events
    )
    return Figure(
        key,
        f"Timeline of {variant.label}",
        "A pale bar while an operator moves, a full one once it stays; dotted lines mark in the"
        " curves where one begins. A line a seed.",
        (Key("stays", box(series), None),),
        panels,
        Table(f"When the operators of {variant.label} act", head, rows),
    )


def _bars(key: str, series: int, events: Sequence[_Event], end: float) -> str:
    drawn = events[:_RULES]
    names = tuple(_shortened(f"{event.name} {event.where}") for event in drawn)
    canvas = Canvas(
        Axis("epoch", limits=(0.0, end)), Axis("", categories=names), height=70 + 24 * len(names)
    )
    for place, event in enumerate(drawn):
        canvas.span(series, place, (event.first, min(event.last, end)), faint=True)
        canvas.span(series, place, (min(event.last, end), end))
    told = join(_told(events))
    return canvas.svg(f"{key}-operators", f"When operators act: {told}.")


def _told(events: Sequence[_Event]) -> Iterator[str]:
    for event in events:
        until = f" to {event.last:.4g}" if event.last > event.first else ""
        yield f"{event.name} on {event.where} from epoch {event.first:.4g}{until}"


def _curve(
    place: tuple[str, int], variant: Variant, shown: tuple[str, str, Axis], marks: Sequence[float]
) -> Panel:
    (key, series), (name, title, axis) = place, shown
    runs = [run for run in variant.runs if run.run.epochs]
    end = float(max(run.run.epochs[-1].epoch for run in runs))
    canvas = Canvas(Axis("epoch", limits=(0.0, end)), axis)
    for mark in marks:
        canvas.guide(mark)
    for run in runs:
        canvas.line(series, run.history["epoch"], run.history[name], faint=len(runs) > 1)
    last = axis.text(float(runs[0].history[name][-1]))
    return Panel(
        title,
        canvas.svg(
            f"{key}-{name.replace('_', '-')}",
            f"{title} of {variant.label} over the epochs; at the end it is {last}.",
        ),
    )


def _shortened(name: str) -> str:
    """Both ends of a long name."""
    half = _LETTERS // 2
    return name if len(name) <= _LETTERS else f"{name[:half]}…{name[1 - half :]}"
