import numpy as np
import pytest

from pareq.errors import DataError
from pareq.tasks.jets.columns import class_numbers, one_hot, table_from_columns
from pareq.tasks.jets.features import CLASSES, FEATURES
from tests.tasks.tables import named, rows

X, Y = rows()
NAMES = np.array(CLASSES)[Y]


def refused(columns):
    with pytest.raises(DataError) as caught:
        table_from_columns(columns, "t")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "j_", "J_"])
def test_columns_in_any_order_with_or_without_prefix(prefix):
    columns = {"class": NAMES} | dict(reversed(named(X, prefix).items()))
    table = table_from_columns(columns | {"index": np.arange(len(X))}, "t")
    assert np.array_equal(table.x, X.astype(np.float64))
    assert np.array_equal(table.y, Y)
    assert table.columns == FEATURES


@pytest.mark.parametrize("label", ["class", "label", "y", "Target"])
@pytest.mark.parametrize(
    "values", [NAMES, Y, Y.astype(float), np.char.add("j_", NAMES), NAMES.astype("S1")]
)
def test_labels_as_names_or_numbers(label, values):
    if values.dtype.kind == "S":
        values = values.astype(str).astype(object)
    assert np.array_equal(table_from_columns(named(X) | {label: values}, "t").y, Y)


def test_labels_as_one_column_per_class():
    hot = np.eye(5)[Y]
    for prefix in ("", "j_"):
        columns = {prefix + name: hot[:, k] for k, name in enumerate(CLASSES)}
        assert np.array_equal(table_from_columns(named(X) | columns, "t").y, Y)


def test_missing_columns_are_named_with_the_nearest_of_the_file():
    columns = named(X) | {"class": NAMES}
    columns["zlog"] = columns.pop("zlogz")
    assert refused(columns) == (
        "1 of 16 columns are missing: zlogz (not known: zlog); did you mean 'zlog'?"
    )
    del columns["mass_mmdt"], columns["zlog"]
    assert refused(columns) == "2 of 16 columns are missing: zlogz, mass_mmdt"


def test_two_columns_of_one_name():
    assert refused(named(X) | {"j_zlogz": X[:, 0]}) == "two columns are called 'zlogz'; keep one"


def test_a_column_of_words():
    columns = named(X) | {"class": NAMES, "zlogz": np.array(["many"] * len(X))}
    assert refused(columns) == "column 'zlogz' must hold numbers, got <U4"


def test_labels_that_are_absent_or_doubled():
    assert refused(named(X)).startswith("no labels: expected a column 'class', or one column per")
    assert refused(named(X) | {"class": NAMES, "y": Y}) == (
        "several label columns: class, y; keep one"
    )


def test_a_label_that_is_no_class():
    odd = NAMES.copy()
    odd[7] = "b"
    assert refused(named(X) | {"class": odd}) == "label 'b' in row 7 is none of g, q, t, w, z"


def test_one_hot_rows_with_none_or_two():
    hot = np.eye(5)[Y]
    hot[3] = 0
    with pytest.raises(DataError, match="need a single 1 per row, got 0, 0, 0, 0, 0 in row 3"):
        one_hot(hot, CLASSES)
    hot[3, :2] = 1
    with pytest.raises(DataError, match="got 1, 1, 0, 0, 0 in row 3"):
        one_hot(hot, CLASSES)


def test_numbers_count_the_order_that_is_given():
    order = ("g", "q", "w", "z", "t")
    assert class_numbers(np.arange(5), order).tolist() == [0, 1, 3, 4, 2]
    assert class_numbers(np.array([0, 7, -1]), order).tolist() == [0, 7, -1]
