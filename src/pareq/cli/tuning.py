"""The command that searches a schedule."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pareq.cli.options import (
    Changes,
    DataPath,
    Options,
    RayAddress,
    Task,
    Workers,
    executor,
    say,
)
from pareq.errors import SearchError

if TYPE_CHECKING:
    from pareq.search.found import Found
    from pareq.search.schedules import Target
    from pareq.search.tune import Tune

__all__ = ["add"]

_EPOCHS, _RATE, _BATCH = 60, 3e-3, 64  # of a full training, where nothing else is said


def add(app: typer.Typer) -> None:
    """Add it to the command line."""
    app.command(rich_help_panel="Train and compare")(tune)


def tune(  # noqa: PLR0913 - a command's parameters are its options
    task: Task,
    bits: Annotated[
        str, typer.Option(metavar="N or N-M", help="Of weights and activations.")
    ] = "8",
    sparsity: Annotated[
        str, typer.Option(metavar="S or S-T", help="The share of each that is pruned.")
    ] = "0.5",
    bops: Annotated[
        float | None, typer.Option(help="At most so many bit operations; below 1: of the float's.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(help="At most so many bytes; below 1: of the float's.")
    ] = None,
    luts: Annotated[
        float | None,
        typer.Option(help="At most so many look-up tables as firmware, estimated without a tool."),
    ] = None,
    budget: Annotated[float, typer.Option(help="The cost of the search, in full trainings.")] = 3.0,
    epochs: Annotated[int, typer.Option(min=1, help="Of a full training.")] = _EPOCHS,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    weights_only: Annotated[
        bool, typer.Option("--weights-only", help="Do not prune activations.")
    ] = False,
    change: Changes = None,
    option: Options = None,
    data: DataPath = "",
    workers: Workers = None,
    ray: RayAddress = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Runs and recipe; else tune/TASK.")
    ] = None,
) -> None:
    """Find in which order and when to prune and quantize, for at most some trainings.

    A short float run is probed, schedules of every order are tried in short, the search goes on
    around the best, and these are trained for longer; the last one in full.
    The same command goes on where it stopped.

    [bold]Examples[/]
    pareq tune digits --bits 3 --sparsity 0.8
    pareq tune digits --bits 2-8 --sparsity 0.3-0.9 --bops 0.02
    pareq tune jets --bits 4-8 --sparsity 0.5-0.9 --luts 3000 -o batch_norm=false
    pareq tune jets --epochs 30 --set training.batch_size=256
    pareq tune jets --out /shared/jets --ray auto
    """
    from pareq.cli.arguments import task_options
    from pareq.recipe.config import change_recipe
    from pareq.recipe.order import Places
    from pareq.recipe.recipe import Recipe, Training
    from pareq.search.tune import Tune
    from pareq.tasks.base import make_task

    usual = Training(epochs=epochs, batch_size=_BATCH, learning_rate=_RATE, decay="tail", seed=seed)
    options = task_options(option, data)
    make_task(task, options)
    tensors = "weights" if weights_only else "both"
    edges = (":input", ":output") if luts is not None else (":input",)
    made = Tune(
        task=task,
        target=_target((bits, sparsity), (bops, memory, luts), tensors),
        training=change_recipe(Recipe(training=usual), change or ()).training,
        options=options,
        places=Places(edges=edges),  # firmware begins and ends with integers
        budget=budget,
        command=("pareq", *sys.argv[1:]),
    )
    console = Console()
    folder = out or Path("tune") / task
    say(console, _how(made))
    try:
        crew = executor(ray, workers, folder)
        found = made.run(folder, crew, lambda line: say(console, line))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from None
    _show(console, made, found)


def _target(how: tuple[str, str], limits: tuple[float | None, ...], tensors: str) -> "Target":
    """Bits, sparsity and limit as the search wants them."""
    from pareq.search.schedules import LIMITS, Target

    given = [(n, v) for n, v in zip(LIMITS, limits, strict=True) if v is not None]
    if len(given) > 1:
        names = ", ".join(f"--{name}" for name, _ in given)
        raise SearchError("limit one of them, not several", where=names)
    limit, most = given[0] if given else ("", 0.0)
    bits, sparsity = how
    low, high = _range("--bits", bits)
    if low % 1 or high % 1:
        raise SearchError(f"expected whole numbers such as 8 or 3-8, got {bits!r}", where="--bits")
    return Target((int(low), int(high)), _range("--sparsity", sparsity), limit, most, tensors)


def _range(name: str, text: str) -> tuple[float, float]:
    parts = text.split("-")
    try:
        ends = [float(part) for part in parts]
    except ValueError:
        ends = []
    if not 1 <= len(ends) <= 2:
        raise SearchError(f"expected a number, or two such as 3-8, got {text!r}", where=name)
    return ends[0], ends[-1]


def _how(made: "Tune") -> str:
    if made.refine == "bayes":
        return "refines by Bayesian optimisation (BoTorch)"
    return (
        "refines by small changes of the best, since BoTorch is not installed;"
        " pip install 'pareq[bayes]' for Bayesian optimisation"
    )


def _show(console: Console, made: "Tune", found: "Found") -> None:
    """Every candidate, the layers, and the best."""
    from pareq.tasks.base import TASKS

    judged = TASKS[made.task].judged
    say(console, "rise of the validation loss when one tensor alone is changed, in one shot")
    console.print(_layers(found))
    name = judged.validated or judged.label
    say(console, f"validation {name} by the epochs of the run; times are shares of it")
    console.print(_tried(made, found, judged.factor))
    fronted = found.front
    if len(fronted) > 1:
        costs = ", ".join(f"{c.name} ({c.cost:,.0f})" for c in fronted)
        say(console, f"front of {judged.label} against {made.target.limit}: {costs}")
    score = f"{judged.factor * found.last.score:.2f} {judged.unit}".rstrip()
    say(
        console,
        f"best: {found.best.name} ({found.best.kind}), {judged.label} {score} on the test split;"
        f" trained {found.epochs} epochs, {found.trainings:.2f} full trainings",
    )
    if made.target.limit:
        say(console, f"{made.target.limit} of that network: {found.cost:,.0f}")
    if made.target.limit == "luts":
        build, count = f"pareq build {found.folder} verilog", f"pareq area {found.folder}"
        say(console, f"that is an estimate; count them by Yosys: {build} && {count}")
    say(console, f"recipe: {found.recipe}")
    say(console, f"run: {found.folder}")


def _layers(found: "Found") -> Table:
    table = Table("tensor", box=SIMPLE_HEAD)
    for name in ("pruned", "quantized"):
        table.add_column(name, justify="right")
    for each in found.probe.sites:
        pruned = "" if each.prune is None else f"{each.prune:+.3f}"
        table.add_row(each.site, pruned, f"{each.quantize:+.3f}")
    return table


def _tried(made: "Tune", found: "Found", factor: float) -> Table:
    """A row a schedule; the validation scores of its runs."""
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("schedule", no_wrap=True)
    table.add_column("order", no_wrap=True)
    heads = ["pruned in", "Q weights, others"]
    heads += ["bits", "share", made.target.limit] if made.target.limit else []
    for name in (*heads, *map(str, found.lengths)):
        table.add_column(name, justify="right", no_wrap=True)
    ranked: Sequence[int] = range(len(found.lengths))
    for c in sorted(found.candidates, key=lambda c: (-c.rung, c.losses.get(c.rung, 0.0))):
        begin, end = c.order.prune_weights or (0.0, 0.0)
        row = [c.name, c.kind, f"{begin:.2f}-{end:.2f}"]
        row.append(f"{c.order.quantize_weights:.2f}, {c.order.quantize_activations:.2f}")
        if made.target.limit:
            row += [f"{c.bits[0]}/{c.bits[1]}", f"{c.sparsity[0]:.2f}/{c.sparsity[1]:.2f}"]
            row.append(f"{c.cost:,.0f}")
        row += [f"{factor * c.scores[n]:.2f}" if n in c.scores else "" for n in ranked]
        table.add_row(*row)
    return table
