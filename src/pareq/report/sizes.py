"""Figures of what a network costs: quality against cost, layer by layer, weights."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from pareq.metrics.bops import bops, bops_per_layer
from pareq.metrics.cost import Cost
from pareq.report.canvas import Axis, Canvas
from pareq.report.collect import Trained
from pareq.report.figure import Figure, Key, Panel, Table, left_out, legend
from pareq.report.svg import box
from pareq.report.variants import BOPS, Section, Variant, pareto
from pareq.report.words import NONE, Measure, bits, count, join, plural, short, size, tick

__all__ = ["cost", "layers", "round_ticks", "weights"]

Array = npt.NDArray[np.float64]

_LETTERS: Final = 18  # of a layer's name beside the bars
_LAYERS: Final = 40  # rows at most in the bars
_HISTOGRAMS: Final = 12  # panels at most of one variant
_COLUMNS: Final = 64  # at most in one histogram


def cost(section: Section) -> Figure | None:
    """Score against bit operations and memory; AUC, or score against memory with activations."""
    points = [v for v in section.variants if v.score and v.total(BOPS)]
    if not points:
        return None
    operations, memory = Axis("bit operations", short, log=True), Axis("memory", size, log=True)
    everything = replace(memory, label="memory with activations")
    panels = (
        _cost_panel(section, points, (BOPS, operations), "score"),
        _cost_panel(section, points, ("memory", memory), "score"),
        _cost_panel(section, points, (BOPS, operations), "auc")
        if section.classes
        else _cost_panel(section, points, ("memory_with_activations", everything), "score"),
    )
    rows = []
    for v in points:
        found = (v.score, v.auc, v.total(BOPS), v.total("memory"))
        score, area, paid, held = (m or Measure(math.nan, None, 0) for m in found)
        last = v.total("memory_with_activations") or Measure(math.nan, None, 0)
        quality = (section.said(score), *((area.text(decimals=4),) if section.classes else ()))
        rows.append((v.label, *quality, *(count(paid.mean), size(held.mean), size(last.mean))))
    area_head = ("Macro AUC",) if section.classes else ()
    costs = ("Bit operations", "Memory", "Memory with activations")
    head = ("Variant", section.title, *area_head, *costs)
    return Figure(
        f"{section.key}-cost",
        "Quality against cost",
        "Up and to the left is better; the horizontal axes are logarithmic. The grey line joins the"
        " variants that no other beats in both. Error bars are those of the table.",
        legend(section),
        panels,
        Table("Quality and cost", head, tuple(rows)),
    )


def _cost_panel(
    section: Section, points: Sequence[Variant], across: tuple[str, Axis], quality: str
) -> Panel:
    name, axis = across
    up = Axis(section.judged.label, section.ticked)
    if quality == "auc":
        up = Axis("macro AUC", "{:.4g}".format)
    gains = [v.score if quality == "score" else v.auc for v in points]
    places = [
        (v, cost.mean, gain)
        for v, cost, gain in zip(points, (v.total(name) for v in points), gains, strict=True)
        if cost and gain
    ]
    costs = [place for _, place, _ in places]
    limits = (min(costs) / 1.6, max(costs) * 1.6)
    canvas = Canvas(replace(axis, limits=limits, ticks=round_ticks(*limits)), up)
    front = pareto([(place, gain.mean) for _, place, gain in places])
    canvas.path([costs[i] for i in front], [places[i][2].mean for i in front])
    for v, place, gain in places:
        canvas.point(v.series, place, gain.mean, gain.error or 0.0)
    told = join(f"{v.label} {axis.text(place)}, {up.text(gain.mean)}" for v, place, gain in places)
    title = f"{up.label[0].upper()}{up.label[1:]} and {axis.label}"
    key = f"{section.key}-{quality}-{name.replace('_', '-')}"
    return Panel(title, canvas.svg(key, f"{title}: {told}."))


def round_ticks(low: float, high: float) -> tuple[float, ...]:
    """Round numbers on a logarithmic axis: decades, or with 2 and 5 where these are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        ticks = tuple(m * 10.0**k for k in decades for m in steps if low <= m * 10.0**k <= high)
        if len(ticks) >= 3:
            break
    return ticks


