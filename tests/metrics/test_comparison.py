import json

import numpy as np
import pytest

from pareq.errors import DataError
from pareq.metrics.comparison import agreement, compare
from pareq.metrics.quality import accuracy, confusion


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 500)
    first = rng.normal(size=(500, 4)) + np.eye(4)[labels]
    return first, first + 0.5 * rng.normal(size=(500, 4)), labels


def test_with_itself_everything_agrees(pair):
    first, _, labels = pair
    same = compare(first, first, labels)
    assert (same.agreement, same.agreement_error, same.difference) == (1.0, 0.0, 0.0)
    assert (same.only_first, same.only_second, same.difference_error) == (0, 0, 0.0)
    assert np.count_nonzero(same.confusion) == np.count_nonzero(np.diag(same.confusion))


def test_counts_add_up_and_give_the_difference_of_accuracies(pair):
    first, second, labels = pair
    found = compare(first, second, labels)
    assert found.both + found.only_first + found.only_second + found.neither == 500
    assert (found.both + found.only_first) / 500 == accuracy(first, labels)
    assert found.difference == pytest.approx(accuracy(second, labels) - accuracy(first, labels))
    assert np.sum(found.confusion) == 500
    assert np.trace(found.confusion) / 500 == found.agreement == agreement(first, second)
    assert found.confusion == confusion(second, first.argmax(1))
    assert json.loads(json.dumps(found.as_dict()))["samples"] == 500


def test_swapped_models_swap_the_fields(pair):
    first, second, labels = pair
    ab, ba = compare(first, second, labels), compare(second, first, labels)
    assert (ab.only_first, ab.only_second) == (ba.only_second, ba.only_first)
    assert ab.difference == -ba.difference
    assert ab.difference_error == ba.difference_error > 0
    assert np.array_equal(ab.confusion, np.transpose(ba.confusion))


def test_difference_error_is_the_standard_error_of_paired_samples(pair):
    first, second, labels = pair
    paired = (second.argmax(1) == labels).astype(float) - (first.argmax(1) == labels)
    found = compare(first, second, labels)
    assert found.difference_error == pytest.approx(paired.std() / 500**0.5)


def test_refused():
    with pytest.raises(DataError, match=r"agreement: scores of shape \(2, 3\) and \(3, 3\)"):
        agreement(np.eye(3)[:2], np.eye(3))
    with pytest.raises(DataError, match=r"compare: scores of shape \(3, 3\) and \(3, 2\)"):
        compare(np.eye(3), np.zeros((3, 2)), [0, 1, 2])
    with pytest.raises(DataError, match="compare: 9 NaN and 0 infinite of 9"):
        compare(np.eye(3), np.full((3, 3), np.nan), [0, 1, 2])
