"""The report of the QAP study: claims in words, the summary table, the figures, all points."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pareq import __version__
from pareq.errors import StudyError, at
from pareq.metrics.scores import counts
from pareq.report.collect import Refused, collect
from pareq.report.curves import roc
from pareq.report.figure import Figure, Table
from pareq.report.origins import Origin
from pareq.report.page import Chapter, write_page
from pareq.report.summary import Sentence
from pareq.report.variants import sections
from pareq.report.words import NONE, count, join, percent, plural, ratio
from pareq.studies.base import read_errors
from pareq.studies.drawing import Line, against, every_point, noise, text
from pareq.studies.findings import CLOSE, Champions, champions, claims
from pareq.studies.matrix import MATRICES, PROTOCOLS, Setting
from pareq.studies.points import Place, Results, gather
from pareq.studies.traces import traces
from pareq.train.run import Run

if TYPE_CHECKING:
    from pareq.studies.qap import Qap

__all__ = ["write_report"]

_SMALL_PRINT = (
    "Each value is the mean over the repeats with its standard error; with one repeat, the"
    " statistical error of the test split. Differences are beyond noise when they are at 95 %"
    " confidence (t-test over the repeats). Bit operations by the formula of Fahim et al. 2021,"
    " the input counted with 32 bits. Neural efficiency: entropy of the layers' on/off states over"
    " their widths, geometric mean (Schaub & Hotaling 2020); aIQ with beta = 2 and the macro AUC."
)
_METHODS = {
    "ft": "fine-tuning",
    "lt": "exact rewinding",
    "late": "late rewinding",
    "dense": "never pruned, same budget",
    "bo": "Bayesian optimisation of the widths",
}
_SPARSE = 0.8
_DAY = 86_400  # seconds


def write_report(study: "Qap", out: Path) -> Path:
    """Write OUT/report.html from the trainings that have ended, and return its path.

    Raises StudyError when none has, and what `write_page` raises.
    """
    with at("study qap: report"):
        trials = study.trials(out)
        results = gather(trials, study.planned())
        if not results.points:
            raise StudyError("no training has ended yet; run the study first", where=str(out))
        best = champions(results)
        chapter = Chapter(
            key="qap",
            task="jets",
            sentences=(_begin(study, results), *claims(results)),
            smallest="",
            tiles=(),
            warning=_warning(study, results),
            tables=(*(_tables(best) if best else ()), *_confusion(results)),
            figures=tuple(f for f in _figures(results) if f is not None),
            cost=None,
            origins=tuple(_origins(results)),
            small_print=_SMALL_PRINT,
            paragraphs=True,
        )
        failed = [Refused(out / name, error) for name, error in read_errors(out).items()]
        notes = [(folder, reason) for folder, reason in results.skipped]
        target = out / "report.html"
        title = "Quantization-aware pruning: the study of Hawks et al. 2021 repeated"
        write_page(target, title, [chapter], version=__version__, refused=failed, notes=notes)
        return target


def _begin(study: "Qap", results: Results) -> Sentence:
    used = study.used
    kind = "folds" if used.folds else "seeds"
    data = join(sorted({point.run.about.data for point in results.points}))
    patience = f", stopped after {used.patience} epochs without improvement" * bool(used.patience)
    searched = f" and {plural(len(results.searched), 'shape')} of searches" * bool(results.searched)
    return Sentence(
        "",
        f"{plural(len(results.points), 'training')} of {plural(len(results.curves), 'setting')}"
        f"{searched}"
        f" with up to {used.repeats} {kind} each on {data}; every training had the same budget of"
        f" {used.epochs} epochs{patience}. {_estimate(results)}",
    )


def _estimate(results: Results) -> str:
    """What the other matrices would take, from the seconds of an epoch here."""
    epochs = sum(p.run.result.epochs for p in results.points if p.run.result)
    second = sum(_seconds(p.run) for p in results.points) / max(epochs, 1)
    told = []
    for name in ("published", "full"):
        protocol = PROTOCOLS[name]
        states = len(protocol.fractions) + 1
        each = (protocol.shapes if s.method == "bo" else states for s in MATRICES[name]())
        trainings = sum(each) * protocol.repeats
        days = second * trainings * protocol.epochs / _DAY
        told.append(f"the {trainings:,} trainings of the {name} matrix at most {days:,.0f}")
    return f"An epoch took {second:.2f} s of a core; on as much data {join(told)} core-days."


def _warning(study: "Qap", results: Results) -> str:
    planned = sum(trial.states for trial in study.trials(Path()).values())
    missing = planned - len(results.points) - len(results.searched)
    if missing <= 0:
        return ""
    return (
        f"{plural(missing, 'training')} of {planned:,} are missing; what is shown is preliminary."
    )


def _tables(best: Champions) -> Iterator[Table]:
    kinds = {
        "nominal": best.nominal,
        "pruned": best.pruned,
        "quantized": best.quantized,
        "pruned and quantized": best.both,
        "Bayesian optimisation": best.searched,
    }
    head = (
        *("Network", "Setting", "Pruned", "Accuracy", "Macro AUC", "Bit operations", "Fewer"),
        *("Efficiency", "aIQ"),
    )
    rows = tuple(_row(kind, place, best.nominal) for kind, place in kinds.items())
    caption = (
        f"The cheapest network of each kind within {100 * CLOSE:.1f} points of the nominal"
        " validation accuracy"
    )
    yield Table(caption, head, rows)


def _confusion(results: Results) -> Iterator[Table]:
    """Predictions of the nominal network against those of the published one."""
    nominal, pruned = results.dense(Setting(32)), results.at(Setting(6), _SPARSE)
    if nominal is None or pruned is None:
        return
    others = {point.repeat: point.predicted for point in nominal.points}
    classes = tuple(entry.name for entry in pruned.points[0].quality.classes)
    shares = [
        np.asarray(counts(_whole(others[p.repeat]), _whole(p.predicted), len(classes)))
        / len(p.predicted)
        for p in pruned.points
        if p.repeat in others and len(others[p.repeat]) == len(p.predicted)
    ]
    if shares:
        mean = np.mean(shares, axis=0)
        rows = tuple(
            (name, *(percent(share, 2) for share in row))
            for name, row in zip(classes, mean.tolist(), strict=True)
        )
        caption = (
            "Comparative confusion: the share of the test jets by what the nominal network predicts"
            " (rows) and what 6 bits, 80 % pruned, predict (columns)"
        )
        yield Table(caption, ("Predicted", *classes), rows)


def _whole(predicted: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    return predicted.astype(np.int64)


def _row(kind: str, place: Place | None, nominal: Place) -> tuple[str, ...]:
    if place is None:
        return (kind, *[NONE] * 8)
    return (
        kind,
        place.setting.name,
        percent(place.pruned),
        text(place, "accuracy"),
        text(place, "auc"),
        count(place.bops),
        f"{ratio(nominal.bops / place.bops)}\u00d7",
        text(place, "efficiency"),
        text(place, "aiq"),
    )


def _figures(results: Results) -> Iterator[Figure | None]:
    widths = [s for s in results.curves if s.usual and s.method == "ft"]
    lines = [Line(_width(s), results.curve(s)) for s in widths]
    over = "over the bit operations of an inference; a point a state, from dense to sparse."
    quality = ("accuracy", "auc", "background")
    yield against(
        "quality",
        "Quality against cost",
        f"Fine-tuned networks {over}",
        lines,
        dict.fromkeys(quality, "bops"),
    )
    classes = [each.name for each in results.points[0].quality.classes]
    yield against(
        "classes",
        "Background efficiency of each class",
        "The share of the other classes that is accepted where half of the class is, of the same"
        " networks.",
        lines,
        {f"background of {name}": "bops" for name in classes},
    )
    yield against(
        "information",
        "Information against cost",
        f"Neural efficiency and aIQ of the same networks {over} {_cap(results)}",
        lines,
        dict.fromkeys(("efficiency", "corrected", "aiq"), "bops"),
    )
    yield from _methods(results)
    yield traces(results)
    yield _search(results)
    yield from _ablations(results)
    noisy = [s for s in results.curves if s.noise]
    clean = dict.fromkeys(Setting(s.bits, s.method, s.norm, s.l1) for s in noisy)
    yield noise(results, list(clean), 0.0)
    yield _roc(results)
    yield every_point(results)


def _methods(results: Results) -> Iterator[Figure | None]:
    for bits in dict.fromkeys(s.bits for s in results.curves):
        settings = [Setting(bits, method) for method in _METHODS]
        lines = [Line(_METHODS[s.method], results.curve(s)) for s in settings]
        if sum(bool(line.places) for line in lines) > 1:
            yield against(
                f"methods-{bits}",
                f"Fine-tuning against rewinding, {_width(Setting(bits))}",
                "The same rule for what falls; weights that go on, or go back.",
                lines,
                {"accuracy": "pruned", "efficiency": "pruned"},
            )


def _search(results: Results) -> Figure | None:
    """The shapes of the searches beside the pruned networks of the same bits."""
    widths = dict.fromkeys(place.setting.bits for place in results.shapes)
    shapes = [
        Line(
            f"searched, {_width(Setting(bits))}",
            [place for place in results.shapes if place.setting.bits == bits],
            joined=False,
        )
        for bits in widths
    ]
    if not shapes:
        return None
    pruned = [Line(f"pruned, {_width(Setting(b))}", results.curve(Setting(b))) for b in widths]
    return against(
        "search",
        "Against Bayesian optimisation of the widths",
        "Every shape that was tried, trained once and dense; bars are statistical errors of the"
        " accuracy, a grey line joins those of a panel that no other beats in both. Beside them the"
        " fine-tuned networks, pruned state by state.",
        [*pruned, *shapes],
        dict.fromkeys(("accuracy", "background"), "bops"),
    )


def _ablations(results: Results) -> Iterator[Figure | None]:
    for bits in dict.fromkeys(s.bits for s in results.curves):
        settings = [
            s for s in results.curves if s.bits == bits and s.method == "ft" and not s.noise
        ]
        if len(settings) > 1:
            lines = [Line(_ablated(s), results.curve(s)) for s in settings]
            yield against(
                f"ablations-{bits}",
                f"Without normalisation, without L1, {_width(Setting(bits))}",
                "Fine-tuned networks that differ in regularisation only.",
                lines,
                dict.fromkeys(("accuracy", "efficiency"), "bops"),
            )


def _ablated(setting: Setting) -> str:
    parts = [f"norm {setting.norm}"] if setting.norm != "on" else []
    parts += [f"L1 {setting.l1}"] if setting.l1 != "on" else []
    return ", ".join(parts) or "both on"


def _width(setting: Setting) -> str:
    return "32 bits, float" if setting.bits == 32 else f"{setting.bits} bits"


def _cap(results: Results) -> str:
    point = results.points[0]
    return (
        f"{count(point.information.samples)} inputs can show an efficiency of"
        f" {point.information.cap:.3f} at most at these widths."
    )


def _roc(results: Results) -> Figure | None:
    """Of the nominal network, and of the published one: 6 bits, dense and at 80 %."""
    places = (
        results.dense(Setting(32)),
        results.dense(Setting(6)),
        results.at(Setting(6), _SPARSE),
    )
    folders = [p.run.folder for place in places if place for p in place.points if p.run.folder]
    if not folders:
        return None
    found, _ = collect(folders)
    return roc(sections(found)[0]) if found else None


def _origins(results: Results) -> Iterator[Origin]:
    """Recipe of the dense state and commands of each setting."""
    for setting, places in results.curves.items():
        points = places[0].points
        commands = [point.run.about.command for point in points]
        rows = tuple(
            (str(p.run.folder), str(p.repeat), str(p.run.about.seed), count(_seconds(p.run)))
            for p in points
        )
        about = points[0].run.about
        yield Origin(
            label=setting.name,
            recipe=points[0].run.recipe,
            commands=tuple(shlex.join(command) for command in commands if command),
            facts=(
                ("Task options", str(about.task_options)),
                ("Method", _METHODS[setting.method]),
                ("Versions", f"pareq {about.pareq}, torch {about.torch}, Python {about.python}"),
            ),
            runs=Table("Dense states", ("Run", "Repeat", "Seed", "Seconds"), rows),
        )


def _seconds(run: Run) -> float:
    return run.result.seconds if run.result is not None else 0.0
