"""Where jets come from: the sample inside the package, a public set, a file or a folder."""

import hashlib
import os
from pathlib import Path

from pareq.errors import DataError
from pareq.registry import suggest
from pareq.tasks.download import Progress, cache_folder
from pareq.tasks.jets.files import SUFFIXES, read_file
from pareq.tasks.jets.openml import fetch_openml_table
from pareq.tasks.jets.sample import load_sample
from pareq.tasks.jets.zenodo import RECORDS, fetch_zenodo, read_hdf5
from pareq.tasks.table import Table

__all__ = ["NAMED", "read_source"]

NAMED = ("sample", "openml", *RECORDS)
HDF5 = (".h5", ".hdf5")


def read_source(source: str, progress: Progress | None = None) -> Table:
    """The raw table of a source.

    source: one of NAMED, the path of a file or folder, or "" for what the environment variable
    PAREQ_DATA names, and the sample inside the package without it. A folder holds either Zenodo's
    HDF5 files, at any depth, or one jet file called jets*.

    Raises DataError, and MissingExtra for formats that need a package.
    """
    source = source or os.environ.get("PAREQ_DATA", "") or "sample"
    if source == "sample":
        return load_sample()
    if source == "openml":
        return fetch_openml_table(cache_folder())
    if source in RECORDS:
        files = fetch_zenodo(RECORDS[source], cache_folder(), progress=progress)
        return read_hdf5(files, f"Zenodo {RECORDS[source]}")
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"no file or folder {source!r}{suggest(source, NAMED)}")
    if path.is_dir():
        return _read_folder(path)
    if path.suffix.lower() in HDF5:
        return read_hdf5([path], _provenance(path))
    table = read_file(path)
    return Table(table.x, table.y, _provenance(path), table.columns)


def _read_folder(folder: Path) -> Table:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in HDF5)
    if files:
        return read_hdf5(files, f"{folder.name}, {len(files)} HDF5 files")
    tables = [p for p in sorted(folder.glob("jets*")) if p.suffix.lower() in SUFFIXES]
    if len(tables) == 1:
        return read_source(str(tables[0]))
    found = f"several ({', '.join(path.name for path in tables)})" if tables else "none"
    raise DataError(
        f"folder {folder} must hold HDF5 files or one jets file"
        f" (jets*{', jets*'.join(SUFFIXES)}), found {found}; name the file itself"
    )


def _provenance(path: Path) -> str:
    """The file's name and checksum."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{path.name}, sha256 {digest[:12]}.."
