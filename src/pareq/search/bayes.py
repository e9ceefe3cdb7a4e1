"""Bayesian optimisation by BoTorch (extra `bayes`): the only file that knows it.

| objectives | acquisition | source |
|---|---|---|
| one | noisy expected improvement | Letham et al. 2019; published for widths: Hawks et al. 2021 |
| several | noisy expected hypervolume improvement | Daulton et al. 2021 |

Both in their logarithmic form (Ament et al. 2023), over a Gaussian process with the errors that
were told, or an inferred noise. Several points at once are found one after the other, each given
those before (Wilson et al. 2018).
"""

import importlib.util
import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pareq.errors import MissingExtra, SearchError
from pareq.search.space import Point, Space
from pareq.search.strategy import Sobol, Told

__all__ = ["Bayes", "lacking"]

_RESTARTS, _SAMPLES, _DRAWS = 2, 64, 64

# What the tools below say about themselves, and how they factorise nearly singular matrices.
_UNSAID = ("`torch.jit", "Sparse invariant checks", "A not p.d.")


@dataclass
class Bayes:
    """First `initial` points of a Sobol sequence, then those of the largest expected improvement.

    floor: for several objectives, the scores that count for nothing; by default the worst seen.
    """

    space: Space
    seed: int = 0
    initial: int = 5
    floor: tuple[float, ...] | None = None
    told: list[Told] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        if self.initial < 2:
            raise SearchError(f"bayes.initial must be 2 points or more, got {self.initial}")

    def ask(self, number: int = 1) -> list[Point]:
        """See `Strategy.ask`; raises MissingExtra without BoTorch once a model is needed."""
        known = [told for told in self.told if told.scores]
        if len(self.told) < self.initial or len(known) < 2:
            begin = Sobol(self.space, self.seed, asked=max(self.asked, len(self.told)))
            found = begin.ask(number)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed * 1_000_003 + len(self.told))
                units = self._proposed(known, number)
            found = [self.space.point(row) for row in units.tolist()]
        self.asked = max(self.asked, len(self.told)) + number
        return found

    def tell(self, told: Told) -> None:
        """See `Strategy.tell`; raises SearchError for another number of scores than before."""
        before = next((t for t in self.told if t.scores), told)
        if told.scores and len(told.scores) != len(before.scores):
            raise SearchError(f"{len(told.scores)} scores, but {len(before.scores)} before")
        self.told.append(told)

    def _proposed(self, known: list[Told], number: int) -> Tensor:
        """The coordinates of the next points, (number, axes)."""
        x = torch.tensor([self.space.units(t.point) for t in known], dtype=torch.float64)
        y = torch.tensor([t.scores for t in known], dtype=torch.float64)
        floor = list(self.floor) if self.floor is not None else y.min(0).values.tolist()
        with warnings.catch_warnings():
            for told in _UNSAID:
                warnings.filterwarnings("ignore", told)
            return _most_promising(x, y, _variance(known), floor, (number, self.seed))


def lacking() -> MissingExtra | None:
    """What to install before `Bayes.ask` can use a model; None when it is there."""
    return None if importlib.util.find_spec("botorch") else MissingExtra("botorch", "bayes")


def _most_promising(
    x: Tensor, y: Tensor, variance: Tensor | None, floor: list[float], how: tuple[int, int]
) -> Tensor:
    """Coordinates of the largest expected improvement; how: number of points, seed.

    x: (points, axes). y, variance: (points, objectives).
    """
    try:
        from botorch.acquisition.logei import qLogNoisyExpectedImprovement
        from botorch.acquisition.multi_objective.logei import (
            qLogNoisyExpectedHypervolumeImprovement,
        )
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms import Standardize
        from botorch.optim import optimize_acqf
        from botorch.sampling import SobolQMCNormalSampler
        from gpytorch.mlls import ExactMarginalLogLikelihood
    except ImportError:
        raise MissingExtra("botorch", "bayes") from None
    number, seed = how
    model = SingleTaskGP(x, y, variance, outcome_transform=Standardize(y.shape[1]))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    sampler = SobolQMCNormalSampler(torch.Size([_DRAWS]), seed=seed)
    if y.shape[1] == 1:
        gain = qLogNoisyExpectedImprovement(model, x, sampler, prune_baseline=True)
    else:
        gain = qLogNoisyExpectedHypervolumeImprovement(
            model, floor, x, sampler, prune_baseline=True
        )
    bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, x.shape[1])
    found, _ = optimize_acqf(gain, bounds, number, _RESTARTS, _SAMPLES, sequential=number > 1)
    return torch.as_tensor(found)


def _variance(known: list[Told]) -> Tensor | None:
    """Squared errors, (points, objectives); None where one is missing: then they are inferred."""
    if any(len(t.errors) != len(t.scores) for t in known):
        return None
    return torch.tensor([t.errors for t in known], dtype=torch.float64) ** 2
