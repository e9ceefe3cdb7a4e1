"""Forks: a run that begins with the first steps of another one, which are the same for both.

Before the first step at which two recipes differ, their trainings are the same, so it is done once:

    run = Trial(task, trunk).run(source, on_epoch=Stems(source, epochs))    # keeps all state there
    fork(source, epoch, target, recipe)                                     # another run's folder
    Trial(task, recipe).run(target)                                         # goes on from there

The run in `target` is bit for bit the one that a whole training of `recipe` would have given.
"""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from torch import Tensor

from pareq.attach.attach import Attached
from pareq.errors import RunError, at
from pareq.operators.schedule import NEVER, Clock
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.recipe.recipe import Recipe, Rule
from pareq.tasks.base import make_task
from pareq.train import checkpoint, durable, journal
from pareq.train.checkpoint import Checkpoint
from pareq.train.journal import Epoch
from pareq.train.run import read_about, read_recipe, sha256, write_json
from pareq.train.trial import network

__all__ = ["Stems", "branches", "fork", "parting"]

_STEMS = "stems"  # the folder of the kept states, in that of the run


@dataclass(frozen=True)
class Stems:
    """Keeps all state of a run at the end of some epochs; to be told each epoch as it ends.

    run: its folder, in which every epoch ends with a checkpoint (`Keep.epochs` is 1).
    """

    run: Path
    epochs: Collection[int]

    def __call__(self, epoch: Epoch) -> None:
        """Keep the state, if it is one of those epochs."""
        if epoch.epoch in self.epochs:
            self._keep(epoch.epoch, checkpoint.path_of(self._checkpoints, epoch.step))

    def catch_up(self) -> None:
        """Keep what a run that was killed had no time to keep; before it goes on."""
        for path in sorted(self._checkpoints.glob("step-*.safetensors")):
            facts = checkpoint.read(path).facts
            if facts["batch"] == 0 and facts["epoch"] in self.epochs:
                self._keep(cast("int", facts["epoch"]), path)

    @property
    def _checkpoints(self) -> Path:
        return self.run / "checkpoints"

    def _keep(self, epoch: int, path: Path) -> None:
        kept = _stem(self.run, epoch)
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            durable.write(kept, path.read_bytes())


def parting(one: Recipe, other: Recipe, clock: Clock) -> int:
    """The step until which a training by `other` may be taken from one by `one`; 0: not at all.

    It is the first at which they may differ. A rule acts from its first step on, and looks at the
    tensor `window` steps before; once all rules have settled, epochs are judged. clock: of both.
    """
    if one.training != other.training or _places(one) != _places(other) or not other.rules:
        return 0
    pairs = zip(one.rules, other.rules, strict=True)
    settled = max(rule.when.resolve(clock).last for rule in other.rules)
    return min(settled, *(_parting(a, b, clock) for a, b in pairs))


