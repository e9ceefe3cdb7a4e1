"""Find a schedule of pruning and quantization within a budget of trainings.

1. probe: a short float run; what one shot of each operator does to it, layer by layer
2. branch: schedules of every order, forked from the default one where they share its beginning
3. refine: Bayesian optimisation of times, bits and sparsities, where BoTorch is installed; else
   small changes of the best
4. halve: the best go on to a run of a third of the epochs, the best of these to the full one

    OUT/tune.json          what is searched
    OUT/probe.json         the one-shot sensitivities
    OUT/candidates.json    the points, by name
    OUT/probe/             the float run
    OUT/rung-0/NAME ...    runs; the last rung has the one in full
    OUT/best.toml          its recipe

Candidates are chosen by the validation loss after the last step. The test split is only reported.
"""

import importlib.util
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from pareq.errors import SearchError, at
from pareq.metrics.cost import Cost
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.recipe.order import Places
from pareq.recipe.recipe import Recipe, Training
from pareq.search.arms import Arm, clock, read_last
from pareq.search.bayes import Bayes
from pareq.search.executor import Executor, Outcome
from pareq.search.found import Candidate, Found
from pareq.search.halving import Halving, best_of
from pareq.search.schedules import Schedules, Target, billed, price, tables
from pareq.search.sensitivity import Probe, Sensitivity, probe
from pareq.search.space import Point
from pareq.search.strategy import Local, Strategy, Told
from pareq.tasks.base import Task, make_task
from pareq.train import checkpoint, durable
from pareq.train.deploy import lowered_run
from pareq.train.fork import branches
from pareq.train.job import put_best
from pareq.train.run import Run
from pareq.train.trial import Trial, network

__all__ = ["Tune", "refiner"]

_TRUNK = "default"
_TOGETHER = 2  # points that are proposed at a time
_LEAST_STEPS = 180  # of a run that says anything
_PART = 4  # so many times shorter than a run of the first rung is the one that is probed
_ALWAYS = 3  # of the starts come first, whatever the probe says
_MANY = 10  # runs of the first rung, from which on late schedules are tried too
Say = Callable[[str], None]


def refiner() -> str:
    """How points are refined here: "bayes" where BoTorch is installed, else "local"."""
    return "bayes" if importlib.util.find_spec("botorch") else "local"


@dataclass(frozen=True)
class Tune:
    """A search on a task. training: of one full run, with the decay "tail"; budget: in such runs.

    Raises SearchError for a training without the tail, and a budget that is too small.
    """

    task: str
    target: Target
    training: Training
    options: Mapping[str, object] = field(default_factory=dict)
    places: Places = field(default_factory=Places)
    budget: float = 3.0
    refine: str = field(default_factory=refiner)
    command: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.training.decay != "tail":
            raise SearchError(
                f"training.decay must be 'tail', so that all schedules end alike, got"
                f" {self.training.decay!r}"
            )

    def run(self, out: Path, executor: Executor, say: Say = lambda line: None) -> Found:
        """Search, or go on; the same call again only reads. say: is told what goes on.

        Raises SearchError for a folder of another search, when nothing fits the limit, and when
        every candidate fails; also what trainings raise.
        """
        with at("tune"):
            return _Hunt(self, out, executor, say).found()

    def settings(self) -> dict[str, object]:
        """What the search depends on, as JSON holds it."""
        content = {
            "task": self.task,
            "options": {key: str(value) for key, value in self.options.items()},
            "target": asdict(self.target),
            "training": asdict(self.training),
            "places": asdict(self.places),
            "budget": self.budget,
            "refine": self.refine,
        }
        return dict(json.loads(json.dumps(content)))


