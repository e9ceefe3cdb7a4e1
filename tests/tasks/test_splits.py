import numpy as np
import pytest
import torch

from pareq.errors import DataError, MissingExtra
from pareq.tasks.splits import Plan, prepare
from pareq.tasks.table import Table


def table(count=1000, seed=0, held_out=None):
    random = np.random.default_rng(seed)
    x = random.normal(3, 2, size=(count, 4))
    x[:, 0] = np.arange(count)  # tells the row
    return Table(x, np.arange(count) % 3, "rows", ("row", "b", "c", "d"), held_out)


def rows(split):
    return split.x[:, 0].long().tolist()


def parts(source, plan):
    data = prepare(source, plan)
    return [rows(part) for part in (data.train, data.val, data.test)]


RAW = {"scaling": "none"}
ALL = ["random", "openml", "fold-1", "fold-2", "fold-3", "fold-4", "source"]


@pytest.mark.parametrize("split", ALL)
def test_every_row_is_in_one_split_with_its_label(split):
    source = table(held_out=np.arange(1000) % 5 == 0)
    data = prepare(source, Plan(split, **RAW))
    together = [rows(part) for part in (data.train, data.val, data.test)]
    assert sorted(row for part in together for row in part) == list(range(1000))
    for part, numbers in zip((data.train, data.val, data.test), together, strict=True):
        assert part.y.tolist() == [row % 3 for row in numbers]
        assert part.x.dtype == torch.float32
        assert part.y.dtype == torch.int64


@pytest.mark.parametrize("split", ALL)
def test_the_same_plan_gives_the_same_rows(split):
    source = table(held_out=np.arange(1000) % 5 == 0)
    assert parts(source, Plan(split, **RAW)) == parts(source, Plan(split, **RAW))


def test_shares_and_seeds():
    first = parts(table(), Plan(**RAW))
    assert [len(part) for part in first] == [640, 160, 200]
    other = parts(table(), Plan(seed=1, **RAW))
    assert sorted(first[2]) != sorted(other[2])
    small = parts(table(), Plan(val=0.1, test=0.05, **RAW))
    assert [len(part) for part in small] == [850, 100, 50]


def test_openml_is_the_split_of_the_literature():
    from sklearn.model_selection import train_test_split

    rest, test = train_test_split(np.arange(830), test_size=0.2, random_state=42)
    train, val, found = parts(table(830), Plan("openml", **RAW))
    assert found == test.tolist()
    assert sorted(train + val) == sorted(rest.tolist())
    assert (len(rest), len(test)) == (664, 166)


def test_folds_partition_the_shuffled_rows_and_drop_the_remainder():
    from sklearn.utils import shuffle

    order = shuffle(np.arange(1003), random_state=42)
    tests = []
    for fold in range(4):
        train, val, test = parts(table(1003), Plan(f"fold-{fold + 1}", **RAW))
        assert test == order[fold * 250 : (fold + 1) * 250].tolist()
        assert len(val) == 750 // 4
        assert len(train) + len(val) == 750
        tests += test
    assert sorted(tests) == sorted(order[:1000].tolist())


def test_the_split_of_the_source_gives_three_quarters_of_the_rest_to_training():
    held = np.arange(870) >= 630
    train, val, test = parts(table(870, held_out=held), Plan("source", **RAW))
    assert sorted(test) == list(range(630, 870))
    assert (len(train), len(val)) == (473, 157)
    with pytest.raises(DataError, match="split 'source': this source does not hold out"):
        prepare(table(), Plan("source"))


def test_the_scaler_sees_the_training_rows_only():
    data = prepare(table(), Plan())
    assert torch.allclose(data.train.x.mean(0), torch.zeros(4), atol=1e-6)
    assert torch.allclose(data.train.x.std(0, correction=0), torch.ones(4), atol=1e-6)
    assert data.test.x.mean(0).abs().max() > 1e-3
    raw = prepare(table(), Plan(**RAW))
    center, scale = torch.tensor(data.center), torch.tensor(data.scale)
    assert torch.allclose((raw.test.x - center) / scale, data.test.x, atol=1e-5)
    assert raw.center == (0.0,) * 4
    assert raw.scale == (1.0,) * 4


