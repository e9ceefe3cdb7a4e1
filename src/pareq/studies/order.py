"""The study "order": whether it matters if a network is pruned or quantized first, and when.

The claim (Zhang et al. 2021, arXiv 2110.08271): the best order exists and depends on the task. Here
all arms of a seed share data, initial weights, batches, budget and the fall of the learning rate;
they differ by their times alone, and are measured after their last step. See `order_arms`.

OUT/b3-s80/seed-0/ARM/    a run, of each setting, seed and arm
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

from pareq.errors import StudyError
from pareq.recipe.config import dump_recipe
from pareq.recipe.order import Places
from pareq.recipe.recipe import Training
from pareq.registry import suggest
from pareq.search.arms import Arm, arms
from pareq.studies.base import Study
from pareq.studies.changes import begun, changed, typed
from pareq.studies.order_arms import ARMS, Strength, Times, grid, recipe
from pareq.tasks.base import make_task
from pareq.train.trial import Trial

__all__ = ["MATRICES", "OrderStudy", "Protocol", "Seed"]

_TASK = "digits"


@dataclass(frozen=True)
class Protocol:
    """How an order study is made.

    bits, sparsity: a setting each, in pairs. grid: so many places of P times as many of Q beside
    the arms; 0: none. tensors: "both" prunes weights and activations, "weights" these only. weights
    to edges: where, as in `Places`. The rest as in `Training`.
    """

    bits: tuple[int, ...] = (8, 3)
    sparsity: tuple[float, ...] = (0.5, 0.8)
    seeds: int = 8
    epochs: int = 60
    batch_size: int = 64
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    tensors: str = "both"
    recalibrate: bool = True
    grid: int = 0
    weights: str = "*:weight"
    activations: str = "*:output"
    whole: tuple[str, ...] = ()
    edges: tuple[str, ...] = (":input",)

    def __post_init__(self) -> None:
        if len(self.bits) != len(self.sparsity):
            raise StudyError(
                f"{len(self.bits)} bits and {len(self.sparsity)} sparsities; give as many of both,"
                " such as bits=[8,3] and sparsity=[0.5,0.8]"
            )
        if self.tensors not in ("both", "weights"):
            known = ("both", "weights")
            raise StudyError(f"unknown tensors {self.tensors!r}{suggest(self.tensors, known)}")
        if self.grid < 0 or self.grid == 1:
            raise StudyError(f"grid must be 0 or at least 2, got {self.grid}")
        if self.seeds < 1:
            raise StudyError(f"seeds must be 1 or more, got {self.seeds}")

    @property
    def settings(self) -> dict[str, Strength]:
        """Each setting by the name of its folder."""
        pairs = zip(self.bits, self.sparsity, strict=True)
        return {
            f"b{b}-s{100 * s:g}": Strength(b, s, self.recalibrate, self.tensors == "both")
            for b, s in pairs
        }

    @property
    def arms(self) -> dict[str, Times]:
        """Every arm by the name of its folder."""
        return {**ARMS, **(grid(self.grid) if self.grid else {})}

    def training(self, seed: int) -> Training:
        """How each arm of a seed is trained: all end with the same fall of the learning rate."""
        return Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,  # type: ignore[arg-type]  # checked there
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            decay="tail",
            seed=seed,
        )


MATRICES: Mapping[str, Protocol] = {"full": Protocol(), "quick": Protocol(seeds=3, epochs=20)}


@dataclass(frozen=True)
class Seed:
    """All arms of one setting and seed, one after the other; a trial of the study."""

    folder: str
    trials: Mapping[str, Trial]
    command: tuple[str, ...]

    @property
    def states(self) -> int:
        """How many arms there are."""
        return len(self.trials)

    @property
    def done(self) -> int:
        """How many of them have been trained and measured."""
        return sum(Arm(str(Path(self.folder) / n), t).done for n, t in self.trials.items())

    def run(self) -> None:
        """Train what is missing; raises what `Arm.run` raises."""
        for arm in arms(Path(self.folder), self.trials, self.command).values():
            arm.run()


@dataclass(frozen=True)
class OrderStudy(Study, name="order"):
    """The arms of `protocol` on a task; matrix: "full" or "quick". options: of the task."""

    matrix: str = "full"
    task: str = _TASK
    options: Mapping[str, object] = field(default_factory=dict)
    protocol: Protocol = field(default_factory=Protocol)
    words: tuple[str, ...] = ()

    @classmethod
    def made(cls, matrix: str, data: str, epochs: int | None, repeats: int | None) -> Self:
        """See `Study.made`."""
        used, words = begun(MATRICES, matrix, data, epochs, repeats)
        options = {"data": data} if data else {}
        return cls(matrix, _TASK, options, used, words)

    def on(self, task: str, options: Mapping[str, object], changes: Sequence[str]) -> Self:
        """See `Study.on`."""
        merged = {**self.options, **options}
        name = task or self.task
        make_task(name, merged)
        words = (*self.words, *typed(task, options, changes))
        protocol = changed(self.protocol, changes)
        return replace(self, task=name, options=merged, protocol=protocol, words=words)

    def settings(self) -> dict[str, object]:
        """Task and protocol; more seeds may be added."""
        options = {key: str(value) for key, value in self.options.items()}
        protocol = {key: value for key, value in asdict(self.protocol).items() if key != "seeds"}
        return {"task": self.task, "options": options, "protocol": protocol}

    @property
    def command(self) -> tuple[str, ...]:
        """What runs the study."""
        return ("pareq", "study", "order", "--matrix", self.matrix, *self.words)

    def trials(self, out: Path) -> dict[str, Seed]:
        """One for each setting and seed; all first seeds come first."""
        found = {}
        for seed in range(self.protocol.seeds):
            for setting, how in self.protocol.settings.items():
                name = f"{setting}/seed-{seed}"
                command = (*self.command, "--only", name)
                found[name] = Seed(str(out / name), self._arms(how, seed), command)
        return found

    def report(self, out: Path) -> Path:
        """See `Study.report`."""
        from pareq.studies.order_report import write_report  # draws, which the trials do not

        return write_report(self, out)

    def _arms(self, how: Strength, seed: int) -> dict[str, Trial]:
        used = self.protocol
        places = Places(used.weights, used.activations, used.whole, used.edges)
        training = used.training(seed)
        return {
            name: Trial(self.task, dump_recipe(recipe(times, how, places, training)), self.options)
            for name, times in used.arms.items()
        }