def layers(section: Section) -> Figure | None:
    """Bits, density and bit operations of each layer, a bar a variant."""
    drawn = [(series, _first_costed(v), v) for series, v in section.drawn]
    rows = [(series, cost, v) for series, cost, v in drawn if cost]
    if not rows:
        return None
    paths = tuple(dict.fromkeys(row.path for _, cost, _ in rows for row in cost.rows))
    widths = Axis("bits", bits, (0.0, 32.0), ticks=(0, 8, 16, 24, 32))
    share = Axis("", tick, (0.0, 1.0), ticks=(0, 0.25, 0.5, 0.75, 1))
    panels = (
        _bars(section, rows, paths[:_LAYERS], ("Bits per weight", "weight_bits", widths)),
        _bars(section, rows, paths[:_LAYERS], ("Weights not zero", "density", share)),
        _bars(section, rows, paths[:_LAYERS], ("Share of the bit operations", "share", share)),
    )
    more = len(paths) - _LAYERS
    extra = f" {plural(more, 'further layer')} stand in the table only." if more > 0 else ""
    seeds = (
        " Of several seeds the first is shown." if any(len(v.runs) > 1 for *_, v in rows) else ""
    )
    return Figure(
        f"{section.key}-layers",
        "Layer by layer",
        "The bits of a weight, the fraction of the weights that are not zero once pruned and"
        f" quantized, and where the bit operations are spent.{seeds}{extra}{left_out(section)}",
        legend(section),
        panels,
        _layer_table(rows),
    )


def _first_costed(variant: Variant) -> Cost | None:
    return next((run.cost for run in variant.runs if run.cost), None)


def _layer_table(rows: Sequence[tuple[int, Cost, Variant]]) -> Table:
    head = (
        "Variant",
        "Layer",
        "Weight bits",
        "Input bits",
        "Weights",
        "Not zero",
        "Bit operations",
    )
    table = [
        (
            variant.label,
            row.path,
            bits(row.weight_bits),
            bits(row.input_bits),
            count(row.weights),
            count(row.nonzero),
            count(operations),
        )
        for _, cost, variant in rows
        for row, operations in zip(cost.rows, bops_per_layer(cost.rows), strict=True)
    ]
    return Table("Cost by layer", head, tuple(table))


def _bars(
    section: Section,
    rows: Sequence[tuple[int, Cost, Variant]],
    paths: Sequence[str],
    shown: tuple[str, str, Axis],
) -> Panel:
    title, name, axis = shown
    step = max(24, 8 * len(rows) + 8)
    height = 70 + step * len(paths)
    canvas = Canvas(
        axis, Axis("", categories=tuple(_shortened(path) for path in paths)), height=height
    )
    thickness = (step - 7) / step / len(rows)
    told = []
    for place, (series, cost, variant) in enumerate(rows):
        found = [(row, figure) for row, figure in _of_layers(cost, name) if row in paths]
        offset = (place - (len(rows) - 1) / 2) * thickness
        at = [paths.index(row) + offset for row, _ in found]
        canvas.bars(series, at, [figure for _, figure in found], thickness * 0.86)
        said = ", ".join(f"{row} {axis.text(float(f'{figure:.3g}'))}" for row, figure in found)
        told.append(f"{variant.label}: {said}")
    key = f"{section.key}-layer-{name.replace('_', '-')}"
    return Panel(title, canvas.svg(key, f"{title} by layer. {'; '.join(told)}."))


def _shortened(path: str) -> str:
    """A module path that leaves room for the bars: both its ends, if it is long."""
    half = _LETTERS // 2
    return path if len(path) <= _LETTERS else f"{path[:half]}…{path[1 - half :]}"


def _of_layers(cost: Cost, name: str) -> list[tuple[str, float]]:
    """Path and figure of each layer: its weight_bits, density, or share of the bit operations."""
    if name == "share":
        total = bops(cost.rows) or 1.0
        shares = (operations / total for operations in bops_per_layer(cost.rows))
        return [(row.path, share) for row, share in zip(cost.rows, shares, strict=True)]
    if name == "density":
        return [(row.path, row.nonzero / row.weights) for row in cost.rows]
    return [(row.path, float(row.weight_bits)) for row in cost.rows]


