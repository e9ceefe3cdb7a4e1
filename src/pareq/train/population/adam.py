"""Adam for a stack of members, each with its own learning rate and count of steps.

Kingma & Ba 2015 algorithm 1; with decoupled decay Loshchilov & Hutter 2019 algorithm 2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pareq.train.population.stacks import Stacks

__all__ = ["StackedAdam"]


class StackedAdam:
    """The Adam of K members in one; the state of their own optimizers are rows of its stacks.

    optimizers: Adam, or all AdamW with `decoupled`; what they know already is taken over.
    """

    def __init__(
        self, stacks: Stacks, optimizers: Sequence[Optimizer], *, decoupled: bool = False
    ) -> None:
        self.stacks, self.decoupled = stacks, decoupled
        self.optimizers = list(optimizers)
        group = optimizers[0].param_groups[0]
        self.betas: tuple[float, float] = group["betas"]
        self.epsilon: float = group["eps"]
        flat, sizes = stacks.flat.detach(), stacks.sizes
        self.first, self.second = torch.zeros_like(flat), torch.zeros_like(flat)
        self.steps = torch.zeros(len(flat), len(sizes), device=flat.device)
        repeats = torch.tensor(sizes, device=flat.device)
        numbers = torch.arange(len(sizes), device=flat.device)
        self.columns = numbers.repeat_interleave(repeats, output_size=sum(sizes))
        decays = torch.zeros_like(self.steps)
        self._read(decays)
        self.decay = decays[:, self.columns].to(flat.dtype) if bool(decays.any()) else None
        self._bind()

    def take(self, kept: Sequence[int]) -> None:
        """Go on with these members only; the stacks were taken before."""
        rows = torch.tensor(kept, dtype=torch.int64, device=self.steps.device)
        self.optimizers = [self.optimizers[k] for k in kept]
        self.first, self.second = self.first[rows], self.second[rows]
        self.steps = self.steps[rows]
        self.decay = None if self.decay is None else self.decay[rows]
        self._bind()

    @torch.no_grad()
    def step(self, rates: Tensor, live: Tensor) -> None:
        """Move what is trained by its gradient.

        rates: (members,) float64. live: (members, tensors) 1 where a tensor took part in the loss;
        the others stay, as they do without a gradient.
        """
        flat, gradient = self.stacks.flat, self.stacks.flat.grad
        if gradient is None:
            return
        if self.decay is not None and self.decoupled:
            flat.addcmul_(flat, self.decay * rates.to(flat.dtype)[:, None], value=-1)
        elif self.decay is not None:
            gradient = torch.addcmul(gradient, flat, self.decay)
        beta, gamma = self.betas
        self.first.lerp_(gradient, 1 - beta)
        self.second.mul_(gamma).addcmul_(gradient, gradient, value=1 - gamma)
        self.steps += live
        count = self.steps.double().clamp(min=1)
        size = rates[:, None] * live / (1 - beta**count)
        root = (1 - gamma**count).rsqrt()
        size, root = (each.to(flat.dtype)[:, self.columns] for each in (size, root))
        below = self.second.sqrt().mul_(root).add_(self.epsilon)
        flat.addcdiv_(self.first * size, below, value=-1)

    def _read(self, decays: Tensor) -> None:
        """Take over what the optimizers know: moments, steps, and weight decays."""
        for k, s, first, second, parameter in self._rows():
            optimizer = self.optimizers[k]
            for group in optimizer.param_groups:
                if any(p is parameter for p in group["params"]):
                    decays[k, s] = group["weight_decay"]
            state = optimizer.state.get(parameter)
            if state:
                first.copy_(state["exp_avg"])
                second.copy_(state["exp_avg_sq"])
                self.steps[k, s] = float(state["step"])

    def _bind(self) -> None:
        """Make the state of each optimizer a row of the stacks."""
        for k, s, first, second, parameter in self._rows():
            state = {"step": self.steps[k, s], "exp_avg": first, "exp_avg_sq": second}
            self.optimizers[k].state[parameter] = state

    def _rows(self) -> list[tuple[int, int, Tensor, Tensor, nn.Parameter]]:
        """Member, tensor, both moments and the parameter, of all that are there."""
        firsts, seconds = self.stacks.rows_of(self.first), self.stacks.rows_of(self.second)
        found = []
        for s, owners in enumerate(self.stacks.owners()):
            for k, owner in enumerate(owners):
                parameter = None if owner is None else owner.parameter
                if parameter is not None:
                    found.append((k, s, firsts[k][s], seconds[k][s], parameter))
        return found
