"""What a section says in words and tables, computed from its variants."""

from collections.abc import Callable
from dataclasses import dataclass

from pareq.report.figure import Table
from pareq.report.variants import BOPS, Section, Variant, pareto
from pareq.report.words import (
    NONE,
    Measure,
    count,
    differs,
    join,
    percent,
    plural,
    ratio,
    size,
)

__all__ = ["Sentence", "Tile", "cost_table", "summary", "tables", "tiles"]

_TIMES = "\u00d7"
_TOLD = 4  # variants with a sentence of their own


@dataclass(frozen=True)
class Sentence:
    """One sentence; label: the variant it begins with, or nothing."""

    label: str
    text: str


@dataclass(frozen=True)
class Tile:
    """A figure in large type and what it is."""

    value: str
    meaning: str


def summary(section: Section) -> tuple[Sentence, ...]:
    """The findings: what was trained, how good the reference is, how the others compare."""
    number = len(section.variants)
    done = [len(v.finished) for v in section.variants if v.finished]
    seeds = sorted(set(done or [len(v.runs) for v in section.variants]))
    each = plural(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    data = join(sorted({run.run.about.data for v in section.variants for run in v.runs}))
    begin = (
        f"{plural(number, 'variant')} {'was' if number == 1 else 'were'} trained with {each}"
        f"{' each' if number > 1 else ''} on {data}."
    )
    if len(done) < number:
        begin += f" {plural(number - len(done), 'variant')} not finished yet."
    sentences = [Sentence("", begin), *_of_reference(section.reference)]
    for variant in _told(section):
        sentences += _compared(variant, section.reference)
    return tuple(sentences)


def _of_reference(variant: Variant) -> list[Sentence]:
    accuracy, bops, memory = variant.accuracy, variant.total(BOPS), variant.total("memory")
    if accuracy is None:
        return []
    text = f"classifies {accuracy.text(100, '%')} of the test samples correctly"
    if bops and memory:
        text += f" and takes {count(bops.mean)} bit operations an inference and {size(memory.mean)}"
    return [Sentence(variant.label, f"{text}.")]


def _told(section: Section) -> list[Variant]:
    """Everything beside the reference, or where that is too much: the best at each cost."""
    others = [v for v in section.variants[1:] if v.accuracy]
    if len(others) <= _TOLD:
        return others
    places = [(v, cost, v.accuracy) for v in others if (cost := v.total(BOPS))]
    known = [(v, (cost.mean, accuracy.mean)) for v, cost, accuracy in places if accuracy]
    front = [known[i][0] for i in pareto([place for _, place in known])]
    return front[:_TOLD][::-1]


def _compared(variant: Variant, reference: Variant) -> list[Sentence]:
    bops, left = _times(variant, reference, BOPS), _left(variant)
    parts = []
    if bops:
        parts.append(f"needs {_fewer(bops)}")
    if left < 0.995:
        parts.append(f"keeps {percent(left, 0)} of its weights")
    told = _accuracy_against(variant, reference)
    cost = join(parts)
    text = f"{cost}; {told}." if cost and told else f"{cost or told}."
    return [Sentence(variant.label, text)] if cost or told else []


def _times(variant: Variant, reference: Variant, name: str) -> float | None:
    """How many times less than the reference."""
    a, b = variant.total(name), reference.total(name)
    return b.mean / a.mean if a and b and a.mean and b.mean else None


def _left(variant: Variant) -> float:
    """The fraction of the weights that are not zero; 1 where it is unknown."""
    nonzero, weights = variant.total("nonzero"), variant.total("weights")
    return nonzero.mean / weights.mean if nonzero and weights and weights.mean else 1.0


def _fewer(times: float) -> str:
    if 1 / 1.005 < times < 1.005:
        return "as many bit operations"
    word, shown = ("fewer", times) if times > 1 else ("more", 1 / times)
    return f"{_times_text(shown)} times {word} bit operations"


def _times_text(times: float) -> str:
    return f"{times:.2f}" if times < 1.095 else ratio(times)


def _accuracy_against(variant: Variant, reference: Variant) -> str:
    a, b = variant.accuracy, reference.accuracy
    if a is None or b is None:
        return ""
    points = f"{abs(a.mean - b.mean) * 100:.2f} points"
    if not differs(a, b):
        return f"its accuracy of {a.text(100, '%')} shows no difference beyond noise ({points})"
    way = "higher" if a.mean > b.mean else "lower"
    return f"its accuracy of {a.text(100, '%')} is {points} {way}, which is more than noise"


def tiles(section: Section) -> tuple[str, tuple[Tile, ...]]:
    """The variant with the fewest bit operations, and its figures beside the reference."""
    known = [v for v in section.variants if v.accuracy and v.total(BOPS)]
    if len(known) < 2 or section.reference is not known[0]:
        return "", ()
    smallest = known[-1]
    a, b = smallest.accuracy, section.reference.accuracy
    bops, memory = (_times(smallest, section.reference, name) for name in (BOPS, "memory"))
    found = []
    if a and b:
        change = Measure(a.mean - b.mean, None, 1).text(100)
        noise = "more than noise" if differs(a, b) else "within noise"
        sign = "+" if a.mean > b.mean else ""
        found.append(Tile(f"{sign}{change}", f"points of accuracy, {noise}: {a.text(100, '%')}"))
    if bops and bops > 1:
        found.append(Tile(f"{_times_text(bops)}{_TIMES}", "fewer bit operations"))
    if memory and memory > 1:
        found.append(Tile(f"{_times_text(memory)}{_TIMES}", "less memory"))
    if _left(smallest) < 0.995:
        found.append(Tile(percent(_left(smallest), 0), "of the weights are not zero"))
    return smallest.label, tuple(found)


def tables(section: Section) -> tuple[Table, ...]:
    """Quality and cost; background efficiency by class; all figures of the cost."""
    if not any(v.accuracy for v in section.variants):
        return ()
    head = (
        "Variant",
        "Seeds",
        "Accuracy",
        "Macro AUC",
        "Bit operations",
        "Memory",
        "Non-zero weights",
    )
    rows = tuple(
        (
            v.label,
            str(len(v.finished)),
            _shown(v.accuracy, lambda m: m.text(100, "%")),
            _shown(v.auc, lambda m: m.text(decimals=4)),
            _shown(v.total(BOPS), lambda m: count(m.mean)),
            _shown(v.total("memory"), lambda m: size(m.mean)),
            _shown(v.total("nonzero"), lambda m: count(m.mean)),
        )
        for v in section.variants
        if v.accuracy
    )
    point = percent(section.signal_efficiency, 0)
    background = tuple(
        (
            v.label,
            *(_shown(v.background(c), lambda m: m.text(100)) for c in range(len(section.classes))),
        )
        for v in section.variants
        if v.accuracy
    )
    return (
        Table("Quality on the test split, and cost of one inference", head, rows),
        Table(
            f"Background efficiency at {point} signal efficiency, in percent; lower is better",
            ("Variant", *section.classes),
            background,
        ),
    )


def cost_table(section: Section) -> Table | None:
    """Every total of the cost, a column a variant, mean over the seeds."""
    costed = [v for v in section.variants if v.totals]
    if not costed:
        return None
    rows = []
    for name in costed[0].totals[0]:
        means = [v.total(name) for v in costed]
        rows.append((name.replace("_", " "), *(_plain(m.mean if m else None) for m in means)))
    head = ("Figure", *(v.label for v in costed))
    return Table("All figures of the cost; bits where nothing else is said", head, tuple(rows))


def _plain(value: float | None) -> str:
    if value is None:
        return NONE
    return count(value) if float(value).is_integer() or value >= 1000 else f"{value:.4g}"


def _shown(value: Measure | None, text: Callable[[Measure], str]) -> str:
    return NONE if value is None else text(value)
