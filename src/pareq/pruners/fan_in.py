"""Fan-in: every neuron keeps few of its weights, so that it is a function of few inputs.

A function of few bits fits a look-up table, whatever its weights are (Umuroglu et al. 2020,
LogicNets, where the inputs of a neuron are drawn before training; here they are what training
leaves).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from pareq.errors import OperatorError
from pareq.operators.base import Member, Surroundings
from pareq.operators.schedule import Schedule
from pareq.pruners.prune import Prune

__all__ = ["FanIn"]


@dataclass(eq=False, repr=False)
class FanIn(Prune, name="fan_in"):
    """Leave every neuron at most `inputs` weights; the schedule's value is how far that has come.

    A neuron is an output channel: a row of a linear layer's weight, or all taps of one filter of a
    convolution. At 0.5 half of the weights that are too many have fallen, in every neuron alike, at
    1 all of them; a neuron that has no more than `inputs` loses none. table: the bits that a neuron
    may read in all; where the words that its layer reads have more than table / inputs bits, it
    keeps fewer. score, regrow: as of Prune.
    """

    scope: Literal["global", "layer"] = field(default="layer", init=False)
    pattern: str = field(default="unstructured", init=False)
    inputs: int = field(kw_only=True)
    table: int | None = field(default=None, kw_only=True)

    def check(self) -> None:
        """Every field, each with its own message."""
        super().check()
        given = {"inputs": self.inputs} | ({} if self.table is None else {"table": self.table})
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OperatorError(f"{name} must be a whole number, 1 or more, got {value!r}")

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Buffers as of Prune; raises OperatorError for a tensor without inputs, such as a bias."""
        super().prepare(like, axis)
        if self.mask.ndim < 2:
            raise OperatorError(
                "fan_in works on weights with an axis of inputs, this tensor has one axis;"
                " name the layers' weights, such as '*:weight'"
            )
        self.most = self.inputs
        self.turned = axis == 1  # of a transposed convolution the first axis is that of the inputs

    def meet(self, layer: Surroundings) -> None:
        """Know how wide what the layer reads is, and which outputs have the same inputs.

        Raises OperatorError where a table is given and that is not known, or wider than the table.
        """
        super().meet(layer)
        if self.table is None:
            return
        if layer.feed is None:
            raise OperatorError(
                "table: no quantizer is known of what the layer reads; name one in a rule and give"
                " attach an example input, or leave out table"
            )
        self.most = min(self.inputs, self.table // layer.feed.bits)
        if self.most < 1:
            raise OperatorError(
                f"table: the layer reads words of {layer.feed.bits} bits, of which none fits"
                f" {self.table}; give it fewer bits"
            )

    @classmethod
    def advance(cls, members: Sequence[Member], schedule: Schedule, step: int) -> None:
        """Choose masks anew when the schedule asks for another number."""
        value = schedule(step)
        for operator, source in members:
            if isinstance(operator, FanIn) and source is not None:
                operator.choose(source, schedule, step)
            operator.set_strength(value)

    @torch.no_grad()
    def choose(self, source: Callable[[], Tensor], schedule: Schedule, step: int) -> None:
        """Let the least valuable weights of each neuron fall; of equals the first ones."""
        places = self._neurons(torch.arange(self.mask.numel(), device=self.mask.device))
        neurons, taps = places.shape
        k = schedule.count(step, max(taps - self.most, 0))
        if k * neurons == self.count:
            return
        scores = self.scored(source().detach())
        if bool(scores.isnan().any()):
            raise OperatorError("the tensors to be pruned hold NaN; look at the loss and the data")
        if not self.regrow:
            scores = scores.masked_fill(self.mask == 0, -torch.inf)
        order = self._neurons(scores).argsort(dim=1, stable=True)
        kept = torch.ones(self.mask.numel(), dtype=self.mask.dtype, device=self.mask.device)
        kept[places.gather(1, order[:, :k])] = 0
        self.mask.copy_(kept.reshape(self.mask.shape))
        self.count = k * neurons
        self.fallen.fill_(self.count)

    def _neurons(self, x: Tensor) -> Tensor:
        """One number a weight as (neurons, weights of each)."""
        x = x.reshape(self.mask.shape)
        if self.turned:
            x = x.reshape(self.layer.groups, -1, *x.shape[1:]).transpose(1, 2).flatten(0, 1)
        return x.flatten(1)