@dataclass
class _Hunt:
    """A search on its way."""

    tune: Tune
    out: Path
    executor: Executor
    say: Say
    points: dict[str, Point] = field(default_factory=dict)
    losses: dict[int, dict[str, float]] = field(default_factory=dict)
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    tables: dict[str, float] = field(default_factory=dict)
    spent: int = 0

    def found(self) -> Found:
        """The whole search."""
        self._open()
        plan = self.plan
        seen = self._probed()
        schedules = replace(self.schedules, sensitive=seen.weights)
        self._branch(schedules, seen)
        self._refine(schedules)
        for rung, number in enumerate(plan.promoted, 1):
            self._promote(schedules, rung, number)
        last_rung = len(plan.promoted)
        (name,) = best_of(self.losses[last_rung], 1)
        folder = self.out / f"rung-{last_rung}" / name
        run, last = read_last(folder)
        durable.write(self.out / "best.toml", run.recipe.encode())
        tried = tuple(self._candidate(n, schedules) for n in self.points)
        return Found(
            best=next(c for c in tried if c.name == name),
            lengths=plan.lengths,
            folder=folder,
            recipe=self.out / "best.toml",
            last=last,
            cost=self._cost(run),
            candidates=tried,
            probe=seen,
            epochs=self.spent,
            trainings=self.spent / self.tune.training.epochs,
            failed=self.failed,
        )

    @cached_property
    def task(self) -> Task:
        """The task."""
        return make_task(self.tune.task, self.tune.options)

    @cached_property
    def plan(self) -> Halving:
        """The rungs."""
        training = self.tune.training
        each = clock(Trial(self.tune.task, "", self.tune.options), training).steps_per_epoch or 1
        return Halving(training.epochs, self.tune.budget, -(-_LEAST_STEPS // each))

    @property
    def schedules(self) -> Schedules:
        """The space, before anything is known of the layers."""
        return Schedules(self.task, self.tune.target, self.tune.training, self.tune.places)

    @cached_property
    def most(self) -> float:
        """The limit as a number of bit operations or bytes."""
        target = self.tune.target
        if not target.limit or target.most >= 1:
            return target.most
        return target.most * price(self.task, Recipe(), target.limit)

    def _open(self) -> None:
        """Note what the folder is, or find that it is this."""
        path, now = self.out / "tune.json", self.tune.settings()
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SearchError(f"cannot be made ({error.strerror})", where=str(self.out)) from None
        was = _read(path)
        for key in now:
            if was and was.get(key) != now[key]:
                raise SearchError(
                    f"began with {key} = {was.get(key)!r}, now it is {now[key]!r}; go back to the"
                    " former value, or use another folder",
                    where=str(self.out),
                )
        _write(path, now)

    def _probed(self) -> Probe:
        """A short float run, and what one shot does to it."""
        epochs = -(-min(self.plan.lengths[0], self.plan.least) // _PART)
        training = replace(self.tune.training, epochs=epochs, decay="constant")
        recipe = Recipe(training=training)
        arm = replace(self._arm(0, "float", recipe), folder=str(self.out / "probe"))
        self._train({"float": arm})
        if "float" in self.failed:
            raise SearchError(f"the float run failed: {self.failed['float']}")
        path = self.out / "probe.json"
        held = _read(path)
        if not held:
            held = asdict(self._shot(Path(arm.folder), arm.trial))
            _write(path, held)
        sites = tuple(Sensitivity(**each) for each in held["sites"])  # type: ignore[attr-defined]
        found = Probe(**{**held, "sites": sites})  # type: ignore[arg-type]
        self.say(
            f"probe: in one shot pruning raises the loss by {found.prune:.3g}, quantization by"
            f" {found.quantize:.3g}, both by {min(found.prune_first, found.quantize_first):.3g};"
            f" {found.favours} is tried first"
        )
        return found

    def _shot(self, folder: Path, trial: Trial) -> Probe:
        newest = checkpoint.newest(folder / "checkpoints")
        if newest is None:
            raise SearchError("has no checkpoint; remove it", where=str(folder))
        net = network(self.task, parse_recipe(trial.recipe))
        put_best(net, checkpoint.read(newest))
        target = self.tune.target
        hard = {f"bits_{t}": target.bits[0] for t in ("weights", "activations")}
        hard |= {f"sparsity_{t}": target.sparsity[1] for t in ("weights", "activations")}  # type: ignore[misc]
        point: Point = {**self.schedules.starts()["default"], **hard}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.tune.training.seed)
            return probe(net.model, self.task, self.schedules.recipe(point))

    def _branch(self, schedules: Schedules, seen: Probe) -> None:
        """Orders of every kind: the default, then the favoured; late ones if there is room."""
        starts = schedules.starts()
        kinds = {name: schedules.order(point).kind for name, point in starts.items()}
        many = self.plan.allowance >= _MANY * self.plan.lengths[0]
        late = {name for name in starts if name.endswith("-late")}
        chosen = [n for n in starts if n not in late or (many and kinds[n] == seen.favours)]
        first = list(starts)[:_ALWAYS]
        chosen.sort(key=lambda n: (n not in first, n in late, kinds[n] != seen.favours))
        held = _read(self.out / "candidates.json")
        for names in (chosen[:1], chosen[1:]):  # the others fork from the first
            for name in names:
                point = held.get(name) or schedules.within(starts[name], self.most)
                self.points[name] = dict(point)  # type: ignore[call-overload]
            self._launch(schedules, names)

    def _refine(self, schedules: Schedules) -> None:
        """Propose points while the first rung has epochs left."""
        held = _read(self.out / "candidates.json")
        number = 0
        while self.plan.allowance - self.spent >= self.plan.lengths[0]:
            names = [f"refined-{number + k}" for k in range(_TOGETHER)]
            number += _TOGETHER
            found = {n: dict(held[n]) for n in names if n in held}  # type: ignore[call-overload]
            if not found:
                asked = self._strategy(schedules).ask(_TOGETHER)
                places = [schedules.within(point, self.most) for point in asked]
                found = dict(zip(names, places, strict=True))
            self.points |= found
            if not self._launch(schedules, list(found)) or len(found) < _TOGETHER:
                return

    def _strategy(self, schedules: Schedules) -> Strategy:
        """One that was told all that is known of the first rung."""
        space, seed = schedules.space, self.tune.training.seed
        made: Strategy = (
            Bayes(space, seed, initial=2) if self.tune.refine == "bayes" else Local(space, seed)
        )
        for name, point in self.points.items():
            loss = self.losses[0].get(name)
            made.tell(Told(point, () if loss is None else (-loss,)))
        return made

    def _launch(self, schedules: Schedules, names: list[str]) -> bool:
        """Train candidates in the first rung as far as it has epochs; whether all could be."""
        training = self._training(0)
        folder = self.out / "rung-0"
        trunk = schedules.recipe(self.points[_TRUNK], training)
        whole = clock(Trial(self.tune.task, "", self.tune.options), training)
        works: dict[str, Arm] = {}
        planned = self.spent
        for name in names:
            recipe = schedules.recipe(self.points[name], training)
            known = {_TRUNK: trunk} if self.losses.get(0) else {}
            source, epoch = branches({**known, name: recipe}, whole)[name]
            arm = self._arm(0, name, recipe, (str(folder / source) if source else "", epoch))
            if name == _TRUNK:
                arm = replace(arm, stems=tuple(range(1, training.epochs)))
            if planned + arm.epochs > self.plan.allowance:
                del self.points[name]
                continue
            planned += arm.epochs
            works[name] = arm
        _write(self.out / "candidates.json", {**_read(self.out / "candidates.json"), **self.points})
        if works:
            self.say(f"rung 0: {', '.join(works)}, {training.epochs} epochs")
        self._train(works)
        self._look(0, works)
        return len(works) == len(names)

    def _promote(self, schedules: Schedules, rung: int, number: int) -> None:
        """Train the best of the rung before for longer."""
        training = self._training(rung)
        names = best_of(self.losses[rung - 1], number)
        self._check(names)
        self.say(f"rung {rung}: {', '.join(names)}, {training.epochs} epochs")
        works = {
            name: self._arm(rung, name, schedules.recipe(self.points[name], training))
            for name in names
        }
        self._train(works)
        self._look(rung, works)
        self._check(self.losses[rung])

    def _check(self, alive: Collection[str]) -> None:
        if not alive:
            first = next(iter(self.failed.values()), "there was none")
            raise SearchError(f"every schedule failed; the first: {first}")

    def _arm(self, rung: int, name: str, recipe: Recipe, fork: tuple[str, int] = ("", 0)) -> Arm:
        folder = self.out / f"rung-{rung}" / name
        trial = Trial(self.tune.task, dump_recipe(recipe), self.tune.options)
        label = f"{name}, rung {rung}"
        return Arm(str(folder), trial, *fork, label=label, command=self.tune.command)

    def _train(self, works: Mapping[str, Arm]) -> None:
        """Run what is missing, and count what it costs."""

        def ended(outcome: Outcome) -> None:
            if outcome.error:
                self.failed[outcome.name] = outcome.error
                self.say(f"failed: {outcome.name}: {outcome.error}")

        self.executor.run({n: arm for n, arm in works.items() if not arm.done}, ended)
        self.spent += sum(arm.epochs for arm in works.values())

    def _look(self, rung: int, works: Mapping[str, Arm]) -> None:
        """The validation loss after the last step of each run that ended well."""
        losses, scores = self.losses.setdefault(rung, {}), self.scores.setdefault(rung, {})
        for name, arm in works.items():
            if arm.done and self._fits(name, arm, rung):
                run, _ = read_last(Path(arm.folder))
                losses[name] = run.epochs[-1].val_loss
                scores[name] = run.epochs[-1].val_accuracy

    def _fits(self, name: str, arm: Arm, rung: int) -> bool:
        """Whether a network of the first rung keeps the limit of look-up tables, now trained."""
        if self.tune.target.limit != "luts" or rung:
            return True
        found = self.tables[name] = self._cost(read_last(Path(arm.folder))[0])
        if found > self.most:
            self.failed[name] = f"takes {found:,.0f} look-up tables, the limit is {self.most:,.0f}"
            self.say(f"left out: {name}: {self.failed[name]}")
        return found <= self.most

    def _cost(self, run: Run) -> float:
        """What is limited, of the network as it was trained."""
        limit = self.tune.target.limit
        if limit == "luts" and run.folder is not None:
            return tables(lowered_run(run.folder).graph)
        cost = Cost.from_dict(run.result.cost).totals() if limit and run.result else None
        return billed(cost, limit) if cost else 0.0

    def _training(self, rung: int) -> Training:
        return replace(self.tune.training, epochs=self.plan.lengths[rung])

    def _candidate(self, name: str, schedules: Schedules) -> Candidate:
        point = self.points[name]
        return Candidate(
            name=name,
            order=schedules.order(point),
            bits=(schedules.bits(point, "weights"), schedules.bits(point, "activations")),
            sparsity=(
                schedules.sparsity(point, "weights"),
                schedules.sparsity(point, "activations"),
            ),
            cost=self.tables.get(name, schedules.price(point)),
            losses={rung: each[name] for rung, each in self.losses.items() if name in each},
            scores={rung: each[name] for rung, each in self.scores.items() if name in each},
        )


def _read(path: Path) -> dict[str, object]:
    """The content of a file of the search; empty when there is none."""
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise SearchError(f"cannot be read ({error}); remove it", where=str(path)) from None


def _write(path: Path, content: Mapping[str, object]) -> None:
    durable.write(path, (json.dumps(content, indent=2) + "\n").encode())
