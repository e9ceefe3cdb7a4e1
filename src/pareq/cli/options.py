"""Arguments and options that several commands take, and how a command speaks."""

from typing import Annotated

import typer
from rich.console import Console

from pareq.recipe.presets import presets

__all__ = ["Changes", "DataPath", "Options", "Recipe", "Task", "say", "task_names"]


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


def say(console: Console, line: str) -> None:
    """Print a line as it is: nothing in it is markup, and it is not broken."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)
