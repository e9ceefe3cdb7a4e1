import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from pareq.errors import DataError
from pareq.metrics.quality import Quality, accuracy, confusion, quality, roc

CLASSES = ("g", "q", "w", "z", "t")


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 3000)
    logits = rng.normal(size=(3000, 5)) + 1.5 * np.eye(5)[labels]
    return logits, labels


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_agrees_with_scikit_learn_on_softmax(sample):
    logits, labels = sample
    found = quality(logits, labels, CLASSES)
    probabilities, onehot = softmax(logits), np.eye(5)[labels]
    assert found.auc_macro == pytest.approx(roc_auc_score(onehot, probabilities), abs=1e-12)
    for c, each in enumerate(found.classes):
        fpr, tpr, _ = roc_curve(onehot[:, c], probabilities[:, c])
        assert each.auc == pytest.approx(roc_auc_score(onehot[:, c], probabilities[:, c]))
        assert each.background == pytest.approx(np.interp(0.5, tpr, fpr), abs=1e-12)
        assert each.signals == (labels == c).sum()
        assert each.signals + each.backgrounds == found.samples == 3000
    assert found.accuracy == (logits.argmax(1) == labels).mean()
    assert np.array_equal(found.confusion, confusion_matrix(labels, logits.argmax(1)))
    assert np.trace(found.confusion) == round(found.accuracy * 3000)


def test_probabilities_are_not_softmaxed_twice(sample):
    logits, labels = sample
    probabilities = softmax(logits)
    a, b = quality(logits, labels, CLASSES), quality(probabilities, labels, CLASSES)
    assert b.auc_macro == pytest.approx(a.auc_macro, abs=1e-12)
    assert [c.background for c in a.classes] == pytest.approx([c.background for c in b.classes])
    twice = quality(np.log(softmax(probabilities)), labels, CLASSES)
    assert abs(twice.auc_macro - a.auc_macro) > 1e-6  # a second softmax would have shown


def test_sure_logits_are_not_tied():
    logits = np.array([[50.0, 0.0], [60.0, 0.0], [45.0, 0.0], [40.0, 0.0]])
    assert quality(logits, [0, 0, 1, 1], ("s", "b")).classes[0].auc == 1.0
    assert (softmax(logits)[:, 0] == 1.0).all()


def test_equal_log_odds_are_equal_whatever_the_order_of_the_others():
    logits = np.array([[3, 0, 1, 2], [3, 2, 1, 0], [3, 1, 0, 2], [5, 4, 3, 2]]) / 8
    found = quality(logits, [0, 1, 2, 3], "abcd")
    assert found.classes[0].auc == 0.5


def test_binomial_errors_by_hand():
    scores = np.array([[0.9, 0.1]] * 3 + [[0.2, 0.8]])
    found = quality(scores, [0, 0, 1, 1], ("s", "b"))
    assert found.accuracy == 0.75
    assert found.accuracy_error == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
    # s: ROC (0,0) (1/2,1) (1,1); at signal efficiency 1/2 the background efficiency is 1/4
    assert found.classes[0].background == 0.25
    assert found.classes[0].background_error == pytest.approx((0.25 * 0.75 / 2) ** 0.5)


def test_area_error_is_the_spread_of_repeated_samples():
    rng = np.random.default_rng(1)
    areas, errors = [], []
    for _ in range(200):
        score = np.concatenate((rng.normal(1, 1, 60), rng.normal(0, 1, 90)))
        labels = np.repeat([0, 1], (60, 90))
        found = quality(np.stack((score, -score), 1), labels, ("s", "b")).classes[0]
        areas.append(found.auc)
        errors.append(found.auc_error)
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.15)


