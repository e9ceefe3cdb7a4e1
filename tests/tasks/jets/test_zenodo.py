import hashlib
import io
import json
import sys
import tarfile

import h5py
import numpy as np
import pytest

from pareq.errors import DataError, MissingExtra
from pareq.tasks.jets.features import FEATURES
from pareq.tasks.jets.zenodo import ORDER, PLACES, fetch_zenodo, read_hdf5
from tests.tasks.tables import rows

LABELS = ("j_g", "j_q", "j_w", "j_z", "j_t", "j_undef")


def jets(count=10, seed=0):
    """A table of 59 columns, the features where Zenodo has them, and the labels of all classes."""
    x, _ = rows(count, seed)
    table = np.full((count, 59), 7.0)
    table[:, PLACES] = x
    table[:, -6:] = 0
    table[np.arange(count), 53 + np.arange(count) % 5] = 1
    return table, x


def names():
    every = [f"j_other{k}" for k in range(59)]
    for place, feature in zip(PLACES, FEATURES, strict=True):
        every[place] = f"j_{feature}"
    every[-6:] = LABELS
    return [name.encode() for name in every]


def write(path, table, named=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["jets"] = table
        file["jetConstituentList"] = np.zeros((len(table), 2))
        if named:
            file["jetFeatureNames"] = np.array(names())
    return path


def test_the_published_places():
    assert PLACES == (12, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 48, 52)
    assert ORDER == ("g", "q", "w", "z", "t")


@pytest.mark.parametrize("named", [True, False])
def test_columns_by_name_and_by_place(named, tmp_path):
    table, x = jets()
    found = read_hdf5([write(tmp_path / "a.h5", table, named)], "zenodo")
    assert np.array_equal(found.x, x)
    assert found.y.tolist() == [0, 1, 3, 4, 2] * 2  # g q w z t in the order g q t w z
    assert found.held_out is None


def test_names_win_over_places(tmp_path):
    table, x = jets()
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["jets"] = table[:, ::-1]
        file["jetFeatureNames"] = np.array(names()[::-1])
    assert np.array_equal(read_hdf5([path], "zenodo").x, x)


def test_files_in_the_folder_val_are_held_out(tmp_path):
    (train, x), (test, z) = jets(10), jets(5, seed=1)
    files = [write(tmp_path / "train/a.h5", train), write(tmp_path / "val/b.h5", test)]
    found = read_hdf5(files, "zenodo")
    assert np.array_equal(found.x, np.concatenate([x, z]))
    assert found.held_out.tolist() == [False] * 10 + [True] * 5


def refused(path):
    with pytest.raises(DataError) as caught:
        read_hdf5([path], "zenodo")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bad_files(tmp_path):
    table, _ = jets()
    assert refused(write(tmp_path / "a.h5", table[:, 1:], named=False)) == (
        "a.h5: 'jets' must have 59 columns, got 58"
    )
    assert refused(write(tmp_path / "b.h5", table[:, 1:])) == "b.h5: 58 columns but 59 names"
    assert refused(write(tmp_path / "c.h5", table[:, 0], named=False)) == (
        "c.h5: 'jets' must be a table, got shape (10,)"
    )
    table[4, -6:] = 0
    told = "one-hot labels need a single 1 per row, got 0, 0, 0, 0, 0 in row 4"
    assert refused(write(tmp_path / "d.h5", table, named=False)) == f"d.h5: {told}"
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["images"] = np.zeros(3)
    assert refused(tmp_path / "e.h5") == "e.h5: no dataset 'jets', the file holds images"
    (tmp_path / "f.h5").write_bytes(b"no HDF5")
    assert "f.h5 is not a readable HDF5 file" in refused(tmp_path / "f.h5")


def test_without_h5py_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"h5py is not installed; run: pip install 'pareq\[data"):
        read_hdf5([tmp_path / "a.h5"], "zenodo")


def site(folder, spoil=""):
    """A folder that looks like Zenodo's site to a file: URL."""
    entries = []
    for part, seed in (("train", 0), ("val", 1)):
        inside = write(folder / f"{part}.h5", jets(10, seed)[0])
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            tar.add(inside, f"../../deep/{part}/jetImage_{part}.h5")  # never written outside
            tar.add(inside, "readme.txt")
        content = packed.getvalue()
        key = f"hls4ml_LHCjet_100p_{part}.tar.gz"
        digest = hashlib.md5(b"other" if spoil == "checksum" else content).hexdigest()
        entries.append({"key": key, "checksum": f"md5:{digest}"})
        if spoil == "archive":
            content = b"no archive"
            entries[-1]["checksum"] = f"md5:{hashlib.md5(content).hexdigest()}"
        place = folder / "api/records/3602254-files" / key
        place.mkdir(parents=True, exist_ok=True)
        (place / "content").write_bytes(content)
    record = {"files": [*entries, {"key": "about.pdf", "checksum": "md5:0"}]}
    if spoil == "record":
        record = {"message": "gone"}
    if spoil == "empty":
        record = {"files": []}
    (folder / "api/records/3602254").write_text(json.dumps(record))
    return folder.as_uri()


@pytest.fixture
def served(monkeypatch, tmp_path):
    """A file cannot be a folder, too: the addresses of the archives are changed on the way."""
    from pareq.tasks.jets import zenodo

    def fetch(url, to, **options):
        return original(url.replace("3602254/files", "3602254-files"), to, **options)

    original = zenodo.fetch
    monkeypatch.setattr(zenodo, "fetch", fetch)
    return tmp_path / "site"


def test_archives_are_fetched_unpacked_and_kept(served, tmp_path):
    served.mkdir()
    cache, steps = tmp_path / "cache", []
    url = site(served)
    files = fetch_zenodo(3602254, cache, site=url, progress=lambda *s: steps.append(s))
    places = [str(f.relative_to(cache / "zenodo-3602254")) for f in files]
    assert places == ["train/jetImage_train.h5", "val/jetImage_val.h5"]
    assert len(steps) == 2
    table = read_hdf5(files, "zenodo")
    assert table.held_out.sum() == 10
    assert np.array_equal(table.x[:10], jets(10, 0)[1])
    assert fetch_zenodo(3602254, cache, site="file:///nowhere") == files
    assert not list(tmp_path.rglob("deep"))
    assert not list(cache.rglob("*.tar.gz"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("checksum", "has md5 .*, expected .*; the file was removed"),
        ("archive", "train.tar.gz cannot be unpacked"),
        ("record", r"record.json is not a record of Zenodo .*repeat the call"),
        ("empty", "record.json names no .tar.gz archive"),
    ],
)
def test_bad_downloads(spoil, told, served, tmp_path):
    served.mkdir()
    with pytest.raises(DataError, match=told):
        fetch_zenodo(3602254, tmp_path / "cache", site=site(served, spoil))


def test_offline_names_the_address_and_the_place(tmp_path):
    with pytest.raises(DataError, match=r"api/records/1 could not be reached .*put it at .*record"):
        fetch_zenodo(1, tmp_path, site=(tmp_path / "nowhere").as_uri())
