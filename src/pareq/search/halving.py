"""Successive halving with whole runs: many short trainings, fewer longer ones, one in full.

Every schedule counts in fractions of the run, so a run of a ninth of the epochs is the whole
schedule in small, with the same fall of the learning rate at its end: candidates are never compared
in the middle of one (Jamieson & Talwalkar 2016; Li et al. 2020, ASHA, whose rungs these are). A
rung is decided when all of it has ended, so that the result does not depend on how many run at a
time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pareq.errors import SearchError

__all__ = ["Halving", "best_of"]

_FACTOR = 3  # of epochs from rung to rung
_LEAST = 2.0  # trainings


@dataclass(frozen=True)
class Halving:
    """The rungs of a search that may cost `budget` trainings of `epochs`; least: epochs of a run.

    The last rung is one run in full; of the rest, the rung before has a third where there are
    three, the first what is left. Where a third of the epochs is too few, all runs are in full: few
    of them, of which later ones share the beginning of earlier ones.
    """

    epochs: int
    budget: float
    least: int = 1

    def __post_init__(self) -> None:
        if not self.budget >= _LEAST:
            raise SearchError(
                f"budget must be {_LEAST:g} trainings or more, got {self.budget:g}: one for the"
                " best schedule, the rest to find it"
            )
        if not 1 <= self.least <= self.epochs:
            raise SearchError(
                f"{self.epochs} epochs are too few to search in; give {self.least} or more"
            )

    @property
    def lengths(self) -> tuple[int, ...]:
        """Epochs of a run in each rung, at most three of them."""
        first = max(round(self.epochs / _FACTOR**2), self.least)
        if first * _FACTOR > self.epochs:
            return (self.epochs,)
        second = round(self.epochs / _FACTOR)
        return (first, second, self.epochs) if second >= 2 * first else (first, self.epochs)

    @property
    def promoted(self) -> tuple[int, ...]:
        """How many candidates each rung after the first has; the last has one."""
        if len(self.lengths) < 3:
            return (1,) * (len(self.lengths) - 1)
        afford = (self.budget - 1) / _FACTOR * self.epochs / self.lengths[1]
        return (max(math.floor(afford + 1e-9), 1), 1)

    @property
    def allowance(self) -> int:
        """How many epochs the first rung may train."""
        pairs = zip(self.promoted, self.lengths[1:], strict=True)
        return math.floor(self.budget * self.epochs + 1e-9) - sum(n * each for n, each in pairs)


def best_of(losses: Mapping[str, float], number: int) -> list[str]:
    """The names of the lowest losses; of equals the first."""
    return sorted(losses, key=lambda name: losses[name])[:number]
