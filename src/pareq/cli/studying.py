"""Commands that repeat published experiments."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pareq.cli.options import DataPath, say

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
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes, with a thread each; else one a core.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of each training, instead of the study's.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Folds or seeds, instead of the study's.")
    ] = None,
    only: Annotated[str, typer.Option(metavar="GLOB", help="Run these trials only.")] = "*",
    data: DataPath = "",
    dry: Annotated[bool, typer.Option("--dry-run", help="List the trials, run none.")] = False,
) -> None:
    """Repeat a published experiment, and write a report of what our data say about its claims.

    The same command goes on where it stopped, whatever stopped it. A trial that fails stops
    nothing; its error is in the report.

    [bold]Examples[/]
    pareq study qap --quick
    pareq study qap --quick --only "6b-*"
    pareq study qap --matrix published --out studies/paper --workers 16
    """
    from pareq.cli.progress import Trainings
    from pareq.search.pool import Pool
    from pareq.studies import STUDIES
    from pareq.studies.base import drive

    console = Console()
    chosen = "quick" if quick else matrix
    made = STUDIES[name].made(chosen, data, epochs, repeats)
    folder = out or Path("studies") / f"{name}-{chosen}"
    if dry:
        for trial, descent in made.trials(folder).items():
            say(console, f"{trial}: {descent.done} of {descent.states} trainings done")
        return
    try:
        with Trainings(console) as trainings:
            errors = drive(made, folder, Pool(workers), only=only, tell=trainings.tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from None
    for trial, error in errors.items():
        say(console, f"failed: {trial}: {error}")
    say(console, f"report: {made.report(folder)}")
    if errors:
        raise typer.Exit(1)
