"""Attach a recipe to a model: three lines in the user's own loop.

net = attach(model, recipe, steps=...)   # once
net.set_step(step)                       # before each training step
loss = loss + net.penalty()              # where the recipe has penalties
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pareq.attach.chain import Chain, insert, remove
from pareq.attach.feeds import Seen, surroundings
from pareq.attach.sites import Place, channel_axis, choose
from pareq.errors import PareqError, SiteError, at
from pareq.operators.base import Member, Operator, Quantizer
from pareq.operators.schedule import NEVER, Clock, Schedule
from pareq.pruners import Prune, PruneActivation
from pareq.recipe.recipe import Recipe, Rule

__all__ = ["Attached", "Site", "attach"]


@dataclass(frozen=True, eq=False)
class Site:
    """A tensor of the model with operators on it.

    path: the module's path, "" for the model itself. tensor: the parameter's name, or "input" or
    "output"; kind: weight, bias, input or output.
    """

    path: str
    tensor: str
    kind: str
    module: nn.Module
    chain: Chain

    @property
    def name(self) -> str:
        """Such as "fc1:weight"."""
        return f"{self.path}:{self.tensor}"

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators, in the order in which they are applied."""
        return tuple(o for o in self.chain if isinstance(o, Operator))

    @property
    def quantizer(self) -> Quantizer | None:
        """The quantizer among the operators; a site has at most one."""
        return next((o for o in self.operators if isinstance(o, Quantizer)), None)

    def latent(self) -> Tensor | None:
        """The parameter that the optimizer trains; None for an activation."""
        if self.kind not in ("weight", "bias"):
            return None
        held: Tensor = self.module.parametrizations[self.tensor].original  # type: ignore[union-attr,index]
        return held

    def value(self) -> Tensor | None:
        """The parameter as the network uses it now; None for an activation."""
        held: Tensor | None = (
            getattr(self.module, self.tensor) if self.latent() is not None else None
        )
        return held


@dataclass(frozen=True, eq=False)
class _Input:
    """What an operator on a parameter sees now; called only when it must look."""

    operator: Operator
    site: Site

    def __call__(self) -> Tensor:
        latent = self.site.latent()
        if latent is None:
            raise SiteError(f"{self.site.name} is an activation and holds no tensor")
        return self.site.chain.before(self.operator, latent)

    def earlier(self) -> tuple[Operator, ...]:
        """The operators before this one."""
        operators = self.site.operators
        return operators[: operators.index(self.operator)]


@dataclass(frozen=True, eq=False)
class _Group:
    """The operators that one rule made."""

    place: str
    rule: Rule
    members: list[Member]

    def counts(self) -> list[int]:
        """How much each pruner of the group has taken; it tells one mask from another."""
        found = (operator for operator, _ in self.members)
        return [o.count for o in found if isinstance(o, Prune | PruneActivation)]

    def next_change(self, schedule: Schedule, step: int) -> int:
        """The first later step at which one of the operators has something to do."""
        return min((o.next_change(schedule, step) for o, _ in self.members), default=NEVER)


