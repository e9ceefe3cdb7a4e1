"""The study "area": quality against look-up tables, bit operations and stages of firmware.

A family of networks is trained: recipes that prune and quantize at every sparsity and width, and
learned bit widths at every budget. Each is lowered to integers, written as Verilog, and counted.

    OUT/qap-b6-s80/seed-0/            a run, with its graph and its design
    OUT/qap-b6-s80/seed-0/area.json   what the design takes
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from pareq.backends import Verilog
from pareq.backends.verilog.area import FAMILIES, area
from pareq.errors import StudyError, UnknownName, at
from pareq.metrics.integers import graph_cost
from pareq.pruners import Prune
from pareq.quantizers import Ebops
from pareq.recipe.config import change_recipe, dump_recipe
from pareq.recipe.presets import find_recipe
from pareq.recipe.recipe import Recipe
from pareq.registry import suggest
from pareq.studies.base import Study
from pareq.studies.changes import begun, changed, typed
from pareq.tasks.base import make_task
from pareq.train import durable
from pareq.train.deploy import build_run, open_lowered
from pareq.train.loop import Keep
from pareq.train.trial import Trial

__all__ = ["CARD", "MATRICES", "YOSYS", "AreaStudy", "Design", "Member", "Protocol", "has_yosys"]

CARD = "area.json"
YOSYS = "yosys is not installed; run, for example: apt install yosys"

_TASK = "jets"
_OPTIONS: Mapping[str, object] = {"batch_norm": False}  # of that task: factors cost multipliers


def has_yosys() -> bool:
    """Whether designs can be counted here."""
    return shutil.which("yosys") is not None


@dataclass(frozen=True)
class Member:
    """One network of the family. recipe: a preset or a file; what is 0 the recipe does not have.

    sparsity: the share of the weights that is pruned; budget: of EBOPs.
    """

    recipe: str
    bits: int = 0
    sparsity: float = 0.0
    budget: int = 0

    @property
    def kind(self) -> str:
        """The recipe's name."""
        return Path(self.recipe).stem

    @property
    def name(self) -> str:
        """Such as qap-b6-s80 or learned-bits-e2500: of the folder."""
        tail = f"e{self.budget}" if self.budget else f"b{self.bits}-s{100 * self.sparsity:g}"
        return f"{self.kind}-{tail}"

    @property
    def label(self) -> str:
        """In words."""
        if self.budget:
            return f"{self.kind}, {self.budget:,} EBOPs"
        return f"{self.kind}, {self.bits} bits, {100 * self.sparsity:g} % pruned"

    @cached_property
    def changes(self) -> tuple[str, ...]:
        """What differs from the recipe, as `--set` takes it.

        Raises StudyError for a recipe in which there is nothing to change.
        """
        wanted: list[str] = []
        for number, rule in enumerate(find_recipe(self.recipe).rules, 1):
            if self.budget:
                if isinstance(rule.op, Ebops):
                    wanted.append(f"rule.{number}.op.budget={float(self.budget)}")
            elif type(rule.op) is Prune:  # of FanIn the schedule is no sparsity
                wanted.append(f"rule.{number}.when.to={self.sparsity}")
            elif rule.where.startswith("*") and hasattr(rule.op, "bits"):
                wanted.append(f"rule.{number}.op.bits={self.bits}")
        kinds = {each.rpartition(".")[2].partition("=")[0] for each in wanted}
        if len(kinds) < (1 if self.budget else 2):
            what = "ebops" if self.budget else "prune and a quantizer of '*:weight'"
            raise StudyError(f"recipe {self.recipe!r} has no rule with {what}; take another one")
        return tuple(wanted)

    def made(self, more: Sequence[str]) -> Recipe:
        """Its recipe, with more changes."""
        return change_recipe(find_recipe(self.recipe), [*self.changes, *more])


@dataclass(frozen=True)
class Protocol:
    """How an area study is made.

    recipes: presets or files, each at all `bits` and all `sparsity`. budgets: of EBOPs, for the
    recipe `learned`. emitter: as of Verilog; family: as of `pareq area`.
    """

    recipes: tuple[str, ...] = ("qap-fixed", "qap")
    bits: tuple[int, ...] = (4, 6, 8)
    sparsity: tuple[float, ...] = (0.5, 0.8, 0.9)
    learned: str = "learned-bits"
    budgets: tuple[int, ...] = (500, 1000, 2500, 6800)
    seeds: int = 3
    epochs: int = 100
    batch_size: int = 1024
    emitter: str = "best"
    family: str = "xcup"

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise UnknownName(f"unknown family {self.family!r}{suggest(self.family, FAMILIES)}")
        if self.seeds < 1:
            raise StudyError(f"seeds must be 1 or more, got {self.seeds}")
        if not self.members:
            raise StudyError("there is no network; give budgets, or recipes, bits and sparsity")
        for name, values in (("bits", self.bits), ("budgets", self.budgets)):
            if min(values, default=1) < 1:
                raise StudyError(f"{name} must be 1 or more, got {min(values)}")
        if not all(0 <= share < 1 for share in self.sparsity):
            raise StudyError(f"sparsity must be in [0, 1), got {list(self.sparsity)}")
        self.backend  # noqa: B018 - refuses what is out of range

    @property
    def members(self) -> dict[str, Member]:
        """The family by name: learned bits first."""
        found = [Member(self.learned, budget=each) for each in self.budgets]
        found += [
            Member(recipe, bits, sparsity)
            for recipe in self.recipes
            for bits in self.bits
            for sparsity in self.sparsity
        ]
        return {each.name: each for each in found}

    @property
    def backend(self) -> Verilog:
        """What writes the designs."""
        return Verilog(emitter=self.emitter)  # type: ignore[arg-type]  # checked there