def weights(section: Section) -> list[Figure]:
    """Histograms before and after training, a figure a variant; all but the smallest are folded."""
    found: list[Figure] = []
    for series, variant in reversed(list(section.drawn)):
        run = next((run for run in variant.runs if run.has_weights), None)
        if run is not None:
            found.append(_weights_of(section, series, variant, run, folded=bool(found)))
    return found


def _weights_of(
    section: Section, series: int, variant: Variant, run: Trained, *, folded: bool
) -> Figure:
    key = f"{section.key}-weights-{series}"
    stored = run.weights()
    largest = sorted(stored, key=lambda site: -stored[site][1].size)[:_HISTOGRAMS]
    panels = tuple(
        _histogram(f"{key}-{place}", series, site, *stored[site])
        for place, site in enumerate(site for site in stored if site in largest)
    )
    more = len(stored) - len(panels)
    extra = f" {plural(more, 'smaller layer')} stand in the table only." if more else ""
    seed = f" (seed {run.run.about.seed})" if len(variant.runs) > 1 else ""
    head = (
        "Layer",
        "Weights",
        "Not zero",
        "Values",
        "Spread",
        "Largest",
        "Spread before",
        "Largest before",
    )
    return Figure(
        key,
        f"Weights of {variant.label}",
        f"How often a weight of {variant.label}{seed} has which value: outlined before training,"
        f" filled as it computes after training. The counts are logarithmic.{extra}",
        (Key("before", box(None), None), Key("after", box(series), None)),
        panels,
        Table(
            f"Weights of {variant.label}: numbers, spread (standard deviation), largest magnitude",
            head,
            tuple((site, *_numbers(*pair)) for site, pair in stored.items()),
        ),
        small=True,
        folded=folded,
    )


def _histogram(key: str, series: int, site: str, before: Array | None, after: Array) -> Panel:
    both = [values[np.isfinite(values)] for values in (before, after) if values is not None]
    edges = _edges(np.concatenate(both), both[-1])
    counts = [np.histogram(values, edges)[0] for values in both]
    top = 1.6 * max(int(found.max()) for found in counts) + 1
    decades = tuple(10.0**k for k in range(math.ceil(math.log10(top))))
    canvas = Canvas(
        Axis("value", bits),
        Axis("weights", count, (0.5, top), log=True, ticks=decades),
        width=300,
        height=200,
    )
    canvas.histogram(series, edges, counts[-1], filled=True)
    if before is not None:
        canvas.histogram(None, edges, counts[0], filled=False)
    kept = int(np.count_nonzero(both[-1]))
    label = (
        f"Histogram of {site}: after training {count(kept)} of {plural(both[-1].size, 'weight')}"
        f" are not zero, in {plural(len(np.unique(both[-1])), 'value')}."
    )
    return Panel(site.removesuffix(":weight"), canvas.svg(key, label))


def _edges(both: Array, after: Array) -> Array:
    """Edges of the columns: around the values of a grid, equally wide otherwise."""
    most = float(np.abs(both).max(initial=0.0)) or 1.0
    gaps = np.diff(np.unique(after))
    width = 2 * most / _COLUMNS
    if 0 < len(gaps) < 256 and gaps.min() > 0:
        width = float(gaps.min()) * math.ceil(2 * most / float(gaps.min()) / _COLUMNS)
    half = math.ceil(most / width - 0.5)
    return np.asarray((np.arange(-half, half + 2) - 0.5) * width)


def _numbers(before: Array | None, after: Array) -> tuple[str, ...]:
    values = len(np.unique(after))
    texts = (count(after.size), count(int(np.count_nonzero(after))), count(values))
    spreads = [
        figure
        for part in (after, before)
        for figure in (
            (NONE, NONE) if part is None else (f"{part.std():.4f}", f"{np.abs(part).max():.4f}")
        )
    ]
    return (*texts, *spreads)
