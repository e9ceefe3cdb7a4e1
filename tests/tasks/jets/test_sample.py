import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest

import pareq.tasks.jets
from pareq.errors import DataError
from pareq.tasks.jets.features import CLASSES, FEATURES
from pareq.tasks.jets.sample import load_sample, pack_sample
from tests.tasks.tables import rows

SHIPPED = Path(pareq.tasks.jets.__file__).parent


def made(folder, **changes):
    """A file as `generate` writes it."""
    x, y = rows(50)
    x[:, 8] = x[:, 6]
    arrays = {"X": x, "y": y.astype(np.uint8), "origin": np.array(json.dumps({"seed": 3}))}
    np.savez(folder / "made.npz", **arrays | changes)
    return folder / "made.npz"


def test_what_is_packed_is_loaded_bit_for_bit(tmp_path):
    source = made(tmp_path)
    assert pack_sample(source, tmp_path) == tmp_path / "sample.npz"
    table = load_sample(tmp_path)
    with np.load(source) as arrays:
        assert table.x.tobytes() == arrays["X"].tobytes()
        assert np.array_equal(table.y, arrays["y"])
    about = json.loads((tmp_path / "sample.json").read_text())
    assert about["seed"] == 3
    assert about["jets"] == 50
    assert about["sha256"] == hashlib.sha256((tmp_path / "sample.npz").read_bytes()).hexdigest()
    assert table.name == f"generated jets, 50, sha256 {about['sha256'][:12]}.."


def test_columns_that_should_be_equal_but_are_not(tmp_path):
    x, _ = rows(50)
    with pytest.raises(DataError, match=r"made\.npz: d2_a1_b1_mmdt differs from d2_b1_mmdt"):
        pack_sample(made(tmp_path, X=x), tmp_path)


def test_one_changed_byte_is_an_error(tmp_path):
    path = pack_sample(made(tmp_path), tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"sample\.npz is damaged \(sha256 .*install pareq again"):
        load_sample(tmp_path)


def test_an_absent_sample_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"sample\.json is missing; install pareq again"):
        load_sample(tmp_path)


def test_the_shipped_sample_is_small_balanced_and_within_bounds():
    assert (SHIPPED / "sample.npz").stat().st_size < 8_000_000
    start = time.process_time()
    table = load_sample()
    assert time.process_time() - start < 2
    assert len(table) >= 100_000
    assert len(set(np.bincount(table.y, minlength=len(CLASSES)))) == 1
    assert np.isfinite(table.x).all()
    column = dict(zip(FEATURES, table.x.T, strict=True))
    assert (column["zlogz"] < 0).all()
    assert (column["multiplicity"] == np.round(column["multiplicity"])).all()
    assert (column["multiplicity"] >= 3).all()
    assert (column["mass_mmdt"] > 0).all()
    assert (column["d2_a1_b1_mmdt"] == column["d2_b1_mmdt"]).all()
    assert len(np.unique(table.x, axis=0)) == len(table)


def test_the_shipped_sample_looks_like_the_public_set():
    """Means of OpenML 42468 at its class shares, to the two per cent of fit and sampling."""
    table = load_sample()
    column = dict(zip(FEATURES, table.x.T, strict=True))
    for name, public in (("zlogz", -2.865), ("c1_b1_mmdt", 0.03777), ("multiplicity", 51.9)):
        assert np.isclose(column[name].mean(), public, rtol=0.02), name
    mass = {name: column["mass_mmdt"][table.y == k] for k, name in enumerate(CLASSES)}
    assert 78 < np.median(mass["w"]) < 83
    assert 88 < np.median(mass["z"]) < 94
    assert np.median(mass["q"]) < np.median(mass["g"]) < 78
    assert np.percentile(mass["t"], 75) > 160
