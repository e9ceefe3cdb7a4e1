"""The study "qap": quantization-aware pruning of the jet tagger (Hawks et al. 2021)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

from pareq.errors import MissingExtra, StudyError
from pareq.operators.schedule import Stairs
from pareq.pruners import L1, Prune
from pareq.quantizers import LearnedScale, MaxAbs
from pareq.recipe.config import dump_recipe
from pareq.recipe.recipe import Recipe, Rule, Training
from pareq.registry import suggest
from pareq.search.bayes import lacking
from pareq.search.executor import Work
from pareq.studies.base import Part, Study
from pareq.studies.changes import changed
from pareq.studies.descent import Descent
from pareq.studies.herd import Herd
from pareq.studies.matrix import MATRICES, PROTOCOLS, Protocol, Setting
from pareq.studies.widths import GOALS, WidthSearch

__all__ = ["Qap", "recipe"]


@dataclass(frozen=True)
class Qap(Study, name="qap"):
    """The matrix `matrix` ("full", "published" or "quick") on the task's `data`.

    protocol: else that of the matrix. Raises StudyError for another matrix.
    """

    together: ClassVar[int] = 8  # a core is then 1.9 times as fast: benchmarks/population.py

    matrix: str = "full"
    data: str = ""
    protocol: Protocol | None = None

    def __post_init__(self) -> None:
        if self.matrix not in MATRICES:
            raise StudyError(f"unknown matrix {self.matrix!r}{suggest(self.matrix, MATRICES)}")

    @classmethod
    def made(cls, matrix: str, data: str, epochs: int | None, repeats: int | None) -> Self:
        """See `Study.made`."""
        study = cls(matrix, data)
        given = {"epochs": epochs, "repeats": repeats}
        changes = [f"{name}={value}" for name, value in given.items() if value is not None]
        return study.on("", {}, changes)

    def on(self, task: str, options: Mapping[str, object], changes: Sequence[str]) -> Self:
        """The same study with changes of its protocol; see `Study.on`."""
        if task or options:
            return super().on(task, options, changes)
        used = changed(self.used, changes)
        for name in ("epochs", "repeats", "batch_size", "shapes", "batch"):
            if getattr(used, name) < 1:
                raise StudyError(f"{name} must be 1 or more, got {getattr(used, name)}")
        if used.goal not in GOALS:
            raise StudyError(f"unknown goal {used.goal!r}{suggest(used.goal, GOALS)}")
        return replace(self, protocol=used)

    @property
    def used(self) -> Protocol:
        """The protocol."""
        return self.protocol or PROTOCOLS[self.matrix]

    def settings(self) -> dict[str, object]:
        """Matrix, data and protocol, but for what a study may have more of later."""
        grows = ("repeats", "bits")
        protocol = {key: value for key, value in asdict(self.used).items() if key not in grows}
        return {"matrix": self.matrix, "data": self.data, "protocol": protocol}

    def trials(self, out: Path) -> dict[str, Descent | WidthSearch]:
        """A descent, or a search, for each setting and repeat; all first repeats come first."""
        return {
            name: self._trial(out / name, setting, repeat, name)
            for name, (setting, repeat) in self.planned().items()
        }

    def planned(self) -> dict[str, tuple[Setting, int]]:
        """Setting and repeat of each trial, by its name."""
        return {
            f"{setting.name}/{repeat}": (setting, repeat)
            for repeat in range(1, self.used.repeats + 1)
            for setting in MATRICES[self.matrix](self.used.bits)
        }

    def lacking(self, trials: Iterable[str]) -> dict[str, MissingExtra]:
        """See `Study.lacking`: the searches of widths need BoTorch."""
        planned, lack = self.planned(), lacking()
        if lack is None:
            return {}
        return {name: lack for name in trials if planned[name][0].method == "bo"}

    def groups(self, trials: Mapping[str, Part], most: int) -> list[tuple[Work, tuple[str, ...]]]:
        """Descents of one network on one split make herds, of nearly equal sizes."""
        alike: dict[str, list[str]] = {}
        for name, trial in trials.items():
            alike.setdefault(_shape(trial) or name, []).append(name)
        found: list[tuple[Work, tuple[str, ...]]] = []
        for names in alike.values():
            size = -(-len(names) // -(-len(names) // most))
            for begin in range(0, len(names), size):
                part = tuple(names[begin : begin + size])
                herd = {name: each for name in part if isinstance(each := trials[name], Descent)}
                found.append((Herd(herd) if len(part) > 1 else trials[part[0]], part))
        return found

    def helpers(self, trials: Mapping[str, Part]) -> list[tuple[Work, str]]:
        """So many in all as a search asks shapes for at once."""
        return [
            (trial, name)
            for name, trial in trials.items()
            if isinstance(trial, WidthSearch)
            for _ in range(trial.batch - 1)
        ]

    def report(self, out: Path) -> Path:
        """See `Study.report`."""
        from pareq.studies.qap_report import write_report  # draws, which the trials do not

        return write_report(self, out)

    def _trial(
        self, folder: Path, setting: Setting, repeat: int, name: str
    ) -> Descent | WidthSearch:
        protocol = self.used
        text = dump_recipe(recipe(setting, protocol, repeat))
        options = self._options(setting, repeat)
        if setting.method == "bo":
            return WidthSearch(
                folder=str(folder),
                task="jets",
                recipe=text,
                options=options,
                states=protocol.shapes,
                initial=max(2, protocol.shapes // 4),
                batch=protocol.batch,
                objectives=GOALS[protocol.goal],
                proxy=protocol.proxy,
                seed=repeat,
                label=setting.name,
                command=self._command(name),
            )
        fractions = protocol.fractions
        if setting.noise and protocol.noisy:
            fractions = fractions[: protocol.noisy - 1]
        if setting.method == "dense":
            fractions = tuple(0.0 for _ in fractions)
        return Descent(
            folder=str(folder),
            task="jets",
            recipe=text,
            fractions=fractions,
            options=options,
            rewind={"lt": 0, "late": protocol.rewind}.get(setting.method),
            label=setting.name,
            command=self._command(name),
        )

    def _command(self, name: str) -> tuple[str, ...]:
        """What runs one trial."""
        command = ["pareq", "study", "qap", "--matrix", self.matrix]
        command += ["--data", self.data] if self.data else []
        usual = PROTOCOLS[self.matrix]
        own = ("epochs", "repeats")
        for key in (*own, *(f.name for f in fields(Protocol) if f.name not in own)):
            value = getattr(self.used, key)
            if value != getattr(usual, key):
                command += [f"--{key}", str(value)] if key in own else ["--set", _typed(key, value)]
        return (*command, "--only", name)

    def _options(self, setting: Setting, repeat: int) -> dict[str, object]:
        """Of the task."""
        switch = {"off": "batch_norm", "no-affine": "affine", "no-stats": "running_stats"}
        options: dict[str, object] = {}
        if setting.norm in switch:
            options[switch[setting.norm]] = False
        if self.data:
            options["data"] = self.data
        if self.used.folds:
            options["split"] = f"fold-{repeat}"
        if self.used.scaling != "train":
            options["scaling"] = self.used.scaling
        if setting.noise:
            options |= {"noise": setting.noise / 100, "noise_seed": repeat}
            options |= {"noise_rows": self.used.noise_rows}
            options |= {"noise_validation": self.used.noise_validation}
        return options


def _typed(key: str, value: object) -> str:
    """A setting of the protocol as a person types it."""
    if isinstance(value, tuple):
        return f"{key}=[{','.join(map(str, value))}]"
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"


def _shape(trial: Part) -> str:
    """What trials share that can be trained together: all options but those of the labels.

    Empty for those that are trained alone.
    """
    if not isinstance(trial, Descent):
        return ""
    return str({k: v for k, v in sorted(trial.options.items()) if not k.startswith("noise")})


def recipe(setting: Setting, protocol: Protocol, seed: int) -> Recipe:
    """The recipe of the dense network: prune (nothing yet), L1, quantizers from the first step."""
    rules = [Rule("*:weight", Prune(), Stairs(0, 0, (0.0,)))]
    rules += _penalties(setting, protocol)
    if setting.bits < 32:
        rules.append(Rule("*:weight", MaxAbs(setting.bits)))
        rules.append(Rule("*:output", LearnedScale(setting.bits)))
    training = Training(
        epochs=protocol.epochs,
        batch_size=protocol.batch_size,
        learning_rate=protocol.learning_rate,
        decay=protocol.decay,  # type: ignore[arg-type]  # checked there
        patience=protocol.patience,
        seed=seed,
    )
    return Recipe(*rules, training=training)


def _penalties(setting: Setting, protocol: Protocol) -> Iterator[Rule]:
    """L1 where it trains, or stops, or both."""
    if setting.l1 == "off" and not protocol.l1_stops:
        return
    train: Literal["stopping", "both"] = "stopping" if setting.l1 == "off" else "both"
    counts = train if protocol.l1_stops else "training"
    yield Rule("*:weight", L1(protocol.l1, counts))
    if setting.l1 != "weights" and setting.norm not in ("off", "no-affine"):
        yield Rule("*@BatchNorm*:weight", L1(protocol.l1, counts))
