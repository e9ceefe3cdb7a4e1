"""Commands that repeat published experiments."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pareq.cli.options import (
    DataPath,
    Options,
    RayAddress,
    Workers,
    executor,
    say,
    task_names,
)
from pareq.errors import MissingExtra

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.command(rich_help_panel="Train and compare")(study)


def _names() -> list[str]:
    from pareq.studies import STUDIES

    return list(STUDIES)


def study(  # noqa: PLR0913 - a command's parameters are its options
    name: Annotated[
        str, typer.Argument(metavar="STUDY", help="Such as qap.", autocompletion=_names)
    ],
    quick: Annotated[bool, typer.Option("--quick", help="The same as --matrix quick.")] = False,
    matrix: Annotated[
        str, typer.Option(metavar="NAME", help="Which trials: full, published or quick.")
    ] = "full",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Trials and report; else studies/STUDY.")
    ] = None,
    workers: Workers = None,
    ray: RayAddress = None,
    together: Annotated[
        int | None,
        typer.Option(
            min=1, help="Trials that a process trains as one computation; else 8 in the study qap."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of each training, instead of the study's.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Folds or seeds, instead of the study's.")
    ] = None,
    only: Annotated[str, typer.Option(metavar="GLOB", help="Run these trials only.")] = "*",
    data: DataPath = "",
    task: Annotated[
        str,
        typer.Option(
            metavar="TASK", help="Of the studies order and area.", autocompletion=task_names
        ),
    ] = "",
    option: Options = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Of its protocol; repeatable."),
    ] = None,
    page: Annotated[
        bool, typer.Option("--report/--no-report", help="Write the report at the end.")
    ] = True,
    dry: Annotated[bool, typer.Option("--dry-run", help="List the trials, run none.")] = False,
) -> None:
    """Repeat a published experiment, and write a report of what our data say about its claims.

    The same command goes on where it stopped, whatever stopped it. A trial that fails stops
    nothing; its error is in the report.

    [bold]Examples[/]
    pareq study qap --quick
    pareq study qap --quick --only "6b-*"
    pareq study qap --quick --together 1 --set goal=front
    pareq study qap --matrix published --out studies/paper --workers 16
    pareq study qap --matrix published --out /shared/paper --ray auto
    pareq study order --task jets --set bits=4 --set sparsity=0.7
    pareq study area --quick
    pareq study area --task digits --set bits=[3,4] --set budgets=[2000,8000]
    """
    from pareq.cli.arguments import task_options
    from pareq.cli.progress import Trainings
    from pareq.studies import STUDIES
    from pareq.studies.base import drive, left_out

    console = Console()
    chosen = "quick" if quick else matrix
    made = STUDIES[name].made(chosen, data, epochs, repeats)
    if task or option or change:
        made = made.on(task, task_options(option), change or ())
    folder = out or Path("studies") / "-".join(part for part in (name, task, chosen) if part)
    if dry:
        for trial, descent in made.trials(folder).items():
            say(console, f"{trial}: {descent.done} of {descent.states} trainings done")
        return
    for line in (*made.notices(), *_notices(left_out(made, folder, only))):
        say(console, line)
    try:
        with Trainings(console) as trainings:
            crew = executor(ray, workers, folder)
            tell = trainings.tell
            errors = drive(made, folder, crew, only=only, together=together, tell=tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from None
    for trial, error in errors.items():
        say(console, f"failed: {trial}: {error}")
    if page:
        say(console, f"report: {made.report(folder)}")
    if errors:
        raise typer.Exit(1)


def _notices(lacking: Mapping[str, MissingExtra]) -> Iterator[str]:
    """A line for each package that trials lack."""
    reasons = dict.fromkeys(str(error) for error in lacking.values())
    for reason in reasons:
        names = [name for name, error in lacking.items() if str(error) == reason]
        shown = f"{', '.join(names[:3])}{', ...' * (len(names) > 3)}"
        yield f"left out: {shown}: {reason}; then the same command adds them"
