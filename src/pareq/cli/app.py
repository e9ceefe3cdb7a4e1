"""The commands; each reads its arguments and calls the library.

| exit status | means |
|---|---|
| 0 | done |
| 1 | a training failed |
| 2 | the command, or what it was given, was refused |
| 130 | stopped by Ctrl-C |
"""

import json
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from pareq import __version__
from pareq.errors import DataError, PareqError, RunError, at
from pareq.recipe.presets import presets

__all__ = ["app", "main"]

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
            trains = ctx.invoked_subcommand in ("train", "demo")
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

_DO, _LOOK = "Train and compare", "Look before"


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


def _task_names() -> list[str]:
    from pareq.tasks import TASKS

    return list(TASKS)


def _recipe_names() -> list[tuple[str, str]]:
    return list(presets().items())


def _kinds() -> list[str]:
    from pareq.cli.listing import KINDS

    return list(KINDS)


Task = Annotated[
    str, typer.Argument(metavar="TASK", help="Such as jets.", autocompletion=_task_names)
]
Recipe = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", help="The name of a preset, or a file.", autocompletion=_recipe_names
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of the task; repeatable."),
]
DataPath = Annotated[
    str, typer.Option("--data", metavar="PATH", help="Other data: a file, a folder or a name.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable."
    ),
]


@app.command(rich_help_panel=_DO)
def train(  # noqa: PLR0913 - a command's parameters are its options
    task: Task,
    recipe: Recipe,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder; else runs/TASK-RECIPE-seedN."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    change: Changes = None,
    option: Options = None,
    data: DataPath = "",
    label: Annotated[str, typer.Option(help="What reports call this run.")] = "",
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write TensorBoard events there too.")
    ] = None,
) -> None:
    """Train a network as a recipe says; the same command goes on where it stopped.

    A run is a folder: recipe, metrics of each epoch, checkpoints, result.
    It may be killed at any moment; the same command continues it bit for bit.

    [bold]Examples[/]
    pareq train jets qap
    pareq train jets my.toml --out runs/mine --seed 3
    pareq train jets qap --set rule.2.op.bits=4 --set training.epochs=200
    pareq train digits qap --option network=cnn
    """
    from pareq.cli.arguments import chosen_recipe, task_options
    from pareq.cli.live import Board
    from pareq.cli.tables import outcome
    from pareq.recipe.config import dump_recipe
    from pareq.train.journal import Epoch
    from pareq.train.loop import Keep
    from pareq.train.tensorboard import TensorBoard
    from pareq.train.trial import Trial

    made, name = chosen_recipe(recipe, change, seed=seed, epochs=epochs), Path(recipe).stem
    folder = out or Path("runs") / f"{task}-{name}-seed{made.training.seed}"
    trial = Trial(task, dump_recipe(made), task_options(option, data))
    keep = Keep(label=label, command=("pareq", *sys.argv[1:]))
    console = Console()
    with ExitStack() as stack:
        board = stack.enter_context(Board(console, {name: made.training.epochs}))
        writer = stack.enter_context(closing(TensorBoard(tensorboard))) if tensorboard else None

        def tell(epoch: Epoch) -> None:
            board.tell(name, epoch)
            if writer is not None:
                writer(epoch)

        run = trial.run(folder, on_epoch=tell, keep=keep)
    console.print(outcome(run))
    _tell(console, f"kept in {folder}")


