"""An epoch of a population: its steps, and what is measured at its end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pareq.attach.attach import Attached
from pareq.errors import PareqError
from pareq.tasks.base import Task
from pareq.train.population.adam import StackedAdam
from pareq.train.population.members import Member
from pareq.train.population.network import Network
from pareq.train.population.rows import Rows

__all__ = ["Figures", "Population"]

_FLOAT_BITS = 32


@dataclass(frozen=True)
class Figures:
    """A member at the end of an epoch.

    train: loss and penalty. val: loss, score and the penalty that counts in stopping. weights:
    sparsity and mean bits. largest: magnitude of what is trained.
    """

    train: tuple[float, float]
    val: tuple[float, float, float]
    weights: tuple[float, float]
    largest: float


class Population:
    """Members that step together; what they hold are rows of its stacks.

    Raises RunError for networks that no population has.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        jobs = [member.job for member in members]
        for job in jobs:
            job.net.model.train()
        self.network = Network([job.net.model for job in jobs])
        training = jobs[0].recipe.training
        self.adam = StackedAdam(
            self.network.stacks,
            [job.state.optimizer for job in jobs],
            decoupled=training.optimizer == "adamw",
        )
        self.train, self.val = Rows([j.train for j in jobs]), Rows([j.val for j in jobs])
        self.batch_size, self.steps = training.batch_size, jobs[0].batches.steps

    def take(self, kept: Sequence[int]) -> None:
        """Go on with these members only."""
        self.members = [self.members[k] for k in kept]
        for part in (self.network, self.adam, self.train, self.val):
            part.take(kept)

    def epoch(self) -> Tensor:
        """Train one epoch; mean loss and penalty, (members, 2), on the device.

        Members whose operators refuse get their error.
        """
        states = [member.job.state for member in self.members]
        device = self.network.stacks.flat.device
        order, rates = self._order().to(device), self._rates().to(device)
        sums = torch.zeros(len(states), 2, dtype=torch.float64, device=device)
        keeping = [member for member in self.members if member.keep.step is not None]
        due = 0
        for batch, rows in enumerate(torch.split(order, self.batch_size, 1)[: self.steps]):
            if batch >= due:
                due = self._move(batch)
            loss, penalty = self._step(*self.train.batch(rows), rates[batch])
            sums.add_(torch.stack((loss, penalty), 1), alpha=rows.shape[1])
            for state in states:
                state.step += 1
            for member in keeping:
                if member.job.state.step == member.keep.step:
                    member.job.keep(member.place)
        for k, error in self.network.failures().items():
            self._fail(self.members[k], error)
        return sums / min(self.train.count, self.steps * self.batch_size)

    @torch.no_grad()
    def measure(self, means: Tensor) -> list[Figures]:
        """What the epoch came to; means: of its training. The only wait for the device."""
        for member in self.members:
            self._set_step(member, member.job.position)
        self.network.refresh()
        loss, score = torch.zeros_like(means).unbind(1)
        size, count = self.members[0].job.validation_rows, self.val.count
        tasks = [member.job.task for member in self.members]
        for first in range(0, count, size):
            x, y = self.val.part(first, first + size)
            outputs, watched = self.network.forward(x, training=False)
            loss = loss + _losses(tasks, outputs, y) * y.shape[1]
            score = score + _scores(tasks, outputs, y)
        largest, zeros = self.network.stacks.flat.abs().amax(1), self.network.zeros()
        columns = [*means.unbind(1), loss / count, score / count, watched, zeros, largest]
        found = torch.stack([column.double() for column in columns], 1).tolist()
        return [
            Figures((a, b), (c, d, e), _weights(member.job.net, zeros), largest)
            for member, (a, b, c, d, e, zeros, largest) in zip(self.members, found, strict=True)
        ]

    def _order(self) -> Tensor:
        """The rows of the coming epoch in each member's own order, (members, rows)."""
        known: dict[tuple[int, int], Tensor] = {}
        orders = []
        for member in self.members:
            batches, epoch = member.job.batches, member.job.state.epoch
            key = batches.seed, epoch
            if key not in known:
                known[key] = batches.order(epoch)
            orders.append(known[key])
        return torch.stack(orders)

    def _rates(self) -> Tensor:
        """The learning rate of each coming step and member, (steps, members) float64."""
        states = [member.job.state for member in self.members]
        rates = [[s.rate.at(s.step + batch) for s in states] for batch in range(self.steps)]
        return torch.tensor(rates, dtype=torch.float64)

    def _move(self, batch: int) -> int:
        """Move the operators to the present step; the batch at which the next one wants to move."""
        for member in self.members:
            self._set_step(member, member.job.state.step)
        self.network.refresh()
        quiet = [m.job.net.quiet_until - m.job.state.step for m in self.members if not m.error]
        return batch + max(min(quiet, default=1), 1)

    def _set_step(self, member: Member, step: int) -> None:
        if member.error is None:
            try:
                member.job.net.set_step(step)
            except PareqError as error:
                self._fail(member, error)

    def _fail(self, member: Member, error: PareqError) -> None:
        if member.error is None:
            epoch = f"epoch {member.job.state.epoch + 1}"
            error.where = f"{epoch}: {error.where}" if error.where else epoch
            member.error = error

    def _step(self, x: Tensor, y: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
        """One step of all members; loss and penalty of each."""
        self.network.stacks.flat.grad = None
        outputs, penalty = self.network.forward(x, training=True)
        loss = _losses([member.job.task for member in self.members], outputs, y)
        torch.autograd.backward((loss + penalty).sum())
        self.adam.step(rates, self.network.live)
        return loss.detach(), penalty.detach()


def _losses(tasks: Sequence[Task], outputs: Tensor, y: Tensor) -> Tensor:
    """The loss of each member, (members,); outputs: (members, classes, rows)."""
    if all(type(task).loss is Task.loss for task in tasks):
        return functional.cross_entropy(outputs, y, reduction="none").mean(1)
    return _each(task.loss(o.T, labels) for task, o, labels in zip(tasks, outputs, y, strict=True))


def _scores(tasks: Sequence[Task], outputs: Tensor, y: Tensor) -> Tensor:
    """What is validated of each member, summed over the rows, (members,)."""
    if all(type(task).score is Task.score for task in tasks):
        return (outputs.argmax(1) == y).sum(1)
    return _each(task.score(o.T, labels) for task, o, labels in zip(tasks, outputs, y, strict=True))


def _each(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values))


def _weights(net: Attached, zeros: float) -> tuple[float, float]:
    """Sparsity and mean bits, as `pareq.train.measure.density` defines them."""
    total = bits = 0
    for site in net.sites:
        latent = site.latent()
        if site.kind != "weight" or latent is None:
            continue
        quantizer = site.quantizer
        engaged = quantizer is not None and quantizer.engaged
        total += latent.numel()
        bits += latent.numel() * (quantizer.bits if quantizer and engaged else _FLOAT_BITS)
    return (zeros / total, bits / total) if total else (0.0, float(_FLOAT_BITS))
