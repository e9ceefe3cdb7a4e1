"""The study "qap": quantization-aware pruning of the jet tagger (Hawks et al. 2021)."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

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
from pareq.studies.descent import Descent
from pareq.studies.herd import Herd
from pareq.studies.matrix import MATRICES, PROTOCOLS, Protocol, Setting
from pareq.studies.widths import WidthSearch

__all__ = ["Qap", "recipe"]


@dataclass(frozen=True)
class Qap(Study, name="qap"):
    """The matrix `matrix` ("full", "published" or "quick") on the task's `data`.

    protocol: else that of the matrix. Raises StudyError for another matrix.
    """

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
        for name, value in (("epochs", epochs), ("repeats", repeats)):
            if value is not None and value < 1:
                raise StudyError(f"{name} must be 1 or more, got {value}")
        used = study.used
        changed = replace(used, epochs=epochs or used.epochs, repeats=repeats or used.repeats)
        return replace(study, protocol=changed)

    @property
    def used(self) -> Protocol:
        """The protocol."""
        return self.protocol or PROTOCOLS[self.matrix]

    def settings(self) -> dict[str, object]:
        """Matrix, data and protocol, but for the repeats: a study may have more of them later."""
        protocol = {key: value for key, value in asdict(self.used).items() if key != "repeats"}
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
            for setting in MATRICES[self.matrix]()
        }

    def lacking(self, trials: Iterable[str]) -> dict[str, MissingExtra]:
        """See `Study.lacking`: the searches of widths need BoTorch."""
        planned, lack = self.planned(), lacking()
        if lack is None:
            return {}
        return {name: lack for name in trials if planned[name][0].method == "bo"}

    def groups(self, trials: Mapping[str, Part], most: int) -> list[tuple[Work, tuple[str, ...]]]:
        """Descents of one network on one split make a herd."""
        alike: dict[str, list[str]] = {}
        for name, trial in trials.items():
            alike.setdefault(_shape(trial) or name, []).append(name)
        found: list[tuple[Work, tuple[str, ...]]] = []
        for names in alike.values():
            for begin in range(0, len(names), most):
                part = tuple(names[begin : begin + most])
                herd = {name: each for name in part if isinstance(each := trials[name], Descent)}
                found.append((Herd(herd) if len(part) > 1 else trials[part[0]], part))
        return found

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
                seed=repeat,
                label=setting.name,
                command=self._command(name),
            )
        fractions = protocol.fractions
        if setting.noise and protocol.noisy is not None:
            fractions = fractions[: max(protocol.noisy - 1, 0)]
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
        for key in ("epochs", "repeats"):
            if getattr(self.used, key) != getattr(usual, key):
                command += [f"--{key}", str(getattr(self.used, key))]
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


def _shape(trial: Part) -> str:
    """What trials share that can be trained together: all options but those of the labels.

    Empty for those that are trained alone, such as descents that rewind to within a run.
    """
    if not isinstance(trial, Descent) or trial.rewind:
        return ""
    return str({k: v for k, v in sorted(trial.options.items()) if not k.startswith("noise")})


def recipe(setting: Setting, protocol: Protocol, seed: int) -> Recipe:
    """The recipe of the dense network: prune (nothing yet), L1, quantizers from the first step."""
    rules = [Rule("*:weight", Prune(), Stairs(0, 0, (0.0,)))]
    if setting.l1 != "off":
        rules.append(Rule("*:weight", L1(protocol.l1)))
    if setting.l1 == "on" and setting.norm not in ("off", "no-affine"):
        rules.append(Rule("*@BatchNorm*:weight", L1(protocol.l1)))
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
