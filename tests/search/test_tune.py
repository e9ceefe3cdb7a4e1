"""A whole search: what it costs, what it keeps, how it goes on."""

import importlib.util
import json
import sys
from dataclasses import replace

import pytest

from pareq.cli import main
from pareq.errors import SearchError
from pareq.ir.store import load_graph
from pareq.recipe.config import load_recipe
from pareq.recipe.order import Order, Places
from pareq.recipe.recipe import Training
from pareq.search.executor import InProcess
from pareq.search.found import Candidate
from pareq.search.schedules import Target, tables
from pareq.search.space import Reals, Space
from pareq.search.strategy import Local, Sobol, Told
from pareq.search.tune import Tune, refiner
from pareq.train.run import open_run

EPOCHS, BUDGET = 15, 4.0
TRAINING = Training(epochs=EPOCHS, batch_size=32, learning_rate=3e-3, decay="tail", seed=1)
OPTIONS = {"network": "cnn", "widths": (2, 2, 4)}


def search(**changes) -> Tune:
    fields = {
        "task": "digits",
        "target": Target((2, 8), (0.2, 0.8), "bops", 0.04),
        "training": TRAINING,
        "options": OPTIONS,
        "budget": BUDGET,
        "refine": "local",
        "command": ("pareq", "tune", "digits"),
        **changes,
    }
    return Tune(**fields)


@pytest.fixture(scope="module")
def hunted(tmp_path_factory):
    """The search, its folder, what it found and said."""
    folder, said = tmp_path_factory.mktemp("tune") / "out", []
    return folder, search().run(folder, InProcess(), said.append), said


@pytest.mark.slow
def test_it_costs_what_it_may(hunted):
    """Every epoch that was trained is counted, forked beginnings once."""
    folder, found, _ = hunted
    assert found.epochs <= BUDGET * EPOCHS
    assert found.trainings == found.epochs / EPOCHS
    runs = [open_run(path.parent) for path in folder.rglob("run.json")]
    total = sum(len(run.epochs) for run in runs)
    assert 2 * EPOCHS < found.epochs <= total
    assert len(runs) == len(found.candidates) + 2  # the float run, and the one in full


@pytest.mark.slow
def test_the_best_is_a_run_and_a_recipe(hunted):
    """Trained in full, of the lowest loss in the rung before, within the limit."""
    _, found, said = hunted
    run = open_run(found.folder)
    assert len(run.epochs) == EPOCHS
    assert load_recipe(found.recipe) == load_recipe(found.folder / "recipe.toml")
    lowest = min(found.candidates, key=lambda c: c.losses[0])
    assert found.best == lowest
    assert found.best.losses[1] == run.epochs[-1].val_loss
    assert 0 <= found.last.score <= 1
    assert said[0].startswith("probe: in one shot pruning raises the loss by")
    whole = json.loads((found.folder / "result.json").read_text())["cost"]["bops_paper"]
    assert found.cost == whole
    assert run.about.command == ("pareq", "tune", "digits")


@pytest.mark.slow
def test_the_candidates(hunted):
    """The default among them, and other orders; the front rises in both cost and quality."""
    folder, found, _ = hunted
    names = [c.name for c in found.candidates]
    assert names[0] == "default"
    assert "refined-0" in names
    assert {c.kind for c in found.candidates} > {"P->Q"}
    assert names == list(json.loads((folder / "candidates.json").read_text()))
    costs = [c.cost for c in found.front]
    assert costs == sorted(costs)
    losses = [c.losses[0] for c in found.front]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.slow
def test_the_same_search_again_only_reads(hunted):
    folder, found, _ = hunted
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("result.json")}
    again = search().run(folder, InProcess())
    assert again == found
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("result.json")} == times


@pytest.mark.slow
def test_another_search_is_refused(hunted):
    folder, _, _ = hunted
    with pytest.raises(SearchError) as caught:
        search(budget=3.0).run(folder, InProcess())
    assert str(caught.value) == (
        f"tune: {folder}: began with budget = 4.0, now it is 3.0; go back to the former value, or"
        " use another folder"
    )


