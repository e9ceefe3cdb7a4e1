"""What to try next: ask for points, tell what they gave.

A strategy is a function of its seed and of what it was told, so that a search which is told its
past again goes on as if it had not been interrupted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from pareq.errors import SearchError
from pareq.search.space import Point, Space, Value

__all__ = ["Local", "Random", "Sobol", "Strategy", "Told"]


@dataclass(frozen=True)
class Told:
    """What a point gave. scores: one an objective, larger is better; none when it failed.

    errors: the standard error of each score, none where it is not known.
    """

    point: Mapping[str, Value]
    scores: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()


class Strategy(Protocol):
    """Proposes points of a space."""

    def ask(self, number: int = 1) -> list[Point]:
        """The next points; those asked for and not told yet count as asked."""

    def tell(self, told: Told) -> None:
        """Take in what a point gave."""


@dataclass
class Sobol:
    """Points that fill the space evenly: a scrambled Sobol sequence (Owen 1998)."""

    space: Space
    seed: int = 0
    told: list[Told] = field(default_factory=list)
    asked: int = 0

    def ask(self, number: int = 1) -> list[Point]:
        """See `Strategy.ask`."""
        _check(number)
        axes = len(self.space.axes)
        engine = torch.quasirandom.SobolEngine(axes, scramble=True, seed=self.seed)  # type: ignore[no-untyped-call]
        skipped = max(self.asked, len(self.told))
        drawn = engine.draw(skipped + number)[skipped:]
        self.asked = skipped + number
        return [self.space.point(units) for units in drawn.tolist()]

    def tell(self, told: Told) -> None:
        """See `Strategy.tell`."""
        self.told.append(told)


@dataclass
class Random:
    """Independent points, each drawn by the seed and its number."""

    space: Space
    seed: int = 0
    told: list[Told] = field(default_factory=list)
    asked: int = 0

    def ask(self, number: int = 1) -> list[Point]:
        """See `Strategy.ask`."""
        _check(number)
        first = max(self.asked, len(self.told))
        self.asked = first + number
        return [self.space.point(self._units(n)) for n in range(first, first + number)]

    def tell(self, told: Told) -> None:
        """See `Strategy.tell`."""
        self.told.append(told)

    def _units(self, number: int) -> Sequence[float]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        drawn: list[float] = torch.rand(len(self.space.axes), generator=generator).tolist()
        return drawn


@dataclass
class Local:
    """Small changes of the best point so far, drawn by the seed and their number.

    reach: the standard deviation of a change, in coordinates. Without any score: a Sobol sequence.
    """

    space: Space
    seed: int = 0
    reach: float = 0.15
    told: list[Told] = field(default_factory=list)
    asked: int = 0

    def ask(self, number: int = 1) -> list[Point]:
        """See `Strategy.ask`."""
        _check(number)
        first = max(self.asked, len(self.told))
        known = [told for told in self.told if told.scores]
        if not known:
            found = Sobol(self.space, self.seed, asked=first).ask(number)
        else:
            best = max(known, key=lambda told: told.scores[0])
            found = [self._near(best.point, n) for n in range(first, first + number)]
        self.asked = first + number
        return found

    def tell(self, told: Told) -> None:
        """See `Strategy.tell`."""
        self.told.append(told)

    def _near(self, point: Mapping[str, Value], number: int) -> Point:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        moves = torch.randn(len(self.space.axes), generator=generator).tolist()
        units = zip(self.space.units(point), moves, strict=True)
        return self.space.point([unit + self.reach * move for unit, move in units])


def _check(number: int) -> None:
    if number < 1:
        raise SearchError(f"ask for 1 point or more, got {number}")
