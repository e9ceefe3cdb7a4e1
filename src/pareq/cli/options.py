"""Arguments and options that several commands take, and how a command speaks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pareq.recipe.presets import presets

if TYPE_CHECKING:
    from pareq.search.executor import Executor

__all__ = [
    "Changes",
    "DataPath",
    "Options",
    "RayAddress",
    "Recipe",
    "Task",
    "Workers",
    "executor",
    "say",
    "task_names",
]


def task_names() -> list[str]:
    """Those that a shell completes."""
    from pareq.tasks import TASKS

    return list(TASKS)


def _recipe_names() -> list[tuple[str, str]]:
    return list(presets().items())


Task = Annotated[
    str, typer.Argument(metavar="TASK", help="Such as jets.", autocompletion=task_names)
]
Recipe = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", help="The name of a preset, or a file.", autocompletion=_recipe_names
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of the task; repeatable."),
]
DataPath = Annotated[
    str, typer.Option("--data", metavar="PATH", help="Other data: a file, a folder or a name.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable."
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes, with a thread each; else one a core.")
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="Run on a Ray cluster: auto, HOST:PORT, local."),
]


def say(console: Console, line: str) -> None:
    """Print a line as it is: nothing in it is markup, and it is not broken."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def executor(ray: str | None, workers: int | None, shared: Path) -> "Executor":
    """The pool of this machine, or a cluster whose machines all see the folder `shared`."""
    from pareq.search.pool import Pool
    from pareq.search.ray import Ray

    return Pool(workers) if ray is None else Ray(ray, workers, shared=str(shared))
