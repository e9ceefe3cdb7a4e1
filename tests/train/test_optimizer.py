import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from pareq.attach.attach import attach
from pareq.errors import RunError
from pareq.operators.schedule import After
from pareq.quantizers import LearnedScale
from pareq.recipe.recipe import Recipe, Rule, Training
from pareq.train.optimizer import LearningRate, make_optimizer


def _rate(steps: int = 100, per_epoch: int = 10, **fields: object) -> LearningRate:
    return LearningRate(Training(learning_rate=0.5, **fields), steps, per_epoch)


def test_constant():
    assert {_rate().at(step) for step in range(100)} == {0.5}


def test_cosine_against_torch():
    rate = _rate(decay="cosine")
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for step in range(100):
        assert rate.at(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_tail_is_constant_then_a_cosine():
    """Every run falls alike over the last share, whatever it did before."""
    rate = _rate(decay="tail", tail=0.2)
    assert {rate.at(step) for step in range(81)} == {0.5}
    assert rate.at(90) == pytest.approx(0.25)
    whole, cosine = _rate(decay="tail", tail=1.0), _rate(decay="cosine")
    assert [whole.at(s) for s in range(100)] == pytest.approx([cosine.at(s) for s in range(100)])


def test_step():
    rate = _rate(decay="step", decay_every=3, decay_factor=0.1)
    assert [rate.at(10 * e) for e in range(7)] == pytest.approx([0.5] * 3 + [0.05] * 3 + [0.005])
    assert rate.at(29) == 0.5


def test_plateau_falls_after_so_many_epochs_without_a_lower_loss():
    rate = _rate(decay="plateau", decay_every=2, decay_factor=0.5)
    seen = []
    for loss in (3.0, 2.0, 2.0, 2.5, 1.9, 1.9, 1.9, 1.9, 1.9):
        rate.see(loss)
        seen.append(rate.at(50))
    assert seen == [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.0625]


@pytest.mark.parametrize("decay", ["constant", "cosine", "step", "plateau", "tail"])
def test_the_warmup_rises_linearly_to_the_rate(decay):
    rate = _rate(decay=decay, warmup=2)
    assert [rate.at(step) for step in range(20)] == pytest.approx(
        [0.5 * (step + 1) / 20 for step in range(20)]
    )
    assert rate.at(20) == 0.5


def test_a_warmup_as_long_as_the_run_has_no_cosine():
    rate = _rate(decay="cosine", warmup=10)
    assert rate.at(99) == 0.5
    assert math.isfinite(_rate(decay="cosine", warmup=9).at(99))


def test_set_reaches_every_group():
    optimizer = SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=1.0)
    _rate(decay="cosine").set(optimizer, 50)
    assert [g["lr"] for g in optimizer.param_groups] == [0.25, 0.25]


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adamw", AdamW), ("sgd", SGD)])
def test_the_optimizer_of_the_recipe(name, kind):
    training = Training(optimizer=name, learning_rate=0.25, weight_decay=0.125, momentum=0.75)
    optimizer = make_optimizer(nn.Linear(2, 2), training)
    assert type(optimizer) is kind
    assert optimizer.defaults["lr"] == 0.25
    assert optimizer.defaults["weight_decay"] == 0.125
    assert optimizer.defaults.get("momentum", 0.75) == 0.75


def test_learned_scales_are_trained_without_weight_decay():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    attach(model, Recipe(Rule("*:output", LearnedScale(4), After(0))))
    optimizer = make_optimizer(model, Training(weight_decay=0.1))
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0]
    assert [p.ndim for p in optimizer.param_groups[1]["params"]] == [0]
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))


def test_nothing_to_train():
    model = nn.Linear(2, 2).requires_grad_(requires_grad=False)
    with pytest.raises(RunError) as error:
        make_optimizer(model, Training())
    assert str(error.value) == (
        "the model has no parameter that requires a gradient; there is nothing to train"
    )