def test_paper_scaling_uses_the_statistics_of_each_set():
    data = prepare(table(), Plan(scaling="paper"))
    together = torch.cat([data.train.x, data.val.x])
    for part in (together, data.test.x):
        assert torch.allclose(part.mean(0), torch.zeros(4), atol=1e-5)
        assert torch.allclose(part.std(0, correction=0), torch.ones(4), atol=1e-5)
    assert data.train.x.mean(0).abs().max() > 1e-3


def test_a_constant_column_is_only_centred():
    source = table()
    source.x[:, 2] = 0.1
    data = prepare(source, Plan())
    assert data.scale[2] == 1.0
    assert data.test.x[:, 2].abs().max() < 1e-6


def doubled():
    """Row 999 - k equals row k for k below 300, labels included."""
    source = table()
    source.x[700:] = source.x[:300][::-1]
    y = source.y.copy()
    y[700:] = y[:300][::-1]
    return Table(source.x, y, "doubled", source.columns)


def test_no_row_is_in_two_splits():
    train, val, test = map(set, parts(doubled(), Plan(**RAW)))
    assert not train & val
    assert not train & test
    assert not val & test
    data = prepare(doubled(), Plan(**RAW))
    assert len(data.test) == 200
    assert data.duplicates == 1000 - sum(map(len, (data.train, data.val, data.test)))
    assert data.duplicates > 100


def test_rows_that_differ_in_the_label_or_one_value_stay():
    source = doubled()
    other = Table(source.x, np.arange(1000) % 2, "labels differ", source.columns)
    other.y[700:] = 1 - other.y[:300][::-1]
    assert prepare(other, Plan(**RAW)).duplicates == 0
    moved = source.x.copy()
    moved[700:, 3] = np.nextafter(moved[700:, 3], np.inf)
    assert prepare(Table(moved, source.y, "moved", source.columns), Plan(**RAW)).duplicates == 0


def test_minus_zero_is_zero_among_duplicates():
    source = doubled()
    source.x[:300, 1] = 0.0
    source.x[700:, 1] = -0.0
    assert prepare(source, Plan(**RAW)).duplicates == prepare(doubled(), Plan(**RAW)).duplicates


def test_paper_scaling_removes_duplicates_inside_a_set_and_leaves_those_across():
    data = prepare(doubled(), Plan(scaling="paper"))
    fair = prepare(doubled(), Plan(**RAW))
    assert data.duplicates > 0
    assert len(torch.unique(data.test.x, dim=0)) == len(data.test)
    together = torch.cat([data.train.x, data.val.x])
    assert len(torch.unique(together, dim=0)) == len(together)
    order = np.random.default_rng(0).permutation(1000)
    kinds = np.minimum(np.arange(1000), 999 - np.arange(1000))
    kinds[(kinds >= 300)] = np.arange(1000)[(kinds >= 300)]
    expected = len(set(kinds[order[:200]])) + len(set(kinds[order[200:]]))
    assert len(data.test) + len(together) == expected
    assert len(fair.test) == 200


def test_a_table_too_small_for_three_splits():
    with pytest.raises(DataError, match=r"the validation split is empty \(2 rows, split 'random'"):
        prepare(table(2), Plan(val=0.1, test=0.4))
    with pytest.raises(DataError, match="the training split is empty"):
        prepare(table(3), Plan("fold-1"))
    with pytest.raises(DataError, match="split 'openml' needs at least 5 rows, got 4"):
        prepare(table(4), Plan("openml"))
    assert len(prepare(table(5), Plan("openml")).train) == 3


def test_without_scikit_learn_the_published_splits_name_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.model_selection", None)
    with pytest.raises(MissingExtra, match=r"pip install 'pareq\[tasks\]'"):
        prepare(table(), Plan("openml"))