def test_perfect_and_useless():
    labels = np.arange(40) % 4
    perfect = quality(10.0 * np.eye(4)[labels], labels, "abcd")
    assert (perfect.accuracy, perfect.auc_macro, perfect.accuracy_error) == (1.0, 1.0, 0.0)
    assert [c.background for c in perfect.classes] == [0.0] * 4
    tied = quality(np.zeros((40, 4)), labels, "abcd")
    assert (tied.accuracy, tied.auc_macro) == (0.25, 0.5)  # ties: the first class wins
    assert [c.background for c in tied.classes] == [0.5] * 4


@pytest.mark.parametrize("efficiency", [0.1, 0.3, 0.8])
def test_background_rises_with_signal_efficiency(sample, efficiency):
    low = quality(*sample, CLASSES, signal_efficiency=efficiency)
    high = quality(*sample, CLASSES, signal_efficiency=efficiency + 0.1)
    assert low.signal_efficiency == efficiency
    for a, b in zip(low.classes, high.classes, strict=True):
        assert a.background < b.background


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_quality_ignores_the_order_of_samples_and_a_common_shift(seed, classes):
    rng = np.random.default_rng(seed)
    n = 40
    labels = np.concatenate((np.arange(classes), rng.integers(0, classes, n - classes)))
    logits = rng.integers(-8, 8, (n, classes)) / 4
    order, shift = rng.permutation(n), rng.integers(-4, 4, (n, 1))
    names = [str(c) for c in range(classes)]
    straight = quality(logits, labels, names)
    moved = quality((logits + shift)[order], labels[order], names)
    assert moved == straight


def test_json_round_trip(sample):
    found = quality(*sample, CLASSES)
    again = Quality.from_dict(json.loads(json.dumps(found.as_dict())))
    assert again == found


def test_from_dict_names_what_is_wrong(sample):
    data = quality(*sample, CLASSES).as_dict()
    with pytest.raises(
        DataError, match="quality: Quality lacks accuracy and does not know acuracy"
    ):
        Quality.from_dict({("acuracy" if k == "accuracy" else k): v for k, v in data.items()})
    with pytest.raises(DataError, match="classes must be a list, got int"):
        Quality.from_dict({**data, "classes": 5})
    with pytest.raises(DataError, match="a class must be a table, got int"):
        Quality.from_dict({**data, "classes": [5]})
    with pytest.raises(DataError, match="a row of confusion must be a list, got int"):
        Quality.from_dict({**data, "confusion": [5]})


def test_torch_tensors_of_any_kind(sample):
    logits, labels = sample
    tensor = torch.tensor(logits, requires_grad=True)
    assert quality(tensor, torch.tensor(labels), CLASSES) == quality(logits, labels, CLASSES)
    assert accuracy(tensor.bfloat16(), labels) == pytest.approx(accuracy(logits, labels), abs=0.01)
    half = torch.softmax(torch.tensor(logits), 1).bfloat16()
    assert quality(half, labels, CLASSES).auc_macro == pytest.approx(
        quality(logits, labels, CLASSES).auc_macro, abs=1e-3
    )


def test_roc_is_a_thinned_subset_with_both_ends(sample):
    logits, labels = sample
    fpr, tpr, _ = roc_curve(labels == 2, softmax(logits)[:, 2])
    whole = {(round(a, 12), round(b, 12)) for a, b in zip(tpr, fpr, strict=True)}
    for points in (2, 3, 20, 100):
        curve = roc(logits, labels, 2, points=points)
        kept = [
            (round(a, 12), round(b, 12))
            for a, b in zip(curve.signal, curve.background, strict=True)
        ]
        assert 2 <= len(kept) <= points
        assert set(kept) <= whole
        assert (kept[0], kept[-1]) == ((0.0, 0.0), (1.0, 1.0))
        assert kept == sorted(kept)
    assert len(curve.signal) > 60
    assert np.trapezoid(curve.signal, curve.background) == pytest.approx(curve.auc, abs=0.01)
    every = roc(logits, labels, 2, points=10**6)
    assert np.trapezoid(every.signal, every.background) == pytest.approx(every.auc)
    assert json.loads(json.dumps(every.as_dict()))["auc"] == every.auc


