import h5py
import numpy as np
import pytest

from pareq.errors import DataError
from pareq.tasks.jets import sources
from pareq.tasks.jets.features import FEATURES
from pareq.tasks.jets.sources import read_source
from pareq.tasks.table import Table
from tests.tasks.tables import rows

X, Y = rows()


@pytest.fixture
def npz(tmp_path):
    np.savez(tmp_path / "jets_mine.npz", X=X, y=Y)
    return tmp_path / "jets_mine.npz"


def refused(source):
    with pytest.raises(DataError) as caught:
        read_source(source)
    return str(caught.value)


def test_a_file_by_option_and_by_environment(npz, monkeypatch):
    monkeypatch.delenv("PAREQ_DATA", raising=False)
    by_option = read_source(str(npz))
    monkeypatch.setenv("PAREQ_DATA", str(npz))
    by_environment = read_source("")
    assert np.array_equal(by_option.x, X)
    assert np.array_equal(by_environment.x, X)
    assert by_option.name == by_environment.name
    assert by_option.name.startswith("jets_mine.npz, sha256 ")


def test_the_name_tells_other_bytes(npz):
    before = read_source(str(npz)).name
    np.savez(npz, X=X + 1, y=Y)
    assert read_source(str(npz)).name != before


def test_a_folder_with_one_file_of_jets_among_others(npz):
    np.savez(npz.parent / "pictures.npz", a=X)
    assert read_source(str(npz.parent)).name == read_source(str(npz)).name


def test_a_folder_with_none_or_several(npz, tmp_path):
    np.savez(npz.parent / "jets_other.npz", X=X, y=Y)
    assert "found several (jets_mine.npz, jets_other.npz); name the file" in refused(str(tmp_path))
    (tmp_path / "empty").mkdir()
    assert "one jets file (jets*.npz, jets*.npy, " in refused(str(tmp_path / "empty"))
    assert "found none; name the file itself" in refused(str(tmp_path / "empty"))


def test_hdf5_by_file_and_by_folder(tmp_path):
    table = np.zeros((5, 59))
    table[np.arange(5), 53 + np.arange(5)] = 1
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        with h5py.File(tmp_path / part / "a.h5", "w") as file:
            file["jets"] = table
    whole = read_source(str(tmp_path))
    assert len(whole) == 10
    assert whole.held_out.sum() == 5
    assert whole.name == f"{tmp_path.name}, 2 HDF5 files"
    assert len(read_source(str(tmp_path / "val" / "a.h5"))) == 5


def test_a_path_that_is_absent_or_a_name_misspelt():
    assert refused("opneml") == "no file or folder 'opneml'; did you mean 'openml'?"
    assert refused("/nowhere/jets.npz").startswith("no file or folder '/nowhere/jets.npz'")


def test_public_sets_use_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PAREQ_CACHE", str(tmp_path))
    table = Table(X, Y, "OpenML 42468", FEATURES)
    calls = []
    monkeypatch.setattr(sources, "fetch_openml_table", lambda c: calls.append(c) or table)
    monkeypatch.setattr(sources, "fetch_zenodo", lambda *a, **k: calls.append(a) or ["a.h5"])
    monkeypatch.setattr(sources, "read_hdf5", lambda files, name: (files, name))
    assert read_source("openml") is table
    assert read_source("zenodo-100p") == (["a.h5"], "Zenodo 3602254")
    assert read_source("zenodo-150p") == (["a.h5"], "Zenodo 3602260")
    assert calls == [tmp_path, (3602254, tmp_path), (3602260, tmp_path)]


def test_the_sample_is_the_default_and_has_a_name(monkeypatch):
    monkeypatch.delenv("PAREQ_DATA", raising=False)
    assert len(read_source("")) == len(read_source("sample")) >= 100_000
    monkeypatch.setenv("PAREQ_DATA", "/nowhere")
    assert len(read_source("sample")) >= 100_000
    with pytest.raises(DataError, match="/nowhere"):
        read_source("")
