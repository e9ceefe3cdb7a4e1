import numpy as np
import pytest

from pareq.errors import DataError
from pareq.tasks.table import Table, integer_labels


def table(x, y):
    x = np.asarray(x, np.float64)
    columns = tuple("abcdef"[: x.shape[1]])
    return Table(x, np.asarray(y, np.int64), "a table", columns)


def refused(x, y, classes=3):
    with pytest.raises(DataError) as caught:
        table(x, y).checked(classes, drop_nonfinite=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_table_is_unchanged():
    good = table([[1, 2], [3, 4]], [0, 2])
    assert good.checked(3, drop_nonfinite=False) is good


def test_labels_out_of_range_tell_count_value_and_row():
    assert refused([[1], [2], [3]], [0, 3, -1]) == (
        "2 labels are outside 0..2: the first is 3 in row 1"
    )


def test_an_empty_table_and_unequal_lengths():
    assert refused(np.zeros((0, 2)), []) == "the table has no rows"
    assert refused([[1], [2]], [0]) == "2 rows but 1 labels"


def test_values_that_are_not_finite_are_counted_with_rows_and_column():
    x = np.zeros((20, 3))
    x[4, 1], x[4, 2], x[7, 0] = np.nan, np.inf, -np.inf
    assert refused(x, np.zeros(20)) == (
        "3 values in 2 rows are NaN or infinite, first in column 'b' (rows 4, 7); repair the rows"
        " or set drop_nonfinite"
    )


def test_only_the_first_rows_are_named():
    x = np.zeros((20, 1))
    x[3:] = np.nan
    assert "(rows 3, 4, 5, 6, 7, ...)" in refused(x, np.zeros(20))
    x[4:] = 0
    assert "(row 3)" in refused(x, np.zeros(20))


def test_dropping_keeps_the_other_rows_in_order():
    held = np.array([True, False, True])
    dirty = Table(np.array([[1.0], [np.nan], [3.0]]), np.array([0, 1, 2]), "t", ("a",), held)
    clean = dirty.checked(3, drop_nonfinite=True)
    assert clean.x.tolist() == [[1.0], [3.0]]
    assert clean.y.tolist() == [0, 2]
    assert clean.held_out.tolist() == [True, True]


def test_dropping_everything_is_refused():
    with pytest.raises(DataError, match="every row has a NaN or infinite value"):
        table([[np.nan]], [0]).checked(1, drop_nonfinite=True)


def test_whole_floats_are_labels_and_others_are_not():
    assert integer_labels(np.array([0.0, 2.0])).dtype == np.int64
    with pytest.raises(DataError, match=r"labels must be integers, got 1\.5 in row 1"):
        integer_labels(np.array([0.0, 1.5]))
    with pytest.raises(DataError, match="labels must be integers, got nan in row 0"):
        integer_labels(np.array([np.nan]))
    with pytest.raises(DataError, match="labels must be integers, got <U1"):
        integer_labels(np.array(["g"]))
