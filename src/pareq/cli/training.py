"""Commands that train and compare."""

import json
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pareq.cli.options import Changes, DataPath, Options, Recipe, Task, say, task_names

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Add them to the command line."""
    here = "Train and compare"
    app.command(rich_help_panel=here)(train)
    app.command("eval", rich_help_panel=here)(evaluate)
    app.command(rich_help_panel=here)(report)
    app.command(rich_help_panel=here)(demo)


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
    from pareq.tasks.base import make_task
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
        score = make_task(task, trial.options).score_text
        board = stack.enter_context(Board(console, {name: made.training.epochs}, score))
        writer = stack.enter_context(closing(TensorBoard(tensorboard))) if tensorboard else None

        def tell(epoch: Epoch) -> None:
            board.tell(name, epoch)
            if writer is not None:
                writer(epoch)

        run = trial.run(folder, on_epoch=tell, keep=keep)
    console.print(outcome(run))
    say(console, f"kept in {folder}")


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
    from pareq.cli.tables import figures_table
    from pareq.train.trial import reopen

    _, task, net = reopen(run, task_options(None, data))
    figures = task.evaluate(net.model, task.load().test)
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        Console().print(figures_table(figures))


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

    say(Console(), f"report: {write(runs, out, title)}")


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Runs and report.")] = Path("demo"),
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 1,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Instead of those of the recipes.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trainings at a time; else one a core, at most 4.")
    ] = None,
    task: Annotated[str, typer.Option(help="Another task.", autocompletion=task_names)] = "jets",
) -> None:
    """Train a jet tagger in four variants, compare them, and write a report.

    Float; pruned to 20 % of its weights; quantized to 6 bits; both.
    The same command goes on where it stopped.
    """
    from pareq.cli.demo import Demo

    Demo(task, out, seeds, epochs, workers).run(Console())