@app.command("eval", rich_help_panel=_DO)
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    data: DataPath = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the best network of a run on the test split, or on that of other data.

    [bold]Examples[/]
    pareq eval runs/mine
    pareq eval runs/mine --data other-jets.npz --json
    """
    from pareq.cli.arguments import task_options
    from pareq.cli.tables import quality_table
    from pareq.train.trial import reopen

    _, task, net = reopen(run, task_options(None, data))
    figures = task.evaluate(net.model, task.load().test)
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        Console().print(quality_table(figures))


@app.command(rich_help_panel=_DO)
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUNS...", help="Run folders, or folders of runs.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The HTML file.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Instead of one made from the tasks.")] = None,
) -> None:
    """Write one HTML file about some runs: tables, figures, recipes; no network needed.

    Runs that differ by their seed only are one variant, with mean and spread.

    [bold]Example[/]
    pareq report runs --out report.html
    """
    from pareq.report.page import report as write

    _tell(Console(), f"report: {write(runs, out, title)}")


@app.command(rich_help_panel=_DO)
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Runs and report.")] = Path("demo"),
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 1,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Instead of those of the recipes.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trainings at a time; else one a core, at most 4.")
    ] = None,
    task: Annotated[str, typer.Option(help="Another task.", autocompletion=_task_names)] = "jets",
) -> None:
    """Train a jet tagger in four variants, compare them, and write a report.

    Float; pruned to 20 % of its weights; quantized to 6 bits; both.
    The same command goes on where it stopped.
    """
    from pareq.cli.demo import Demo

    Demo(task, out, seeds, epochs, workers).run(Console())


@app.command("list", rich_help_panel=_LOOK)
def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="Such as operators.", autocompletion=_kinds)
    ] = None,
) -> None:
    """Say what tasks, recipes, operators, schedules, ... there are, with their fields.

    [bold]Examples[/]
    pareq list
    pareq list operators
    """
    from pareq.cli.listing import listing

    Console().print(listing(kind))


@app.command(rich_help_panel=_LOOK)
def show(recipe: Recipe, change: Changes = None) -> None:
    """Print a recipe in its canonical form, such as the start of your own.

    [bold]Example[/]
    pareq show qap > my.toml
    """
    from pareq.cli.arguments import chosen_recipe
    from pareq.recipe.config import dump_recipe

    sys.stdout.write(dump_recipe(chosen_recipe(recipe, change)))


@app.command(rich_help_panel=_LOOK)
def check(
    recipe: Recipe,
    task: Annotated[
        str, typer.Option(help="The task whose model is meant.", autocompletion=_task_names)
    ] = "jets",
    change: Changes = None,
    option: Options = None,
) -> None:
    """Say which tensors each rule of a recipe meets in the model of a task.

    [bold]Example[/]
    pareq check my.toml --task digits
    """
    from pareq.cli.arguments import chosen_recipe, task_options
    from pareq.cli.tables import meetings
    from pareq.tasks import make_task
    from pareq.train.trial import network

    made = chosen_recipe(recipe, change)
    with at(recipe):
        net = network(make_task(task, task_options(option)), made)
    Console().print(meetings(net))


@app.command(rich_help_panel=_LOOK)
def data(  # noqa: PLR0913 - as in train
    task: Task,
    info: Annotated[bool, typer.Option("--info", help="Say what the data are.")] = False,
    generate: Annotated[
        int | None, typer.Option(metavar="N", help="Make N jets (needs the extra jets).")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same jets.")] = 0,
    out: Annotated[Path, typer.Option(metavar="FILE", help="An npz file.")] = Path("jets.npz"),
    workers: Annotated[int | None, typer.Option(help="Processes; else one a core.")] = None,
    option: Options = None,
    data: DataPath = "",
) -> None:
    """Look at the data of a task, or generate jets with Pythia and FastJet.

    Generation goes on where it was stopped.
    Its result depends on the seed alone, not on the number of processes.

    [bold]Examples[/]
    pareq data jets --info
    pareq data jets --generate 100000 --seed 7 --out mine.npz
    pareq data jets --info --data mine.npz
    """
    from pareq.cli.arguments import task_options
    from pareq.cli.tables import contents
    from pareq.tasks import make_task

    console = Console()
    if generate is not None:
        if task != "jets":
            raise DataError(f"only jets can be generated, got {task!r}; leave out --generate")
        path = _generate(console, generate, seed, out, workers)
        _tell(console, f"kept in {path}")
    elif info:
        made = make_task(task, task_options(option, data))
        console.print(contents(made.load(), made.classes))
    else:
        raise DataError("expected --info or --generate N; see pareq data --help")


def _generate(console: Console, n: int, seed: int, out: Path, workers: int | None) -> Path:
    from pareq.cli.live import Counter
    from pareq.tasks.jets.generate import generate

    with Counter(console, "jets") as counter:
        return generate(n, seed, out, workers=workers, progress=counter.tell)


def _tell(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
