"""A search of widths: what it is told, and that it goes on.

The published code took the loss of the last validation batch for an objective without noise, let
the L1 penalty stop the training, and shared one dictionary of masks among networks; here not.
"""

import pytest
import torch

from pareq.attach.attach import attach
from pareq.errors import StudyError
from pareq.search.space import Integers
from pareq.studies.matrix import Setting
from pareq.studies.points import gather
from pareq.studies.qap import recipe
from pareq.studies.widths import WIDTHS, WidthSearch, _told, _tried
from pareq.tasks import Jets
from pareq.train.run import open_run
from pareq.train.trial import reopen
from tests.studies.small import protocol, study

NAME = "6b-bo/1"


@pytest.fixture(scope="module")
def search(tmp_path_factory) -> WidthSearch:
    """Two shapes, both of the Sobol sequence, which needs no BoTorch."""
    folder = tmp_path_factory.mktemp("widths")
    made = study(folder).trials(folder)[NAME]
    assert (made.states, made.initial) == (2, 2)
    made.run()
    return made


def test_the_published_bounds():
    first, *others = WIDTHS.values()
    assert (first, others) == (Integers(8, 128), [Integers(4, 64)] * 2)


def test_the_objective_is_the_accuracy_on_the_whole_validation_split(search):
    """With its statistical error, which an objective without noise would not have."""
    for number in range(2):
        run, task, net = reopen(search.state(number))
        val = task.load().val
        told = _told(run, _tried(search.state(number)), len(val))
        with torch.no_grad():
            right = int((net.model(val.x).argmax(1) == val.y).sum())
        accuracy = right / len(val)
        assert told.scores == pytest.approx((accuracy,))
        assert told.errors == pytest.approx(((accuracy * (1 - accuracy) / len(val)) ** 0.5,))


def test_the_penalty_does_not_judge(search):
    """The validation loss is the cross entropy alone, though L1 trains along."""
    run, task, net = reopen(search.state(0))
    assert "l1" in run.recipe
    (epoch,) = run.epochs
    assert epoch.penalty > 0.01
    val = task.load().val
    with torch.no_grad():
        assert epoch.val_loss == pytest.approx(float(task.loss(net.model(val.x), val.y)), rel=1e-4)


def test_a_search_goes_on_with_the_shapes_that_it_has_tried(search):
    shapes = [_tried(search.state(number)) for number in range(2)]
    before = [open_run(search.state(n)) for n in range(2)]
    search.state(1).joinpath("study.json").unlink()  # killed before it was measured
    assert search.done == 1
    search.run()
    assert search.done == 2
    assert [_tried(search.state(number)) for number in range(2)] == shapes
    assert [open_run(search.state(n)).epochs for n in range(2)] == [run.epochs for run in before]
    assert shapes[0] != shapes[1]


def test_shapes_are_judged_like_the_pruned(search):
    """The same test split, figures and formula; a place of its own each, by rising cost."""
    results = gather({NAME: search}, {NAME: (Setting(6, "bo"), 1)})
    assert (len(results.points), len(results.searched)) == (0, 2)
    assert [place.bops for place in results.shapes] == sorted(p.bops for p in results.searched)
    for point in results.searched:
        assert point.information.samples == len(point.predicted) == point.quality.samples


def test_other_widths_than_a_search_has(search, tmp_path):
    text = (search.state(0) / "run.json").read_text()
    folder = tmp_path / "state-00"
    folder.mkdir()
    for name in ("recipe.toml", "metrics.jsonl"):
        (folder / name).write_bytes((search.state(0) / name).read_bytes())
    begin, end = text.index('"widths"'), text.index("]", text.index('"widths"'))
    (folder / "run.json").write_text(text[:begin] + '"widths": [64' + text[end:])
    with pytest.raises(StudyError, match="was trained with other widths than a search has"):
        _tried(folder)


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
