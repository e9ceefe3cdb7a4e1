"""What a run needs besides its folder: the network, the data on its device, the state."""

import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import cast

import torch
from torch import Tensor

from pareq.attach.attach import Attached
from pareq.errors import RunError
from pareq.metrics.probe import cost
from pareq.recipe.config import dump_recipe
from pareq.recipe.recipe import Recipe
from pareq.tasks.base import Data, Split, Task
from pareq.train.batches import Batches
from pareq.train.checkpoint import Checkpoint
from pareq.train.journal import Epoch
from pareq.train.measure import density, starting_weights, stopping, validate, working_weights
from pareq.train.optimizer import LearningRate, make_optimizer
from pareq.train.run import About, Result, plain, sha256
from pareq.train.state import State, load_model
from pareq.train.store import Memory, best_of

__all__ = ["Job", "on", "pinned", "put_best"]

_VALIDATION_ROWS = 1024  # at least so many in a batch of validation


class Job:
    """One network, one task, one recipe. Making it starts nothing.

    data: of the task, where it is loaded already. Raises RunError when the recipe cannot be
    trained: no parameters, too few rows, or a schedule that ends after the run.
    """

    def __init__(self, net: Attached, task: Task, recipe: Recipe, data: Data | None = None) -> None:
        self.net, self.task, self.recipe = net, task, recipe
        self.text = dump_recipe(recipe)
        self.device = _device_of(net)
        self.data = task.load() if data is None else data
        self.train, self.val = (on(s, self.device) for s in (self.data.train, self.data.val))
        if len(self.val.y) == 0:
            raise RunError("the validation split is empty; give it at least one row")
        training = recipe.training
        self.batches = Batches(len(self.train.y), training.batch_size, training.seed)
        self.steps = training.epochs * self.batches.steps
        net.plan(self.steps, self.batches.steps)
        if net.settled_at > self.steps:
            raise RunError(
                f"the recipe's schedules end at step {net.settled_at}, the run has {self.steps}"
                f" steps ({training.epochs} epochs of {self.batches.steps}); train longer, or let"
                " them end sooner"
            )
        rate = LearningRate(training, self.steps, self.batches.steps)
        self.state = State(net.model, make_optimizer(net.model, training), rate, self.device)
        self._started = self._saved = time.monotonic()

    def about(self, label: str, command: tuple[str, ...] | None) -> About:
        """The content of run.json."""
        task, training = self.task, self.recipe.training
        return About(
            pareq=version("pareq"),
            torch=torch.__version__,
            python=platform.python_version(),
            task=task.name,
            task_options=plain(task.options()),
            classes=tuple(task.classes),
            data=self.data.name,
            seed=training.seed,
            recipe_sha256=sha256(self.text),
            threads=training.threads or torch.get_num_threads(),
            device=str(self.device),
            label=label,
            command=command,
        )

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or enough of them brought no improvement."""
        patience, state = self.recipe.training.patience, self.state
        early = patience is not None and state.waited >= patience
        return early or state.epoch >= self.recipe.training.epochs

    def batches_left(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches that are left of the running epoch, as inputs and labels."""
        for rows in self.batches.of(self.state.epoch, self.device, self.state.batch):
            yield self.task.vary(self.train.x[rows]), self.train.y[rows]

    @property
    def position(self) -> int:
        """Where the operators are when an epoch is measured, its steps being done.

        Where the last step had them; at the end of the run, where the schedules end.
        """
        state = self.state
        return state.step if state.step == self.steps else state.step - 1

    @property
    def validation_rows(self) -> int:
        """The rows of a batch of validation."""
        return max(self.recipe.training.batch_size, _VALIDATION_ROWS)

    def close_epoch(self) -> Epoch:
        """Validate, and judge the network if all schedules have ended."""
        self.net.set_step(self.position)
        found = validate(self.net.model, self.task, self.val, self.validation_rows)
        self.check_finite(found[0])
        watched = stopping(self.net)
        return self.note_epoch(self.state.means(), (*found, watched), density(self.net))

    def note_epoch(
        self,
        train: tuple[float, float],
        val: tuple[float, float, float],
        weights: tuple[float, float],
    ) -> Epoch:
        """The epoch with these measurements; the network is the best if they say so.

        train: loss and penalty. val: loss, score, and the penalty that counts in stopping.
        weights: sparsity and mean bits.
        """
        state = self.state
        rate, settled = state.rate.at(state.step - 1), self.position >= self.net.settled_at
        state.next_epoch()
        state.rate.see(val[0])
        if settled:
            state.judge(val[0] + val[2])
        return Epoch(
            epoch=state.epoch,
            step=state.step,
            train_loss=train[0],
            val_loss=val[0],
            val_accuracy=val[1],
            sparsity=weights[0],
            bits=weights[1],
            learning_rate=rate,
            penalty=train[1],
            settled=settled,
            stopping=val[2],
        )

    def check_finite(self, val_loss: float = 0.0) -> None:
        """Raise RunError when the loss or a parameter is NaN or infinite."""
        if self.state.finite() and math.isfinite(val_loss):
            return
        training = self.recipe.training
        raise RunError(
            f"the loss is not finite (training {self.state.means()[0]:g}, validation {val_loss:g});"
            f" lower training.learning_rate (now {training.learning_rate:g}), or raise"
            " training.warmup, and train in another folder; all that was saved before is kept",
            where=f"epoch {self.state.epoch + 1}",
        )

    def start(self, place: Memory) -> None:
        """Go on from the newest checkpoint of `place`, or begin with one."""
        saved = place.newest()
        if saved is not None:
            self.state.restore(saved)
        self._saved = time.monotonic()
        self._started = self._saved - self.state.seconds
        if saved is None:
            place.begin(starting_weights(self.net))
            self.save(place)

    def save(self, place: Memory) -> None:
        """Checkpoint all state; raises RunError rather than keep what is not finite."""
        self._saved = time.monotonic()
        if place.folder is not None:
            place.save(self._capture())

    def keep(self, place: Memory) -> None:
        """Keep the network as it is now for good."""
        if place.folder is not None:
            place.keep(self._capture())

    def unsaved_seconds(self) -> float:
        """How old the last checkpoint is."""
        return time.monotonic() - self._saved

    def share(self, seconds: float, members: int) -> None:
        """Of seconds in which several members trained together, count the part of this one."""
        self._started += seconds * (1 - 1 / members)

    def finish(self, place: Memory) -> None:
        """Measure the best network, which the model then is, and note the result."""
        state = self.state
        best = best_of(self._capture())
        put_best(self.net, best)
        test = self.task.evaluate(self.net.model, self.data.test)
        bill = cost(self.net, self.task.example.to(self.device))
        early = state.epoch < self.recipe.training.epochs
        result = Result(
            epochs=state.epoch,
            stopped="early" if early else "complete",
            best_epoch=int(str(best.facts["epoch"])),
            test=plain(test),
            cost=plain(bill.as_dict()),
            seconds=round(state.seconds, 3),
        )
        place.finish(best, working_weights(self.net), result)

    def _capture(self) -> Checkpoint:
        self.check_finite()
        self.state.seconds = time.monotonic() - self._started
        return self.state.capture(sha256(self.text))


def put_best(net: Attached, best: Checkpoint) -> None:
    """Make the model the best network: all schedules at their end, in evaluation mode."""
    load_model(net.model, best)
    steps, steps_per_epoch = cast("tuple[int, int]", best.facts["run"])
    net.plan(steps, steps_per_epoch)
    net.set_step(net.settled_at)
    net.model.eval()


@contextmanager
def pinned(threads: int, seed: int, device: torch.device) -> Iterator[None]:
    """Torch with so many threads and its generators seeded; the caller's come back afterwards."""
    before = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _device_of(net: Attached) -> torch.device:
    devices = {p.device for p in net.model.parameters()}
    if not devices:
        raise RunError("the model has no parameters; there is nothing to train")
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise RunError(f"the model lies on several devices ({names}); move it to one")
    return devices.pop()


def on(split: Split, device: torch.device) -> Split:
    """A split on the device, in memory of torch's own alignment, on which sums may depend."""
    return Split(_settled(split.x, device), _settled(split.y, device))


def _settled(tensor: Tensor, device: torch.device) -> Tensor:
    moved = tensor.to(device).contiguous()
    return moved.clone() if moved.data_ptr() % 64 else moved
