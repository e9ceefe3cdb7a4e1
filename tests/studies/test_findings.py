"""What the report says in words, from points made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pareq.metrics.information import Information, LayerInformation
from pareq.metrics.quality import ClassQuality, Quality
from pareq.studies.findings import champions, claims
from pareq.studies.matrix import Setting
from pareq.studies.points import Place, Point, Results, standard

BOPS = {32: 4_652_832.0, 6: 412_960.0, 4: 267_808.0}
NAMES = ("a", "b")


def point(setting, repeat, state, accuracy, efficiency=0.3, pruned=None) -> Point:
    """One training; half of what is left falls in each state."""
    fallen = 1 - 0.5**state if pruned is None else pruned
    each = tuple(ClassQuality(n, 0.9, 0.001, 0.01, 0.001, 500, 500) for n in NAMES)
    return Point(
        setting=setting,
        repeat=repeat,
        state=state,
        run=None,
        quality=Quality(1000, accuracy, 0.01, 0.9, 0.5, each, ((1, 0), (0, 1))),
        totals={
            "bops_paper": BOPS[setting.bits] * (1 - fallen),
            "alive": 4256 * (1 - fallen),
            "weights": 4256.0,
        },
        validation=accuracy,
        information=Information(
            1000, "published", 1.0, (LayerInformation("fc", 10, 8, 10 * efficiency, 3, 1, 9),)
        ),
        predicted=np.array([0, 1], np.uint8),
    )


def results(*rows: tuple) -> Results:
    """Rows of (setting, state, accuracies[, efficiencies[, pruned]])."""
    points = []
    for setting, state, accuracies, *more in rows:
        efficiencies = more[0] if more else [0.3] * len(accuracies)
        pruned = more[1] if len(more) > 1 else None
        for n, (a, e) in enumerate(zip(accuracies, efficiencies, strict=True), 1):
            points.append(point(setting, n, state, a, e, pruned))
    return Results(tuple(points))


def said(found: Results, beginning: str) -> str:
    """The sentence whose label begins so."""
    (sentence,) = [s for s in claims(found) if s.label.startswith(beginning)]
    return sentence.text


GOOD, NEAR, BAD = [0.760, 0.761], [0.758, 0.760], [0.70, 0.71]


def test_together_cheaper_than_either():
    found = results(
        (Setting(32), 0, GOOD),
        (Setting(32), 1, GOOD),
        (Setting(32), 2, BAD),
        (Setting(6), 0, GOOD),
        (Setting(6), 2, NEAR),
        (Setting(4), 0, BAD),
        (Setting(4), 1, BAD),
    )
    best = champions(found)
    assert (best.nominal.bops, best.pruned.state, best.both.state) == (BOPS[32], 1, 2)
    assert (best.quantized.setting, best.quantized.state) == (Setting(6), 0)
    text = said(found, "Claim 1")
    assert text.startswith("supported: among the networks within 0.5 points of the nominal")
    assert "6b-ft, 75.0\u202f% pruned (103,240 bit operations) is the cheapest;" in text
    assert "(22.5 times as many) and" in text
    assert "(4.0 times as many)" in text
    assert text.endswith("no difference beyond noise.")


def test_together_not_cheaper():
    """A dense network of fewer bits is as good."""
    found = results(
        (Setting(32), 0, GOOD), (Setting(6), 1, BAD), (Setting(4), 0, GOOD), (Setting(6), 0, GOOD)
    )
    assert said(found, "Claim 1").startswith("not supported: ")
    assert champions(found).both is None


def test_budgets_are_equal():
    """The pruned network is measured against the dense one that was trained as often."""
    found = results(
        (Setting(32), 0, GOOD),
        (Setting(32, "dense"), 0, GOOD, [0.3, 0.3], 0.0),
        (Setting(32, "dense"), 1, [0.80, 0.81], [0.3, 0.3], 0.0),
        (Setting(6), 0, GOOD),
        (Setting(6), 1, GOOD),
    )
    best = champions(found)
    assert best.both is None
    assert best.quantized.setting == Setting(6)


def test_the_published_point():
    """Pairs of the same repeat: mean, standard error, their number and 95 % confidence."""
    sparse = [0.3] * 3, 0.8
    found = results(
        (Setting(32), 0, [0.760, 0.761, 0.762]),
        (Setting(6), 0, [0.750, 0.760, 0.755]),
        (Setting(6), 2, [0.749, 0.758, 0.754], *sparse),
    )
    text = said(found, "6 bits, 80 % pruned")
    assert text.startswith(
        "supported: accuracy 75.37\u202f±\u202f0.26\u202f%, \u22120.133\u202f±\u202f0.033"
    )
    assert "points (mean and standard error of 3 pairs of the same repeat; at 95 %" in text
    assert "confidence \u22120.28 to +0.01) from the dense 6-bit network" in text  # t = 4.30
    assert "; 56.3 times fewer bit operations than the nominal network or more in each" in text


@pytest.mark.parametrize(
    ("accuracies", "pruned", "verdict"),
    [
        ([0.749, 0.758, 0.754], 0.8, "supported"),
        ([0.749, 0.760, 0.751], 0.8, "supported in the mean"),  # one of the three loses more
        ([0.747, 0.756, 0.751], 0.8, "not supported"),  # -0.37 points
        ([0.749, 0.758, 0.754], 0.0, "not supported"),  # 11.3 times fewer
    ],
)
def test_the_published_point_is_judged(accuracies, pruned, verdict):
    """At most 0.3 points lost, at 95 % confidence or in the mean; and 20 times fewer."""
    found = results(
        (Setting(32), 0, [0.760, 0.761, 0.762]),
        (Setting(6, "dense"), 0, [0.750, 0.760, 0.755], [0.3] * 3, 0.0),
        (Setting(6), 2, accuracies, [0.3] * 3, 0.8),
    )
    if not pruned:
        found = Results(
            tuple(replace(p, totals={**p.totals, "bops_paper": BOPS[6]}) for p in found.points)
        )
    assert said(found, "6 bits, 80 % pruned").startswith(f"{verdict}: accuracy")


def test_one_pair_has_the_statistical_error():
    found = results(
        (Setting(32), 0, [0.76]), (Setting(6), 0, [0.755]), (Setting(6), 2, [0.754], [0.3], 0.8)
    )
    text = said(found, "6 bits, 80 % pruned")
    assert text.startswith("supported in the mean: ")
    assert "\u22120.1\u202f±\u202f1.4 points (1 pair of the same repeat, statistical error)" in text


def test_pairs_are_of_the_same_repeat():
    """What has no partner counts for nothing."""
    found = results((Setting(6), 0, [0.70, 0.72, 0.9]), (Setting(4), 0, [0.69, 0.70]))
    (six,), (four,) = found.curve(Setting(6)), found.curve(Setting(4))
    change = six.against(four, "accuracy")
    assert (change.mean, change.seeds) == (pytest.approx(0.015), 2)
    assert change.error == pytest.approx(0.005 * math.sqrt(2))
    assert math.isnan(six.against(Place(Setting(8), 0, ()), "auc").mean)


def test_equal_accuracy_with_other_information():
    plain, bare = Setting(6), Setting(6, l1="off")
    found = results(
        (Setting(32), 0, GOOD),
        (plain, 0, GOOD, [0.30, 0.31]),
        (bare, 0, NEAR, [0.40, 0.41]),
        (plain, 1, GOOD, [0.30, 0.31]),
        (bare, 1, NEAR, [0.305, 0.305]),
    )
    text = said(found, "Claim 3")
    assert text.startswith("supported: of 2 pairs of configurations")
    assert "1 differ in neural efficiency beyond noise" in text
    noisy = results(
        (Setting(32), 0, GOOD),
        (plain, 0, GOOD, [0.30, 0.31]),
        (bare, 0, NEAR, [0.40, 0.41]),
        (Setting(6, noise=50), 0, BAD),
        (Setting(6, l1="off", noise=50), 0, [0.60, 0.61]),
    )
    text = said(noisy, "And generalisation")
    assert text.startswith("with 50 % random labels 6b-ft (efficiency")
    assert "loses 5.55 points" in text
    assert text.endswith("their accuracies then differ beyond noise.")


def test_equal_information_supports_nothing():
    found = results(
        (Setting(32), 0, GOOD),
        (Setting(6), 0, GOOD, [0.30, 0.31]),
        (Setting(6, l1="off"), 0, NEAR, [0.30, 0.31]),
    )
    assert said(found, "Claim 3").startswith("not supported: ")


def test_fine_tuning_against_rewinding():
    found = results(
        (Setting(32), 0, GOOD),
        (Setting(6), 1, GOOD),
        (Setting(6, "lt"), 1, BAD),
        (Setting(6), 2, GOOD),
        (Setting(6, "lt"), 2, GOOD),
    )
    text = said(found, "Fine-tuning against exact rewinding")
    assert text.startswith("in 1 of 2 pruned states fine-tuning is better beyond noise, in 0 worse")
    assert "the median of their gaps is +2.77 points, from +0.00 at 6 bits and 75.0" in text
    assert "to +5.55 at 6 bits and 50.0\u202f% pruned" in text


def test_nothing_to_compare():
    """Without a nominal network, and with it alone."""
    assert champions(results((Setting(6), 0, GOOD))) is None
    (only,) = claims(results((Setting(6), 0, GOOD)))
    assert only.text == "The nominal network is not trained yet; nothing can be compared."
    alone = results((Setting(32), 0, GOOD))
    assert said(alone, "Claim 1").startswith("not supported: ")
    assert said(alone, "Claim 2") == "not tested: no search has run."
    assert said(alone, "Claim 3").startswith("not tested: ")


def searched(*accuracies: float) -> tuple[Point, ...]:
    """Shapes with a fourth of the bit operations of the one before."""
    return tuple(
        point(Setting(6, "bo"), 1, n, a, pruned=1 - 0.25**n) for n, a in enumerate(accuracies)
    )


def test_against_a_search():
    """The cheapest shape that is close enough, and the cheapest pruned network."""
    rows = [(Setting(32), 0, GOOD), (Setting(6), 0, GOOD), (Setting(6), 1, GOOD)]
    dear = Results(results(*rows).points, searched(0.761, 0.70))
    assert champions(dear).searched.bops == BOPS[6]
    text = said(dear, "Claim 2")
    assert text.startswith("supported: of 2 shapes that were tried, the cheapest within 0.5 points")
    assert "takes 412,960 bit operations, 2.0 times those of 6b-ft, 50.0\u202f% pruned" in text
    cheap = Results(results(*rows).points, searched(0.761, 0.760))
    assert said(cheap, "Claim 2").startswith("not supported: of 2 shapes")
    rows.append((Setting(4), 2, GOOD))
    mixed = said(Results(results(*rows).points, searched(0.761)), "Claim 2")
    assert (
        "2.0 times those of 6b-ft, 50.0\u202f% pruned (206,480 bit operations), 6.2 times" in mixed
    )
    assert mixed.endswith(
        "trained once, the pruned network 2 times, each time with the same budget."
    )
    poor = Results(results(*rows).points, searched(0.70))
    assert said(poor, "Claim 2").startswith("supported: of 1 shape that were tried, none comes")


def test_the_fronts():
    """Of equal bits; what is beaten by a place that is no dearer and no worse."""
    rows = [(Setting(32), 0, GOOD), (Setting(6), 0, GOOD), (Setting(6), 1, GOOD)]
    shapes = searched(0.761, 0.70, 0.69, 0.695)  # the third one is beaten by the fourth
    found = Results(results(*rows).points, shapes)
    assert said(found, "The fronts at 6 bits") == (
        "of 3 shapes that no other shape beats both in bit operations and in validation accuracy,"
        " none is beaten by a pruned network; of 1 such pruned network, none is beaten by a shape."
    )
    found = Results(results(*rows, (Setting(6), 3, [0.72, 0.72])).points, shapes)
    assert "accuracy, 1 is beaten by a pruned network; of 2 such pruned networks, none is" in said(
        found, "The fronts at 6 bits"
    )
    alone = Results(results(rows[0], (Setting(4), 0, GOOD)).points, shapes)
    assert not [s for s in claims(alone) if s.label.startswith("The fronts")]


def test_the_standard_error():
    """The standard deviation over the root of the repeats; of one, the statistical error."""
    (place,) = results((Setting(6), 0, [0.70, 0.72, 0.74])).curve(Setting(6))
    value = standard(place.measure("accuracy"))
    assert (value.mean, value.seeds) == (pytest.approx(0.72), 3)
    assert value.error == pytest.approx(0.02 / math.sqrt(3))
    (single,) = results((Setting(6), 0, [0.70])).curve(Setting(6))
    assert standard(single.measure("accuracy")).error == 0.01
    assert math.isnan(single.measure("agreement").mean)
