import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from pareq.errors import DataError, PareqError, UnknownName
from pareq.tasks import TASKS, Digits, Jets, Split, Task, make_task


def refused(name, options=None):
    with pytest.raises(PareqError) as caught:
        make_task(name, options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_registry_holds_both_tasks():
    assert set(TASKS) >= {"jets", "digits"}
    assert TASKS["jets"] is Jets
    assert TASKS["digits"].name == "digits"


def test_options_survive_json():
    task = make_task("jets", {"widths": [8, 4], "val": 0.1, "class_order": "paper"})
    assert task == Jets(widths=(8, 4), val=0.1, class_order="paper")
    assert task.options() == {"widths": (8, 4), "val": 0.1, "class_order": "paper"}
    assert make_task("jets", json.loads(json.dumps(task.options()))) == task
    assert make_task("digits") == Digits()
    assert Digits().options() == {}


def test_whole_numbers_serve_as_numbers_but_not_as_truth_values():
    with pytest.raises(DataError, match=r"test must be a share inside \(0, 1\), got 1\.0"):
        make_task("jets", {"test": 1})
    assert "batch_norm must be true or false, got 1" in refused("jets", {"batch_norm": 1})
    assert "split_seed must be a whole number, got True" in refused("jets", {"split_seed": True})


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("jet", {}, "task jet: unknown task 'jet'; did you mean 'jets'?"),
        ("jets", {"width": [8]}, "task jets: unknown option 'width'; did you mean 'widths'?"),
        ("jets", {"widths": 8}, "task jets: widths must be a list, got 8"),
        ("jets", {"widths": [8, "4"]}, "widths must be a list, each of it a whole number"),
        ("jets", {"val": "a lot"}, "task jets: val must be a number, got 'a lot'"),
        ("jets", {"split_seed": 1.5}, "task jets: split_seed must be a whole number, got 1.5"),
        ("jets", {"data": None}, "task jets: data must be a text, got None"),
        ("jets", {"widths": [8, 0]}, "task jets: jets: widths must be at least 1, got 8, 0"),
        ("jets", {"class_order": "papers"}, "unknown class_order 'papers'; did you mean 'paper'?"),
        ("jets", {"split": "fold-5"}, "unknown split 'fold-5'; did you mean 'fold-"),
        ("jets", {"scaling": "traim"}, "unknown scaling 'traim'; did you mean 'train'?"),
        ("jets", {"val": 0.0}, "val must be a share inside (0, 1), got 0.0"),
        ("jets", {"val": 0.6, "test": 0.4}, "val + test must be below 1, got 1"),
        ("jets", {"split_seed": -1}, "split_seed must not be negative, got -1"),
        ("digits", {"network": "cmn"}, "unknown network 'cmn'; did you mean 'cnn'?"),
        ("digits", {"network": "cnn", "widths": [4]}, "widths of a cnn must be 3 numbers, got 1"),
    ],
)
def test_bad_options_are_one_clear_line(name, options, told):
    assert told in refused(name, options)


def test_an_unknown_task_is_an_unknown_name():
    with pytest.raises(UnknownName):
        make_task("jet")


def test_optional_options_take_none():
    @dataclass(frozen=True)
    class Loose(Digits):
        depth: int | None = None

    assert Loose.from_options({"depth": None}) == Loose()
    assert Loose.from_options({"depth": 3}).depth == 3
    with pytest.raises(DataError, match="depth must be a whole number"):
        Loose.from_options({"depth": "3"})


class Perfect(nn.Module):
    """Scores that are right, and a note of the mode it was called in."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels, self.modes = labels, []

    def forward(self, x):
        self.modes.append(self.training)
        return 10 * nn.functional.one_hot(x[:, 0].long(), self.labels).float()


def test_evaluate_is_in_evaluation_mode_and_puts_the_mode_back():
    y = torch.arange(20_000) % 5
    model = Perfect(5)
    figures = Jets().evaluate(model, Split(y[:, None].float(), y))
    assert model.training
    assert not any(model.modes)
    assert len(model.modes) == 3
    assert figures["accuracy"] == 1.0
    assert figures["auc_macro"] == 1.0
    assert figures["samples"] == 20_000
    assert figures["loss"] < 1e-3
    json.dumps(figures)


def test_evaluate_keeps_a_frozen_part_frozen():
    model = nn.Sequential(nn.Linear(64, 10), nn.BatchNorm1d(10))
    model.train()
    model[1].eval()
    data = Digits().load()
    before = model[1].running_mean.clone()
    Digits().evaluate(model, data.test)
    assert model[0].training
    assert not model[1].training
    assert torch.equal(model[1].running_mean, before)


def test_evaluate_refuses_an_empty_split_and_scores_that_are_not_numbers():
    empty = Split(torch.zeros(0, 64), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DataError, match="digits: evaluate: the split is empty"):
        Digits().evaluate(Digits().model(), empty)
    model = Digits().model(batch_norm=False)
    nn.init.constant_(model.fc1.weight, float("nan"))
    with pytest.raises(DataError, match="digits: evaluate: quality: "):
        Digits().evaluate(model, Digits().load().test)


def test_the_loss_is_cross_entropy_over_classes():
    output, y = torch.zeros(3, 5), torch.tensor([0, 1, 2])
    assert torch.isclose(Jets().loss(output, y), torch.tensor(5.0).log())


def test_a_task_without_a_model_cannot_be_made():
    class Half(Task):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Half()


def test_an_option_that_is_no_plain_data_is_a_defect_of_the_task():
    @dataclass(frozen=True)
    class Odd(Digits):
        table: dict[str, int] | None = None

    with pytest.raises(TypeError, match="cannot be plain data"):
        Odd.from_options({"table": {}})
