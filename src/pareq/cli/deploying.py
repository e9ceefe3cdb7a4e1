"""Commands that turn a trained network into a program."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console

from pareq.cli.options import say
from pareq.errors import at

if TYPE_CHECKING:
    from pareq.backends import Verilog

__all__ = ["Artefacts", "add", "emitters", "emitting"]


def add(app: typer.Typer) -> None:
    """Add them to the command line."""
    here = "Deploy"
    app.command(rich_help_panel=here)(lower)
    app.command(rich_help_panel=here)(build)
    app.command(rich_help_panel=here)(verify)
    app.command(rich_help_panel=here)(bench)


def _backends() -> list[str]:
    from pareq.backends import BACKENDS

    return list(BACKENDS)


def emitters() -> list[str]:
    """Their names."""
    from pareq.backends.verilog.backend import Emitter

    return list(get_args(Emitter))


Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]
Artefacts = Annotated[
    list[Path], typer.Argument(metavar="RUN|ARTEFACT...", help="Runs, or what was built.")
]


def lower(run: Run) -> None:
    """Turn the best network of a run into integers, exactly, and say what became of it.

    The graph is kept in RUN/graph. Every output on the test split is compared with the network.

    [bold]Example[/]
    pareq lower runs/mine
    """
    from pareq.cli.integers import lowered
    from pareq.train.deploy import lower_run

    console = Console()
    with console.status("lowering, and comparing with the network"):
        found = lower_run(run)
    console.print(lowered(found))
    say(console, f"kept in {run / 'graph'}")


def build(
    run: Run,
    backend: Annotated[
        str,
        typer.Argument(
            metavar="BACKEND", help="Such as c; see pareq list backends.", autocompletion=_backends
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Else RUN/build/BACKEND.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the model, in the code; else the task's.")] = "",
    emitter: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Of verilog: best, native or alkaid.", autocompletion=emitters
        ),
    ] = "",
) -> None:
    """Write the integers of a run as a program; lowers the run first where that is to be done.

    [bold]Examples[/]
    pareq build runs/mine c
    pareq build runs/mine onnx --out deploy --name tagger
    pareq build runs/mine verilog --emitter native
    """
    from pareq.cli.integers import files
    from pareq.errors import BackendError
    from pareq.train.deploy import build_run

    if emitter and backend != "verilog":
        raise BackendError(
            f"is of the back end verilog, {backend!r} has none; leave it out", where="--emitter"
        )
    console = Console()
    with console.status(f"building {backend}"):
        made = build_run(run, emitting(emitter) if emitter else backend, out, name=name)
    console.print(files(made))


def emitting(emitter: str) -> "Verilog":
    """The Verilog back end with an emitter by its name. Raises UnknownName."""
    from pareq.backends import Verilog
    from pareq.errors import UnknownName
    from pareq.registry import suggest

    if emitter not in emitters():
        raise UnknownName(f"unknown emitter {emitter!r}{suggest(emitter, emitters())}")
    return Verilog(emitter=emitter)  # type: ignore[arg-type]  # checked


def verify(
    what: Artefacts,
    rows: Annotated[int, typer.Option(min=0, help="Random samples beside the test split.")] = (
        1_000_000
    ),
    seed: Annotated[int, typer.Option(help="The same seed gives the same samples.")] = 0,
) -> None:
    """Prove that programs give the integers of their graph: every one, or an error.

    Compared are the test split of the run, the smallest and the largest inputs, and random ones.
    The first difference is an error that names op, sample, index and both integers.

    [bold]Examples[/]
    pareq verify runs/mine
    pareq verify runs/mine/build/c --rows 100000
    """
    from pareq.cli.integers import Proof
    from pareq.cli.live import Counter
    from pareq.train.deploy import chosen

    console = Console()
    for place in chosen(what):
        proof = Proof.of(place, rows, seed)
        with at(str(place)), Counter(console, "samples", lines=0) as counter:
            proved = proof.run(counter.tell)
        say(console, f"{place}: {proved}")


def bench(
    what: Artefacts,
    rows: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 1024,
    seconds: Annotated[float, typer.Option(min=0.001, help="Of each of 9 measurements.")] = 0.1,
) -> None:
    """Time programs in one thread, beside ONNX Runtime with the float network.

    They take turns; shown is the median. The float network needs the extra onnx.

    [bold]Examples[/]
    pareq bench runs/mine
    pareq bench runs/mine/build/c --rows 16384
    """
    from pareq.cli.integers import Race
    from pareq.cli.live import Counter
    from pareq.train.deploy import chosen

    console = Console()
    for race in Race.over(chosen(what)):
        with Counter(console, "measurements", lines=0) as counter:
            found = race.run(rows, seconds, counter.tell)
        console.print(race.table(found))
        if race.missing:
            say(console, race.missing)
