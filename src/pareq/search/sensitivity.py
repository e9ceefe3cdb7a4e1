"""What one shot of pruning or quantization does to a trained network, layer by layer.

The prior of the order: what hurts less comes first (Kim et al. 2026, arXiv 2603.18426, progressive
intensity). The interaction says whether an order can matter at all: how much more both together
cost than each alone (Harma et al. 2025, arXiv 2405.20935).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pareq.attach.attach import attach
from pareq.operators.schedule import After
from pareq.pruners import Prune, PruneActivation
from pareq.quantizers import Uniform
from pareq.recipe.recipe import Recipe, Rule
from pareq.tasks.base import Split, Task
from pareq.train.measure import validate

__all__ = ["Probe", "Sensitivity", "probe"]

_ROWS = 1024  # of the validation split
_SHOTS = 128  # of the training split, which ranges and masks are taken from


@dataclass(frozen=True)
class Sensitivity:
    """By how much the validation loss rises when one tensor alone is pruned or quantized.

    prune is None where nothing is pruned.
    """

    site: str
    prune: float | None
    quantize: float


@dataclass(frozen=True)
class Probe:
    """One-shot rises of the validation loss: of each site, and of all of them at once.

    prune, quantize: one of them; prune_first, quantize_first: both, in that order.
    """

    loss: float
    sites: tuple[Sensitivity, ...]
    prune: float
    quantize: float
    prune_first: float
    quantize_first: float

    @property
    def favours(self) -> str:
        """The order in which the weaker disturbance comes first."""
        return "P->Q" if self.prune <= self.quantize else "Q->P"

    @property
    def interaction(self) -> float:
        """How much more both cost than the sum of each alone, in the better order."""
        return min(self.prune_first, self.quantize_first) - self.prune - self.quantize

    @property
    def weights(self) -> tuple[str, ...]:
        """The weights that are pruned, the most sensitive first."""
        found = {s.site: s.prune for s in self.sites if s.site.endswith(":weight")}
        known = {site: rise for site, rise in found.items() if rise is not None}
        return tuple(sorted(known, key=lambda site: -known[site]))


@dataclass(frozen=True)
class _Bench:
    """A trained network and what it is measured with."""

    model: nn.Module
    task: Task
    val: Split
    batch: torch.Tensor

    def loss(self, rules: Sequence[Rule]) -> float:
        """The validation loss with some operators on, at once and for good."""
        model = copy.deepcopy(self.model)
        net = attach(model, Recipe(*rules), steps=1, example=self.task.example)
        net.calibrate([self.batch])
        return validate(model, self.task, self.val, _ROWS)[0]


def probe(model: nn.Module, task: Task, recipe: Recipe) -> Probe:
    """Probe a trained plain model by the operators of a recipe; each acts in one shot, in full."""
    data = task.load()
    val = Split(data.val.x[:_ROWS], data.val.y[:_ROWS])
    bench = _Bench(model, task, val, data.train.x[:_SHOTS])
    named = attach(copy.deepcopy(model), recipe, steps=1, example=task.example)
    prunes: list[Rule] = []
    quantizes: list[Rule] = []
    sites = []
    base = bench.loss(())
    for site in named.sites:
        pruning, projecting = None, 0.0
        for operator, number in zip(site.operators, site.chain.rules, strict=True):
            rule = recipe.rules[number]
            if isinstance(operator, Prune | PruneActivation):
                prunes.append(Rule(site.name, operator.fresh(), After(0, rule.when.largest)))
                pruning = bench.loss(prunes[-1:]) - base
            elif isinstance(operator, Uniform):
                quantizes.append(Rule(site.name, operator.fresh()))
                projecting = bench.loss(quantizes[-1:]) - base
        sites.append(Sensitivity(site.name, pruning, projecting))
    together = (bench.loss([*prunes, *quantizes]), bench.loss([*quantizes, *prunes]))
    return Probe(
        base,
        tuple(sites),
        bench.loss(prunes) - base,
        bench.loss(quantizes) - base,
        together[0] - base,
        together[1] - base,
    )
