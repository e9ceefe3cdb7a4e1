"""Recipes as strict TOML, both ways.

| key | value |
|---|---|
| training.FIELD | a field of `Training` |
| rule[].where, rule[].exclude | patterns of sites |
| rule[].op | `{ name = OPERATOR, FIELD = ... }` |
| rule[].when | `{ name = SCHEDULE, FIELD = ... }`; from the first step on when left out |

A position keeps its type: 300 is a step, 0.3 a fraction of the run, "3 epochs" a text. Nothing is
guessed: an unknown key, a missing one and a value of the wrong type are errors.
"""

import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

import pareq.pruners
import pareq.quantizers  # noqa: F401 - both register their operators
from pareq.errors import PareqError, RecipeError, at
from pareq.operators.base import OPERATORS, Operator
from pareq.operators.schedule import SCHEDULES, Position, Schedule
from pareq.recipe.recipe import Recipe, Rule, Training
from pareq.registry import Registry, suggest

__all__ = [
    "change_recipe",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "parse_value",
    "type_in_words",
]

Table: TypeAlias = dict[str, object]
Made = TypeVar("Made", Training, Operator, Schedule)
Named = TypeVar("Named", Operator, Schedule)


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file.

    Raises RecipeError, with the file and the key, when it cannot be read or meant.
    """
    file = Path(path)
    with at(str(path)):
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(
                f"is not UTF-8 text (byte {error.start}); give a recipe in TOML"
            ) from None
        except IsADirectoryError:
            raise RecipeError("is a folder; give the recipe file in it") from None
        except FileNotFoundError:
            raise RecipeError("does not exist; give a recipe file in TOML") from None
        except OSError as error:
            raise RecipeError(f"cannot be read ({error.strerror}); check its permissions") from None
    return parse_recipe(text, str(path))


def parse_recipe(text: str, where: str = "recipe") -> Recipe:
    """The recipe that a TOML text means; `where` stands in front of each error.

    Raises RecipeError.
    """
    with at(where):
        return _recipe(_toml(text))


def dump_recipe(recipe: Recipe) -> str:
    """The canonical TOML text of a recipe; `parse_recipe` reads it back as an equal one.

    Training and schedules are written whole, of operators the fields that differ from the defaults.
    """
    lines = ["[training]"]
    lines += [f"{key} = {_value(value)}" for key, value in _whole(recipe.training).items()]
    for rule in recipe.rules:
        lines += ["", "[[rule]]", f"where = {_value(rule.where)}"]
        if rule.exclude:
            lines.append(f"exclude = {_value(rule.exclude)}")
        config = rule.op.config()
        shown = {key: value for key, value in _whole(rule.op).items() if key in config}
        lines.append(f"op = {_inline(rule.op.name, shown)}")
        lines.append(f"when = {_inline(rule.when.name, _whole(rule.when))}")
    return "\n".join(lines) + "\n"


def change_recipe(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe with some keys changed, each as `training.epochs=50` or `rule.2.op.bits=4`.

    Rules count from 1. A value is TOML, or a text where it is not: `training.optimizer=sgd`.
    Raises RecipeError for a key that no recipe has.
    """
    for change in changes:
        with at(change):
            recipe = _changed(recipe, change)
    return recipe


