"""The order study: its design, its arms, its words."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pareq.cli import main
from pareq.errors import DataError, StudyError
from pareq.operators.schedule import Clock
from pareq.recipe.config import parse_recipe
from pareq.recipe.order import Places
from pareq.search.arms import arms
from pareq.search.executor import InProcess
from pareq.studies import STUDIES
from pareq.studies.base import drive
from pareq.studies.order import OrderStudy, Protocol
from pareq.studies.order_arms import ARMS, CONTRASTS, Strength, contrast, grid, recipe
from pareq.studies.order_figures import surface
from pareq.studies.order_results import Setting, gather, verdicts
from pareq.tasks.base import Judged
from pareq.train.run import open_run

TRAINING = Protocol().training(0)
HOW = Strength(3, 0.8)
PUBLISHED = "published: P early, Q late \u2212 Q early, P late"
ORDER = "order: P first \u2212 Q first, both slots"
REST = "published, without timing: less Q alone, plus P alone"


def made(*changes: str, repeats: int = 2) -> OrderStudy:
    study = OrderStudy.made("quick", "", 2, repeats)
    return study.on("digits", {"network": "cnn", "widths": [2, 2, 4]}, changes)


@given(st.lists(st.floats(-1, 1), min_size=len(ARMS), max_size=len(ARMS)))
def test_the_published_difference_is_timing(scores):
    """Of Q minus that of P, whatever the numbers are: it cannot tell an order."""
    held = {arm: {0: score} for arm, score in zip(ARMS, scores, strict=True)}
    (published,) = contrast(CONTRASTS[PUBLISHED], held)
    (p,) = contrast(CONTRASTS["timing of P: late \u2212 early"], held)
    (q,) = contrast(CONTRASTS["timing of Q: late \u2212 early"], held)
    assert published == pytest.approx(q - p, abs=1e-12)


def test_a_pure_effect_of_order_is_seen_as_one():
    """A bonus for whatever prunes first: order sees it, and timing does not."""
    first = {a: t.prune and t.quantize and t.prune[1] <= t.quantize for a, t in ARMS.items()}
    held = {arm: {0: 1.0 if first[arm] else 0.0} for arm in ARMS}
    values = {name: contrast(weights, held)[0] for name, weights in CONTRASTS.items()}
    assert values[ORDER] == values[REST] == 1
    assert values["P alone: late \u2212 early"] == values["Q alone: late \u2212 early"] == 0


def test_a_pure_effect_of_timing_is_no_effect_of_order():
    """A cost of late pruning: order is 0, the published comparison shows it all."""
    late = {arm: {0: -1.0 if t.prune and t.prune[0] > 0.4 else 0.0} for arm, t in ARMS.items()}
    values = {name: contrast(weights, late)[0] for name, weights in CONTRASTS.items()}
    assert values[ORDER] == 0
    assert values[PUBLISHED] == 1
    assert values["timing of P: late \u2212 early"] == values["P alone: late \u2212 early"] == -1
    assert values[REST] == 0


@pytest.mark.parametrize("name", CONTRASTS)
def test_contrasts_compare(name):
    """The weights of arms cancel, so that what all arms share falls out."""
    assert sum(CONTRASTS[name].values()) == pytest.approx(0)
    assert CONTRASTS[name].keys() <= ARMS.keys()


def test_a_contrast_needs_all_its_arms():
    weights = {"a": 1.0, "b": -1.0}
    assert contrast(weights, {"a": {0: 1.0, 1: 5.0}, "b": {1: 2.0, 2: 3.0}}) == [3.0]
    assert contrast(weights, {"a": {0: 1.0}}) == []


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_does_what_it_says(arm):
    """At its times, in full; what it goes without stays at strength 0. All have the same rules."""
    times = ARMS[arm]
    found = recipe(times, HOW, Places(), TRAINING)
    clock = Clock(1000, 100)
    assert [r.where for r in found.rules] == [
        *("*:weight", "*:weight", "*:output", "*:output", ":input")
    ]
    for rule in found.rules:
        when = rule.when.resolve(clock)
        pruning = rule.op.name.startswith("prune")
        wanted = times.prune if pruning else times.quantize
        assert when(1000) == (0 if wanted is None else 0.8 if pruning else 1)
        assert when.last <= 750
        if wanted is not None:
            assert when.last == round(1000 * (times.prune[1] if pruning else times.quantize))


def test_orders_within_a_slot_share_the_time_of_pruning():
    for slot in ("early", "late"):
        first, second = ARMS[f"pq-{slot}"], ARMS[f"qp-{slot}"]
        assert first.prune == second.prune
        assert first.quantize > first.prune[1]
        assert second.quantize < second.prune[0]


def test_a_grid_spans_the_same_times():
    found = grid(3)
    assert len(found) == 9
    starts = sorted({times.prune[0] for times in found.values()})
    begins = sorted({times.quantize for times in found.values()})
    assert (starts[0], starts[-1]) == (ARMS["p-early"].prune[0], ARMS["p-late"].prune[0])
    assert (begins[0], begins[-1]) == (ARMS["q-early"].quantize, ARMS["q-late"].quantize)
    assert len({round(b - a, 3) for a, b in pairwise(starts)}) == 1


def test_arms_share_their_beginnings(tmp_path):
    """Less than three quarters of the epochs are trained; sources come first."""
    study = made("epochs=40")
    trials = study.trials(tmp_path)["b3-s80/seed-0"].trials
    found = arms(tmp_path, trials)
    assert sum(arm.epochs for arm in found.values()) < 0.75 * 40 * len(found)
    seen = []
    for name, arm in found.items():
        assert arm.source == "" or arm.source in seen
        seen.append(str(tmp_path / name))
    assert found["pq-late"].source == str(tmp_path / "p-late")


def test_settings():
    study = made("bits=4", "sparsity=0.7", "tensors=weights", "recalibrate=false")
    assert list(study.protocol.settings) == ["b4-s70"]
    how = study.protocol.settings["b4-s70"]
    assert how == Strength(4, 0.7, recalibrate=False, activations=False)
    rules = recipe(ARMS["float"], how, Places(), TRAINING).rules
    assert [rule.op.name for rule in rules] == ["prune", "uniform", "uniform", "uniform"]
    assert not any(rule.op.recalibrate for rule in rules[1:])
    assert " ".join(study.command).startswith(
        "pareq study order --matrix quick --epochs 2 --repeats 2 --task digits -o network=cnn"
    )


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ("bit=4", StudyError, "--set bit=4: unknown key 'bit'; did you mean 'bits'?"),
        ("bits", StudyError, "--set bits: expected KEY=VALUE, such as bits=4"),
        ("bits=x", StudyError, "--set bits=x: expected a value such as 8, got 'x'"),
        ("recalibrate=1", StudyError, "expected a value such as True, got 1"),
        ("bits=4", StudyError, "1 bits and 2 sparsities; give as many of both"),
        ("grid=1", StudyError, "grid must be 0 or at least 2, got 1"),
        ("tensors=weight", StudyError, "unknown tensors 'weight'; did you mean 'weights'?"),
    ],
)
def test_settings_that_are_none(change, kind, message):
    with pytest.raises(kind) as caught:
        made(change)
    assert message in str(caught.value)


def test_tasks_and_matrices_that_are_none():
    with pytest.raises(StudyError) as caught:
        OrderStudy.made("quik", "", None, None)
    assert str(caught.value) == "unknown matrix 'quik'; did you mean 'quick'?"
    with pytest.raises(DataError):
        made().on("digits", {"width": 3}, ())
    with pytest.raises(StudyError) as caught:
        STUDIES["qap"].made("quick", "", None, None).on("digits", {}, ())
    assert str(caught.value) == "--task: qap is a study of its own task alone"


def test_a_dry_run_lists_the_trials(capsys, tmp_path):
    words = ("study", "order", "--task", "digits", "--set", "bits=4", "--set", "sparsity=0.7")
    with pytest.raises(SystemExit) as ended:
        main((*words, "--quick", "--dry-run", "--out", str(tmp_path / "out")))
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines() == [
        f"b4-s70/seed-{seed}: 0 of 11 trainings done" for seed in range(3)
    ]


SCORES = {arm: {seed: 0.9 + 0.001 * seed for seed in range(4)} for arm in ARMS}


def setting(**changes: dict[int, float]) -> Setting:
    scores = {**SCORES, **{name.replace("_", "-"): each for name, each in changes.items()}}
    return Setting("b3-s80", HOW, Judged(), ARMS, scores, {})


def said(found: Setting) -> str:
    return " ".join(f"{sentence.label} {sentence.text}" for sentence in verdicts(found))


def test_words_of_no_difference():
    """Within noise is none, and what would have been seen is said."""
    noisy = {0: 0.9, 1: 0.92, 2: 0.91, 3: 0.89}
    text = said(setting(pq_early=noisy))
    assert "Order. Over both slots it makes no difference beyond noise" in text
    assert "would have been seen" in text
    assert "matters" not in text


def test_words_of_an_order():
    better = {seed: value + 0.02 + 0.0002 * seed for seed, value in SCORES["float"].items()}
    text = said(setting(pq_early=better, pq_late=better))
    assert (
        "Order. It matters: over both slots, at the same time of pruning, to prune before quantizing"
        " is better than after it, by +2.03 points (+1.99 to +2.07)."
    ) in text
    assert "P then Q, both" in text


def test_words_of_timing():
    """Late pruning costs; the published comparison shows that as a difference of orders."""
    worse = {seed: value - 0.05 - 0.0002 * seed for seed, value in SCORES["float"].items()}
    late = ("p_late", "pq_late", "qp_late", "q_early_p_late")
    text = said(setting(**dict.fromkeys(late, worse)))
    assert "Order. Over both slots it makes no difference beyond noise" in text
    assert "pruning. Alone, late pruning is worse than early by \u22125.03 points" in text
    assert "Alone, late quantization differs from early by nothing beyond noise" in text
    assert "Q early, P late gives +5.03 points" in text
    assert "Without the timing of each operation alone nothing beyond noise is left of it" in text


def test_one_seed_cannot_tell():
    only = replace(setting(), scores={arm: {0: 0.9} for arm in ARMS})
    assert "One seed cannot tell whether it matters; run more." in said(only)


def test_a_map_needs_a_grid():
    """Each cell with its score; the best one is told."""
    assert surface(setting()) is None
    times = {**ARMS, **grid(2)}
    scores = {arm: {0: 0.5 + 0.1 * n} for n, arm in enumerate(grid(2))}
    figure = surface(replace(setting(), times=times, scores=scores))
    assert figure.table.rows == (
        ("0.11", "80 %", "60 %"),
        ("0.71", "70 %", "50 %"),
    )
    assert "Best at pruning from 0.15 and quantization from 0.11: 80 %." in figure.panels[0].svg


@pytest.mark.slow
def test_a_whole_study(tmp_path):
    """Trained, measured, reported; what is done is not done again, and more seeds may come."""
    study = made("bits=4", "sparsity=0.7", repeats=1)
    assert drive(study, tmp_path, InProcess()) == {}
    runs = {arm: open_run(tmp_path / "b4-s70/seed-0" / arm) for arm in ARMS}
    assert all(len(run.epochs) == 2 for run in runs.values())
    settings, skipped = gather(study, tmp_path)
    assert skipped == []
    assert settings[0].scores.keys() == ARMS.keys()
    assert all(0 <= found[0] <= 1 for found in settings[0].scores.values())
    first = (tmp_path / "b4-s70/seed-0/float/result.json").stat().st_mtime_ns
    more = replace(study, protocol=replace(study.protocol, seeds=2))
    assert drive(more, tmp_path, InProcess(), only="*/seed-0") == {}
    assert (tmp_path / "b4-s70/seed-0/float/result.json").stat().st_mtime_ns == first
    (tmp_path / "b4-s70/seed-0/q-late/last.json").write_text("{")
    page = more.report(tmp_path).read_text()
    assert "11 trainings" not in page
    assert "One seed cannot tell" in page
    assert "12 trainings of 22 are missing" in page
    assert "remove it and run again" in page
    assert "pareq study order --matrix quick --epochs 2" in page
    assert json.loads((tmp_path / "study.json").read_text())["task"] == "digits"
    assert parse_recipe(runs["float"].recipe).training.decay == "tail"


def test_nothing_to_report(tmp_path):
    with pytest.raises(StudyError) as caught:
        made().report(tmp_path)
    assert str(caught.value).endswith("no training has ended yet; run the study first")