class Attached:
    """A model with the operators of a recipe on it; made by `attach`.

    model: the user's own, changed in place. sites: where operators are.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, sites: Sequence[Site], clock: Clock
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.sites = tuple(sites)
        self._groups = _groups(recipe, self.sites)
        self._clock = clock
        self._schedules: list[Schedule] | None = None
        self._step = 0
        self._quiet_until = 0  # the first step at which an operator has something to do
        self._penalized = [s for s in self.sites if s.latent() is not None and _penalizes(s)]
        parameter = next(model.parameters(), None)
        self._zero = torch.zeros((), device=None if parameter is None else parameter.device)
        self._learned = [p for s in self.sites for o in s.operators for p in o.parameters()]

    def plan(self, steps: int, steps_per_epoch: int | None = None) -> None:
        """Say how long the run is; resolves the recipe's fractions and epochs to steps.

        Raises RecipeError when a schedule ends before it begins.
        """
        self._clock = Clock(steps, steps_per_epoch)
        self._schedules = None
        self._quiet_until = 0

    @property
    def schedules(self) -> Sequence[Schedule]:
        """The schedule of each rule, in steps; RecipeError when the run's length is needed."""
        if self._schedules is None:
            resolved = []
            for group in self._groups:
                with at(group.place):
                    resolved.append(group.rule.when.resolve(self._clock))
            self._schedules = resolved
        return self._schedules

    @property
    def settled_at(self) -> int:
        """The first step after which no schedule changes any more."""
        return max((s.last for s in self.schedules), default=0)

    @property
    def quiet_until(self) -> int:
        """The first later step at which an operator has something to do."""
        return self._quiet_until

    def set_step(self, step: int) -> None:
        """Move every operator to a training step: strengths, masks, ranges.

        The same step again changes nothing, but at `settled_at`, where it does again what training
        has undone since. Raises RecipeError when the length of the run is needed and not known,
        OperatorError when a tensor cannot be pruned or quantized.
        """
        if self._step <= step < self._quiet_until and not any(s.chain.loaded for s in self.sites):
            if step == self.settled_at:
                self._settle()
            return
        changed: set[Operator] = set()
        moves = list(zip(self._groups, self.schedules, strict=True))
        for group, schedule in moves:
            before = group.counts()
            with _told(group):
                type(group.rule.op).advance(group.members, schedule, step)
            if group.counts() != before:
                changed.update(operator for operator, _ in group.members)
        if changed:
            self._tell_of_masks(changed, step)
        if step == self.settled_at:
            self._settle()
        quiet = min((group.next_change(schedule, step) for group, schedule in moves), default=NEVER)
        for site in self.sites:
            site.chain.refresh()
            site.chain.loaded = False
        self._step, self._quiet_until = step, quiet

    def _settle(self) -> None:
        """Let the operators finish, all schedules being at their end."""
        for group in self._groups:
            with _told(group):
                type(group.rule.op).settle(group.members)

    def _tell_of_masks(self, changed: set[Operator], step: int) -> None:
        """Tell those behind a new mask: a weight's in its own chain, of activations every one."""
        for group in self._groups:
            with _told(group):
                for operator, source in group.members:
                    if not isinstance(source, _Input) or not changed.isdisjoint(source.earlier()):
                        operator.mask_changed(step, source)

    def penalty(self) -> Tensor:
        """The sum of the operators' penalties: 0-dim, to be added to the loss."""
        total = self._zero
        for site in self._penalized:
            latent = site.latent()
            if latent is None:
                continue
            for operator in site.operators:
                if type(operator).penalty is Operator.penalty:
                    continue
                extra = operator.penalty(site.chain.before(operator, latent))
                total = total if extra is None else total + extra
        if self._learned and dist.is_available() and dist.is_initialized():
            # every parameter must take part in a distributed step, also before its time
            total = total + sum((0.0 * p.sum() for p in self._learned), torch.zeros(()))
        return total

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor], step: int | None = None) -> None:
        """Measure activation ranges, and choose masks of activations, without training.

        step: where to put the operators, by default after all schedules.
        """
        at_step = self.settled_at if step is None else step
        self.set_step(at_step)
        watched = [(s.chain, o) for s in self.sites if s.latent() is None for o in s.operators]
        masks = any(isinstance(o, PruneActivation) for _, o in watched)
        inputs = list(batches) if masks else batches
        for _ in range(1 + masks):  # masks first, then the ranges that they leave
            _calibrating(watched, on=True)
            try:
                with _evaluating(self.model):
                    for batch in inputs:
                        self.model(batch)
            finally:
                _calibrating(watched, on=False)
                self._quiet_until = 0
            if masks:
                self.set_step(at_step)

    def detach(self, *, bake: bool = True) -> nn.Module:
        """Take all operators off and return the plain model.

        bake: keep the projected values in weights and biases; else the latent ones come back.
        Activations are then as the plain model computes them.
        """
        with torch.no_grad():
            for site in self.sites:
                remove(site.module, site.tensor, site.kind, bake=bake)
        self.sites = ()
        self._groups, self._penalized, self._learned = [], [], []
        return self.model

    def __repr__(self) -> str:
        lines = [
            f"  {s.name}: {', '.join(f'{o.name}({o.extra_repr()})' for o in s.operators)}"
            for s in self.sites
        ]
        return "\n".join(
            [f"Attached({type(self.model).__name__}, {len(self.sites)} sites)", *lines]
        )