def parse_value(text: str) -> object:
    """The value of a TOML text, or the text itself where it is not TOML: 3, 0.3, true, adam."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _changed(recipe: Recipe, change: str) -> Recipe:
    path, sign, text = change.partition("=")
    first, *keys = path.strip().split(".")
    if not sign or not keys:
        raise RecipeError("expected KEY=VALUE, such as training.epochs=50 or rule.1.op.bits=4")
    content = _toml(dump_recipe(recipe))
    here: object = content.get(first)
    if isinstance(here, list):
        number, *keys = keys
        if not number.isdecimal() or not 1 <= int(number) <= len(here):
            raise RecipeError(f"no rule {number}; the recipe has {len(here)} (the first is rule.1)")
        here = here[int(number) - 1]
    for key in keys[:-1]:
        here = here.get(key) if isinstance(here, dict) else None
    if not isinstance(here, dict) or not keys:
        raise RecipeError(
            f"no key {path.strip()!r} in a recipe; write training.FIELD or rule.NUMBER.op.FIELD"
        )
    here[keys[-1]] = parse_value(text.strip())
    return _recipe(content)


def _toml(text: str) -> Table:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise RecipeError("is nested too deeply") from None
    except ValueError as error:
        form = r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)"
        found = re.fullmatch(form, str(error), re.DOTALL)
        if not found:
            raise RecipeError(f"is not TOML ({error})") from None
        what, line, column = found.groups()
        where = (
            f"line {line}, column {column}" if line else f"line {len(text.splitlines())}, the end"
        )
        hint = "; texts stand in quotes" if what == "Invalid value" else ""
        raise RecipeError(f"is not TOML: {what[0].lower()}{what[1:]}{hint}", where=where) from None


def _recipe(content: Table) -> Recipe:
    for f in fields(Training):
        if f.name in content:
            raise RecipeError(f"{f.name!r} belongs into [training]; write it below that line")
    _check_keys(content, ("training", "rule"))
    training = content.get("training", {})
    rules = content.get("rule", [])
    if not isinstance(training, dict):
        raise RecipeError(f"must be a table [training], got {_shown(training)}", where="training")
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise RecipeError(f"must be tables [[rule]], got {_shown(rules)}", where="rule")
    made = [_rule(rule, f"rule {number}") for number, rule in enumerate(rules, 1)]
    return Recipe(*made, training=_made(Training, training, "training", "training"))


def _rule(table: Table, place: str) -> Rule:
    _check_keys(table, ("where", "op", "when", "exclude"), place)
    for key, example in (("where", '"*:weight"'), ("op", '{ name = "prune" }')):
        if key not in table:
            raise RecipeError(f"{key!r} is missing, such as {key} = {example}", where=place)
    where = _checked(str, table["where"], f"{place}.where")
    exclude = _checked(tuple[str, ...], table.get("exclude", []), f"{place}.exclude")
    op = _named(OPERATORS, table["op"], f"{place}.op")
    when = _named(SCHEDULES, table.get("when", {"name": "after"}), f"{place}.when")
    with at(place):
        return Rule(where, op, when, exclude)


def _named(kinds: Registry[type[Named]], value: object, place: str) -> Named:
    """An operator or a schedule from its table."""
    if not isinstance(value, dict):
        raise RecipeError(f'must be a table {{ name = "..." }}, got {_shown(value)}', where=place)
    if "name" not in value:
        raise RecipeError(f"'name' is missing{suggest('', kinds)}", where=place)
    name = _checked(str, value["name"], f"{place}.name")
    if name not in kinds:
        raise RecipeError(f"unknown {kinds.kind} {name!r}{suggest(name, kinds)}", where=place)
    given = {key: value for key, value in value.items() if key != "name"}
    return _made(kinds[name], given, place, name)


def _made(kind: type[Made], given: Mapping[str, object], place: str, name: str) -> Made:
    """A dataclass from the values of its fields."""
    known = {f.name: f for f in _fields(kind)}
    _check_keys(given, known, place, "" if name == place else f" of {name}")
    types = _types(kind)
    values = {key: _checked(types[key], value, f"{place}.{key}") for key, value in given.items()}
    for key, f in known.items():
        if key not in given and f.default is MISSING and f.default_factory is MISSING:
            fact = f"{key!r} is missing, expected {type_in_words(types[key])}"
            raise RecipeError(fact, where=f"{place} ({name})")
    try:
        return kind(**values)
    except PareqError as error:
        fact = error.fact.removeprefix(f"{name}.")
        key = re.match(r"\w*", fact)[0]  # type: ignore[index]  # matches any text
        if key in known:  # the place says it already
            raise RecipeError(fact[len(key) :].lstrip(":= "), where=f"{place}.{key}") from None
        raise RecipeError(fact, where=place) from None


def _check_keys(
    table: Mapping[str, object], known: Collection[str], place: str = "", of: str = ""
) -> None:
    for key in table:
        if key not in known:
            raise RecipeError(f"unknown key {key!r}{of}{suggest(key, known)}", where=place)


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def _checked(kind: Any, value: object, place: str) -> Any:
    """The value, once it has the type; whole numbers become real where those are expected."""
    given = tuple(value) if isinstance(value, list) else value
    try:
        return _adapter(kind).validate_python(given)
    except ValidationError:
        if get_origin(kind) is Literal and isinstance(value, str):
            names = [str(name) for name in get_args(kind)]
            raise RecipeError(
                f"unknown name {value!r}{suggest(value, names)}", where=place
            ) from None
        raise RecipeError(
            f"must be {type_in_words(kind)}, got {_shown(value)}", where=place
        ) from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=_STRICT)


def _fields(thing: Any) -> list[Field[Any]]:
    return [f for f in fields(thing) if f.init]


def _types(kind: type) -> dict[str, object]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in _fields(kind)}


_WORDS: Mapping[object, str] = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "true or false",
    Position: 'a step, a fraction of the run or a text such as "3 epochs"',
}


def type_in_words(kind: object) -> str:
    """What a field of this type takes, as errors and lists say it."""
    if get_origin(kind) is tuple:
        return f"a list, each {type_in_words(get_args(kind)[0])}"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    if kind in _WORDS:
        return _WORDS[kind]
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(type_in_words(k) for k in get_args(kind) if k is not NoneType)
    return str(kind)


def _shown(value: object) -> str:
    """A value as the file has it, shortened."""
    text = _value(value) if isinstance(value, bool | int | float | str | list) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _whole(thing: Training | Operator | Schedule) -> dict[str, object]:
    """All fields but those that are None, real numbers as such."""
    values = {f.name: getattr(thing, f.name) for f in _fields(thing)}
    types = _types(type(thing))
    return {
        key: float(value) if types[key] is float else value
        for key, value in values.items()
        if value is not None
    }


def _inline(name: str, values: Mapping[str, object]) -> str:
    pairs = {"name": name, **values}
    return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in pairs.items()) + " }"


def _value(value: object) -> str:
    """A TOML value."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_value(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
