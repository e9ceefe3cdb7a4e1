"""A network of K members: the layers of a Sequential with a leading member axis.

Activations are (members, features, rows), so that a batch norm of K networks is one of K times as
many channels whose rows lie side by side.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from pareq.attach.chain import Chain
from pareq.errors import PareqError, at
from pareq.operators.base import Operator
from pareq.train.population.stacks import Owner, Stacks, alone
from pareq.train.population.stages import LearnedGrids, Pass, Penalties, Stage, stage_for

__all__ = ["Network", "layers_of"]

_KNOWN = (nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Identity)
_FIELDS = {
    nn.Linear: ("in_features", "out_features"),
    nn.BatchNorm1d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
}


class _Site:
    """A tensor of the network, with the operators that the members have there, in stages."""

    def __init__(self, name: str, chains: Sequence[Chain | None], stacks: Stacks) -> None:
        self.name = name
        self.failures: dict[int, PareqError] = {}
        self.stages: list[Stage] = []
        for k, chain in enumerate(chains):
            place = 0
            for operator in chain or ():
                place = self._join(k, cast("Operator", operator), place, len(chains)) + 1
        for number, stage in enumerate(self.stages):
            stage.join(f"{name}/{number}", stacks)
        self.chains = list(chains)

    def _join(self, k: int, operator: Operator, place: int, members: int) -> int:
        """The stage of an operator, at `place` or behind; a new one where there is none."""
        kind = stage_for(operator, self.name)
        later = range(place, len(self.stages))
        fitting = (i for i in later if type(s := self.stages[i]) is kind and s.fits(operator))
        found = next(fitting, None)
        if found is None:
            found = place
            self.stages.insert(place, kind(members))
        self.stages[found].operators[k] = operator
        return found

    def take(self, kept: Sequence[int]) -> None:
        self.chains = [self.chains[k] for k in kept]
        for stage in self.stages:
            stage.take(kept)

    def refresh(self, stacks: Stacks) -> None:
        """Note which stages have work."""
        self.working = [s for s in self.stages if s.engaged]
        for stage in self.working:
            stage.refresh(stacks)
        self.watched = {
            stage: watching
            for stage in self.stages
            if (watching := [(k, o) for k, o in enumerate(stage.operators) if o and o.observing])
        }

    @property
    def rectifies(self) -> bool:
        """Whether the first thing that happens sets all below 0 to 0, with no gradient there."""
        first = self.working[0] if self.working and not self.watched else None
        return isinstance(first, LearnedGrids) and first.whole and not first.signed

    def parameter(self, x: Tensor, now: Pass) -> Tensor:
        """A stack of parameters as the network computes with them."""
        for stage in self.working:
            x = stage.apply(x, now)
        return x

    def activation(self, x: Tensor, now: Pass) -> Tensor:
        """An activation after the operators, which look at it first where they want to."""
        for stage in self.stages:
            if now.training and stage in self.watched:
                self._observe(stage, x.detach())
            if stage in self.working and not isinstance(stage, Penalties):  # parameters alone pay
                x = stage.apply(x, now)
        return x

    @torch.no_grad()
    def _observe(self, stage: Stage, x: Tensor) -> None:
        for k, operator in self.watched[stage]:
            try:
                with at(self.name):
                    operator.observe(x[k].T)
            except PareqError as error:
                self.failures.setdefault(k, error)


class _Layer:
    """One layer of all members: modules of the same kind and size."""

    def __init__(self, path: str, modules: Sequence[nn.Module], stacks: Stacks) -> None:
        self.path, self.module = path, modules[0]
        self.parameters: dict[str, tuple[str, _Site | None]] = {}
        names = [n for n in ("weight", "bias") if _owner(modules[0], n) is not None]
        for name in names:
            key = f"{path}:{name}"
            stacks.train(key, [_owner(module, name) for module in modules])
            self.parameters[name] = key, _site(key, [_chain(m, name) for m in modules], stacks)
        for name, buffer in modules[0]._buffers.items():
            if buffer is not None:
                stacks.hold(f"{path}:{name}", [Owner(module, name) for module in modules])
        self.input, self.output = (
            _site(f"{path}:{end}", [_end(m, end) for m in modules], stacks)
            for end in ("input", "output")
        )

    def sites(self) -> Iterator[_Site]:
        """Every site with operators of any member."""
        for site in (self.input, *(s for _, s in self.parameters.values()), self.output):
            if site is not None:
                yield site

    def forward(self, x: Tensor, now: Pass, held: dict[str, Tensor]) -> Tensor:
        """(members, features, rows) -> the same with other features."""
        if self.input is not None:
            x = self.input.activation(x, now)
        if isinstance(self.module, nn.Linear):
            x = self._linear(x, now)
        elif isinstance(self.module, nn.BatchNorm1d):
            x = self._norm(x, now, held)
        elif isinstance(self.module, nn.ReLU) and not (self.output and self.output.rectifies):
            x = functional.relu(x)
        return x if self.output is None else self.output.activation(x, now)

    def _parameter(self, name: str, now: Pass) -> Tensor | None:
        if name not in self.parameters:
            return None
        key, site = self.parameters[name]
        return now.parts[key] if site is None else site.parameter(now.parts[key], now)

    def _linear(self, x: Tensor, now: Pass) -> Tensor:
        weight, bias = self._parameter("weight", now), self._parameter("bias", now)
        if weight is None:
            raise TypeError("a linear layer has a weight")
        return weight @ x if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, x)

    def _norm(self, x: Tensor, now: Pass, held: dict[str, Tensor]) -> Tensor:
        module = cast("nn.BatchNorm1d", self.module)
        weight, bias = (self._parameter(name, now) for name in ("weight", "bias"))
        mean, variance = (held.get(f"{self.path}:running_{name}") for name in ("mean", "var"))
        if now.training and mean is not None:
            held[f"{self.path}:num_batches_tracked"].add_(1)
        every = [None if t is None else t.reshape(-1) for t in (mean, variance, weight, bias)]
        y = functional.batch_norm(
            x.reshape(1, -1, x.shape[2]),
            every[0],
            every[1],
            every[2],
            every[3],
            training=now.training or mean is None,
            momentum=cast("float", module.momentum),
            eps=module.eps,
        )
        return y.view(x.shape)


class Network:
    """The networks of K members in one; their tensors are then rows of `stacks`.

    Raises RunError, with the module, for what no population has, and for members that differ.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.stacks = Stacks()
        leaves = layers_of(models)
        self.layers = [
            _Layer(path, [found[i][1] for found in leaves], self.stacks)
            for i, (path, _) in enumerate(leaves[0])
        ]
        self.sites = [site for layer in self.layers for site in layer.sites()]
        self.stacks.stack()

    def take(self, kept: Sequence[int]) -> None:
        """Go on with these members only."""
        self.stacks.take(kept)
        for site in self.sites:
            site.take(kept)

    def refresh(self) -> None:
        """Read the operators after they were moved to another step."""
        flat = self.stacks.flat
        for site in self.sites:
            site.refresh(self.stacks)
        live: dict[str, list[bool]] = {}
        for site in self.sites:
            for stage in site.stages:
                live |= stage.live()
        always = [True] * len(flat)
        rows = [live.get(key, always) for key in self.stacks.keys]
        self.live = torch.tensor(rows, dtype=torch.float32, device=flat.device).T

    def forward(self, x: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """The outputs (members, classes, rows) and penalties (members,).

        x: (members, rows, features). A training pass moves running statistics and observes ranges;
        the penalties of another are those that count in stopping.
        """
        now = Pass(self.stacks.parts(), training)
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer.forward(x, now, self.stacks.held)
        return x, sum(now.penalties, self.stacks.flat.new_zeros(len(x)))

    def zeros(self) -> Tensor:
        """How many weights at sites compute as zero, (members,)."""
        now = Pass(self.stacks.parts(), training=False)
        total = self.stacks.flat.new_zeros(len(self.stacks.flat))
        for layer in self.layers:
            if "weight" in layer.parameters:
                key, site = layer.parameters["weight"]
                if site is not None:
                    found = site.parameter(now.parts[key], now) == 0
                    owned = torch.tensor([c is not None for c in site.chains], device=total.device)
                    total = total + found.flatten(1).sum(1) * owned
        return total

    def failures(self) -> dict[int, PareqError]:
        """What operators of members refused since the last time."""
        found: dict[int, PareqError] = {}
        for site in self.sites:
            found = site.failures | found
            site.failures = {}
        return found


def layers_of(models: Sequence[nn.Module]) -> list[list[tuple[str, nn.Module]]]:
    """The layers of each network with their paths; raises RunError as `Network` does."""
    leaves = [list(_leaves(model, "")) for model in models]
    for number, found in enumerate(leaves):
        with at(f"trial {number}"):
            _check_same(leaves[0], found)
            for path, module in found:
                _check_operators(path, module)
    return leaves


def _check_operators(path: str, module: nn.Module) -> None:
    """Raise RunError for an operator, or a parameter, that a population cannot train."""
    chains = {name: _chain(module, name) for name in ("weight", "bias")}
    chains |= {end: _end(module, end) for end in ("input", "output")}
    for name, chain in chains.items():
        for operator in chain or ():
            stage_for(cast("Operator", operator), f"{path}:{name}")
    for name in ("weight", "bias"):
        owner = _owner(module, name)
        if owner is not None and not cast("nn.Parameter", owner.parameter).requires_grad:
            raise alone(f"{path}:{name} takes no gradient, a population trains all parameters")


def _leaves(model: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested Sequentials in their order, with their paths."""
    kind = parametrize.type_before_parametrizations(model)
    if kind is nn.Sequential:
        for name, child in model._modules.items():
            if child is not None:
                yield from _leaves(child, f"{path}.{name}" if path else name)
    elif kind in _KNOWN:
        if isinstance(model, nn.BatchNorm1d) and model.momentum is None:
            raise alone(f"{path} has no momentum, but averages over all batches")
        yield path, model
    else:
        known = ", ".join(k.__name__ for k in (nn.Sequential, *_KNOWN))
        raise alone(f"{path or 'the model'} is a {kind.__name__}, a population knows {known}")


def _check_same(
    first: Sequence[tuple[str, nn.Module]], other: Sequence[tuple[str, nn.Module]]
) -> None:
    """Raise RunError unless both are the same layers."""
    if len({id(module) for _, module in other}) < len(other):
        raise alone("a module occurs twice in the network")
    held = [id(parameter) for _, module in other for parameter in module.parameters()]
    if len(set(held)) < len(held):
        raise alone("two modules share a parameter")
    mine, its = ([_described(path, module) for path, module in leaves] for leaves in (first, other))
    for a, b in zip(mine, its, strict=False):
        if a != b:
            raise alone(f"the network has {b}, that of trial 0 {a}")
    if len(mine) != len(its):
        raise alone(f"the network has {len(its)} layers, that of trial 0 {len(mine)}")


def _described(path: str, module: nn.Module) -> str:
    kind = parametrize.type_before_parametrizations(module)
    settings = [f"{name}={getattr(module, name)}" for name in _FIELDS.get(kind, ())]
    if kind is nn.Linear:
        settings.append(f"bias={_owner(module, 'bias') is not None}")
    return f"{path} = {kind.__name__}({', '.join(settings)})"


def _owner(module: nn.Module, name: str) -> Owner | None:
    """Who holds the parameter that the optimizer trains."""
    if parametrize.is_parametrized(module, name):
        held = cast("nn.ModuleDict", module.parametrizations)[name]
        return Owner(held, "original")
    return None if module._parameters.get(name) is None else Owner(module, name)


def _chain(module: nn.Module, name: str) -> Chain | None:
    """The operators on a parameter."""
    if not parametrize.is_parametrized(module, name):
        return None
    steps = list(cast("nn.ModuleDict", module.parametrizations)[name].children())
    if len(steps) != 1 or not isinstance(steps[0], Chain):
        raise alone(f"{name} of {type(module).__name__} has a parametrization of another library")
    return steps[0]


def _end(module: nn.Module, end: str) -> Chain | None:
    """The operators on what goes into a module or comes out of it."""
    found = module._modules.get(f"pareq_{end}")
    return found if isinstance(found, Chain) else None


def _site(name: str, chains: Sequence[Chain | None], stacks: Stacks) -> _Site | None:
    return _Site(name, chains, stacks) if any(c is not None for c in chains) else None
