import sys

import pytest
import torch

from pareq.errors import MissingExtra
from pareq.tasks import Digits


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_every_input_is_a_sixteenth_and_fits_the_model(network):
    task = Digits(network=network)
    data = task.load()
    assert [len(s) for s in (data.train, data.val, data.test)] == [1150, 288, 359]
    assert torch.equal(data.train.x * 16, (data.train.x * 16).round())
    assert data.train.x.min() == 0
    assert data.train.x.max() == 1
    assert data.train.x.shape[1:] == task.example.shape[1:]
    assert task.example.max() <= 1
    assert task.model().eval()(task.example).shape == (2, len(task.classes))


def test_both_networks_see_the_same_pictures():
    flat, square = Digits().load(), Digits(network="cnn").load()
    assert torch.equal(flat.val.x, square.val.x.reshape(-1, 64))
    assert torch.equal(flat.val.y, square.val.y)


def test_batch_norm_is_an_option_and_an_argument():
    kinds = {type(m).__name__ for m in Digits(network="cnn").model().modules()}
    assert {"BatchNorm1d", "BatchNorm2d"} <= kinds
    for bare in (Digits(batch_norm=False).model(), Digits(network="cnn").model(batch_norm=False)):
        assert not any("BatchNorm" in type(m).__name__ for m in bare.modules())


def test_a_short_training_lowers_the_loss():
    torch.manual_seed(0)
    task = Digits()
    data, model = task.load(), task.model()
    before = task.evaluate(model, data.val)["loss"]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        task.loss(model(data.train.x), data.train.y).backward()
        optimizer.step()
    after = task.evaluate(model, data.val)
    assert after["loss"] < before / 3
    assert after["accuracy"] > 0.9


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"digits: scikit-learn is not .*'pareq\[tasks\]'"):
        Digits().load()
