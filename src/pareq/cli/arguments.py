"""What the arguments of commands mean."""

from collections.abc import Sequence
from pathlib import Path

from pareq.errors import DataError
from pareq.recipe.config import change_recipe, parse_value
from pareq.recipe.presets import find_recipe
from pareq.recipe.recipe import Recipe

__all__ = ["chosen_recipe", "task_options"]


def chosen_recipe(
    name: str,
    changes: Sequence[str] | None,
    *,
    seed: int | None = None,
    epochs: int | None = None,
) -> Recipe:
    """The recipe of that name or file, with `--set` changes, then `--seed` and `--epochs`.

    Raises RecipeError.
    """
    wanted = {"seed": seed, "epochs": epochs}
    short = [f"training.{key}={value}" for key, value in wanted.items() if value is not None]
    return change_recipe(find_recipe(name), [*(changes or ()), *short])


def task_options(options: Sequence[str] | None, data: str = "") -> dict[str, object]:
    """What `--option KEY=VALUE` and `--data` mean, as `make_task` wants it.

    A path that exists becomes absolute, so that the run can be opened from elsewhere. Raises
    DataError.
    """
    made: dict[str, object] = {}
    for text in options or ():
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise DataError(f"expected KEY=VALUE, got {text!r}", where="--option")
        made[key.strip()] = parse_value(value.strip())
    if data:
        path = Path(data)
        made["data"] = str(path.resolve()) if path.exists() else data
    return made
