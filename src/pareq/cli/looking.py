"""Commands that look before something is trained."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pareq.cli.options import Changes, DataPath, Options, Recipe, Task, say, task_names
from pareq.errors import DataError, at

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Add them to the command line."""
    here = "Look before"
    app.command("list", rich_help_panel=here)(list_)
    app.command(rich_help_panel=here)(show)
    app.command(rich_help_panel=here)(check)
    app.command(rich_help_panel=here)(data)


def _kinds() -> list[str]:
    from pareq.cli.listing import KINDS

    return list(KINDS)


def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="Such as operators.", autocompletion=_kinds)
    ] = None,
) -> None:
    """Say what tasks, recipes, operators, schedules, ... there are, with their fields.

    [bold]Examples[/]
    pareq list
    pareq list operators
    """
    from pareq.cli.listing import listing

    Console().print(listing(kind))


def show(recipe: Recipe, change: Changes = None) -> None:
    """Print a recipe in its canonical form, such as the start of your own.

    [bold]Example[/]
    pareq show qap > my.toml
    """
    from pareq.cli.arguments import chosen_recipe
    from pareq.recipe.config import dump_recipe

    sys.stdout.write(dump_recipe(chosen_recipe(recipe, change)))


def check(
    recipe: Recipe,
    task: Annotated[
        str, typer.Option(help="The task whose model is meant.", autocompletion=task_names)
    ] = "jets",
    change: Changes = None,
    option: Options = None,
) -> None:
    """Say which tensors each rule of a recipe meets in the model of a task.

    [bold]Example[/]
    pareq check my.toml --task digits
    """
    from pareq.cli.arguments import chosen_recipe, task_options
    from pareq.cli.tables import meetings
    from pareq.tasks import make_task
    from pareq.train.trial import network

    made = chosen_recipe(recipe, change)
    with at(recipe):
        net = network(make_task(task, task_options(option)), made)
    Console().print(meetings(net))


def data(  # noqa: PLR0913 - as in train
    task: Task,
    info: Annotated[bool, typer.Option("--info", help="Say what the data are.")] = False,
    generate: Annotated[
        int | None, typer.Option(metavar="N", help="Make N jets (needs the extra jets).")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same jets.")] = 0,
    out: Annotated[Path, typer.Option(metavar="FILE", help="An npz file.")] = Path("jets.npz"),
    workers: Annotated[int | None, typer.Option(help="Processes; else one a core.")] = None,
    option: Options = None,
    data: DataPath = "",
) -> None:
    """Look at the data of a task, or generate jets with Pythia and FastJet.

    Generation goes on where it was stopped.
    Its result depends on the seed alone, not on the number of processes.

    [bold]Examples[/]
    pareq data jets --info
    pareq data jets --generate 100000 --seed 7 --out mine.npz
    pareq data jets --info --data mine.npz
    """
    from pareq.cli.arguments import task_options
    from pareq.cli.tables import contents
    from pareq.tasks import make_task

    console = Console()
    if generate is not None:
        if task != "jets":
            raise DataError(f"only jets can be generated, got {task!r}; leave out --generate")
        path = _generate(console, generate, seed, out, workers)
        say(console, f"kept in {path}")
    elif info:
        made = make_task(task, task_options(option, data))
        console.print(contents(made.load(), made.classes))
    else:
        raise DataError("expected --info or --generate N; see pareq data --help")


def _generate(console: Console, n: int, seed: int, out: Path, workers: int | None) -> Path:
    from pareq.cli.live import Counter
    from pareq.tasks.jets.generate import generate

    with Counter(console, "jets") as counter:
        return generate(n, seed, out, workers=workers, progress=counter.tell)
