"""Figures and a table of networks in integers: graph, accumulators, what was removed, programs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pareq.report.canvas import Axis, Canvas
from pareq.report.collect import Trained
from pareq.report.deployed import Deployed
from pareq.report.figure import Figure, Panel, Table
from pareq.report.flow import flow
from pareq.report.structure import Removal, Step, accumulators, removals, steps
from pareq.report.variants import Section, Variant
from pareq.report.words import NONE, bits, count, plural, size

__all__ = ["integers", "programs"]

_STEPS: Final = 40  # boxes at most in the picture
_SUMS: Final = 24  # bars at most
_LETTERS: Final = 18  # of a name beside a bar


@dataclass(frozen=True)
class _Shown:
    """The first run of a variant that was lowered."""

    series: int
    variant: Variant
    run: Trained
    held: Deployed


def integers(section: Section) -> list[Figure]:
    """A figure a variant that was lowered, all but the smallest folded."""
    found = [_figure(section, each) for each in reversed(_lowered(section))]
    return [replace(each, folded=place > 0) for place, each in enumerate(found)]


def programs(section: Section) -> tuple[Table, ...]:
    """What was built: score in integers, size, latency; nothing where nothing was lowered."""
    rows: list[tuple[str, ...]] = []
    for each in _lowered(section):
        rows += _rows(section, each.variant.label, each.held)
    head = (
        *("Variant", f"{section.title} in integers", "Program", "Files", "Bytes"),
        *("Batch: ns a sample", "Single: µs from Python"),
    )
    title = "Networks in integers, as programs; times in one thread on the machine that built them"
    return (Table(title, head, tuple(rows)),) if rows else ()


def _rows(section: Section, label: str, held: Deployed) -> list[tuple[str, ...]]:
    score = section.said(held.score)
    rows: list[tuple[str, ...]] = []
    built = {each.backend.name: each for each in held.programs}
    for name in dict.fromkeys((*built, *held.times)):
        times, artefact = held.times.get(name), built.get(name)
        rows.append(
            (
                label,
                score if artefact else NONE,
                name,
                str(len(artefact.files)) if artefact else NONE,
                size(artefact.figures.get("bytes", 0)) if artefact else NONE,
                f"{times.sample_ns:.3g}" if times else NONE,
                f"{times.call_us:.3g}" if times else NONE,
            )
        )
    return rows or [(label, score, *(NONE for _ in range(5)))]


def _lowered(section: Section) -> list[_Shown]:
    found = []
    for series, variant in section.drawn:
        run = next((run for run in variant.runs if run.deployed), None)
        if run is not None and run.deployed is not None:
            found.append(_Shown(series, variant, run, run.deployed))
    return found


def _figure(section: Section, shown: _Shown) -> Figure:
    graph, label = shown.held.lowered.graph, shown.variant.label
    made, sums = steps(graph), accumulators(graph)
    gone = removals(graph, shown.run.cost) if shown.run.cost else ()
    key = f"{section.key}-integers-{shown.series}"
    panels = [Panel("Graph", flow(made[:_STEPS], shown.series, _told(label, made)))]
    if sums:
        panels.append(Panel("Widest accumulators", _bars(key, shown.series, sums[:_SUMS])))
    more = len(made) - _STEPS
    extra = f" {plural(more, 'further op')} stand in the table only." if more > 0 else ""
    seed = f" (seed {shown.run.run.about.seed})" if len(shown.variant.runs) > 1 else ""
    return Figure(
        key,
        f"{label} in integers",
        f"The best network of {label}{seed} as the graph of integers that is deployed: module and"
        " op, shape, the integers that can occur, what one step is worth, and the bits they take."
        f" {_agreement(shown.held)}{_removed(gone)}{extra}",
        (),
        tuple(panels),
        _table(label, made, gone),
    )


def _told(label: str, made: Sequence[Step]) -> str:
    """The picture in words."""
    told = "; ".join(
        f"{step.path}{'' if step.kind == 'input' else f' {step.kind}'}, {step.size}, "
        f"{step.bits} bits"
        for step in made[:_STEPS]
    )
    return f"Graph of {label} in integers, from top to bottom: {told}."


def _agreement(held: Deployed) -> str:
    agrees = held.lowered.agrees
    line = (
        f"On {agrees.rows:,} test samples all {agrees.outputs:,} outputs are those of the network"
        " in float64"
    )
    if not agrees.float32_differ:
        return f"{line}, and of the network in float32."
    return (
        f"{line}; in float32 {agrees.float32_differ} differ, {agrees.explained_by_ties} of them"
        " because a value next to a rounding tie falls on its other side."
    )


def _removed(gone: Sequence[Removal]) -> str:
    if not gone:
        return ""
    channels, zeros = sum(each.channels for each in gone), sum(each.zeros for each in gone)
    weights = sum(each.weights[0] for each in gone)
    return f" Removed: {plural(channels, 'channel')}, {count(zeros)} of {count(weights)} weights."


def _bars(key: str, series: int, sums: Sequence[Step]) -> str:
    names = tuple(_shortened(step.path) for step in sums)
    height = 70 + 24 * len(sums)
    widths = Axis("bits", bits, (0.0, 32.0), ticks=(0, 8, 16, 24, 32))
    canvas = Canvas(widths, Axis("", categories=names), height=height)
    canvas.bars(series, list(range(len(sums))), [float(step.bits) for step in sums], 0.6)
    told = ", ".join(f"{step.path} {step.bits} bits ({step.range})" for step in sums)
    return canvas.svg(f"{key}-sums", f"Widest accumulators: {told}.")


def _shortened(path: str) -> str:
    half = _LETTERS // 2
    return path if len(path) <= _LETTERS else f"{path[:half]}…{path[1 - half :]}"


def _table(label: str, made: Sequence[Step], gone: Sequence[Removal]) -> Table:
    taken = {each.path: each for each in gone}
    rows: list[tuple[str, ...]] = []
    for step in made:
        removed = taken.pop(step.path, None) if step.constants else None
        words = NONE
        if removed is not None:
            words = f"{plural(removed.channels, 'channel')}, {plural(removed.zeros, 'weight')}"
        held = step.constants or NONE
        row = (step.path, step.kind, step.size, str(step.bits), step.range, step.grid, held, words)
        rows.append(row)
    for path, removed in taken.items():
        rows.append((path, "removed", *(NONE for _ in range(5)), plural(removed.zeros, "weight")))
    head = ("Module", "Op", "Shape", "Bits", "Integers", "A step is", "Holds", "Removed")
    return Table(f"{label} in integers, op by op", head, tuple(rows))
