"""A small trained run that can be lowered."""

from pathlib import Path

import pytest

from pareq.backends.c.compiler import find
from pareq.errors import BackendError
from pareq.recipe.config import change_recipe, dump_recipe
from pareq.recipe.presets import find_recipe
from pareq.train.loop import Keep
from pareq.train.trial import Trial

__all__ = ["BACKEND", "compiler", "trained"]

BACKEND = "c"


def compiler() -> None:
    """Skip a module or a test, aloud, where there is no C compiler."""
    try:
        find()
    except BackendError as error:
        pytest.skip(f"NO C COMPILER: nothing is built; {error}", allow_module_level=True)


def trained(folder: Path, recipe: str = "qap", epochs: int = 3) -> Path:
    """A run on digits; a second."""
    changes = [f"training.epochs={epochs}", "training.batch_size=256"]
    text = dump_recipe(change_recipe(find_recipe(recipe), changes))
    keep = Keep(label=recipe, command=("pareq", "train", "digits", "mine.toml"))
    Trial("digits", text, {"widths": (8, 8)}).run(folder, keep=keep)
    return folder
