"""A search of widths: what it is told, and that it goes on.

The published code took the loss of the last validation batch for an objective without noise, let
the L1 penalty stop the training, and shared one dictionary of masks among networks; here not.
"""

import importlib.util
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pareq.attach.attach import attach
from pareq.errors import StudyError
from pareq.search.claim import claimed
from pareq.search.space import Integers
from pareq.studies.matrix import Setting
from pareq.studies.points import gather
from pareq.studies.qap import recipe
from pareq.studies.widths import WIDTHS, WidthSearch
from pareq.tasks import Jets
from pareq.train.run import open_run
from pareq.train.trial import reopen
from tests.studies.small import protocol, study

NAME = "6b-bo/1"
needs_botorch = pytest.mark.skipif(
    importlib.util.find_spec("botorch") is None,
    reason="botorch is not installed: searches of widths are not tested whole; extra 'bayes'",
)


@pytest.fixture(scope="module")
def search(tmp_path_factory) -> WidthSearch:
    """Two shapes, both of the Sobol sequence, which needs no BoTorch; two epochs, judged by one."""
    folder = tmp_path_factory.mktemp("widths")
    made = study(folder, epochs=2, proxy=0.5).trials(folder)[NAME]
    assert (made.states, made.initial, made.batch) == (2, 2, 3)
    made.run()
    return made


def points(search: WidthSearch) -> list[dict[str, int]]:
    """All that was asked for."""
    files = sorted(Path(search.folder).glob("asked-*.json"))
    return [point for file in files for point in json.loads(file.read_bytes())]


def epochs(search: WidthSearch) -> dict[str, object]:
    """What was measured in each run."""
    folders = sorted(Path(search.folder).glob("[ps]*-*"))
    return {folder.name: open_run(folder).epochs for folder in folders}


def test_the_published_bounds():
    first, *others = WIDTHS.values()
    assert (first, others) == (Integers(8, 128), [Integers(4, 64)] * 2)


def test_shapes_are_judged_early_and_trained_whole(search):
    """A short run each without early stopping, then a whole one of the same shape."""
    first, second = points(search)
    assert first != second
    for number, point in enumerate((first, second)):
        early = open_run(Path(search.folder) / f"proxy-0{number}")
        whole = open_run(search.state(number))
        assert (len(early.epochs), len(whole.epochs)) == (1, 2)
        assert "patience" not in early.recipe
        for run in (early, whole):
            assert run.about.task_options["widths"] == list(point.values())
        shape = "-".join(map(str, point.values()))
        assert (early.about.label, whole.about.label) == (
            f"6b-bo {shape} proxy",
            f"6b-bo {shape}",
        )
    assert search.done == 2
    assert not list(Path(search.folder).rglob("claim-*"))


@pytest.mark.parametrize("proxy", [0.5, 1.0])
def test_the_objective_is_the_accuracy_on_the_whole_validation_split(search, proxy):
    """With its statistical error, which an objective without noise would not have."""
    judge = replace(search, proxy=proxy, objectives=("accuracy", "bops"))
    for number, point in enumerate(points(search)):
        run, task, net = reopen(judge._place(number, whole=proxy == 1))
        val = task.load().val
        told = judge._told(number, point, len(val))
        with torch.no_grad():
            right = int((net.model(val.x).argmax(1) == val.y).sum())
        accuracy, bops = right / len(val), run.result.cost["layers"]
        assert bops
        assert told.scores[0] == pytest.approx(accuracy)
        assert told.errors[0] == pytest.approx((accuracy * (1 - accuracy) / len(val)) ** 0.5)
    costs = [judge._told(n, p, 100).scores[1] for n, p in enumerate(points(search))]
    sizes = [p["task.widths.0"] * p["task.widths.1"] for p in points(search)]
    assert (costs[0] < costs[1]) == (sizes[0] > sizes[1])


def test_the_penalty_does_not_judge(search):
    """The validation loss is the cross entropy alone, though L1 trains along."""
    run, task, net = reopen(search.state(0))
    assert "l1" in run.recipe
    epoch = run.epochs[run.result.best_epoch - 1]
    assert epoch.penalty > 0.01
    assert epoch.stopping == 0.0
    val = task.load().val
    with torch.no_grad():
        assert epoch.val_loss == pytest.approx(float(task.loss(net.model(val.x), val.y)), rel=1e-4)


