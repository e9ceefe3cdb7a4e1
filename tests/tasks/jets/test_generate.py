import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pareq.errors import DataError, MissingExtra
from pareq.tasks.jets import generate as module
from pareq.tasks.jets.features import CLASSES, FEATURES
from pareq.tasks.jets.files import read_file
from pareq.tasks.jets.generate import generate

MADE = "needs the extra jets: pip install 'pareq[jets]'"


@pytest.fixture
def fake(monkeypatch):
    """Without Pythia: the jets of a shard are random numbers; `fake` lists the shards begun."""
    begun = []

    def jets(shard):
        begun.append((shard.jet_class, shard.number))
        name = (shard.seed, CLASSES.index(shard.jet_class), shard.number)
        random = np.random.default_rng(name)
        while True:
            yield random.normal(size=len(FEATURES))

    monkeypatch.setattr(module, "_jets", jets)
    monkeypatch.setattr(module, "SHARD", 10)
    monkeypatch.setattr(module, "pythia_version", lambda: "8.3")
    monkeypatch.setattr(module, "fastjet_version", lambda: "3.5")
    return begun


def made(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def refused(*args, **options):
    with pytest.raises(DataError) as caught:
        generate(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("n", [5, 23, 120])
def test_n_jets_of_balanced_classes(n, fake, tmp_path):
    steps = []
    out = generate(n, 1, tmp_path / "a.npz", workers=1, progress=lambda *s: steps.append(s))
    held = made(out)
    assert held["X"].shape == (n, 16)
    assert held["X"].dtype == np.float32
    counts = np.bincount(held["y"], minlength=5)
    assert counts.max() - counts.min() <= 1
    assert steps[0] == (0, n)
    assert steps[-1] == (n, n)
    assert json.loads(str(held["origin"]))["seed"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert len(read_file(out)) == n


def test_the_classes_are_mixed(fake, tmp_path):
    y = made(generate(120, 1, tmp_path / "a.npz", workers=1))["y"]
    assert len(set(y[:20])) > 1


def test_the_same_seed_gives_the_same_jets_and_another_seed_others(fake, tmp_path):
    first, again, other = (
        made(generate(50, seed, tmp_path / f"{name}.npz", workers=1))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(np.sort(first["X"], 0), np.sort(other["X"], 0))


def test_a_larger_sample_holds_the_smaller_one(fake, tmp_path):
    small = made(generate(35, 1, tmp_path / "a.npz", workers=1))["X"]
    large = made(generate(160, 1, tmp_path / "b.npz", workers=1))["X"]
    assert {row.tobytes() for row in small} < {row.tobytes() for row in large}


def test_an_interrupted_call_goes_on_with_the_shards_it_has(fake, tmp_path):
    out, whole = tmp_path / "a.npz", made(generate(120, 1, tmp_path / "b.npz", workers=1))
    del fake[:]

    def stop(done, total):
        if done >= 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(120, 1, out, workers=1, progress=stop)
    assert not out.exists()
    begun, steps = len(fake), []
    assert begun < 15
    resumed = made(generate(120, 1, out, workers=1, progress=lambda *s: steps.append(s)))
    assert steps[0] == (58, 120)  # 24 g in three shards, 24 q, 10 t
    assert len(fake) == 15
    assert all(np.array_equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY half a file", b"not numpy"])
def test_a_damaged_shard_is_made_again(content, fake, tmp_path):
    out, whole = tmp_path / "a.npz", made(generate(120, 1, tmp_path / "b.npz", workers=1))
    with pytest.raises(KeyboardInterrupt):
        generate(120, 1, out, workers=1, progress=interrupt_at(60))
    next((tmp_path / "a.npz.parts").glob("*.npy")).write_bytes(content)
    assert np.array_equal(made(generate(120, 1, out, workers=1))["X"], whole["X"])


def interrupt_at(count):
    def progress(done, total):
        if done >= count:
            raise KeyboardInterrupt

    return progress


def test_parts_of_other_parameters_are_refused(fake, tmp_path):
    out = tmp_path / "a.npz"
    with pytest.raises(KeyboardInterrupt):
        generate(120, 1, out, workers=1, progress=interrupt_at(20))
    assert refused(120, 2, out, workers=1).endswith(
        "was begun with other parameters (seed 1 there, 2 now); remove it first"
    )
    assert "(config 'openml' there, 'cernbox' now)" in refused(120, 1, out, config="cernbox")
    assert len(made(generate(40, 1, out, workers=1))["y"]) == 40  # n may change


def test_a_folder_of_something_else_is_left_alone(fake, tmp_path):
    parts = tmp_path / "a.npz.parts"
    parts.mkdir()
    (parts / "thesis.txt").write_text("mine")
    assert "is not a folder of parts (no parameters.json); move it away" in refused(
        10, 1, tmp_path / "a.npz"
    )
    (parts / "parameters.json").write_text("{half")
    assert "parameters.json is damaged" in refused(10, 1, tmp_path / "a.npz")
    assert (parts / "thesis.txt").read_text() == "mine"


def test_a_finished_file_is_kept_and_another_one_refused(fake, tmp_path):
    out = generate(20, 1, tmp_path / "a.npz", workers=1)
    content = out.read_bytes()
    del fake[:]
    assert generate(20, 1, out, workers=1) == out
    assert fake == []
    for n, seed in ((25, 1), (20, 2)):
        assert "exists and is another sample; move it away" in refused(n, seed, out)
    assert out.read_bytes() == content
    out.write_bytes(b"PK a photo")
    assert "exists and is another sample" in refused(20, 1, out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"n": 4}, "generate: n must be at least 5, one jet per class, got 4"),
        ({"seed": -1}, "generate: seed must be in 0..4294967295, got -1"),
        ({"workers": 0}, "generate: workers must be at least 1, got 0"),
        ({"config": "openlm"}, "generate: unknown config 'openlm'; did you mean 'openml'?"),
        ({"out": "jets.csv"}, "generate: out must end in .npz, got 'jets.csv'"),
    ],
)
def test_bad_arguments(arguments, told, fake):
    assert refused(**{"n": 10, "seed": 1, "out": "jets.npz"} | arguments) == told


@pytest.mark.parametrize("package", ["pythia8mc", "fastjet"])
def test_without_the_generators_the_extra_is_named(package, monkeypatch, tmp_path):
    for name in {"pythia8mc", "fastjet"} - {package}:
        version = {"pythia8mc": "pythia_version", "fastjet": "fastjet_version"}[name]
        monkeypatch.setattr(module, version, lambda: "1")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package} is not installed; .*'pareq\[jets\]'"):
        generate(10, 1, tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_dies_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "_fill", os._exit)
    with pytest.raises(DataError, match="a worker process died; repeat the call to continue"):
        list(module._in_pool([9, 9], 2))


@pytest.mark.slow
def test_an_interrupt_ends_all_processes_and_keeps_the_finished_shards(tmp_path):
    pytest.importorskip("pythia8mc", reason=MADE)
    pytest.importorskip("fastjet", reason=MADE)
    script = tmp_path / "script.py"
    script.write_text(
        "from pareq.tasks.jets import generate as module\n"
        "if __name__ == '__main__':\n"
        "    tell = lambda done, total: print(done, flush=True)\n"
        "    module.SHARD = 20\n"
        "    module.generate(6000, 1, 'a.npz', workers=2, progress=tell)\n"
    )
    running = subprocess.Popen(
        [sys.executable, script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert running.stdout.readline() == "0\n"
    while not list((tmp_path / "a.npz.parts").glob("*.npy")):
        assert running.poll() is None
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)  # what a terminal does
    _, told = running.communicate(timeout=20)
    assert running.returncode != 0
    assert told.count("Traceback") == 1  # that of the main process
    assert "KeyboardInterrupt" in told
    kept = [np.load(path) for path in (tmp_path / "a.npz.parts").glob("*.npy")]
    assert {part.shape for part in kept} == {(20, 16)}
    assert not (tmp_path / "a.npz").exists()
    assert gone(running.pid)


def gone(group, seconds=10):
    """Whether no process of the group is left; multiprocessing's own tracker is the last to go."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_real_jets_do_not_depend_on_the_processes(tmp_path, capfd):
    pytest.importorskip("pythia8mc", reason=MADE)
    pytest.importorskip("fastjet", reason=MADE)
    serial = made(generate(30, 5, tmp_path / "a.npz", workers=1))
    pool = made(generate(30, 5, tmp_path / "b.npz", workers=2))
    larger = made(generate(60, 5, tmp_path / "c.npz", workers=2))
    assert all(serial[key].tobytes() == pool[key].tobytes() for key in serial)
    assert {row.tobytes() for row in serial["X"]} < {row.tobytes() for row in larger["X"]}
    assert np.isfinite(larger["X"]).all()
    assert not multiprocessing.active_children()
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_real_jets_have_the_masses_of_their_particles(tmp_path):
    pytest.importorskip("pythia8mc", reason=MADE)
    pytest.importorskip("fastjet", reason=MADE)
    held = made(generate(400, 11, tmp_path / "a.npz", config="cernbox", workers=2))
    mass = {name: held["X"][held["y"] == k, 14] for k, name in enumerate(CLASSES)}
    assert 70 < np.median(mass["w"]) < 92
    assert 80 < np.median(mass["z"]) < 103
    assert np.percentile(mass["t"], 80) > 150
    assert np.median(mass["q"]) < 60
