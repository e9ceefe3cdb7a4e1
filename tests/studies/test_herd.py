"""Trials of a study that are trained together are those that are trained alone."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from pareq.search.executor import InProcess
from pareq.studies.base import drive
from pareq.studies.herd import Herd
from pareq.train.run import open_run
from tests.studies.small import study

ONLY = "[46]b-[fl]t/1"
NAMES = ("4b-ft/1", "4b-lt/1", "6b-ft/1", "6b-lt/1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return study(tmp_path_factory.mktemp("herd"), fractions=(0.5,))


@pytest.fixture(scope="module")
def together(made, tmp_path_factory):
    """Where four trials were trained together."""
    out = tmp_path_factory.mktemp("together")
    assert drive(made, out, InProcess(), only=ONLY, together=8) == {}
    return out


def test_descents_of_one_network_make_herds(made, tmp_path):
    groups = dict(reversed(g) for g in made.groups(made.trials(tmp_path), 3))
    sizes = {len(names) for names, work in groups.items() if isinstance(work, Herd)}
    assert 1 < max(sizes) <= 3
    for names, work in groups.items():
        assert isinstance(work, Herd) == (len(names) > 1)
        assert len({"norm.off" in name for name in names}) == 1
    assert sorted(name for names in groups for name in names) == sorted(made.trials(tmp_path))
    assert not any(isinstance(w, Herd) for w, _ in made.groups(made.trials(tmp_path), 1))


def test_each_trial_is_that_of_one_sitting(made, together, tmp_path):
    alone = tmp_path / "alone"
    assert drive(made, alone, InProcess(), only="6b-lt/1") == {}
    for number in range(2):
        one, two = (open_run(out / f"6b-lt/1/state-0{number}") for out in (alone, together))
        assert one.recipe == two.recipe
        assert one.result.test["accuracy"] == pytest.approx(two.result.test["accuracy"], abs=0.02)
        assert (together / f"6b-lt/1/state-0{number}/study.json").exists()
    assert not list(together.glob("*/1/claim-*"))


def test_what_is_missing_is_trained_again(made, together, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(together, out)
    shutil.rmtree(out / "4b-ft/1/state-01")
    (out / "6b-ft/1/state-01/study.json").unlink()
    before = (out / "6b-ft/1/state-01/metrics.jsonl").read_bytes()
    assert drive(made, out, InProcess(), only=ONLY, together=8) == {}
    assert all(trial.done == trial.states for n, trial in made.trials(out).items() if n in NAMES)
    assert (out / "6b-ft/1/state-01/metrics.jsonl").read_bytes() == before


def test_late_rewinding_together(made, tmp_path):
    """It goes back to what the population kept, as alone."""
    trials = made.trials(tmp_path / "all")
    late = [
        replace(trials[f"{bits}b-ft/1"], rewind=1, folder=str(tmp_path / f"{bits}"))
        for bits in (4, 6)
    ]
    assert Herd({each.label: each for each in late}).run() == {}
    alone = replace(late[1], folder=str(tmp_path / "alone"))
    alone.run()
    begun = [
        load_file(f / "state-01/weights-start.safetensors")
        for f in (tmp_path / "6", tmp_path / "alone")
    ]
    for name, weight in begun[0].items():
        torch.testing.assert_close(weight, begun[1][name], rtol=0.0, atol=2e-3, msg=name)
    first, later = (late[1].state(n) for n in range(2))
    kept = next((first / "checkpoints").glob("kept-*"))
    assert int(kept.stem.removeprefix("kept-")) == open_run(first).epochs[0].step
    assert open_run(later).result.cost["alive"] == open_run(alone.state(1)).result.cost["alive"]


def test_one_that_fails_stops_no_other(made, tmp_path):
    trials = made.trials(tmp_path)
    wild = trials["6b-ft/1"].recipe.replace("learning_rate = 0.003", "learning_rate = 1e30")
    assert wild != trials["6b-ft/1"].recipe
    herd = Herd({"wild": replace(trials["6b-ft/1"], recipe=wild), "tame": trials["4b-ft/1"]})
    errors = herd.run()
    assert list(errors) == ["wild"]
    assert "finite" in errors["wild"]
    assert trials["4b-ft/1"].done == 2


def test_what_no_population_holds_is_trained_alone(made, tmp_path):
    trials = made.trials(tmp_path)
    plain, norm = trials["6b-ft-norm.off/1"], trials["6b-ft/1"]
    odd = replace(trials["4b-ft/1"], options=plain.options)
    errors = Herd({"plain": plain, "norm": norm, "odd": odd}).run()
    assert list(errors) == ["odd"]
    assert "'*@BatchNorm*:weight' matches nothing" in errors["odd"]
    assert plain.done == norm.done == 2
