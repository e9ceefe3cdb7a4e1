"""What a section says in words and tables, computed from its variants."""

from collections.abc import Callable, Sequence
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
from pareq.tasks.base import Judged

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
    sentences = [Sentence("", begin), *_of_reference(section)]
    for variant in _told(section):
        sentences += _compared(section, variant)
    return tuple(sentences)


def _of_reference(section: Section) -> list[Sentence]:
    variant = section.reference
    score, bops, memory = variant.score, variant.total(BOPS), variant.total("memory")
    if score is None:
        return []
    text = f"reaches a {section.judged.label} of {section.said(score)} on the test split"
    if section.classes:
        text = f"classifies {section.said(score)} of the test samples correctly"
    if bops and memory:
        text += f" and takes {count(bops.mean)} bit operations an inference and {size(memory.mean)}"
    return [Sentence(variant.label, f"{text}.")]


def _told(section: Section) -> list[Variant]:
    """Everything beside the reference, or where that is too much: the best at each cost."""
    others = [v for v in section.variants[1:] if v.score]
    if len(others) <= _TOLD:
        return others
    places = [(v, cost, v.score) for v in others if (cost := v.total(BOPS))]
    known = [(v, (cost.mean, score.mean)) for v, cost, score in places if score]
    front = [known[i][0] for i in pareto([place for _, place in known])]
    return front[:_TOLD][::-1]


def _compared(section: Section, variant: Variant) -> list[Sentence]:
    bops, left = _times(variant, section.reference, BOPS), _left(variant)
    parts = []
    if bops:
        parts.append(f"needs {_fewer(bops)}")
    if left < 0.995:
        parts.append(f"keeps {percent(left, 0)} of its weights")
    told = _score_against(section, variant)
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


def _score_against(section: Section, variant: Variant) -> str:
    a, b, judged = variant.score, section.reference.score, section.judged
    if a is None or b is None:
        return ""
    gap = f"{abs(a.mean - b.mean) * judged.factor:.2f}"
    points = f"{gap} {_unit(judged)}".rstrip()
    begin, known = f"its {judged.label} of {section.said(a)}", differs(a, b)
    if known is False:
        return f"{begin} shows no difference beyond noise ({points})"
    way = "higher" if a.mean > b.mean else "lower"
    noise = "which is more than noise" if known else "with one seed, so that noise is unknown"
    return f"{begin} is {points} {way}, {noise}"


def _unit(judged: Judged) -> str:
    """Of a difference."""
    return "points" if judged.unit == "%" else judged.unit


def tiles(section: Section) -> tuple[str, tuple[Tile, ...]]:
    """The variant with the fewest bit operations, and its figures beside the reference."""
    known = [v for v in section.variants if v.score and v.total(BOPS)]
    if len(known) < 2 or section.reference is not known[0]:
        return "", ()
    smallest = known[-1]
    a, b, judged = smallest.score, section.reference.score, section.judged
    bops, memory = (_times(smallest, section.reference, name) for name in (BOPS, "memory"))
    found = []
    if a and b:
        change = Measure(a.mean - b.mean, None, 1).text(judged.factor)
        noise = {True: ", more than noise", False: ", within noise", None: ""}[differs(a, b)]
        sign = "+" if a.mean > b.mean else ""
        of = f"{_unit(judged)} of " if judged.unit else ""
        found.append(Tile(f"{sign}{change}", f"{of}{judged.label}{noise}: {section.said(a)}"))
    if bops and bops > 1:
        found.append(Tile(f"{_times_text(bops)}{_TIMES}", "fewer bit operations"))
    if memory and memory > 1:
        found.append(Tile(f"{_times_text(memory)}{_TIMES}", "less memory"))
    if _left(smallest) < 0.995:
        found.append(Tile(percent(_left(smallest), 0), "of the weights are not zero"))
    return smallest.label, tuple(found)


def tables(section: Section) -> tuple[Table, ...]:
    """Score and cost; background efficiency by class, or the other figures of the task."""
    done = [v for v in section.variants if v.score]
    if not done:
        return ()
    area = ("Macro AUC",) if section.classes else ()
    head = ("Variant", "Seeds", section.title, *area)
    rows = tuple(
        (
            v.label,
            str(len(v.finished)),
            _shown(v.score, section.said),
            *(_shown(v.auc, lambda m: m.text(decimals=4)) for _ in area),
            _shown(v.total(BOPS), lambda m: count(m.mean)),
            _shown(v.total("memory"), lambda m: size(m.mean)),
            _shown(v.total("nonzero"), lambda m: count(m.mean)),
        )
        for v in done
    )
    first = Table(
        "Quality on the test split, and cost of one inference",
        (*head, "Bit operations", "Memory", "Non-zero weights"),
        rows,
    )
    return (first, _background(section, done) if section.classes else _figures(done))


def _figures(done: Sequence[Variant]) -> Table:
    """Every figure of a task without labels."""
    names = tuple(dict.fromkeys(name for v in done for run in v.finished for name in run.figures))
    rows = tuple(
        (v.label, *(_shown(v.figure(name), lambda m: m.text(decimals=4)) for name in names))
        for v in done
    )
    return Table("All figures of the test split", ("Variant", *names), rows)


def _background(section: Section, done: Sequence[Variant]) -> Table:
    """Of each class, at one signal efficiency."""
    point = percent(section.signal_efficiency, 0)
    background = tuple(
        (
            v.label,
            *(_shown(v.background(c), lambda m: m.text(100)) for c in range(len(section.classes))),
        )
        for v in done
    )
    return Table(
        f"Background efficiency at {point} signal efficiency, in percent; lower is better",
        ("Variant", *section.classes),
        background,
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