def test_roc_of_perfect_separation_is_three_points():
    labels = np.arange(40) % 2
    curve = roc(np.eye(2)[labels] * 4, labels, 0)
    assert curve.signal == (0.0, 1.0, 1.0)
    assert curve.background == (0.0, 0.0, 1.0)


def test_confusion_rows_are_labels():
    scores = np.eye(3)[[0, 0, 1, 2]]
    assert confusion(scores, [0, 1, 1, 2]) == ((1, 0, 0), (1, 1, 0), (0, 0, 1))


def test_accuracy_needs_no_complete_set_of_classes():
    assert accuracy(np.eye(3)[[0, 1]], [0, 0]) == 0.5


GOOD = np.eye(3)[[0, 1, 2]]
BAD = {
    "NaN": (
        np.where(GOOD == 1, np.nan, -np.inf),
        [0, 1, 2],
        "3 NaN and 6 infinite of 9 scores, in 3 of 3 rows, the first is row 0",
    ),
    "one infinite": (
        np.where(np.arange(9).reshape(3, 3) == 4, np.inf, GOOD),
        [0, 1, 2],
        "0 NaN and 1 infinite of 9 scores, in 1 of 3 rows, the first is row 1",
    ),
    "empty": (np.zeros((0, 3)), [], r"scores must be \(N, C\)"),
    "flat": (np.zeros(3), [0, 1, 2], r"got shape \(3,\)"),
    "one column": (np.zeros((3, 1)), [0, 0, 0], r"got shape \(3, 1\)"),
    "text": (np.full((3, 3), "a"), [0, 1, 2], "scores must be real numbers, got <U1"),
    "complex": (GOOD * 1j, [0, 1, 2], "scores must be real numbers, got complex128"),
    "ragged": ([[1.0, 2.0], [1.0]], [0, 1], "rows of unequal length"),
    "short": (GOOD, [0, 1], r"labels must be of shape \(3,\) as scores, got \(2,\)"),
    "onehot": (GOOD, GOOD, r"labels must be of shape \(3,\) as scores, got \(3, 3\)"),
    "float labels": (GOOD, [0.0, 1.0, 2.0], "labels must be integers, got float64"),
    "too high": (GOOD, [0, 3, 4], "2 of 3 labels are outside 0..2, the first is 3 in row 1"),
    "negative": (GOOD, [0, 1, -1], "1 of 3 labels are outside 0..2, the first is -1 in row 2"),
    "absent": (GOOD, [0, 0, 2], "no sample of class b among 3"),
    "one label": (GOOD, [1, 1, 1], "no sample of class a, c among 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_with_the_fact(case):
    scores, labels, text = BAD[case]
    with pytest.raises(DataError, match="quality: .*" + text) as error:
        quality(scores, labels, "abc")
    assert "\n" not in str(error.value)


def test_refused_arguments():
    with pytest.raises(DataError, match="quality: 3 score columns for 2 classes"):
        quality(GOOD, [0, 1, 2], "ab")
    for efficiency in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(DataError, match="signal_efficiency must be inside"):
            quality(GOOD, [0, 1, 2], "abc", signal_efficiency=efficiency)
    with pytest.raises(DataError, match=r"roc: class 3 is not in 0\.\.2"):
        roc(GOOD, [0, 1, 2], 3)
    with pytest.raises(DataError, match="roc: points must be 2 or more, got 1"):
        roc(GOOD, [0, 1, 2], 0, points=1)
    with pytest.raises(DataError, match="roc: 0 of 3 samples are of class 2"):
        roc(GOOD, [0, 1, 1], 2)
    with pytest.raises(DataError, match="roc: 3 of 3 samples are of class 1"):
        roc(GOOD, [1, 1, 1], 1)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    import sys

    from pareq.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(MissingExtra, match=r"pip install 'pareq\[tasks\]'"):
        quality(GOOD, [0, 1, 2], "abc")
    assert accuracy(GOOD, [0, 1, 2]) == 1.0
