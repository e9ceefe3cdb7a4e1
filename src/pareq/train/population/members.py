"""The members of a population: each a trial with a network, a job and a place of its own."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from pareq.errors import PareqError, RunError, at
from pareq.recipe.config import parse_recipe
from pareq.tasks.base import Data, Split, Task, make_task
from pareq.train.job import Job, on
from pareq.train.journal import Epoch
from pareq.train.loop import Keep
from pareq.train.population.network import layers_of
from pareq.train.population.stacks import alone
from pareq.train.run import Run
from pareq.train.store import Memory, opened
from pareq.train.trial import Trial, network

__all__ = ["Member", "prepared"]


@dataclass(eq=False)
class Member:
    """A trial that is trained.

    number: its place in the list. unwritten: epochs not in its journal yet. error: why it failed.
    """

    number: int
    job: Job
    place: Memory
    keep: Keep
    unwritten: list[Epoch] = field(default_factory=list)
    error: PareqError | None = None

    @property
    def run(self) -> Run:
        """The run as it is now."""
        return self.place.run()

    def save(self) -> None:
        """Write the epochs since the last checkpoint, and a checkpoint."""
        for epoch in self.unwritten:
            self.place.append(epoch)
        self.unwritten = []
        self.job.save(self.place)


def prepared(
    trials: Sequence[Trial],
    out: str | Path | Sequence[str | Path] | None,
    device: str,
    keep: Keep | Sequence[Keep],
    held: ExitStack,
) -> list[Member]:
    """The trials with their networks and data on the device, their folders open in `held`.

    Raises RunError for trials that one population cannot hold.
    """
    folders, keeps = _folders(out, len(trials)), _keeps(keep, len(trials))
    place = _device(device)
    known: list[tuple[Task, Data]] = []
    jobs: list[Job] = []
    for number, trial in enumerate(trials):
        with at(f"trial {number}"):
            task, data = _loaded(trial, known, place)
            net = network(task, parse_recipe(trial.recipe))
            if trial.start is not None:
                trial.start.apply(net)
            net.model.to(place)
            job = Job(net, task, net.recipe, data)
            _check(job, jobs[0] if jobs else job)
            jobs.append(job)
    layers_of([job.net.model for job in jobs])
    members = []
    for number, (job, one) in enumerate(zip(jobs, keeps, strict=True)):
        with at(f"trial {number}"):
            about = job.about(one.label, one.command)
            run = opened(None if folders is None else folders[number], about, job.text)
            members.append(Member(number, job, held.enter_context(run), one))
    return members


def _keeps(keep: Keep | Sequence[Keep], members: int) -> Sequence[Keep]:
    """How each run is kept."""
    if isinstance(keep, Keep):
        return [keep] * members
    if len(keep) != members:
        raise RunError(f"keep has {len(keep)} entries for {members} trials; give one for each")
    return keep


def _folders(
    out: str | Path | Sequence[str | Path] | None, members: int
) -> Sequence[str | Path] | None:
    """The folder of each run."""
    if members == 0:
        raise RunError("there are no trials; give at least one")
    if out is None:
        return None
    if isinstance(out, str | Path):
        return [Path(out) / f"{number:03d}" for number in range(members)]
    if len(out) != members:
        raise RunError(f"out names {len(out)} folders for {members} trials; give one for each")
    if len({Path(folder).resolve() for folder in out}) < members:
        raise RunError("out names a folder twice; give each trial its own")
    return out


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RunError(f"device must be such as 'cpu' or 'cuda', got {name!r}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RunError(f"device is {name!r}, but torch sees no GPU; use 'cpu'")
    return device


def _loaded(
    trial: Trial, known: list[tuple[Task, Data]], device: torch.device
) -> tuple[Task, Data]:
    """A task and its data, loaded once; equal inputs of several tasks lie in memory once."""
    task = make_task(trial.task, trial.options)
    for other, data in known:
        if type(other) is type(task) and other.options() == task.options():
            return other, data
    data = task.load()
    train, val = on(data.train, device), on(data.val, device)
    for _, before in known:
        train, val = _shared(train, before.train), _shared(val, before.val)
    moved = replace(data, train=train, val=val)
    known.append((task, moved))
    return task, moved


def _shared(split: Split, other: Split) -> Split:
    """The split with the other's inputs where they are the same."""
    same = split.x.shape == other.x.shape and torch.equal(split.x, other.x)
    return Split(other.x, split.y) if same else split


def _check(job: Job, first: Job) -> None:
    """Raise RunError when both cannot take their steps together."""
    mine, its = (
        {
            "rows of training": len(j.train),
            "rows of validation": len(j.val),
            "batch_size": j.recipe.training.batch_size,
            "optimizer": j.recipe.training.optimizer,
        }
        for j in (job, first)
    )
    for name, value in mine.items():
        if value != its[name]:
            raise alone(f"{name} is {value}, that of trial 0 {its[name]}")
    if job.recipe.training.optimizer == "sgd":
        raise alone("optimizer is sgd, a population knows adam and adamw")
    if type(job.task).vary is not Task.vary:
        raise alone(f"the task {job.task.name} varies its inputs at random")
