"""From a finished run to a graph and a program, and what is refused on the way."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pareq as pq
from pareq.errors import BackendError, GraphError, LoweringError, RunError
from pareq.ir.execute import evaluate
from pareq.train import checkpoint, deploy
from pareq.train.deploy import (
    Integers,
    artefacts,
    build_run,
    chosen,
    home,
    load_artefact,
    lower_run,
    open_lowered,
)
from pareq.train.run import open_run
from pareq.train.trial import reopen
from tests.train.deployed import BACKEND, compiler, trained

compiler()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of three epochs on digits, lowered and built."""
    folder = trained(tmp_path_factory.mktemp("deploy") / "run")
    lower_run(folder)
    build_run(folder, BACKEND)
    return folder


@pytest.fixture
def run(whole, tmp_path, monkeypatch) -> Path:
    """A copy of it, as ./run."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, "run")
    return Path("run")


def test_the_integers_are_those_of_the_network(run):
    """On the test split, in float64; the quality is measured on them and kept."""
    found = open_lowered(run)
    _, task, net = reopen(run)
    x = task.load().test.x
    with torch.no_grad():
        expected = net.model.double()(x.double()).numpy()
    assert np.array_equal(evaluate(found.graph, x.numpy())[0], expected)
    assert found.agrees.rows == len(x)
    assert found.agrees.float64_differ == 0
    assert found.test == json.loads(
        json.dumps(task.evaluate(Integers(found.graph), task.load().test))
    )


def test_lowering_again_gives_the_same_files(run):
    files = ("graph/graph.json", "graph/constants.safetensors", "integers.json")
    before = [(run / name).read_bytes() for name in files]
    lower_run(run)
    assert [(run / name).read_bytes() for name in files] == before


def test_the_run_can_still_be_opened_and_resumed(run):
    """What lies beside the training does not disturb it."""
    assert open_run(run).finished
    before = (run / "result.json").read_bytes()
    trained(run)
    assert (run / "result.json").read_bytes() == before


def test_a_build_takes_the_name_of_the_task(run):
    (place,) = artefacts(run)
    made = load_artefact(place)
    assert (place, made.name, made.backend.name) == (run / "build" / BACKEND, "digits", BACKEND)
    assert build_run(run, BACKEND, "elsewhere", name="mine").name == "mine"
    assert home("elsewhere") is None
    assert home(place) == run


def test_a_build_lowers_first_where_that_is_to_be_done(run):
    shutil.rmtree(run / "graph")
    (run / "integers.json").unlink()
    assert build_run(run, BACKEND).graph == open_lowered(run).graph


def another_checkpoint(run: Path) -> None:
    """The file of the best network is another one, if only in what it says."""
    best = run / "checkpoints" / "best.safetensors"
    content = checkpoint.read(best)
    checkpoint.write(best, replace(content, facts={**content.facts, "epoch": 1}))


def test_what_was_made_from_another_checkpoint_is_refused(run):
    """By its hash; a build makes it anew."""
    another_checkpoint(run)
    with pytest.raises(RunError) as caught:
        open_lowered(run)
    assert str(caught.value) == (
        "run: graph: was made from another checkpoint; lower the run again: pareq lower run"
    )
    with pytest.raises(BackendError) as caught:
        load_artefact(run / "build" / BACKEND)
    assert str(caught.value) == (
        f"run/build/{BACKEND}: was built from another checkpoint than the run has now; build it"
        f" again: pareq build run {BACKEND}"
    )
    build_run(run, BACKEND)
    assert load_artefact(run / "build" / BACKEND).graph == open_lowered(run).graph


@pytest.mark.parametrize("name", ["graph/graph.json", "graph/constants.safetensors"])
def test_a_damaged_graph_is_refused(run, name):
    """Also by a build, which does not hide it."""
    path = run / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for call in (lambda: open_lowered(run), lambda: build_run(run, BACKEND)):
        with pytest.raises(GraphError) as caught:
            call()
        line = str(caught.value)
        assert line.startswith("run: graph: ")
        assert line.endswith("; lower the run again: pareq lower run")


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"version": 1}', '{"version": 2, "agreement": {}, "test": {}}']
)
def test_a_damaged_note_is_refused(run, content):
    (run / "integers.json").write_text(content)
    with pytest.raises(RunError) as caught:
        open_lowered(run)
    assert str(caught.value) == (
        "run: integers.json: is missing or damaged; lower the run again: pareq lower run"
    )


def test_a_run_without_a_graph_says_how_to_get_one(run):
    shutil.rmtree(run / "graph")
    with pytest.raises(RunError) as caught:
        open_lowered(run)
    assert str(caught.value) == "run: has no graph yet; run: pareq lower run"


def test_an_unfinished_run_is_refused(run):
    (run / "result.json").unlink()
    with pytest.raises(RunError) as caught:
        lower_run(run)
    assert str(caught.value) == (
        "run: has not finished; train it to its end: pareq train digits mine.toml"
    )


@pytest.mark.parametrize("recipe", ["float", "pruned"])
def test_a_network_of_reals_is_refused(tmp_path, recipe):
    folder = trained(tmp_path / "run", recipe)
    with pytest.raises(LoweringError) as caught:
        lower_run(folder)
    assert str(caught.value) == (
        f"{folder}: no rule of its recipe quantizes, so its numbers are no integers; train one that"
        " does, such as: pareq train digits qap"
    )
    assert not (folder / "graph").exists()


def test_a_graph_that_differs_from_its_network_is_refused(run, monkeypatch):
    """Which only a fault of ours could bring about; nothing is kept."""
    exact = deploy.agreement

    def wrong(*given):
        return replace(exact(*given), float64_differ=3)

    monkeypatch.setattr(deploy, "agreement", wrong)
    shutil.rmtree(run / "graph")
    with pytest.raises(LoweringError, match=r"^run: 3 of \d+ outputs on the test split differ"):
        lower_run(run)
    assert not (run / "graph").exists()


def test_paths_mean_artefacts(run):
    """Those of a run, or one; each once."""
    place = run / "build" / BACKEND
    assert chosen([run, place]) == (place,)
    shutil.rmtree(run / "build")
    for path, line in (
        (run, "run: nothing was built yet; run: pareq build run c"),
        (Path("absent"), "absent: does not exist"),
        (run / "graph", "run/graph: is neither"),
    ):
        with pytest.raises((RunError, BackendError)) as caught:
            chosen([path])
        assert str(caught.value).startswith(line)


def test_the_public_names_do_the_same(run):
    """As the tutorial writes it."""
    graph = pq.load_graph(run / "graph")
    artefact = pq.build(graph, BACKEND, "out")
    assert pq.verify(artefact, graph, rows=10).samples == 12
    assert str(pq.cost(graph)).startswith("layer")
