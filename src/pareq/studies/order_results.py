"""What an order study measured: the scores of each setting by arm and seed, and what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pareq.errors import PareqError
from pareq.report.summary import Sentence
from pareq.report.words import SPACE, Measure, measure
from pareq.search.arms import read_last
from pareq.studies.order_arms import ARMS, CONTRASTS, Strength, Times, contrast
from pareq.studies.order_statistics import Difference, difference
from pareq.studies.points import standard
from pareq.tasks.base import TASKS, Judged
from pareq.train.run import Run

if TYPE_CHECKING:
    from pareq.studies.order import OrderStudy

__all__ = ["Setting", "gather", "interval", "signed", "verdicts"]

_MINUS = "\u2212"
_ORDER = "order: P first \u2212 Q first, both slots"
_PUBLISHED = "published: P early, Q late \u2212 Q early, P late"
_REST = "published, without timing: less Q alone, plus P alone"
_JOINT = tuple(name for name, t in ARMS.items() if t.prune and t.quantize)


@dataclass(frozen=True)
class Setting:
    """One setting. scores, runs: by arm and seed; times: of every arm, also those not yet run."""

    name: str
    how: Strength
    judged: Judged
    times: Mapping[str, Times]
    scores: Mapping[str, Mapping[int, float]]
    runs: Mapping[str, Mapping[int, Run]]

    @property
    def title(self) -> str:
        """Such as 3 bits, 80 % pruned."""
        return f"{self.how.bits} bits, {100 * self.how.sparsity:g}{SPACE}% pruned"

    def score(self, arm: str) -> Measure | None:
        """Mean score of an arm over the seeds and its standard error."""
        found = measure(list(self.scores.get(arm, {}).values()))
        return None if found is None else standard(found)

    @cached_property
    def contrasts(self) -> dict[str, Difference]:
        """Each contrast that has a seed with all its arms."""
        values = {name: contrast(weights, self.scores) for name, weights in CONTRASTS.items()}
        return {name: difference(each) for name, each in values.items() if each}

    def against(self, arm: str, other: str) -> Difference | None:
        """One arm minus another, seed by seed."""
        values = contrast({arm: 1.0, other: -1.0}, self.scores) if arm != other else []
        return difference(values) if values else None

    @property
    def best(self) -> str:
        """The joint arm with the highest mean score, or ""."""
        means = {arm: found.mean for arm in _JOINT if (found := self.score(arm))}
        return max(means, key=lambda arm: means[arm], default="")


def gather(study: "OrderStudy", out: Path) -> tuple[list[Setting], list[tuple[Path, str]]]:
    """All settings, and the folders that cannot be read with the reason."""
    skipped: list[tuple[Path, str]] = []
    trials = study.trials(out)
    made = []
    for setting, how in study.protocol.settings.items():
        scores: dict[str, dict[int, float]] = {}
        runs: dict[str, dict[int, Run]] = {}
        for seed in range(study.protocol.seeds):
            folder = Path(trials[f"{setting}/seed-{seed}"].folder)
            for arm in study.protocol.arms:
                if not (folder / arm / "last.json").exists():
                    continue
                try:
                    run, last = read_last(folder / arm)
                except PareqError as error:
                    skipped.append((folder / arm, str(error)))
                    continue
                scores.setdefault(arm, {})[seed] = last.score
                runs.setdefault(arm, {})[seed] = run
        judged = TASKS[study.task].judged
        made.append(Setting(setting, how, judged, study.protocol.arms, scores, runs))
    return made, skipped


def signed(value: float, judged: Judged) -> str:
    """A difference in the unit of the task with its sign; percent become points."""
    shown = judged.factor * value
    text = f"{abs(shown):.2f}"
    sign = "" if float(text) == 0 else "+" if shown > 0 else _MINUS
    return f"{sign}{text}"


def interval(found: Difference, judged: Judged) -> str:
    """Both ends, such as −0.20 to +0.31."""
    if found.seeds < 2:
        return "unknown with one seed"
    return f"{signed(found.low, judged)} to {signed(found.high, judged)}"


def verdicts(setting: Setting) -> list[Sentence]:
    """Whether order matters, what timing does, and what the published comparison would say."""
    found, judged = setting.contrasts, setting.judged
    unit = "points" if judged.unit == "%" else judged.unit
    said = []
    order = found.get(_ORDER)
    if order is not None:
        said.append(Sentence("Order.", _of_order(order, judged, unit)))
        slots = {
            slot: found[f"order, {slot}: P first \u2212 Q first"] for slot in ("early", "late")
        }
        parts = (f"{slot} {_told(d, judged, unit)}, {_noise(d)}" for slot, d in slots.items())
        said.append(Sentence("", f"By slot: {'; '.join(parts)}."))
    for letter, what in (("P", "pruning"), ("Q", "quantization")):
        names = (f"{letter} alone", f"timing of {letter}")
        alone, joint = (found.get(f"{name}: late \u2212 early") for name in names)
        if alone is not None and joint is not None:
            text = (
                f"Alone, {_of_timing(what, alone, judged, unit)}; in the joint arms"
                f" {_of_timing(what, joint, judged, unit)}, which holds what the order does too."
            )
            said.append(Sentence(f"Timing of {what}.", text))
    published, rest = found.get(_PUBLISHED), found.get(_REST)
    if published is not None and rest is not None:
        text = _of_published(published, rest, judged, unit)
        said.append(Sentence("The published comparison", text))
    return [*said, *_of_best(setting, unit)]


def _told(found: Difference, judged: Judged, unit: str) -> str:
    return f"{signed(found.mean, judged)} {unit} ({interval(found, judged)})"


def _noise(found: Difference) -> str:
    return "beyond noise" if found.seen else "within noise"


def _of_order(order: Difference, judged: Judged, unit: str) -> str:
    """Better, worse, or no difference; and what would have been seen."""
    if order.seeds < 2:
        return "One seed cannot tell whether it matters; run more."
    told = _told(order, judged, unit)
    if order.seen:
        way = "better" if order.mean > 0 else "worse"
        return (
            f"It matters: over both slots, at the same time of pruning, to prune before quantizing"
            f" is {way} than after it, by {told}."
        )
    limit = f"{judged.factor * order.half:.2f}"
    return (
        "Over both slots it makes no difference beyond noise: at the same time of pruning, to prune"
        f" before quantizing instead of after it changes the score by {told}. About {limit} {unit}"
        " would have been seen."
    )


def _of_timing(what: str, found: Difference, judged: Judged, unit: str) -> str:
    told = _told(found, judged, unit)
    if not found.seen:
        return f"late {what} differs from early by nothing beyond noise, {told}"
    way = "better" if found.mean > 0 else "worse"
    return f"late {what} is {way} than early by {told}"


def _of_published(found: Difference, rest: Difference, judged: Judged, unit: str) -> str:
    kind = "would be reported" if found.seen else "would lie within noise"
    left = "more than noise is left" if rest.seen else "nothing beyond noise is left"
    return (
        f"of P early, Q late with Q early, P late gives {_told(found, judged, unit)}, which {kind}."
        f" Without the timing of each operation alone {left} of it: {_told(rest, judged, unit)}."
    )


def _of_best(setting: Setting, unit: str) -> list[Sentence]:
    best = setting.best
    others: Sequence[str] = [arm for arm in _JOINT if arm != best]
    found = {arm: d for arm in others if (d := setting.against(best, arm))}
    if not best or not found:
        return []
    same = [setting.times[arm].label for arm, d in found.items() if not d.seen]
    text = f"has the highest mean score of the {len(found) + 1} joint arms"
    if same:
        text += f"; not beyond noise apart from it: {'; '.join(same)}"
    return [Sentence(setting.times[best].label, f"{text}.")]
