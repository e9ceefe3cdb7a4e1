"""A training as plain data: what crosses processes, and what a run folder remembers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pareq.attach.attach import Attached, attach
from pareq.errors import at
from pareq.recipe.config import parse_recipe
from pareq.recipe.recipe import Recipe
from pareq.tasks.base import Task, make_task
from pareq.train.journal import Epoch
from pareq.train.loop import Keep, restore, train
from pareq.train.run import Run, open_run
from pareq.train.start import Start

__all__ = ["Trial", "network", "reopen"]


@dataclass(frozen=True)
class Trial:
    """One training. task, options: as for `make_task`. recipe: its TOML text.

    start: what it begins with, instead of the weights that are drawn.
    """

    task: str
    recipe: str
    options: Mapping[str, object] = field(default_factory=dict)
    start: Start | None = None

    def run(
        self,
        out: str | Path | None = None,
        *,
        on_epoch: Callable[[Epoch], None] | None = None,
        keep: Keep | None = None,
    ) -> Run:
        """Build the task's model, attach the recipe and train; parameters as for `train`.

        The recipe's seed also draws the initial weights. Raises what `make_task`, `parse_recipe`,
        `attach`, `Start.apply` and `train` raise.
        """
        task = make_task(self.task, self.options)
        net = network(task, parse_recipe(self.recipe))
        if self.start is not None:
            self.start.apply(net)
        return train(net, task, out=out, on_epoch=on_epoch, keep=keep)


def network(task: Task, recipe: Recipe) -> Attached:
    """The task's model, drawn with the recipe's seed, with the recipe attached."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        model = task.model()
    return attach(model, recipe, example=task.example)


def reopen(
    folder: str | Path, options: Mapping[str, object] | None = None
) -> tuple[Run, Task, Attached]:
    """A run, its task, and the network of its best checkpoint in evaluation mode.

    options: of the task, where they shall differ from those of the run, such as other data.

    Raises RunError when the folder is no run or has no best network yet, CheckpointError when that
    is damaged.
    """
    run = open_run(folder)
    with at(str(folder)):
        task = make_task(run.about.task, {**run.about.task_options, **(options or {})})
        net = network(task, parse_recipe(run.recipe, "recipe.toml"))
    restore(net, folder)
    return run, task, net
