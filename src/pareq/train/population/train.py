"""The training loop of a population; beside `pareq.train.loop` step by step."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import torch

from pareq.errors import PareqError, RunError, at
from pareq.train.job import pinned
from pareq.train.journal import Epoch
from pareq.train.loop import Keep, one_epoch
from pareq.train.population.epoch import Figures, Population
from pareq.train.population.members import Member, prepared
from pareq.train.run import Run
from pareq.train.trial import Trial

__all__ = ["train_population"]

Told = Callable[[int, Epoch], None]
Failed = Callable[[int, PareqError], None]


def train_population(
    trials: Sequence[Trial],
    out: str | Path | Sequence[str | Path] | None = None,
    *,
    device: str = "cpu",
    keep: Keep | Sequence[Keep] | None = None,
    on_epoch: Told | None = None,
    on_error: Failed | None = None,
) -> list[Run]:
    """Train many variants of one network together; the same call goes on where it stopped.

    Each trial becomes the run that `Trial.run` makes of it, up to the order in which floats are
    added. Networks are Sequentials of Linear, BatchNorm1d and ReLU of equal sizes; tasks have as
    many rows; the rest of the recipes may differ: seeds, bits, masks, schedules, learning rates,
    epochs, patience, labels.

    out: a folder that gets the runs 000, 001, ..., or the folder of each run; None keeps nothing.
    keep: as for `train`, one for all or one for each, but checkpoints are written at the ends of
    epochs only. on_epoch, on_error: are told the number of a trial, and an epoch or why it failed.
    A failed trial stops no other; without on_error it is raised when the others have ended.

    Raises RunError for trials that cannot be trained together, and what `Trial.run` raises.
    """
    errors: dict[int, PareqError] = {}
    with ExitStack() as held, at("population"):
        members = prepared(trials, out, device, keep or Keep(), held)
        threads = max(member.place.about.threads for member in members)
        living = [member for member in members if not member.run.finished]
        with pinned(threads, 0, members[0].job.device), _marked(living):
            if living:
                _train(living, on_epoch, on_error or errors.__setitem__)
        runs = [member.run for member in members]
    if errors:
        number, error = next(iter(errors.items()))
        failed = f"failed, as one of {len(errors)} in {len(trials)} trials"
        raise RunError(f"{failed}: {error}", where=f"population: trial {number}")
    return runs


def _train(living: list[Member], on_epoch: Told | None, on_error: Failed) -> None:
    """Train until no member lives; whoever ends leaves `living`."""
    for member in living:
        with _noted(member):
            member.job.start(member.place)
            if member.job.state.batch:  # it was trained alone, and stopped within an epoch
                one_epoch(member.job, member.place, member.keep, _telling(member, on_epoch))
    _leave(living, on_error)
    population = Population(living) if living else None
    while population is not None and living:
        began = time.monotonic()
        figures = population.measure(population.epoch())
        spent = time.monotonic() - began
        for member in living:
            member.job.share(spent, len(living))
        for member, found in zip(living, figures, strict=True):
            with _noted(member):
                _close(member, found, on_epoch)
        kept = _leave(living, on_error)
        if 0 < len(kept) < len(figures):
            population.take(kept)


def _close(member: Member, found: Figures, on_epoch: Told | None) -> None:
    """End the epoch of a member."""
    if member.error is not None:
        return
    job = member.job
    if not all(map(math.isfinite, (*found.train, found.val[0], found.largest))):
        job.state.sums.copy_(torch.tensor(found.train))
        job.state.rows = 1
        job.check_finite(found.val[0])
    epoch = job.note_epoch(found.train, found.val, found.weights)
    member.unwritten.append(epoch)
    if job.state.epoch % member.keep.epochs == 0 or job.over:
        member.save()
    if on_epoch is not None:
        on_epoch(member.number, epoch)


def _leave(living: list[Member], on_error: Failed) -> list[int]:
    """Let those go that ended or failed; the places of the others."""
    for member in living:
        if member.error is None and member.job.over:
            with _noted(member):
                member.job.finish(member.place)
        if member.error is not None:
            member.place.mark("failed")
            on_error(member.number, member.error)
    kept = [k for k, m in enumerate(living) if m.error is None and not m.run.finished]
    living[:] = [living[k] for k in kept]
    return kept


def _telling(member: Member, on_epoch: Told | None) -> Callable[[Epoch], None] | None:
    return None if on_epoch is None else partial(on_epoch, member.number)


@contextmanager
def _noted(member: Member) -> Iterator[None]:
    """What a member is refused for ends it alone."""
    try:
        yield
    except PareqError as error:
        member.error = error


@contextmanager
def _marked(living: list[Member]) -> Iterator[None]:
    """Note in the runs how the training was left, when it was not by their end."""
    try:
        yield
    except KeyboardInterrupt:
        _mark(living, "stopped")
        folders = sum(member.place.folder is not None for member in living)
        kept = f"{folders} runs are kept, the same call goes on from their last checkpoints"
        lost = "the runs were kept in memory only and are lost, out=FOLDER keeps them"
        raise KeyboardInterrupt(f"stopped; {kept if folders else lost}") from None
    except Exception:
        _mark(living, "failed")
        raise


def _mark(living: list[Member], state: str) -> None:
    for member in living:
        with suppress(RunError):
            member.place.mark(state)
