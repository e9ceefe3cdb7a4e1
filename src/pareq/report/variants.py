"""Runs that differ by their seed only are one variant: its means, its noise, its place.

A `Section` holds the variants of one task, from the most bit operations to the fewest. The first is
the reference, which the others are compared with. Eight more have a colour; further ones stand in
the tables and as grey dots.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pareq.report.collect import Trained
from pareq.report.svg import SERIES
from pareq.report.words import SPACE, Measure, measure
from pareq.tasks.base import Judged

__all__ = ["BOPS", "Section", "Variant", "pareto", "sections"]

BOPS: Final = "bops_paper"
_ENCODINGS: Final = ("bits_dense", "bits_bitmap", "bits_csr", "bits_relative")
_BESIDE: Final = ("bits_biases", "bits_norms", "bits_rest")


@dataclass(frozen=True)
class Variant:
    """One recipe, trained with one seed or several. series: its colour, None for a grey dot."""

    label: str
    runs: tuple[Trained, ...]
    series: int | None = None

    @property
    def finished(self) -> tuple[Trained, ...]:
        """The runs that have a result."""
        return tuple(run for run in self.runs if run.score is not None)

    @property
    def score(self) -> Measure | None:
        """What the task is judged by, on the test split: of a classifier its accuracy."""
        found = [run.score for run in self.runs if run.score is not None]
        return measure(found, [run.quality.accuracy_error for run in self.runs if run.quality])

    @property
    def auc(self) -> Measure | None:
        """Mean of a classifier's one-vs-rest areas of all classes; one seed gives no error."""
        return measure([run.quality.auc_macro for run in self.runs if run.quality])

    @property
    def integers(self) -> Measure | None:
        """The same score of the networks in integers, where they were lowered."""
        found = [run.deployed.score for run in self.runs if run.deployed]
        return measure([m.mean for m in found], [m.error for m in found if m.error is not None])

    def figure(self, name: str) -> Measure | None:
        """A figure of a task without labels; one seed gives no error."""
        return measure([run.figures[name] for run in self.runs if name in run.figures])

    def background(self, c: int) -> Measure | None:
        """Background efficiency of class `c` at the signal efficiency of the Quality."""
        found = [run.quality.classes[c] for run in self.runs if run.quality]
        return measure([q.background for q in found], [q.background_error for q in found])

    def total(self, name: str) -> Measure | None:
        """A figure of `Cost.totals`; one seed gives no error."""
        return measure([totals[name] for totals in self.totals])

    @property
    def totals(self) -> list[dict[str, float]]:
        """The totals of the cost of each run that has one, and `memory`: bytes in all.

        memory: the weights in the smallest encoding that can be read back, and everything else;
        memory_with_activations: and the inputs of all layers.
        """
        found = []
        for run in self.runs:
            if run.cost:
                totals = run.cost.totals()
                rest = sum(totals[name] for name in _BESIDE)
                least = min(totals[name] for name in _ENCODINGS)
                held = (rest + least) / 8
                both = held + totals["bits_activations"] / 8
                found.append({"memory": held, "memory_with_activations": both} | totals)
        return found


@dataclass(frozen=True)
class Section:
    """The variants of one task; classes: their names in the order of the labels, if it has any."""

    task: str
    key: str
    classes: tuple[str, ...]
    variants: tuple[Variant, ...]

    @property
    def drawn(self) -> Iterator[tuple[int, Variant]]:
        """The variants that have a colour."""
        return ((v.series, v) for v in self.variants if v.series is not None)

    @property
    def reference(self) -> Variant:
        """What the others are compared with."""
        return self.variants[0]

    @property
    def judged(self) -> Judged:
        """What the scores are."""
        return self.variants[0].runs[0].judged

    @property
    def title(self) -> str:
        """What the scores are called, as it begins a line."""
        label = self.judged.label
        return f"{label[0].upper()}{label[1:]}"

    def said(self, score: Measure) -> str:
        """A score with its error and unit."""
        return score.text(self.judged.factor, self.judged.unit)

    def ticked(self, score: float) -> str:
        """A score for an axis."""
        unit = self.judged.unit
        return f"{self.judged.factor * score:.4g}{SPACE}{unit}" if unit else f"{score:.4g}"

    @property
    def signal_efficiency(self) -> float:
        """Where background efficiencies are read, 0..1."""
        found = [run.quality for v in self.variants for run in v.runs if run.quality]
        return found[0].signal_efficiency if found else 0.5


def sections(runs: Sequence[Trained]) -> tuple[Section, ...]:
    """One section a task and list of classes, in the order in which they come."""
    tasks: dict[tuple[str, tuple[str, ...]], dict[str, list[Trained]]] = {}
    for run in runs:
        about = run.run.about
        group = tasks.setdefault((about.task, about.classes), {})
        group.setdefault(run.variant, []).append(run)
    made = []
    for number, ((task, classes), groups) in enumerate(tasks.items(), 1):
        variants = [Variant(group[0].label, tuple(group)) for group in groups.values()]
        variants.sort(key=lambda v: -(v.total(BOPS) or Measure(0.0, None, 0)).mean)
        made.append(Section(task, f"t{number}", classes, _coloured(_distinct(variants))))
    return tuple(made)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, gain) points that no other beats in both, by rising cost."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    best: list[int] = []
    for i in order:
        if not best or points[i][1] > points[best[-1]][1]:
            best.append(i)
    return best


def _distinct(variants: Sequence[Variant]) -> list[Variant]:
    """The same variants, equal labels told apart by a number."""
    seen: dict[str, int] = {}
    made = []
    for variant in variants:
        seen[variant.label] = seen.get(variant.label, 0) + 1
        number = seen[variant.label]
        label = variant.label if number == 1 else f"{variant.label} ({number})"
        made.append(Variant(label, variant.runs))
    return made


def _coloured(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Colours for the reference and for the best others: Pareto front first, then by score."""
    places = [(i, v.total(BOPS), v.score) for i, v in enumerate(variants) if i > 0]
    known = [(i, (cost.mean, acc.mean)) for i, cost, acc in places if cost and acc]
    front = {known[j][0] for j in pareto([point for _, point in known])}
    gain = {i: acc.mean if acc else -math.inf for i, _, acc in places}
    ranked = sorted(gain, key=lambda i: (i not in front, -gain[i], i))
    chosen = [0, *sorted(ranked[: SERIES - 1])]
    return tuple(
        Variant(v.label, v.runs, chosen.index(i) if i in chosen else None)
        for i, v in enumerate(variants)
    )
