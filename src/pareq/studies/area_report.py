"""The report of the area study: every network's figures, the fronts, and the published designs."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pareq import __version__
from pareq.errors import StudyError, at
from pareq.report.canvas import Axis, Canvas
from pareq.report.collect import Refused
from pareq.report.figure import Figure, Key, Panel, Table
from pareq.report.origins import Origin
from pareq.report.page import Chapter, write_page
from pareq.report.sizes import round_ticks
from pareq.report.summary import Sentence
from pareq.report.svg import SERIES, swatch
from pareq.report.words import NONE, Measure, count, join, plural, short
from pareq.studies.area_results import COSTS, Point, fronts, gather
from pareq.studies.base import read_errors
from pareq.studies.published import PUBLISHED, SOURCES
from pareq.tasks.base import TASKS, Judged

if TYPE_CHECKING:
    from pareq.studies.area import AreaStudy

__all__ = ["write_report"]

_LABELS = {
    "luts": "look-up tables",
    "packed": "packed",
    "flip_flops": "flip-flops",
    "ebops": "EBOPs",
    "bops": "bit operations",
    "stages": "stages",
    "depth": "tables between registers",
}
_SHORT = {"luts": "LUT", "ebops": "EBOPs", "bops": "BOPs", "stages": "stages"}
_SMALL_PRINT = (
    "The family: mean and standard error over the seeds, on the test split, of the integers that"
    " the design computes; with one seed no error is known. None of these is a figure of a vendor's"
    " tool. Stages are registers from input to output; a new sample is taken at every clock. The"
    " clock is not known without placement: pareq area RUN --clock places on an ECP5."
)
_PUBLISHED = (
    "Published designs on {data}: other data and another tool than above, so no row compares with"
    " ours. Counts of the vendor's tool (Vivado) after routing or as the source reports them"
)


def write_report(study: "AreaStudy", out: Path) -> Path:
    """Write OUT/report.html from the networks that are ready, and return its path.

    Raises StudyError when none is, and what `write_page` raises.
    """
    with at("study area: report"):
        points, skipped = gather(study, out)
        if not points:
            raise StudyError("no network is ready yet; run the study first", where=str(out))
        judged, found = TASKS[study.task].judged, fronts(points)
        chapter = Chapter(
            key="area",
            task=study.task,
            sentences=tuple(_sentences(study, points, found)),
            smallest="",
            tiles=(),
            warning=_warning(study, points),
            tables=(_family(points, found, judged), *_published(study)),
            figures=(_figure(points, found, judged),),
            cost=None,
            origins=tuple(_origins(study, out, points)),
            small_print=_SMALL_PRINT,
            paragraphs=True,
        )
        failed = [Refused(out / name, error) for name, error in read_errors(out).items()]
        target = out / "report.html"
        title = f"{judged.label.capitalize()} of {study.task} against the area of firmware"
        write_page(target, title, [chapter], version=__version__, refused=failed, notes=skipped)
        return target


def _sentences(
    study: "AreaStudy", points: Sequence[Point], found: dict[str, list[Point]]
) -> Iterator[Sentence]:
    """What was trained, by what it was counted, and the ends of each front."""
    data = join(sorted({run.about.data for point in points for run in point.runs.values()}))
    trained = sum(len(point.runs) for point in points)
    tools = sorted({tool for point in points for tool in point.tools})
    counted = f" Counted by {join(tools)}." if tools else ""
    yield Sentence(
        "",
        f"{plural(trained, 'training')} of {plural(len(points), 'network')} on {data}, each of"
        f" {study.protocol.epochs} epochs, lowered to integers and written as Verilog.{counted}",
    )
    judged = TASKS[study.task].judged
    for name, front in found.items():
        ends = [front[0], front[-1]] if len(front) > 1 else front
        told = (
            f"{count(_mean(p, name))} give {_score(p, judged)} ({p.member.label})" for p in ends
        )
        if ends:
            text = f"{', '.join(told)}; {len(front)} of {len(points)} networks are on the front."
            yield Sentence(f"{_capital(_LABELS[name])}:", text)


def _warning(study: "AreaStudy", points: Sequence[Point]) -> str:
    planned = study.protocol.seeds * len(study.protocol.members)
    missing = planned - sum(len(point.runs) for point in points)
    said = []
    if missing:
        lacking = plural(missing, "training")
        said.append(f"{lacking} of {planned:,} are missing; what is shown is preliminary.")
    uncounted = sum(point.measure("luts") is None for point in points)
    if uncounted:
        number = plural(uncounted, "network")
        why = next(iter(study.notices()), "the same command counts them")
        said.append(f"Of {number} the look-up tables are missing. {_capital(why)}.")
    if len({tool for point in points for tool in point.tools}) > 1:
        said.append("Not all designs were counted by the same tool: remove area.json of some.")
    return " ".join(said)


def _family(points: Sequence[Point], found: dict[str, list[Point]], judged: Judged) -> Table:
    """Every network with its figures, and the fronts that it is on."""
    shown = [name for name in _LABELS if any(point.measure(name) for point in points)]
    rows = [
        (
            point.member.label,
            _score(point, judged),
            ", ".join(_SHORT[name] for name in COSTS if point in found[name]) or NONE,
            *(_text(point.measure(name)) for name in shown),
            join(point.emitters),
            str(len(point.runs)),
        )
        for point in points
    ]
    return Table(
        "The family: what no other beats in both score and cost is on the front of that cost",
        (
            *("Network", judged.label.capitalize(), "On the front of"),
            *(_capital(_LABELS[name]) for name in shown),
            *("Emitter", "Seeds"),
        ),
        tuple(rows),
    )


def _published(study: "AreaStudy") -> Iterator[Table]:
    """A table for each data set; of jets alone."""
    head = ("Design", "Accuracy, %", "LUT", "Flip-flops", "DSP", "Latency, ns", "Source")
    for data, designs in PUBLISHED.items() if study.task == "jets" else ():
        rows = tuple(
            (
                each.method,
                str(each.accuracy),
                count(each.luts),
                NONE if each.flip_flops is None else count(each.flip_flops),
                str(each.dsps),
                NONE if each.latency is None else str(each.latency),
                SOURCES[each.source],
            )
            for each in designs
        )
        yield Table(_PUBLISHED.format(data=data), head, rows)


def _figure(points: Sequence[Point], found: dict[str, list[Point]], judged: Judged) -> Figure:
    """The score over each cost, a colour a recipe."""
    kinds = list(dict.fromkeys(point.member.kind for point in points))[:SERIES]
    drawn = [name for name in COSTS if found[name]]
    panels = tuple(_panel(points, found[name], name, (judged, kinds)) for name in drawn)
    rows = tuple(
        (point.member.label, _score(point, judged), *(_text(point.measure(name)) for name in drawn))
        for point in points
    )
    head = ("Network", judged.label.capitalize(), *(_capital(_LABELS[name]) for name in drawn))
    return Figure(
        "area-fronts",
        f"{judged.label.capitalize()} against cost",
        "Up and to the left is better. The grey line joins the networks that no other beats in"
        " both; bars are standard errors over the seeds.",
        tuple(Key(kind, swatch(k), k) for k, kind in enumerate(kinds)),
        panels,
        Table(f"{judged.label.capitalize()} and cost", head, rows),
        small=True,
    )


def _panel(
    points: Sequence[Point], front: Sequence[Point], name: str, how: tuple[Judged, list[str]]
) -> Panel:
    judged, kinds = how
    places = [
        (point, cost.mean, score)
        for point in points
        if (cost := point.measure(name)) and (score := point.measure("score"))
    ]
    costs = [cost for _, cost, _ in places]
    limits = (max(min(costs), 1) / 1.6, max(costs) * 1.6)
    label = _LABELS[name]
    across = Axis(label, short, limits, log=True, ticks=round_ticks(*limits))
    if name == "stages":
        across = Axis(label, "{:g}".format, (0.0, max(costs) + 1))
    canvas = Canvas(across, Axis(judged.label, _ticked(judged)))
    joined = sorted((paid, gain.mean) for point, paid, gain in places if point in front)
    canvas.path([paid for paid, _ in joined], [gain for _, gain in joined])
    for point, paid, gain in places:
        kind = point.member.kind
        series = kinds.index(kind) if kind in kinds else None
        canvas.point(series, paid, gain.mean, gain.error or 0.0)
    told = join(f"{p.member.label} {count(cost)}, {_score(p, judged)}" for p, cost, _ in places)
    title = f"{judged.label.capitalize()} over {label}"
    return Panel(title, canvas.svg(f"area-fronts-{name}", f"{title}: {told}."))


def _origins(study: "AreaStudy", out: Path, points: Sequence[Point]) -> Iterator[Origin]:
    """Recipe, runs and the commands that build each network again, of its first seed."""
    for point in points:
        seed, run = next(iter(point.runs.items()))
        folder = out / point.member.name / f"seed-{seed}"
        rows = tuple(
            (
                str(each.folder),
                str(number),
                count(each.result.seconds) if each.result else NONE,
                *(count(point.figures[number].get(name, float("nan"))) for name in COSTS),
            )
            for number, each in point.runs.items()
        )
        about = run.about
        yield Origin(
            label=point.member.label,
            recipe=run.recipe,
            commands=tuple(_commands(study, point, seed, folder)),
            facts=(
                ("Task options", str(about.task_options)),
                ("Counted by", join(point.tools) or "nothing"),
                ("Versions", f"pareq {about.pareq}, torch {about.torch}, Python {about.python}"),
            ),
            runs=Table(
                "Runs", ("Run", "Seed", "Seconds", *(_capital(_LABELS[n]) for n in COSTS)), rows
            ),
        )


def _commands(study: "AreaStudy", point: Point, seed: int, folder: Path) -> Iterator[str]:
    """By the study; then the same by hand in another folder."""
    used, new = study.protocol, f"runs/{point.member.name}"
    where = ("--out", str(folder.parent.parent))
    yield shlex.join([*study.command, *where, "--only", f"{point.member.name}/seed-{seed}"])
    options = [w for k, v in study.options.items() for w in ("-o", f"{k}={_word(v)}")]
    changes = [w for c in (*point.member.changes, *study.training(seed)) for w in ("--set", c)]
    train = ["pareq", "train", study.task, point.member.recipe, *options, *changes, "--out", new]
    yield shlex.join(train)
    yield shlex.join(["pareq", "build", new, "verilog", "--emitter", used.emitter])
    yield shlex.join(["pareq", "verify", f"{new}/build/verilog", "--rows", "10000"])
    yield shlex.join(["pareq", "area", new, "--family", used.family])


def _word(value: object) -> str:
    """An option of a task as a person types it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value) if isinstance(value, tuple) else value)


def _mean(point: Point, name: str) -> float:
    found = point.measure(name)
    return found.mean if found else float("nan")


def _score(point: Point, judged: Judged) -> str:
    found = point.measure("score")
    return NONE if found is None else found.text(judged.factor, judged.unit)


def _text(value: Measure | None) -> str:
    """A count with its standard error, whole where that is 1 or more."""
    if value is None:
        return NONE
    if not value.error:
        return count(value.mean)
    places = 0 if value.error >= 1 else 1
    return f"{value.mean:,.{places}f} ± {value.error:,.{places}f}"


def _ticked(judged: Judged) -> Callable[[float], str]:
    return lambda value: f"{judged.factor * value:.4g} {judged.unit}".rstrip()


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