def test_a_search_goes_on_with_the_shapes_that_it_has_asked_for(search, tmp_path):
    shutil.copytree(search.folder, tmp_path / "copy")
    again = replace(search, folder=str(tmp_path / "copy"))
    again.state(1).joinpath("study.json").unlink()  # killed before it was measured
    shutil.rmtree(Path(again.folder) / "proxy-00")
    assert again.done == 1
    again.run()
    assert again.done == 2
    assert points(again) == points(search)
    assert epochs(again) == epochs(search)


def test_another_worker_is_waited_for(search, tmp_path, monkeypatch):
    """What it holds is left to it; if it lets go, it is taken over."""
    other = replace(search, folder=str(tmp_path))
    shutil.copy(Path(search.folder) / "asked-00.json", tmp_path)
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        with claimed(tmp_path / "claims/proxy-00"):
            begun.set()
            over.wait()

    def look(place, *_) -> None:
        order.append(place.name)
        over.set()
        train(place, *_)

    order: list[str] = []
    train = other._run
    monkeypatch.setattr(WidthSearch, "_run", lambda _, *rest: look(*rest))
    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    other.run()
    thread.join()
    assert order[:2] == ["proxy-01", "proxy-00"]
    assert sorted(order[2:]) == ["state-00", "state-01"]


@needs_botorch
@pytest.mark.slow
def test_a_killed_search_asks_for_the_same_shapes(tmp_path):
    """From whatever is left; also for the front of two objectives."""
    made = study(tmp_path, shapes=5, batch=2, goal="front", proxy=1.0).trials(tmp_path / "one")[
        NAME
    ]
    made.run()
    asked = sorted(file.name for file in Path(made.folder).glob("asked-*"))
    assert asked == ["asked-00.json", "asked-02.json", "asked-04.json"]
    assert len({tuple(point.values()) for point in points(made)}) == 5
    again = replace(made, folder=str(tmp_path / "two"))
    shutil.copytree(made.folder, again.folder)
    for name in asked[1:]:
        Path(again.folder, name).unlink()
    shutil.rmtree(again.state(4))
    again.run()
    assert points(again) == points(made)


def test_shapes_are_judged_like_the_pruned(search):
    """The same test split, figures and formula; a place of its own each, by rising cost."""
    results = gather({NAME: search}, {NAME: (Setting(6, "bo"), 1)})
    assert (len(results.points), len(results.searched)) == (0, 2)
    assert [place.bops for place in results.shapes] == sorted(p.bops for p in results.searched)
    for point in results.searched:
        assert point.information.samples == len(point.predicted) == point.quality.samples


@pytest.mark.parametrize("text", ["", "[]", "[1]", '[{"task.widths.0": 8}]', '{"a": 1}'])
def test_a_damaged_file(search, tmp_path, text):
    (tmp_path / "asked-00.json").write_text(text)
    with pytest.raises(StudyError) as caught:
        replace(search, folder=str(tmp_path)).run()
    assert str(caught.value) == (
        f"6b-bo: {tmp_path / 'asked-00.json'}: is damaged; remove it and all files asked-NN.json"
        " with a higher number"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"states": 0}, "states must be 1 or more, got 0"),
        ({"batch": 0}, "batch must be 1 or more, got 0"),
        ({"proxy": 0.0}, "proxy must be in (0, 1], got 0.0"),
        ({"objectives": ()}, "objectives must be different ones, got ()"),
        ({"objectives": ("bop",)}, "unknown objective 'bop'; did you mean 'bops'?"),
    ],
)
def test_what_no_search_is(search, fields, message):
    with pytest.raises(StudyError) as caught:
        replace(search, **fields)
    assert str(caught.value) == message


def test_networks_of_one_recipe_have_masks_of_their_own():
    """What one prunes, another keeps."""
    made = recipe(Setting(6), protocol(), 1)
    nets = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        nets.append(attach(Jets().model(), made, example=Jets().example))
    masks = [
        {name: value for name, value in net.model.state_dict().items() if name.endswith("mask")}
        for net in nets
    ]
    assert masks[0]
    for name, mask in masks[0].items():
        assert mask.data_ptr() != masks[1][name].data_ptr(), name
