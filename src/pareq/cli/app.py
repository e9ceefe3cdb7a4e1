"""The command line: groups of commands, and how it ends.

A group is a file beside this one with a function `add`; each command reads its arguments and calls
the library.

| exit status | means |
|---|---|
| 0 | done |
| 1 | a training failed |
| 2 | the command, or what it was given, was refused |
| 130 | stopped by Ctrl-C |
"""

import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from pareq import __version__
from pareq.cli import area, deploying, looking, studying, training, tuning
from pareq.errors import PareqError, RunError

__all__ = ["app", "main"]

TRAIN = {"train", "demo"}  # a RunError of these is a training that failed

# The base of all errors of usage; typer has its own click now, and needed click's before.
_ClickError: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


class Commands(TyperGroup):
    """The group of commands: what they raise becomes one line and an exit status."""

    def invoke(self, ctx: Any) -> object:
        """Run a command; with --debug, errors pass with their traceback."""
        try:
            return super().invoke(ctx)
        except PareqError as error:
            if ctx.params.get("debug"):
                raise
            _complain(str(error))
            trains = ctx.invoked_subcommand in TRAIN
            raise typer.Exit(1 if trains and isinstance(error, RunError) else 2) from None
        except KeyboardInterrupt as stop:
            _say(Text(str(stop) or "stopped"))
            raise typer.Exit(130) from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status; arguments: by default those of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in given:  # behind a command too
        given.remove("--debug")
        given.insert(0, "--debug")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # for plain terminals
    try:
        status = app(given, prog_name="pareq", standalone_mode=False)
    except _ClickError as error:
        _complain(_usage(error))
        status = 2
    except typer.Abort:
        _say(Text("stopped"))
        status = 130
    sys.exit(status if isinstance(status, int) else 0)


def _complain(line: str) -> None:
    _say(Text.assemble(("error: ", "bold red"), " ".join(line.split())))


def _say(words: Text) -> None:
    Console(stderr=True).print(words, soft_wrap=True)


def _usage(error: Any) -> str:
    """What was wrong with a command, in one line."""
    place = error.ctx.command_path if getattr(error, "ctx", None) else "pareq"
    fact = error.format_message().rstrip(".")
    fact = re.sub(r" \(Possible options: (.*)\)", r"; did you mean \1?", fact)
    fact = fact.replace(". Did", "; did")
    return f"{place}: {fact[:1].lower()}{fact[1:]}; see {place} --help"


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with [bold]pareq demo[/]; each command explains itself: pareq train --help",
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"pareq {__version__}\n")
        raise typer.Exit


@app.callback()
def pareq(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which it is.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Prune and quantize neural networks while they train."""


for group in (training, tuning, deploying, area, studying, looking):  # in the order of the help
    group.add(app)
