"""Reference pages, written from docstrings while mkdocs builds (see `hooks` in mkdocs.yml)."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import pareq
from pareq.cli.app import app

_PARTS = {  # folder or file of the package -> heading, in the order of the page
    "attach": "Attach",
    "recipe": "Recipes",
    "operators": "Operators and schedules",
    "quantizers": "Quantizers",
    "pruners": "Pruning and penalties",
    "numerics": "Numbers",
    "train": "Training",
    "tasks": "Tasks",
    "metrics": "Metrics",
    "report": "Reports",
    "errors": "Errors",
}
_WIDTH = 76  # of a signature on one line


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated page to those on disk."""
    files.append(File.generated(config, "reference/python.md", content=_names()))
    files.append(File.generated(config, "reference/commands.md", content=_commands()))
    return files


def _commands() -> str:
    """One page: every command with its text, arguments and options."""
    program = typer.main.get_command(app)
    lines = ["# Commands", "", program.help, "", *_options(program), ""]
    for name, command in program.commands.items():
        lines += [f"## pareq {name}", "", *_help(command.help), "", *_options(command), ""]
    return "\n".join(lines)


def _help(text: str) -> Iterator[str]:
    """The help of a command; what follows the word Examples is code."""
    words, _, examples = re.sub(r"\[bold\]Examples?\[/\]", "\f", text).partition("\f")
    yield words.strip()
    if examples:
        yield from ("", "```", examples.strip(), "```")


def _options(command: object) -> Iterator[str]:
    """A table of the arguments and options of a command."""
    yield from ("| argument or option | what it is |", "|---|---|")
    for one in command.params:
        is_argument = one.param_type_name == "argument"
        name = one.metavar if is_argument else ", ".join(one.opts)
        value = f" {one.metavar}" if one.metavar and not is_argument else ""
        default = "" if one.default in (None, "", False) else f" Default: `{one.default}`."
        yield f"| `{name}{value}` | {one.help}{default} |"


def _names() -> str:
    """Every public class and function, under the part of the house that it lives in."""
    parts: dict[str, list[str]] = defaultdict(list)
    for name in sorted(pareq.__all__, key=str.lower):
        thing = getattr(pareq, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            parts[thing.__module__.split(".")[1]] += _entry(name, thing)
    lines = ["# Python", "", "What `import pareq` offers; each name loads at its first use.", ""]
    for part in [*_PARTS, *sorted(set(parts) - set(_PARTS))]:
        if part in parts:
            lines += [f"## {_PARTS.get(part, part.capitalize())}", "", *parts[part]]
    return "\n".join(lines)


def _entry(name: str, thing: type | object) -> Iterator[str]:
    yield from (f"### {name}", "", "```python", f"{name}{_signature(thing)}", "```", "")
    yield from (_text(thing), "")
    for member, held in _members(thing):
        is_property = isinstance(held, property)
        inner = held.fget if is_property else getattr(held, "__func__", held)
        call = "" if is_property else _signature(inner, skip=1)
        first = re.split(r"(?<=\.)\s|\n\n", _text(inner))[0].replace("\n", " ")
        yield f"- `{member}{call}`: {first}"
    yield ""


def _members(thing: object) -> Iterator[tuple[str, object]]:
    """Public methods and properties that a class defines itself and explains."""
    if not inspect.isclass(thing):
        return
    for name, held in vars(thing).items():
        kind = isinstance(held, classmethod | property) or inspect.isfunction(held)
        if kind and not name.startswith("_") and held.__doc__:
            yield name, held


def _signature(thing: object, skip: int = 0) -> str:
    """Arguments with their defaults; the text says the types in words."""
    bare = []
    for parameter in list(inspect.signature(thing).parameters.values())[skip:]:
        made = "factory" in repr(parameter.default)  # a dataclass makes it anew each time
        default = _Dots() if made else parameter.default
        bare.append(parameter.replace(annotation=inspect.Parameter.empty, default=default))
    line = str(inspect.Signature(bare))
    if len(line) <= _WIDTH or skip:
        return line
    return "(\n" + "".join(f"    {one},\n" for one in _starred(bare)) + ")"


def _starred(parameters: list[inspect.Parameter]) -> Iterator[str]:
    """Each parameter, with the star that stands before those given by name only."""
    kinds = [parameter.kind for parameter in parameters]
    named = parameters[0].VAR_POSITIONAL in kinds
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not named:
            named = True
            yield "*"
        yield str(parameter)


class _Dots:
    def __repr__(self) -> str:
        return "..."


def _text(thing: object) -> str:
    """A docstring as Markdown: outside of code, stars, underscores and brackets are themselves."""
    pieces = re.split(r"(`[^`]*`)", inspect.getdoc(thing) or "")
    return "".join(p if p.startswith("`") else re.sub(r"([*_<])", r"\\\1", p) for p in pieces)
