"""The report of the order study: whether order matters, in words, tables and figures."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pareq import __version__
from pareq.errors import StudyError, at
from pareq.report.collect import Refused
from pareq.report.figure import Table
from pareq.report.origins import Origin
from pareq.report.page import Chapter, write_page
from pareq.report.summary import Sentence
from pareq.report.words import NONE, count, join, plural
from pareq.studies.base import read_errors
from pareq.studies.order_figures import contrast_table, contrasts, surface, timeline, when
from pareq.studies.order_results import Setting, gather, interval, signed, verdicts

if TYPE_CHECKING:
    from pareq.studies.order import OrderStudy

__all__ = ["write_report"]

_SMALL_PRINT = (
    "Scores are on the test split after the last step of each run, mean and standard error over the"
    " seeds. Differences are paired by seed: arms of one seed share data, initial weights and"
    " batches, and until they part they are one training. Intervals are of 95 % by the t"
    " distribution, each for itself: of twenty such intervals one misses by chance. A difference"
    " whose interval holds 0 is reported as none."
)


def write_report(study: "OrderStudy", out: Path) -> Path:
    """Write OUT/report.html from the arms that have ended, and return its path.

    Raises StudyError when none has, and what `write_page` raises.
    """
    with at("study order: report"):
        settings, skipped = gather(study, out)
        chapters = [_chapter(study, setting) for setting in settings if setting.scores]
        if not chapters:
            raise StudyError("no training has ended yet; run the study first", where=str(out))
        failed = [Refused(out / name, error) for name, error in read_errors(out).items()]
        target = out / "report.html"
        title = f"Pruning and quantization of {study.task}: order and timing"
        write_page(target, title, chapters, version=__version__, refused=failed, notes=skipped)
        return target


def _chapter(study: "OrderStudy", setting: Setting) -> Chapter:
    drawn = (contrasts(setting), timeline(setting), surface(setting))
    return Chapter(
        key=setting.name,
        task=setting.title,
        sentences=(_begin(study, setting), *verdicts(setting)),
        smallest="",
        tiles=(),
        warning=_warning(study, setting),
        tables=(arm_table(setting), contrast_table(setting)),
        figures=tuple(figure for figure in drawn if figure is not None),
        cost=None,
        origins=tuple(_origins(study, setting)),
        small_print=_SMALL_PRINT,
    )


def _begin(study: "OrderStudy", setting: Setting) -> Sentence:
    used = study.protocol
    runs = [run for found in setting.runs.values() for run in found.values()]
    data = join(sorted({run.about.data for run in runs}))
    what = "weights and activations" if setting.how.activations else "weights"
    text = (
        f"{plural(len(runs), 'training')} of {len(setting.runs)} arms on {data}: {what} pruned by"
        f" {100 * setting.how.sparsity:g} %, {setting.how.bits} bits, {used.seeds} seeds. Every arm"
        f" has {used.epochs} epochs, the last quarter of which is the same fall of the learning"
        " rate after all its events."
    )
    return Sentence("", text)


def _warning(study: "OrderStudy", setting: Setting) -> str:
    planned = study.protocol.seeds * len(setting.times)
    missing = planned - sum(len(found) for found in setting.scores.values())
    if not missing:
        return ""
    lacking = plural(missing, "training")
    return f"{lacking} of {planned:,} are missing; what is shown is preliminary."


def arm_table(setting: Setting) -> Table:
    """Every arm but those of the map: times, score with its error, and its distance from float."""
    judged = setting.judged
    unit = "points" if judged.unit == "%" else judged.unit
    rows = []
    for arm, times in setting.times.items():
        found = setting.score(arm)
        if found is None or arm.startswith("grid-"):
            continue
        away = setting.against(arm, "float")
        rows.append(
            (
                times.label,
                *when(times.prune, times.quantize),
                found.text(judged.factor, judged.unit),
                str(found.seeds),
                NONE if away is None else signed(away.mean, judged),
                NONE if away is None else interval(away, judged),
            )
        )
    head = (
        *("Arm", "Pruning rises", "Quantization begins", judged.label.capitalize(), "Seeds"),
        *(f"Minus float, {unit}", "95 % interval"),
    )
    return Table("Arms: times in shares of the run, score on the test split", head, tuple(rows))


def _origins(study: "OrderStudy", setting: Setting) -> Iterator[Origin]:
    """Recipe, command and runs of each arm."""
    for arm, found in setting.runs.items():
        first = next(iter(found.values()))
        rows = tuple(
            (str(run.folder), str(seed), count(run.result.seconds) if run.result else NONE)
            for seed, run in found.items()
        )
        about = first.about
        yield Origin(
            label=setting.times[arm].label,
            recipe=first.recipe,
            commands=(shlex.join(study.command),),
            facts=(
                ("Task options", str(about.task_options)),
                ("Versions", f"pareq {about.pareq}, torch {about.torch}, Python {about.python}"),
            ),
            runs=Table("Runs", ("Run", "Seed", "Seconds, the shared beginning included"), rows),
        )
