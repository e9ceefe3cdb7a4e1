"""What a search of schedules has found: all that was tried, the best, the front."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pareq.recipe.order import Order
from pareq.search.arms import Last
from pareq.search.sensitivity import Probe

__all__ = ["Candidate", "Found"]


@dataclass(frozen=True)
class Candidate:
    """A schedule that was tried. bits, sparsity: of weights and activations.

    cost: what is limited, at the end of the run; 0 without a limit. losses, scores: validation
    after the last step, by rung.
    """

    name: str
    order: Order
    bits: tuple[int, int]
    sparsity: tuple[float, float]
    cost: float
    losses: Mapping[int, float]
    scores: Mapping[int, float]

    @property
    def kind(self) -> str:
        """Such as P->Q."""
        return self.order.kind

    @property
    def rung(self) -> int:
        """The last one that it reached."""
        return max(self.losses, default=-1)


@dataclass(frozen=True)
class Found:
    """What a search has found. best: the candidate that was trained in full, in `folder`.

    lengths: epochs of a run in each rung. epochs: trained in all, forked beginnings once;
    trainings: the same in full trainings. last: on the test split. cost: of
    the network that was trained, where it is limited. failed: errors by name.
    """

    best: Candidate
    lengths: tuple[int, ...]
    folder: Path
    recipe: Path
    last: Last
    cost: float
    candidates: tuple[Candidate, ...]
    probe: Probe
    epochs: int
    trainings: float
    failed: Mapping[str, str]

    @property
    def front(self) -> list[Candidate]:
        """Those of the first rung that none beats in both cost and validation loss, by cost.

        There all were trained for as long.
        """
        known = [c for c in self.candidates if 0 in c.losses]
        beaten = [any(_beats(other, one) for other in known) for one in known]
        left = [c for c, is_beaten in zip(known, beaten, strict=True) if not is_beaten]
        return sorted(left, key=lambda c: c.cost)


def _beats(one: Candidate, other: Candidate) -> bool:
    a, b = (one.cost, one.losses[0]), (other.cost, other.losses[0])
    return a != b and a[0] <= b[0] and a[1] <= b[1]
