"""Where the results of a variant come from: recipe, commands, versions, data, seeds, folders."""

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from pareq.report.collect import Trained
from pareq.report.figure import Table
from pareq.report.variants import Section, Variant
from pareq.report.words import NONE, count, join

__all__ = ["Origin", "origins"]


@dataclass(frozen=True)
class Origin:
    """The provenance of one variant; recipe: the TOML text of its first run."""

    label: str
    recipe: str
    commands: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    runs: Table


def origins(section: Section) -> tuple[Origin, ...]:
    """One origin a variant."""
    return tuple(_origin(variant) for variant in section.variants)


def _origin(variant: Variant) -> Origin:
    abouts = [run.run.about for run in variant.runs]
    commands = _distinct(shlex.join(about.command) for about in abouts if about.command)
    facts = {
        "Data": _distinct(about.data for about in abouts),
        "Task options": _distinct(_options(about.task_options) for about in abouts),
        "Seeds": [str(about.seed) for about in abouts],
        "Device": _distinct(about.device for about in abouts),
        "Versions": _distinct(
            f"pareq {about.pareq}, torch {about.torch}, Python {about.python}" for about in abouts
        ),
        "Recipe (sha256)": _distinct(about.recipe_sha256[:16] for about in abouts),
    }
    head = ("Run", "Seed", "State", "Epochs", "Best epoch", "Seconds")
    return Origin(
        label=variant.label,
        recipe=variant.runs[0].run.recipe,
        commands=commands,
        facts=tuple((name, join(values)) for name, values in facts.items() if any(values)),
        runs=Table(
            f"Runs of {variant.label}", head, tuple(_row(trained) for trained in variant.runs)
        ),
    )


def _row(trained: Trained) -> tuple[str, ...]:
    run = trained.run
    row = (str(trained.folder), str(run.about.seed))
    if run.result is None:
        return (*row, "unfinished", str(len(run.epochs)), NONE, NONE)
    result = run.result
    ended = "stopped early" if result.stopped == "early" else "complete"
    return (*row, ended, str(result.epochs), str(result.best_epoch), count(result.seconds))


def _options(options: object) -> str:
    return json.dumps(options, sort_keys=True, ensure_ascii=False) if options else ""


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
