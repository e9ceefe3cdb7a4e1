"""A training as plain data."""

import pickle

import pytest
import torch

from pareq.errors import CheckpointError, DataError, RunError, UnknownName
from pareq.recipe.config import change_recipe, dump_recipe, parse_recipe
from pareq.recipe.presets import find_recipe
from pareq.tasks import make_task
from pareq.train.trial import Trial, network, reopen

RECIPE = dump_recipe(change_recipe(find_recipe("qap"), ["training.epochs=2"]))


def test_it_crosses_processes_and_means_the_same():
    """Equal after pickling; the same weights and the same metrics wherever it is run."""
    trial = Trial("digits", RECIPE, {"widths": [16]})
    twin = pickle.loads(pickle.dumps(trial))
    assert twin == trial
    torch.manual_seed(1)
    first = trial.run()
    torch.manual_seed(2)
    second = twin.run()
    assert first.epochs == second.epochs
    assert first.result.test == second.result.test
    assert first.about.task_options == {"widths": [16]}


def test_the_seed_draws_the_weights_and_leaves_torch_alone():
    task = make_task("digits")
    recipes = [change_recipe(find_recipe("float"), [f"training.seed={n}"]) for n in (1, 1, 2)]
    before = torch.get_rng_state()
    weights = [next(network(task, recipe).model.parameters()) for recipe in recipes]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_reopened_run_measures_what_was_stored(tmp_path):
    run = Trial("digits", RECIPE, {"widths": [16]}).run(tmp_path / "run")
    again, task, net = reopen(tmp_path / "run")
    assert again == run
    assert not net.model.training
    assert task.options() == {"widths": (16,)}
    assert parse_recipe(again.recipe) == net.recipe
    figures = task.evaluate(net.model, task.load().test)
    assert figures["accuracy"] == run.result.test["accuracy"]
    assert figures["loss"] == run.result.test["loss"]


def test_other_options_are_other_data(tmp_path):
    """The network must still fit."""
    Trial("digits", RECIPE).run(tmp_path / "run")
    _, task, _ = reopen(tmp_path / "run", {"split_seed": 3})
    assert task.split_seed == 3
    with pytest.raises(CheckpointError, match="'fc1"):
        reopen(tmp_path / "run", {"widths": [16]})


@pytest.mark.parametrize(
    ("trial", "error", "line"),
    [
        (
            Trial("digit", RECIPE),
            UnknownName,
            "task digit: unknown task 'digit'; did you mean 'digits'?",
        ),
        (
            Trial("digits", RECIPE, {"width": 3}),
            DataError,
            "task digits: unknown option 'width'; did you mean 'widths'?",
        ),
    ],
)
def test_what_no_task_means_is_refused(trial, error, line):
    with pytest.raises(error) as caught:
        trial.run()
    assert str(caught.value) == line


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"holds no run\.json"):
        reopen(tmp_path)
