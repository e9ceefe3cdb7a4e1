"""The training loop, on one page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pareq.attach.attach import Attached
from pareq.errors import RunError, at
from pareq.recipe.recipe import Recipe
from pareq.tasks.base import Task
from pareq.train import checkpoint
from pareq.train.job import Job, pinned, put_best
from pareq.train.journal import Epoch
from pareq.train.run import Run, open_run
from pareq.train.store import Memory, opened

__all__ = ["Keep", "one_epoch", "restore", "train"]


@dataclass(frozen=True)
class Keep:
    """How a run is kept in its folder.

    epochs: a checkpoint at the end of every so many. seconds: and within an epoch, when the last
    one is older than this. step: the network after so many steps is kept for good, to rewind to
    (see `Start`). label: what a person calls the run. command: how it was started.
    """

    epochs: int = 1
    seconds: float = 60.0
    step: int | None = None
    label: str = ""
    command: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise RunError(f"keep.epochs must be 1 or more, got {self.epochs}")
        if not self.seconds >= 0:
            raise RunError(f"keep.seconds must be 0 or more, got {self.seconds}")
        if self.step is not None and self.step < 1:
            raise RunError(f"keep.step must be 1 or more, got {self.step}")


def train(
    net: Attached,
    task: Task,
    *,
    out: str | Path | None = None,
    epochs: int | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    keep: Keep | None = None,
) -> Run:
    """Train a network on a task as its recipe says; the same call again goes on where it stopped.

    out: the folder of the run; None keeps nothing on disk. epochs: instead of the recipe's.
    on_epoch: is told each epoch as it ends. At the end the model holds the best network, in
    evaluation mode: the one with the lowest validation loss once all schedules had ended. Resumed
    and straight runs agree bit for bit on a CPU, for models that draw random numbers from torch.

    Raises RunError when the folder holds another run, cannot be written or is in use, or the loss
    is not finite; CheckpointError when a checkpoint is damaged; KeyboardInterrupt, when a person
    stops it, with how to go on.
    """
    keep = keep or Keep()
    with at("train"):
        _check(net, task, epochs)
        job = Job(net, task, _with_epochs(net.recipe, epochs))
    with opened(out, job.about(keep.label, keep.command), job.text) as place, _marked(place):
        with pinned(place.about.threads, place.about.seed, job.device):
            if place.result is None:
                job.start(place)
                while not job.over:
                    one_epoch(job, place, keep, on_epoch)
                job.finish(place)
            else:
                put_best(net, place.best())
        return place.run()


def one_epoch(
    job: Job, place: Memory, keep: Keep, on_epoch: Callable[[Epoch], None] | None
) -> None:
    """The loop itself: what is left of the running epoch."""
    net, task, state = job.net, job.task, job.state
    optimizer = state.optimizer
    net.model.train()
    for x, y in job.batches_left():
        net.set_step(state.step)
        state.rate.set(optimizer, state.step)
        optimizer.zero_grad(set_to_none=True)
        loss = task.loss(net.model(x), y)
        penalty = net.penalty()
        torch.autograd.backward(loss + penalty)
        optimizer.step()
        state.count(loss, penalty, len(y))
        if state.step == keep.step:
            job.keep(place)
        if job.unsaved_seconds() > keep.seconds:
            job.save(place)
    epoch = job.close_epoch()
    place.append(epoch)
    if state.epoch % keep.epochs == 0 or job.over:
        job.save(place)
    if on_epoch is not None:
        on_epoch(epoch)


def restore(net: Attached, folder: str | Path) -> Run:
    """Put the best network of a run into `net`, a model with the same recipe; evaluation mode.

    Works on a run that has not finished, once an epoch was judged. Raises RunError when the folder
    is no run or has no best network, CheckpointError when that is damaged or of another model.
    """
    run = open_run(folder)
    best = Path(folder) / "checkpoints" / "best.safetensors"
    if not best.exists():
        raise RunError(
            "has no best network yet: no epoch ended after all schedules had; train further",
            where=str(folder),
        )
    put_best(net, checkpoint.read(best, recipe=run.about.recipe_sha256))
    return run


def _check(net: object, task: object, epochs: object) -> None:
    if not isinstance(net, Attached):
        raise RunError(
            f"expected a network with a recipe, got {type(net).__name__};"
            " give what attach(model, recipe) returns"
        )
    if not isinstance(task, Task):
        raise RunError(f"expected a task, got {task!r}; give one such as TASKS['digits']()")
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int)):
        raise RunError(f"epochs must be a whole number, got {epochs!r}")


def _with_epochs(recipe: Recipe, epochs: int | None) -> Recipe:
    if epochs is None:
        return recipe
    return Recipe(*recipe.rules, training=replace(recipe.training, epochs=epochs))


@contextmanager
def _marked(place: Memory) -> Iterator[None]:
    """Note in the run how the training was left, when it was not by its end."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(RunError):
            place.mark("stopped")
        raise KeyboardInterrupt(place.farewell()) from None
    except Exception:
        with suppress(RunError):
            place.mark("failed")
        raise
