import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from pareq.errors import DataError, MissingExtra
from pareq.tasks.jets.features import CLASSES, FEATURES
from pareq.tasks.jets.files import SUFFIXES, read_file
from tests.tasks.tables import named, rows, write_csv

X, Y = rows()
NAMES = np.array(CLASSES)[Y]


def refused(path):
    with pytest.raises(DataError) as caught:
        read_file(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path):
    """The same forty jets in the format of the suffix."""
    columns = named(X, "j_") | {"class": NAMES}
    if path.suffix == ".npz":
        np.savez(path, X=X, y=Y)
    elif path.suffix == ".npy":
        np.save(path, np.column_stack([X, Y]))
    elif path.suffix == ".csv":
        write_csv(path, columns)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    else:
        write_csv(path, columns)
        names = [f"@ATTRIBUTE {name} REAL" for name in named(X)] + ["@attribute class {g,q,t,w,z}"]
        body = path.read_text().split("\n", 1)[1]
        header = ["% about", "@RELATION jets", "", *names, "@DATA", body]
        path.write_text("\n".join(header))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_holds_the_same_jets(suffix, tmp_path):
    write(tmp_path / f"jets{suffix}")
    table = read_file(tmp_path / f"jets{suffix}")
    assert np.allclose(table.x, X, rtol=1e-6)
    assert np.array_equal(table.y, Y)
    assert table.columns == FEATURES


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_off_is_refused(suffix, tmp_path):
    path = tmp_path / f"jets{suffix}"
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3 - 2])
    assert refused(path).startswith(f"jets{suffix}: ")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_something_else_is_refused(suffix, tmp_path):
    path = tmp_path / f"jets{suffix}"
    path.write_bytes(b"\x00\x01 no jets here, no, none \xff" * 9)
    assert refused(path).startswith(f"jets{suffix}: ")
    path.write_bytes(b"")
    assert refused(path).startswith(f"jets{suffix}: ")


def test_an_absent_file_and_an_unknown_format(tmp_path):
    assert refused(tmp_path / "jets.npz") == f"{tmp_path / 'jets.npz'} does not exist"
    assert refused(tmp_path / "jets.parket") == (
        "jets.parket: unknown format; did you mean '.parquet'?"
    )


def test_npz_with_its_own_order_of_columns_and_classes(tmp_path):
    path = tmp_path / "jets.npz"
    order = ("z", "w", "t", "q", "g")
    np.savez(path, X=X[:, ::-1], y=4 - Y, features=FEATURES[::-1], classes=order)
    table = read_file(path)
    assert np.array_equal(table.x, X)
    assert np.array_equal(table.y, Y)
    np.savez(path, X=X, y=np.eye(5)[Y])
    assert np.array_equal(read_file(path).y, Y)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": X, "y": Y}, "jets.npz: array 'X' is missing, the file holds x, y"),
        ({"X": X}, "jets.npz: array 'y' is missing, the file holds X"),
        ({"X": X[:, 1:], "y": Y}, "jets.npz: X must be (N, 16), got (40, 15)"),
        ({"X": X[:3], "y": Y}, "jets.npz: 3 rows but 40 labels"),
        ({"X": X, "y": Y + 0.5}, "jets.npz: labels must be integers, got 0.5 in row 0"),
        (
            {"X": X, "y": Y, "classes": np.array(["g", "q", "b", "w", "z"])},
            "jets.npz: classes must be g, q, t, w, z in any order, got g, q, b, w, z",
        ),
        (
            {"X": X[:, 1:], "y": Y, "features": np.array(FEATURES[1:])},
            "jets.npz: 1 of 16 columns are missing: zlogz",
        ),
        (
            {"X": X, "y": Y, "features": np.array(FEATURES[:1] * 2 + FEATURES[2:])},
            "jets.npz: two columns have one name in 'features'",
        ),
    ],
)
def test_bad_npz(arrays, told, tmp_path):
    np.savez(tmp_path / "jets.npz", **arrays)
    assert refused(tmp_path / "jets.npz") == told


def test_pickles_are_never_loaded(tmp_path):
    np.savez(tmp_path / "jets.npz", X=np.array([{}], object), y=Y)
    assert "jets.npz: damaged or pickled array" in refused(tmp_path / "jets.npz")
    np.save(tmp_path / "jets.npy", np.array([{}], object))
    assert "jets.npy: not a readable npy file" in refused(tmp_path / "jets.npy")


def test_npy_of_another_shape(tmp_path):
    np.save(tmp_path / "jets.npy", X)
    assert refused(tmp_path / "jets.npy") == (
        "jets.npy: must be (N, 17) numbers, the 16 features and the label, got (40, 16) float32"
    )


def test_an_npz_file_is_no_npy_file(tmp_path):
    np.savez(tmp_path / "a.npz", X=X, y=Y)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    assert refused(tmp_path / "a.npy") == "a.npy: not an npy file"
    np.save(tmp_path / "b.npy", X)
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    assert refused(tmp_path / "b.npz") == "b.npz: not an npz file"


def test_holes_in_csv_are_not_numbers(tmp_path):
    write_csv(tmp_path / "jets.csv", named(X) | {"class": NAMES})
    lines = (tmp_path / "jets.csv").read_text().split("\n")
    lines[3] = "?," + lines[3].split(",", 1)[1]
    lines[5] = "," + lines[5].split(",", 1)[1]
    (tmp_path / "jets.csv").write_text("\n".join(lines))
    table = read_file(tmp_path / "jets.csv")
    assert np.flatnonzero(np.isnan(table.x).any(1)).tolist() == [2, 4]


def test_two_csv_columns_of_one_name(tmp_path):
    (tmp_path / "jets.csv").write_text("zlogz,zlogz\n1,2\n")
    assert refused(tmp_path / "jets.csv") == "jets.csv: two columns are called 'zlogz'; keep one"


def test_a_csv_row_of_another_length(tmp_path):
    write_csv(tmp_path / "jets.csv", named(X) | {"class": NAMES})
    with (tmp_path / "jets.csv").open("a") as file:
        file.write("1,2\n")
    assert "jets.csv: not readable as CSV" in refused(tmp_path / "jets.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arff"])
def test_without_pyarrow_the_extra_is_named(suffix, tmp_path, monkeypatch):
    write(tmp_path / f"jets{suffix}")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'pareq\[data\]'"):
        read_file(tmp_path / f"jets{suffix}")
