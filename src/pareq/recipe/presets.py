"""The recipes that come with pareq; a preset is a TOML file beside this one.

Its first line is a comment that says what it is.
"""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from pareq.errors import RecipeError
from pareq.registry import suggest

if TYPE_CHECKING:
    from pareq.recipe.recipe import Recipe

__all__ = ["find_recipe", "presets"]


def presets() -> dict[str, str]:
    """What each preset is, in one line, by name."""
    return {name: text.partition("\n")[0].strip("# ") for name, text in sorted(_texts().items())}


def find_recipe(name: str) -> "Recipe":
    """The recipe with the name of a preset, or in the file at that path.

    Raises RecipeError, also for a name that is neither.
    """
    from pareq.recipe.config import load_recipe, parse_recipe  # needs torch, the names do not

    texts = _texts()
    if name in texts:
        return parse_recipe(texts[name], f"recipe {name}")
    path = Path(name)
    if path.suffix or len(path.parts) > 1 or path.exists():
        return load_recipe(name)
    raise RecipeError(
        f"unknown recipe {name!r}{suggest(name, texts)} (or the path of a file in TOML)"
    )


def _texts() -> dict[str, str]:
    return {
        file.name.removesuffix(".toml"): file.read_text(encoding="utf-8")
        for file in files(__package__).iterdir()
        if file.name.endswith(".toml")
    }
