"""Settings of a study as a person types them: `KEY=VALUE`."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, TypeVar

from pareq.errors import StudyError, at
from pareq.recipe.config import parse_value
from pareq.registry import suggest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["changed"]

P = TypeVar("P", bound="DataclassInstance")

_KINDS: Mapping[type, tuple[type, ...]] = {float: (float, int), int: (int,), str: (str,)}


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
