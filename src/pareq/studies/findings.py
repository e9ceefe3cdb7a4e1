"""What a QAP study says about the paper's three claims, in words, with the statistics.

Networks are chosen by validation accuracy and judged on the test split. Two means differ when
`report.words.differs` says so: 95 % confidence, t-test over the repeats, or twice the statistical
error of one. What is within noise is reported as no difference.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations

from pareq.report.summary import Sentence
from pareq.report.variants import pareto
from pareq.report.words import (
    Measure,
    count,
    differs,
    interval,
    join,
    percent,
    plural,
    ratio,
)
from pareq.studies.drawing import text
from pareq.studies.matrix import Setting
from pareq.studies.points import Place, Results, standard

__all__ = ["CLOSE", "Champions", "champions", "claims"]

CLOSE = 0.005  # a network this near to the nominal accuracy counts as equally good
_PUBLISHED = 0.8  # the share of weights pruned in the published summary
_LOSS, _TIMES = 0.003, 20  # of accuracy at most, and fewer bit operations at least, there


@dataclass(frozen=True)
class Champions:
    """The cheapest network of each kind whose validation accuracy is close to the nominal one.

    nominal: dense, 32 bits, trained for as long as `both` was in all its states. pruned: 32 bits.
    quantized: dense. both: fewer than 32 bits, pruned. searched: of the shapes of a search. alike:
    as `both`, with the bits of `searched`. Each is measured against the nominal network of its own
    budget.
    """

    nominal: Place
    pruned: Place | None
    quantized: Place | None
    both: Place | None
    searched: Place | None = None
    alike: Place | None = None


def champions(results: Results) -> Champions | None:
    """See Champions; None without a nominal network."""
    once = results.dense(Setting(32))
    if once is None:
        return None
    usual = [p for s, curve in results.curves.items() if s.usual for p in curve]
    good = [p for p in usual if p.validation >= _nominal(results, p).validation - CLOSE]
    both = _cheapest(p for p in good if p.setting.bits < 32 and p.fallen)
    quantized = _cheapest(p for p in good if p.setting.bits < 32 and not p.fallen)
    searched = _cheapest(p for p in results.shapes if p.validation >= once.validation - CLOSE)
    bits = searched.setting.bits if searched else None
    return Champions(
        _nominal(results, both or quantized or usual[0]),
        _cheapest(p for p in good if p.setting.bits == 32 and p.fallen),
        quantized,
        both,
        searched,
        _cheapest(p for p in good if p.setting.bits == bits and p.fallen),
    )


def _nominal(results: Results, place: Place) -> Place:
    """The dense network of 32 bits that was trained for as long, or at least once."""
    found = results.dense(Setting(32), place.state) or results.dense(Setting(32))
    return found or place


def claims(results: Results) -> list[Sentence]:
    """One sentence or more for each claim, and for what else the paper found."""
    best = champions(results)
    if best is None:
        return [Sentence("", "The nominal network is not trained yet; nothing can be compared.")]
    return [
        *_cheaper(best),
        *_published(results),
        *_search(results, best),
        *_fronts(results),
        *_information(results),
        *_methods(results),
    ]


def _cheapest(places: Iterable[Place]) -> Place | None:
    return min(places, key=lambda place: (place.bops, -place.validation), default=None)


def _cheaper(best: Champions) -> list[Sentence]:
    """Claim 1: pruning and quantization together are cheaper than either."""
    label = "Claim 1, together cheaper than either alone:"
    single = [p for p in (best.pruned, best.quantized) if p is not None]
    begin = (
        f"among the networks within {100 * CLOSE:.1f} points of the nominal validation accuracy,"
    )
    if best.both is None:
        return [Sentence(label, f"not supported: {begin} none is pruned and quantized.")]
    if not single:
        rivals = "no network that is only pruned or only quantized comes as close"
        return [Sentence(label, f"supported: {begin} {_said(best.both)} is one; {rivals}.")]
    rival = min(single, key=lambda place: place.bops)
    times = rival.bops / best.both.bops
    verdict = "supported" if times > 1 else "not supported"
    kinds = {id(best.pruned): "only pruned", id(best.quantized): "only quantized"}
    others = join(
        f"{_said(p)} is the cheapest that is {kinds[id(p)]} ({ratio(p.bops / best.both.bops)} times"
        " as many)"
        for p in single
    )
    return [
        Sentence(
            label,
            f"{verdict}: {begin} {_said(best.both)} is the cheapest; {others}. Test accuracies:"
            f" {text(best.both, 'accuracy')} against the nominal"
            f" {text(best.nominal, 'accuracy')}, {_verdict(best.both, best.nominal)}.",
        )
    ]


def _published(results: Results) -> list[Sentence]:
    """The published point: 6 bits, 80 % pruned."""
    pruned = results.at(Setting(6), _PUBLISHED)
    if pruned is None:
        return []
    dense = results.dense(Setting(6), pruned.state) or results.dense(Setting(6))
    if dense is None:
        return []
    nominal = _nominal(results, pruned)
    change = pruned.against(dense, "accuracy")
    times = [nominal.bops / point.bops for point in pruned.points]
    return [
        Sentence(
            "6 bits, 80 % pruned:",
            f"{_kept(change, min(times))}: accuracy {text(pruned, 'accuracy')}, {_change(change)}"
            f" from the dense 6-bit network of the same budget, where at most {100 * _LOSS:.1f}"
            f" points were to be lost; {ratio(min(times))} times fewer bit operations than the"
            f" nominal network or more in each repeat, where {_TIMES} were to be saved (22.8 and"
            " 25.9 with the authors' own two models of this kind).",
        )
    ]


def _kept(change: Measure, times: float) -> str:
    """Whether accuracy was kept and enough was saved."""
    half = interval(change)
    if not (change.mean >= -_LOSS and times >= _TIMES):
        return "not supported"
    return (
        "supported"
        if half is not None and change.mean - half >= -_LOSS
        else "supported in the mean"
    )


def _change(change: Measure) -> str:
    """Such as -0.18 +- 0.03 points, and what this is."""
    half, pairs = interval(change), plural(change.seeds, "pair")
    said = f"{standard(change).text(100)} points"
    if half is None:
        return f"{said} ({pairs} of the same repeat, statistical error)"
    ends = [100 * (change.mean + sign * half) for sign in (-1, 1)]
    return (
        f"{said} (mean and standard error of {pairs} of the same repeat; at 95 % confidence"
        f" {ends[0]:+.2f} to {ends[1]:+.2f})"
    ).replace("-", "\u2212")


def _search(results: Results, best: Champions) -> list[Sentence]:
    """Claim 2: a search of the widths does no better."""
    label = "Claim 2, at least as good as Bayesian optimisation of the widths:"
    if not results.searched:
        return [Sentence(label, "not tested: no search has run.")]
    tried = f"of {plural(len(results.searched), 'shape')} that were tried"
    if best.both is None:
        return [Sentence(label, "not supported: no pruned and quantized network is close enough.")]
    if best.searched is None:
        return [
            Sentence(
                label,
                f"supported: {tried}, none comes within {100 * CLOSE:.1f} points of the nominal"
                f" validation accuracy; {_said(best.both)} does.",
            )
        ]
    rival = best.alike or best.both
    times = best.searched.bops / rival.bops
    verdict = "supported" if times >= 1 else "not supported"
    further = best.searched.bops / best.both.bops
    others = f", {ratio(further)} times those of {_said(best.both)}" * (best.both is not rival)
    return [
        Sentence(
            label,
            f"{verdict}: {tried}, the cheapest within {100 * CLOSE:.1f} points of the nominal"
            f" validation accuracy takes {count(best.searched.bops)} bit operations,"
            f" {ratio(times)} times those of {_said(rival)}{others}. Test accuracies:"
            f" {text(best.searched, 'accuracy')} and {text(rival, 'accuracy')},"
            f" {_verdict(best.searched, rival)}. A shape was trained once, the pruned network"
            f" {plural(rival.state + 1, 'time')}, each time with the same budget.",
        )
    ]


def _fronts(results: Results) -> list[Sentence]:
    """How the best of the searches and of the pruned networks beat each other, at equal bits."""
    said = []
    for bits in dict.fromkeys(place.setting.bits for place in results.shapes):
        shapes = _front([p for p in results.shapes if p.setting.bits == bits])
        pruned = _front(
            [
                place
                for setting, curve in results.curves.items()
                if setting.usual and setting.bits == bits and setting.method != "dense"
                for place in curve
            ]
        )
        if pruned:
            said.append(
                Sentence(
                    f"The fronts at {plural(bits, 'bit')}:",
                    f"of {plural(len(shapes), 'shape')} that no other shape beats both in bit"
                    f" operations and in validation accuracy, {_beaten(shapes, pruned)} beaten by a"
                    f" pruned network; of {plural(len(pruned), 'such pruned network')},"
                    f" {_beaten(pruned, shapes)} beaten by a shape.",
                )
            )
    return said


def _front(places: list[Place]) -> list[Place]:
    """Those that no other beats, by rising cost."""
    return [places[n] for n in pareto([(p.bops, p.validation) for p in places])]


def _beaten(places: list[Place], others: list[Place]) -> str:
    """How many are neither cheaper nor more accurate than one of the others."""
    number = sum(
        any(o.bops <= p.bops and o.validation >= p.validation for o in others) for p in places
    )
    return f"{number or 'none'} {'are' if number > 1 else 'is'}"


def _information(results: Results) -> list[Sentence]:
    """Claim 3: equal accuracy, different information, different generalisation."""
    label = "Claim 3, equal accuracy with different information:"
    clean = [s for s in results.curves if not s.noise and s.method == "ft" and s.bits < 32]
    pairs = [
        (a, b)
        for one, two in combinations(clean, 2)
        if one.bits == two.bits
        for a in results.curve(one)
        for b in results.curve(two)
        if a.state == b.state and _equal(a, b)
    ]
    if not pairs:
        return [Sentence(label, "not tested: no two configurations reach equal accuracy.")]
    apart = [(a, b) for a, b in pairs if _differ(a, b, "efficiency")]
    verdict = "supported" if apart else "not supported"
    sentence = (
        f"{verdict}: of {plural(len(pairs), 'pair')} of configurations with equally many weights"
        f" whose accuracies show no difference beyond noise or less than {100 * CLOSE:.1f} points,"
        f" {len(apart)} differ in neural efficiency beyond noise"
    )
    if apart:
        a, b = max(apart, key=lambda p: abs(_gap(p[0], p[1])))
        sentence += (
            f"; most: {_said(a)} has {text(a, 'efficiency')}, {_said(b)} {text(b, 'efficiency')}"
        )
    return [Sentence(label, f"{sentence}."), *_generalisation(results)]


def _generalisation(results: Results) -> list[Sentence]:
    """Whether what differs in information also loses differently under label noise."""
    lost: dict[Setting, tuple[float, Place, Place]] = {}
    for setting in results.curves:
        if setting.noise != _most_noise(results):
            continue
        clean, noisy = results.dense(replace(setting, noise=0)), results.dense(setting)
        if clean is not None and noisy is not None:
            drop = clean.measure("accuracy").mean - noisy.measure("accuracy").mean
            lost[setting] = (drop, clean, noisy)
    if len(lost) < 2:
        return []
    ranked = sorted(lost.values(), key=lambda entry: entry[1].measure("efficiency").mean)
    (low, clean_low, noisy_low), (high, clean_high, noisy_high) = ranked[0], ranked[-1]
    same = not _differ(noisy_low, noisy_high, "accuracy")
    said = (
        "their accuracies then show no difference beyond noise"
        if same
        else "their accuracies then differ beyond noise"
    )
    return [
        Sentence(
            "And generalisation:",
            f"with {noisy_low.setting.noise} % random labels {_clean(noisy_low)} (efficiency"
            f" {text(clean_low, 'efficiency')}) loses {100 * low:.2f} points and"
            f" {_clean(noisy_high)} (efficiency {text(clean_high, 'efficiency')})"
            f" {100 * high:.2f}; {said}.",
        )
    ]


def _clean(noisy: Place) -> str:
    """The name of the same setting without noise."""
    return replace(noisy.setting, noise=0).name


def _methods(results: Results) -> list[Sentence]:
    """Fine-tuning against the lottery ticket."""
    said = []
    for method, name in (("lt", "exact rewinding"), ("late", "late rewinding")):
        pairs = [
            (a, b)
            for setting, curve in results.curves.items()
            if setting.method == method and setting.usual
            for a, b in zip(results.curve(replace(setting, method="ft")), curve, strict=False)
            if a.state == b.state and a.fallen
        ]
        if not pairs:
            continue
        better = [a for a, b in pairs if _differ(a, b, "accuracy") and _gap(a, b, "accuracy") > 0]
        worse = [a for a, b in pairs if _differ(a, b, "accuracy") and _gap(a, b, "accuracy") < 0]
        said.append(
            Sentence(
                f"Fine-tuning against {name}:",
                f"in {len(better)} of {plural(len(pairs), 'pruned state')} fine-tuning is better"
                f" beyond noise, in {len(worse)} worse, in the others there is no difference beyond"
                f" noise; {_gaps(pairs)}. Fine-tuned weights carry the trainings of all states"
                " before, rewound ones do not.",
            )
        )
    return said


def _gaps(pairs: list[tuple[Place, Place]]) -> str:
    """How far apart pairs are: the median, and both ends."""
    ranked = sorted(pairs, key=lambda pair: _gap(pair[0], pair[1], "accuracy"))
    gaps = [100 * _gap(a, b, "accuracy") for a, b in ranked]
    low, high = (f"{gaps[k]:+.2f} at {_short(ranked[k][0])}" for k in (0, -1))
    said = f"the median of their gaps is {statistics.median(gaps):+.2f} points"
    ends = f", from {low} to {high}" if len(gaps) > 1 else ""
    return (said + ends).replace("-", "\u2212")


def _short(place: Place) -> str:
    return f"{plural(place.setting.bits, 'bit')} and {percent(place.pruned)} pruned"


def _said(place: Place) -> str:
    """A place as a sentence names it."""
    share = f", {percent(place.pruned)} pruned" if place.fallen else ", dense"
    return f"{place.setting.name}{share} ({count(place.bops)} bit operations)"


def _verdict(a: Place, b: Place) -> str:
    found = _differ(a, b, "accuracy")
    return "a difference beyond noise" if found else "no difference beyond noise"


def _differ(a: Place, b: Place, name: str) -> bool:
    return bool(differs(a.measure(name), b.measure(name)))


def _equal(a: Place, b: Place) -> bool:
    """Whether two places do not differ in accuracy: within noise, or by little."""
    return abs(_gap(a, b, "accuracy")) < CLOSE or not _differ(a, b, "accuracy")


def _gap(a: Place, b: Place, name: str = "efficiency") -> float:
    return a.measure(name).mean - b.measure(name).mean


def _most_noise(results: Results) -> int:
    return max((s.noise for s in results.curves), default=0)
