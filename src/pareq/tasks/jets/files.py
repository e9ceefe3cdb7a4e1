"""One file of jets -> `Table`: npz, npy, CSV, ARFF and parquet.

| suffix | holds |
|---|---|
| .npz | X (N, 16), y (N,); optional features (names of the columns) and classes (of y) |
| .npy | (N, 17): the 16 features in their order, then the label 0..4 in the order g q t w z |
| .csv, .arff, .parquet | named columns, see `columns` |
"""

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pareq.errors import DataError, MissingExtra
from pareq.registry import suggest
from pareq.tasks.jets.columns import class_numbers, one_hot, table_from_columns
from pareq.tasks.jets.features import CLASSES, FEATURES
from pareq.tasks.table import Table, integer_labels

__all__ = ["SUFFIXES", "read_file"]

Columns = dict[str, NDArray[np.generic]]

_NPZ = ("X", "y", "features", "classes")
_DAMAGED = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)  # what numpy raises


def read_file(path: Path) -> Table:
    """The table of one file, its format told by the suffix.

    Raises DataError for a file that is absent, damaged, of another format or without the columns,
    and MissingExtra where pyarrow is needed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path.name}: unknown format{suggest(path.suffix, _READERS)}")
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        return reader(path)
    except DataError as error:
        error.where = error.where or path.name
        raise


def _read_npz(path: Path) -> Table:
    arrays = _numpy_load(path)
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise DataError("not an npz file")
    with arrays:
        for name in ("X", "y"):
            if name not in arrays:
                held = ", ".join(arrays.files) or "nothing"
                raise DataError(f"array {name!r} is missing, the file holds {held}")
        try:
            held_arrays = {name: arrays[name] for name in arrays.files if name in _NPZ}
        except _DAMAGED as error:
            raise DataError(f"damaged or pickled array ({_one_line(error)})") from None
    x, y = held_arrays["X"], held_arrays["y"]
    features = _names(held_arrays.get("features"), FEATURES)
    if x.ndim != 2 or x.shape[1] != len(features):
        raise DataError(f"X must be (N, {len(features)}), got {x.shape}")
    order = _class_order(held_arrays.get("classes"))
    numbers = one_hot(y, order) if y.ndim == 2 else class_numbers(y, order)
    columns: Columns = {name: x[:, place] for place, name in enumerate(features)}
    if len(columns) != len(features):
        raise DataError("two columns have one name in 'features'")
    if len(x) != len(numbers):
        raise DataError(f"{len(x)} rows but {len(numbers)} labels")
    return table_from_columns(columns | {"y": numbers}, path.name)


def _read_npy(path: Path) -> Table:
    rows = _numpy_load(path)
    if not isinstance(rows, np.ndarray):
        raise DataError("not an npy file")
    wanted = len(FEATURES) + 1
    if rows.ndim != 2 or rows.shape[1] != wanted or rows.dtype.kind not in "iuf":
        raise DataError(
            f"must be (N, {wanted}) numbers, the {len(FEATURES)} features and the label,"
            f" got {rows.shape} {rows.dtype}"
        )
    return Table(rows[:, :-1].astype(np.float64), integer_labels(rows[:, -1]), path.name, FEATURES)


def _read_csv(path: Path) -> Table:
    return table_from_columns(_csv(path.read_bytes()), path.name)


def _read_arff(path: Path) -> Table:
    """Dense ARFF: a header of @attribute lines, then CSV."""
    names, content = [], path.read_bytes()
    source = io.BytesIO(content)
    for line in source:
        words = line.decode("utf-8", "replace").strip().split(None, 2)
        if words and words[0].lower() == "@attribute" and len(words) > 1:
            names.append(words[1].strip("'\""))
        elif words and words[0].lower() == "@data":
            break
    else:
        raise DataError("no @data line, not an ARFF file")
    return table_from_columns(_csv(content[source.tell() :], names), path.name)


def _read_parquet(path: Path) -> Table:
    pa, _ = _pyarrow()
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"not a readable parquet file ({_one_line(error)})") from None
    return table_from_columns(_arrow_columns(table), path.name)


_READERS: dict[str, Callable[[Path], Table]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".arff": _read_arff,
    ".parquet": _read_parquet,
}
SUFFIXES = tuple(_READERS)


def _numpy_load(path: Path) -> Any:
    try:
        return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except _DAMAGED as error:
        raise DataError(f"not a readable {path.suffix[1:]} file ({_one_line(error)})") from None


def _names(found: NDArray[np.generic] | None, default: tuple[str, ...]) -> list[str]:
    return list(default) if found is None else [str(name) for name in found]


def _class_order(found: NDArray[np.generic] | None) -> list[str]:
    order = [name.removeprefix("j_") for name in _names(found, CLASSES)]
    if sorted(order) != sorted(CLASSES):
        raise DataError(
            f"classes must be {', '.join(CLASSES)} in any order, got {', '.join(order)}"
        )
    return order


def _csv(content: bytes, names: list[str] | None = None) -> Columns:
    pa, csv = _pyarrow()
    try:
        table = csv.read_csv(
            io.BytesIO(content),
            read_options=csv.ReadOptions(column_names=names),
            convert_options=csv.ConvertOptions(null_values=["", "?", "NaN", "nan", "null", "NULL"]),
        )
    except pa.ArrowException as error:
        raise DataError(f"not readable as CSV ({_one_line(error)})") from None
    return _arrow_columns(table)


def _arrow_columns(table: Any) -> Columns:
    """Nulls become NaN in numbers."""
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two columns are called {twice[0]!r}; keep one")
    return {name: table.column(name).to_numpy() for name in names}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.csv
    except ImportError:
        raise MissingExtra("pyarrow", "data") from None
    return pyarrow, pyarrow.csv


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