MATRICES: Mapping[str, Protocol] = {
    "full": Protocol(),
    "quick": Protocol(
        recipes=("qap-fixed",),
        bits=(6,),
        sparsity=(0.5, 0.8),
        budgets=(1000, 6800),
        epochs=20,
        seeds=2,
    ),
}


@dataclass(frozen=True)
class Design:
    """One training, its integers and its design; a trial of the study."""

    folder: str
    trial: Trial
    backend: Verilog
    family: str
    label: str
    command: tuple[str, ...]

    @property
    def states(self) -> int:
        """One."""
        return 1

    @property
    def done(self) -> int:
        """Whether it was trained and counted; without Yosys: trained and written."""
        try:
            card = json.loads((Path(self.folder) / CARD).read_bytes())
        except (OSError, ValueError):  # there is none, or it is damaged
            return 0
        return int("area" in card and not (card["area"] is None and has_yosys()))

    def run(self) -> None:
        """Do what is missing; raises what training, lowering, building and counting raise."""
        if self.done:
            return
        folder = Path(self.folder)
        self.trial.run(folder, keep=Keep(epochs=5, label=self.label, command=self.command))
        artefact = build_run(folder, self.backend)
        lowered, totals = open_lowered(folder), graph_cost(artefact.graph).totals()
        score = lowered.test[make_task(self.trial.task, self.trial.options).judged.figure]
        counted = asdict(area(artefact, family=self.family)) if has_yosys() else None
        card = {
            "score": score,
            "ebops": totals["ebops"],
            "bops": totals["bops_paper"],
            "stages": artefact.figures["latency_cycles"],
            "emitter": "alkaid" if "alkaid_cost" in artefact.figures else "native",
            "lut_estimate": artefact.figures["lut_estimate"],
            "area": counted,
        }
        durable.write(folder / CARD, (json.dumps(card, indent=1) + "\n").encode())


@dataclass(frozen=True)
class AreaStudy(Study, name="area"):
    """The family of `protocol` on a task; matrix: "full" or "quick". options: of the task."""

    matrix: str = "full"
    task: str = _TASK
    options: Mapping[str, object] = field(default_factory=lambda: dict(_OPTIONS))
    protocol: Protocol = field(default_factory=Protocol)
    words: tuple[str, ...] = ()

    @classmethod
    def made(cls, matrix: str, data: str, epochs: int | None, repeats: int | None) -> Self:
        """See `Study.made`."""
        used, words = begun(MATRICES, matrix, data, epochs, repeats)
        options = {**_OPTIONS, **({"data": data} if data else {})}
        return cls(matrix, _TASK, options, used, words)

    def on(self, task: str, options: Mapping[str, object], changes: Sequence[str]) -> Self:
        """See `Study.on`; of another task only the data option is kept."""
        kept = dict(self.options)
        if task and task != self.task:
            kept = {key: value for key, value in kept.items() if key not in _OPTIONS}
        merged = {**kept, **options}
        make_task(task or self.task, merged)
        return replace(
            self,
            task=task or self.task,
            options=merged,
            protocol=changed(self.protocol, changes),
            words=(*self.words, *typed(task, options, changes)),
        )

    def settings(self) -> dict[str, object]:
        """Task, and what every trial depends on: more seeds and more networks may be added."""
        grows = ("seeds", "recipes", "bits", "sparsity", "learned", "budgets")
        options = {key: str(value) for key, value in self.options.items()}
        protocol = {key: v for key, v in asdict(self.protocol).items() if key not in grows}
        return {"task": self.task, "options": options, "protocol": protocol}

    @property
    def command(self) -> tuple[str, ...]:
        """What runs the study."""
        return ("pareq", "study", "area", "--matrix", self.matrix, *self.words)

    def trials(self, out: Path) -> dict[str, Design]:
        """One for each network and seed; all first seeds come first."""
        return {
            f"{name}/seed-{seed}": self._design(out / name / f"seed-{seed}", member, seed)
            for seed in range(self.protocol.seeds)
            for name, member in self.protocol.members.items()
        }

    def notices(self) -> Iterator[str]:
        """See `Study.notices`: without Yosys nothing is counted."""
        if not has_yosys():
            yield f"no look-up tables are counted: {YOSYS}; then the same command adds them"

    def report(self, out: Path) -> Path:
        """See `Study.report`."""
        from pareq.studies.area_report import write_report  # draws, which the trials do not

        return write_report(self, out)

    def training(self, seed: int) -> tuple[str, ...]:
        """What all recipes of a seed have in common, as `--set` takes it."""
        used = self.protocol
        values = {"epochs": used.epochs, "batch_size": used.batch_size, "seed": seed}
        return tuple(f"training.{key}={value}" for key, value in values.items())

    def _design(self, folder: Path, member: Member, seed: int) -> Design:
        used = self.protocol
        with at(member.name):
            text = dump_recipe(member.made(self.training(seed)))
        command = (*self.command, "--only", f"{member.name}/seed-{seed}")
        trial = Trial(self.task, text, self.options)
        return Design(str(folder), trial, used.backend, used.family, member.label, command)