@pytest.mark.slow
def test_look_up_tables_are_kept_by_trained_networks(tmp_path):
    """What a network takes is known when it is trained; one that takes too many is left out."""
    said = []
    made = search(
        target=Target((3, 6), (0.5, 0.9), "luts", 400.0, "weights"),
        training=replace(TRAINING, epochs=10),
        options={"widths": (6,)},
        places=Places(edges=(":input", ":output")),
        budget=2.5,
    )
    found = made.run(tmp_path / "out", InProcess(), said.append)
    kept = [c for c in found.candidates if 0 in c.losses]
    assert kept
    assert all(c.cost <= 400 for c in kept)
    assert found.best in kept
    for c in found.candidates:
        graph = load_graph(tmp_path / "out" / "rung-0" / c.name / "graph")
        assert c.cost == tables(graph)
        assert (c.name in found.failed) == (c.cost > 400)
    assert found.cost == tables(load_graph(found.folder / "graph"))
    left = [line for line in said if line.startswith("left out: ")]
    assert len(left) == len(found.failed)


def test_a_training_without_a_tail():
    with pytest.raises(SearchError) as caught:
        search(training=Training(epochs=10))
    assert "training.decay must be 'tail'" in str(caught.value)


def candidate(name: str, cost: float, loss: float) -> Candidate:
    return Candidate(name, Order(), (8, 8), (0.5, 0.5), cost, {0: loss}, {0: 0.5})


@pytest.mark.slow
def test_the_front(hunted):
    """Dearer and worse is beaten; equal ones both stay."""
    _, found, _ = hunted
    tried = (candidate("a", 3, 1), candidate("b", 2, 2), candidate("c", 3, 2))
    held = replace(found, candidates=(*tried, candidate("d", 2, 2)))
    assert [c.name for c in held.front] == ["b", "d", "a"]


SPACE = Space({"a": Reals(0, 1), "b": Reals(0, 1)})


def test_small_changes_of_the_best():
    """Near it, within the space, a function of seed and past."""
    strategy = Local(SPACE, 3)
    assert strategy.ask(2) == Sobol(SPACE, 3).ask(2)
    strategy.tell(Told({"a": 0.2, "b": 0.9}, (1.0,)))
    strategy.tell(Told({"a": 0.5, "b": 0.5}, (0.5,)))
    strategy.tell(Told({"a": 0.7, "b": 0.5}))
    found = strategy.ask(40)
    assert all(0 <= value <= 1 for point in found for value in point.values())
    mean = [sum(point[axis] for point in found) / 40 for axis in "ab"]
    assert mean == pytest.approx([0.2, 0.87], abs=0.08)
    resumed = Local(SPACE, 3, told=list(strategy.told))
    assert resumed.ask(3) == found[:3]


def test_what_is_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refiner() == "local"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: sys)
    assert refiner() == "bayes"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("digit",), "error: task digit: unknown task 'digit'; did you mean 'digits'?\n"),
        (("digits", "--bits", "x"), "--bits: expected a number, or two such as 3-8, got 'x'\n"),
        (("digits", "--bits", "2.5"), "expected whole numbers such as 8 or 3-8, got '2.5'\n"),
        (
            ("digits", "--bops", "0.1", "--memory", "0.1"),
            "error: --bops, --memory: limit one of them, not several\n",
        ),
        (
            ("digits", "--bits", "3-8"),
            "the easiest end always wins; give --bops, --memory or --luts\n",
        ),
        (
            ("digits", "--bits", "3-8", "--luts", "0.5"),
            "luts must be limited to 1 or more, got 0.5; firmware has no share of a float network\n",
        ),
        (("digits", "--epochs", "5"), "5 epochs are too few to search in; give 10 or more\n"),
    ],
)
def test_what_no_search_is(capsys, tmp_path, words, line):
    with pytest.raises(SystemExit) as ended:
        main(("tune", *words, "--out", str(tmp_path / "out")))
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(line)