def attach(
    model: nn.Module,
    recipe: Recipe,
    *,
    steps: int | None = None,
    steps_per_epoch: int | None = None,
    example: Tensor | None = None,
) -> Attached:
    """Put the operators of a recipe on a model, in place; at strength 0 they change nothing.

    steps, steps_per_epoch: the length of the run, where the recipe counts in fractions or epochs
    (or say it later with `plan`). example: an input, needed only for operators that must know the
    shape of an activation. An optimizer made before keeps its parameters; one made after also
    trains learned scales. Raises SiteError when a rule matches nothing, one tensor would be
    quantized twice, or a tied weight is covered only in part, and leaves the model as it was.
    """
    if any(isinstance(m, Chain) for m in model.modules()):
        raise SiteError("the model already carries operators; call detach() first")
    shapes = {} if example is None else _shapes(model, example)
    chosen = choose(model, recipe)
    chains: dict[int, Chain] = {}
    for place, rules in chosen:  # every chain is made before the model is touched
        key = _key(place)
        if key not in chains:
            chains[key] = _chain(place, [(n, recipe.rules[n]) for n in rules], shapes)
    sites = []
    for place, _ in chosen:
        chain = chains[_key(place)]
        insert(place.module, place.tensor, place.kind, chain)
        sites.append(Site(place.paths[0], place.tensor, place.kind, place.module, chain))
    net = Attached(model, recipe, sites, Clock(steps, steps_per_epoch))
    try:
        _introduce(sites, shapes)
    except PareqError:
        net.detach(bake=False)
        raise
    return net


def _introduce(sites: Sequence[Site], shapes: Seen) -> None:
    """Let those operators know their layers that ask for them."""
    for site in sites:
        for operator, number in zip(site.operators, site.chain.rules, strict=True):
            if type(operator).meet is not Operator.meet:
                with at(f"rule {number + 1} ({site.name})"):
                    operator.meet(surroundings(site.module, site.quantizer, sites, shapes))


def _key(place: Place) -> int:
    """Tied parameters share a key, and with it their operators."""
    return id(place if place.parameter is None else place.parameter)


def _chain(place: Place, rules: Sequence[tuple[int, Rule]], shapes: Seen) -> Chain:
    """Fresh operators for one place."""
    like = (
        place.parameter if place.parameter is not None else shapes.get((place.module, place.kind))
    )
    operators = []
    for number, rule in rules:
        with at(f"rule {number + 1} ({place.name})"):
            operator = rule.op.fresh()
            operator.prepare(like, channel_axis(place.module, like, place.kind))
            operators.append(operator)
    return Chain(operators, [n for n, _ in rules], place.name)


@torch.no_grad()
def _shapes(model: nn.Module, example: Tensor) -> Seen:
    """What every module is called with and returns for one input, in evaluation mode."""
    seen: Seen = {}

    def look(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, Tensor):
            seen[module, "output"] = first
        if args and isinstance(args[0], Tensor):
            seen[module, "input"] = args[0]

    hooks = [m.register_forward_hook(look) for m in model.modules()]
    try:
        with _evaluating(model):
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _groups(recipe: Recipe, sites: Sequence[Site]) -> list[_Group]:
    """The operators by rule; those of tied tensors once."""
    groups = []
    for number, rule in enumerate(recipe.rules):
        members: dict[Operator, Member] = {}
        for site in sites:
            for operator, maker in zip(site.operators, site.chain.rules, strict=True):
                if maker == number:
                    source = None if site.latent() is None else _Input(operator, site)
                    members.setdefault(operator, (operator, source))
        groups.append(_Group(f"rule {number + 1} ({rule.where})", rule, list(members.values())))
    return groups


@contextmanager
def _told(group: _Group) -> Iterator[None]:
    """An error inside names the rule."""
    try:
        yield
    except PareqError as error:
        error.where = group.place
        raise


def _penalizes(site: Site) -> bool:
    return any(type(o).penalty is not Operator.penalty for o in site.operators)


def _calibrating(watched: Sequence[tuple[Chain, Operator]], *, on: bool) -> None:
    for chain, operator in watched:
        operator.observing = on
        chain.calibrating = on
        chain.refresh()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every module gets its own mode back."""
    was = {m: m.training for m in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was.items():
            module.training = training
