"""The HDF5 files of Zenodo 3602254 (100 particles) and 3602260 (150 particles).

Dataset `jets` of each file: 53 observables and 6 label columns (g, q, w, z, t, undefined); the
names in `jetFeatureNames` are used where present, else the published places. The archives unpack to
a folder `train` and a folder `val`, which the authors use as their test sample.
"""

import json
import shutil
import tarfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pareq.errors import DataError, MissingExtra
from pareq.tasks.atomic import write_whole
from pareq.tasks.download import Progress, fetch
from pareq.tasks.jets.columns import one_hot, table_from_columns
from pareq.tasks.jets.features import FEATURES
from pareq.tasks.table import Table

__all__ = ["RECORDS", "fetch_zenodo", "read_hdf5"]

RECORDS = {"zenodo-100p": 3602254, "zenodo-150p": 3602260}
HELD_OUT = "val"
PLACES = (12, *range(34, 47), 48, 52)
WIDTH = 59
ORDER = ("g", "q", "w", "z", "t")


def read_hdf5(files: Sequence[Path], name: str) -> Table:
    """The jets of these files, one after the other; those in a folder `val` are held out.

    Raises DataError for a file that is damaged or of another layout, and MissingExtra.
    """
    tables, held_out = [], []
    for path in files:
        table = _read(path)
        tables.append(table)
        held_out.append(np.full(len(table), path.parent.name == HELD_OUT))
    held = np.concatenate(held_out)
    return Table(
        np.concatenate([table.x for table in tables]),
        np.concatenate([table.y for table in tables]),
        name,
        FEATURES,
        held if held.any() and not held.all() else None,
    )


def fetch_zenodo(
    record: int,
    cache: Path,
    *,
    site: str = "https://zenodo.org",
    progress: Progress | None = None,
) -> list[Path]:
    """The HDF5 files of a record, downloaded and unpacked into `cache` if they are not there.

    The names and checksums of the archives come from the record itself.

    Raises DataError when offline, naming the files and where to put them by hand.
    """
    folder = cache / f"zenodo-{record}"
    done = folder / "unpacked"
    if not done.exists():
        note = fetch(f"{site}/api/records/{record}", folder / "record.json")
        for archive in _archives(note, f"{site}/api/records/{record}/files"):
            to = folder / archive["key"]
            fetch(archive["url"], to, checksum=archive["checksum"], progress=progress)
            _unpack(to, folder / to.name.removesuffix(".tar.gz").rpartition("_")[2])
            to.unlink()
        write_whole(done, lambda file: file.write(b""))
    return sorted(folder.rglob("*.h5"))


def _archives(note: Path, files: str) -> list[dict[str, str]]:
    """Name, checksum and address of each archive of a record."""
    try:
        found = [
            {
                "key": Path(entry["key"]).name,
                "checksum": entry["checksum"],
                "url": f"{files}/{entry['key']}/content",
            }
            for entry in json.loads(note.read_text())["files"]
            if entry["key"].endswith(".tar.gz")
        ]
    except (ValueError, KeyError, TypeError) as error:
        note.unlink()
        raise DataError(f"{note} is not a record of Zenodo ({error!r}); repeat the call") from None
    if not found:
        raise DataError(f"{note} names no .tar.gz archive")
    return found


def _unpack(archive: Path, folder: Path) -> None:
    """The HDF5 files of an archive into one folder, whatever folders it holds."""
    folder.mkdir(exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                source = tar.extractfile(member) if member.name.endswith(".h5") else None
                if source is not None:
                    copy = partial(shutil.copyfileobj, source)
                    write_whole(folder / Path(member.name).name, copy)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive} cannot be unpacked ({error})") from None


def _read(path: Path) -> Table:
    try:
        import h5py
    except ImportError:
        raise MissingExtra("h5py", "data") from None
    try:
        with h5py.File(path, "r") as file:
            if "jets" not in file:
                raise DataError(f"no dataset 'jets', the file holds {', '.join(file) or 'nothing'}")
            return _table(file, path.name)
    except DataError as error:
        error.where = error.where or path.name
        raise
    except OSError as error:
        raise DataError(f"{path} is not a readable HDF5 file ({error})") from None


def _table(file: Any, name: str) -> Table:
    """From an open file, by names if it has them."""
    jets: NDArray[np.floating] = np.asarray(file["jets"])
    if jets.ndim != 2:
        raise DataError(f"'jets' must be a table, got shape {jets.shape}")
    if "jetFeatureNames" in file:
        names = [n.decode() if isinstance(n, bytes) else str(n) for n in file["jetFeatureNames"][:]]
        if len(names) != jets.shape[1]:
            raise DataError(f"{jets.shape[1]} columns but {len(names)} names")
        return table_from_columns(dict(zip(names, jets.T, strict=True)), name)
    if jets.shape[1] != WIDTH:
        raise DataError(f"'jets' must have {WIDTH} columns, got {jets.shape[1]}")
    return Table(jets[:, PLACES].astype(np.float64), one_hot(jets[:, -6:-1], ORDER), name, FEATURES)
