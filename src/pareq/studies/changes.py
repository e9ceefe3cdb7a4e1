"""Settings of a study as a person types them: options of the command, and `KEY=VALUE`."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, TypeVar

from pareq.errors import StudyError, at
from pareq.recipe.config import parse_value
from pareq.registry import suggest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["begun", "changed", "typed"]

P = TypeVar("P", bound="DataclassInstance")

_KINDS: Mapping[type, tuple[type, ...]] = {float: (float, int), int: (int,), str: (str,)}


def begun(
    matrices: Mapping[str, P], matrix: str, data: str, epochs: int | None, repeats: int | None
) -> tuple[P, tuple[str, ...]]:
    """The protocol of a matrix with its own epochs and seeds, and the words that say so.

    Raises StudyError for a matrix that there is not, and numbers below 1.
    """
    if matrix not in matrices:
        raise StudyError(f"unknown matrix {matrix!r}{suggest(matrix, matrices)}")
    for name, value in (("epochs", epochs), ("repeats", repeats)):
        if value is not None and value < 1:
            raise StudyError(f"{name} must be 1 or more, got {value}")
    own = {"epochs": epochs, "seeds": repeats}
    used = replace(matrices[matrix], **{key: value for key, value in own.items() if value})
    given = {"data": data, "epochs": epochs, "repeats": repeats}.items()
    return used, tuple(word for key, v in given if v for word in (f"--{key}", str(v)))


def typed(task: str, options: Mapping[str, object], changes: Sequence[str]) -> tuple[str, ...]:
    """The words of a command that name a task, its options and changes."""
    words = ["--task", task] if task else []
    words += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return (*words, *(word for change in changes for word in ("--set", change)))


def changed(protocol: P, changes: Sequence[str]) -> P:
    """The protocol with the changes in it; a single value where a list belongs is one of one.

    Raises StudyError for a key that it does not have, and a value of another kind.
    """
    known = {f.name: getattr(type(protocol)(), f.name) for f in fields(protocol)}
    values: dict[str, object] = {}
    for change in changes:
        key, sign, text = (part.strip() for part in change.partition("="))
        with at(f"--set {change}"):
            if not sign:
                raise StudyError("expected KEY=VALUE, such as bits=4")
            if key not in known:
                raise StudyError(f"unknown key {key!r}{suggest(key, known)}")
            values[key] = _fitting(parse_value(text), known[key])
    return replace(protocol, **values)


def _fitting(value: object, like: object) -> object:
    """The value, if it is of the kind of `like`."""
    if isinstance(like, tuple):
        parts = value if isinstance(value, list) else [value]
        if isinstance(value, str) and value[:1] + value[-1:] == "[]":  # texts without quotes
            parts = [part.strip() for part in value[1:-1].split(",")]
        first = "" if not like else like[0]
        return tuple(_fitting(part, first) for part in parts)
    if isinstance(like, bool) or isinstance(value, bool):
        if type(like) is not type(value):
            raise StudyError(f"expected a value such as {like!r}, got {value!r}")
        return value
    if not isinstance(value, _KINDS[type(like)]):
        raise StudyError(f"expected a value such as {like!r}, got {value!r}")
    return type(like)(value)  # type: ignore[call-arg]
