"""What can be named in a recipe or a command, with one line each."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import get_type_hints

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pareq.backends import BACKENDS
from pareq.operators.base import OPERATORS
from pareq.operators.schedule import SCHEDULES
from pareq.pruners import PATTERNS, SCORES
from pareq.quantizers import RANGES
from pareq.recipe.config import type_in_words
from pareq.recipe.presets import presets
from pareq.recipe.recipe import Training
from pareq.registry import Registry
from pareq.tasks import TASKS

__all__ = ["KINDS", "listing"]

# For things that are values or foreign functions and have no docstring of their own.
_LINES: Mapping[str, Mapping[str, str]] = {
    "scores": {"magnitude": "The absolute value."},
    "patterns": {
        "unstructured": "Each element by itself.",
        "channel": "All elements of an output channel stand or fall together.",
    },
    "ranges": {
        "max": "The largest magnitude; over several tensors the largest of all.",
        "moving_average": "The largest magnitude; over several tensors an average, momentum 0.9.",
        "percentile": "The 99.9 % quantile of the magnitudes; averaged as moving_average.",
        "mse": "The power-of-two grid with the least mean square error; averaged.",
    },
}

_Entry = tuple[str, str, type | None]  # name, one line, and the dataclass whose fields to show


def listing(kind: str | None) -> RenderableType:
    """All of one kind with their fields, or all kinds with their names.

    Raises UnknownName for a kind that does not exist.
    """
    if kind is None:
        return _overview()
    parts: list[RenderableType] = []
    for name, line, fielded in KINDS[kind]():
        parts.append(Text.assemble((name, "bold"), "  ", line))
        rows = list(_fields(fielded)) if fielded else []
        if rows:
            parts.append(Padding(_table(rows), (0, 0, 1, 4)))
    return Group(*parts)


def _overview() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for kind, entries in KINDS.items():
        table.add_row(kind, ", ".join(name for name, _, _ in entries()))
    return table


def _table(rows: list[tuple[str, str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column()
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _fields(kind: type) -> Iterator[tuple[str, str, str]]:
    """Name, values and default of each field of a dataclass."""
    types = get_type_hints(kind)
    for f in fields(kind):
        if f.init:
            default = "needed" if f.default is MISSING else f"default {_shown(f.default)}"
            yield f.name, type_in_words(types[f.name]), default


def _shown(value: object) -> str:
    """A default as TOML writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _classes(registry: Mapping[str, type]) -> Callable[[], Iterator[_Entry]]:
    def entries() -> Iterator[_Entry]:
        for name, kind in registry.items():
            yield name, _first_line(kind), kind if is_dataclass(kind) else None

    return entries


def _registered(kind: str, registry: Mapping[str, object]) -> Callable[[], Iterator[_Entry]]:
    def entries() -> Iterator[_Entry]:
        for name, thing in registry.items():
            yield name, _LINES[kind].get(name) or _first_line(thing), None

    return entries


def _recipes() -> Iterator[_Entry]:
    for name, line in presets().items():
        yield name, line, None


def _training() -> Iterator[_Entry]:
    yield "training", _first_line(Training), Training


def _backends() -> Iterator[_Entry]:
    for name, backend in BACKENDS.items():
        yield name, _first_line(type(backend)), None


KINDS: Registry[Callable[[], Iterator[_Entry]]] = Registry("list")
KINDS.add("tasks", _classes(TASKS))
KINDS.add("recipes", _recipes)
KINDS.add("operators", _classes(OPERATORS))
KINDS.add("schedules", _classes(SCHEDULES))
KINDS.add("scores", _registered("scores", SCORES))
KINDS.add("patterns", _registered("patterns", PATTERNS))
KINDS.add("ranges", _registered("ranges", RANGES))
KINDS.add("training", _training)
KINDS.add("backends", _backends)