def branches(recipes: Mapping[str, Recipe], clock: Clock) -> dict[str, tuple[str, int]]:
    """For each recipe an earlier one whose run it can be forked from, and after which epoch.

    The one with which it shares most; "" and 0 where it shares no whole epoch. clock: of all runs,
    with steps_per_epoch.
    """
    found: dict[str, tuple[str, int]] = {}
    each = clock.steps_per_epoch or 1
    for name, recipe in recipes.items():
        shared = {other: parting(recipes[other], recipe, clock) // each for other in found}
        source = max(shared, key=lambda other: shared[other], default="")
        found[name] = (source, shared[source]) if source and shared[source] else ("", 0)
    return found


def fork(source: Path, epoch: int, target: Path, recipe: str) -> None:
    """Make `target` a run by `recipe` that has behind it the first epochs of the run `source`.

    Does nothing when `target` has begun already. Raises RunError when the source has not kept that
    epoch (see `Stems`), or the recipes part before its end; CheckpointError for a damaged state.
    """
    if (target / "run.json").exists():
        return
    with at(f"fork of {source}"):
        found = sorted(entry.name for entry in target.iterdir()) if target.exists() else []
        if found:
            raise RunError(
                f"{target} holds {found[0]!r} and no run.json, so it is no run; use a new or empty"
                " folder"
            )
        about = read_about(source)
        was, now = parse_recipe(read_recipe(source, about)), parse_recipe(recipe)
        stem = checkpoint.read(_stem(source, epoch), recipe=about.recipe_sha256)
        steps, each = cast("tuple[int, int]", stem.facts["run"])
        together = parting(was, now, Clock(steps, each))
        if together < epoch * each:
            raise RunError(
                f"the recipes part at step {together}, before the end of epoch {epoch} at step"
                f" {epoch * each}; fork sooner"
            )
        text = dump_recipe(now)
        plain = replace(about, recipe_sha256=sha256(text), state="stopped", label="", command=None)
        net = network(make_task(about.task, about.task_options), now)
        beside = target.with_name(f".{target.name}.fork")
        shutil.rmtree(beside, ignore_errors=True)
        (beside / "checkpoints").mkdir(parents=True)
        begun = _begun(stem, was, net, sha256(text))
        checkpoint.write(checkpoint.path_of(beside / "checkpoints", epoch * each), begun)
        for line in journal.read(source / "metrics.jsonl")[:epoch]:
            journal.append(beside / "metrics.jsonl", replace(line, settled=False))
        start = "weights-start.safetensors"
        durable.write(beside / start, (source / start).read_bytes())
        durable.write(beside / "recipe.toml", text.encode())
        write_json(beside / "run.json", plain)
        beside.replace(target)  # over an empty folder too


def _stem(run: Path, epoch: int) -> Path:
    return run / _STEMS / f"epoch-{epoch:05d}.safetensors"


def _places(recipe: Recipe) -> list[tuple[object, ...]]:
    """Where each rule acts, and by which kind of operator."""
    return [(rule.where, rule.exclude, rule.op.name) for rule in recipe.rules]


def _parting(one: Rule, other: Rule, clock: Clock) -> int:
    """The first step at which two rules of one kind may differ."""
    if one == other:
        return NEVER
    a, b = one.when.resolve(clock), other.when.resolve(clock)
    ahead = max(_window(one), _window(other))
    if one.op.config() != other.op.config():
        return max(min(a.first, b.first) - ahead, 0)
    edges = {a.first, b.first}
    step = 0
    while step != NEVER:  # from one change to the next
        if a(step) != b(step) or (step in edges and a.first != b.first):
            return max(step - ahead, 0)
        later = (e for e in edges if e > step)
        step = min(a.next_change(step), b.next_change(step), *later)
    return NEVER


def _window(rule: Rule) -> int:
    """How many steps before it acts an operator looks at its tensor."""
    return int(getattr(rule.op, "window", 0))


def _begun(stem: Checkpoint, was: Recipe, net: Attached, recipe: str) -> Checkpoint:
    """The state with nothing judged yet, as the recipe of `net` goes on from it.

    Operators that are other ones now, and did nothing so far, are as they are made.
    """
    pairs = zip(was.rules, net.recipe.rules, strict=True)
    other = {n for n, (a, b) in enumerate(pairs) if a.op.config() != b.op.config()}
    fresh = _states(net, other)
    tensors = {name: t for name, t in stem.tensors.items() if not name.startswith("best/")}
    tensors |= {f"model/{name}": t for name, t in fresh.items()}
    return Checkpoint(tensors, {**stem.facts, "recipe": recipe, "best": None, "waited": 0})


def _states(net: Attached, rules: Collection[int]) -> Mapping[str, Tensor]:
    """The state of the operators that some rules have made, by its name in the model."""
    ours = {
        id(operator)
        for site in net.sites
        for operator, rule in zip(site.chain, site.chain.rules, strict=True)
        if rule in rules
    }
    names = [name for name, module in net.model.named_modules() if id(module) in ours]
    held = net.model.state_dict()
    return {key: t for key, t in held.items() if key.rpartition(".")[0] in names}
