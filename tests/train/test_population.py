"""A member of a population is what its trial becomes alone."""

import time
from dataclasses import fields

import pytest
import torch

from pareq.errors import PareqError, RunError
from pareq.operators.schedule import After
from pareq.pruners import L1, Prune
from pareq.quantizers import FixedPoint
from pareq.recipe.recipe import Rule
from pareq.tasks.base import TASKS
from pareq.train import checkpoint
from pareq.train.journal import Epoch
from pareq.train.loop import Keep
from pareq.train.population import train_population
from pareq.train.population.epoch import Population
from pareq.train.run import open_run
from pareq.train.start import Start
from pareq.train.trial import Trial, reopen
from tests.train.clouds import PUBLISHED, Clouds, Plain, mixed, variant

REAL = 1e-6  # float64 sums in another order; Adam divides the noise of zero gradients by 1e-8


class StopError(Exception):
    """What a callback raises to end a training."""


@pytest.fixture(autouse=True)
def _tasks(monkeypatch):
    for kind in (Clouds, Plain):
        monkeypatch.setitem(TASKS._things, kind.name, kind)


@pytest.fixture
def _real():
    """Everything in float64, where rounding to a grid never hangs on the last digit."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _assert_same(one: Epoch, other: Epoch, near: float = REAL) -> None:
    for field in fields(Epoch):
        ours, its = getattr(one, field.name), getattr(other, field.name)
        assert ours == pytest.approx(its, rel=near, abs=near), (field.name, one, other)


def _assert_same_runs(folder, other, near: float = REAL) -> None:
    """Two run folders hold the same run."""
    one, two = open_run(folder), open_run(other)
    assert len(one.epochs) == len(two.epochs)
    for mine, its in zip(one.epochs, two.epochs, strict=True):
        _assert_same(mine, its, near)
    assert one.recipe == two.recipe
    assert one.result.best_epoch == two.result.best_epoch
    assert one.result.stopped == two.result.stopped
    assert one.result.cost == two.result.cost
    best, its = (
        checkpoint.read(f / "checkpoints" / "best.safetensors").tensors for f in (folder, other)
    )
    assert best.keys() == its.keys()
    for name, tensor in best.items():
        torch.testing.assert_close(tensor, its[name], rtol=1e-6, atol=near, msg=name)


# ---- a member is a run of its own


@pytest.mark.usefixtures("_real")
def test_a_member_equals_its_solo_run(tmp_path):
    """Own seeds, rows, bits, masks, schedules, rates, penalties, labels, lengths: all at once."""
    trials = mixed()
    runs = train_population(trials, tmp_path / "all")
    for number, trial in enumerate(trials):
        trial.run(tmp_path / "alone" / f"{number}")
        _assert_same_runs(tmp_path / "all" / f"{number:03d}", tmp_path / "alone" / f"{number}")
    assert [run.folder for run in runs] == [tmp_path / "all" / f"{n:03d}" for n in range(5)]
    assert all(run.finished for run in runs)


@pytest.mark.usefixtures("_real")
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_another_loss_norm_and_decay(optimizer):
    """The task's own loss and score, a norm without scales, both decays."""
    given = {"optimizer": optimizer, "weight_decay": 0.1, "epochs": 3}
    trials = [variant(*PUBLISHED[:2], task="plain", seed=n, **given) for n in (1, 2)]
    for run, trial in zip(train_population(trials), trials, strict=True):
        for mine, its in zip(run.epochs, trial.run().epochs, strict=True):
            _assert_same(mine, its)


def test_in_float32_it_stays_near():
    """Roundings flip where sums are taken in another order, so only the first epoch is compared."""
    trials = [variant(*PUBLISHED[1:], seed=n, epochs=1, learning_rate=1e-3) for n in (1, 2)]
    for run, trial in zip(train_population(trials), trials, strict=True):
        _assert_same(run.epochs[0], trial.run().epochs[0], 1e-3)


@pytest.mark.usefixtures("_real")
def test_early_stopping_leaves_the_others_alone(tmp_path):
    """Members end at different times, and the rest goes on in smaller stacks."""
    trials = [
        variant(seed=1, epochs=12, learning_rate=0.1, patience=1),
        variant(*PUBLISHED, seed=2, epochs=9),
        variant(seed=3, epochs=12, learning_rate=0.2, patience=2),
        variant(seed=4, epochs=2),
    ]
    runs = train_population(trials, tmp_path / "all")
    ends = [run.result.epochs for run in runs]
    assert len(set(ends)) > 2
    assert {run.result.stopped for run in runs} == {"early", "complete"}
    for number, trial in enumerate(trials):
        trial.run(tmp_path / f"{number}")
        _assert_same_runs(tmp_path / "all" / f"{number:03d}", tmp_path / f"{number}")


@pytest.mark.usefixtures("_real")
def test_penalties_that_count_in_stopping(tmp_path):
    """Each member is judged by its own: by the loss alone, with L1, or with L1 that never trains."""
    masks = Rule("*:weight", Prune(), After(0, to=0.3))
    given = {"epochs": 12, "learning_rate": 0.05, "patience": 2}
    trials = [
        variant(masks, Rule("*:weight", L1(0.05, counts)), seed=5, **given)
        for counts in ("training", "both", "stopping")
    ]
    runs = train_population(trials, tmp_path / "all")
    assert len({run.result.epochs for run in runs}) > 1
    assert [run.epochs[0].stopping > 0 for run in runs] == [False, True, True]
    assert [run.epochs[0].penalty > 0 for run in runs] == [True, True, False]
    for number, trial in enumerate(trials):
        trial.run(tmp_path / f"{number}")
        _assert_same_runs(tmp_path / "all" / f"{number:03d}", tmp_path / f"{number}")


@pytest.mark.usefixtures("_real")
def test_tickets_and_networks_that_are_kept(tmp_path):
    """A chain of trainings: rewound to a step that the first one kept, with the best one's masks."""
    first = [variant(*PUBLISHED, seed=n) for n in (1, 2)]
    alone, all_ = tmp_path / "alone", tmp_path / "all"
    keeps = [Keep(step=7, label="one"), Keep(step=7, epochs=2, label="two")]
    runs = train_population(first, all_, keep=keeps)
    assert [run.about.label for run in runs] == ["one", "two"]
    for number, trial in enumerate(first):
        trial.run(alone / f"{number:03d}", keep=Keep(step=7))
    names = [f"{number:03d}" for number in range(2)]
    again = {
        home: [
            Trial(t.task, t.recipe, t.options, Start(str(home / name), 7, str(home / name)))
            for t, name in zip(first, names, strict=True)
        ]
        for home in (alone, all_)
    }
    train_population(again[all_], [tmp_path / "second" / name for name in names])
    for name, trial in zip(names, again[alone], strict=True):
        trial.run(tmp_path / name)
        _assert_same_runs(tmp_path / "second" / name, tmp_path / name)


def test_a_run_is_a_run_for_everything_else(tmp_path):
    train_population(mixed()[:2], tmp_path)
    run, task, net = reopen(tmp_path / "001")
    figures = task.evaluate(net.model, task.load().test)
    assert figures == run.result.test
    assert run.about.task == "clouds"
    assert run.about.task_options == {"turned": 40}
    assert (tmp_path / "001" / "weights.safetensors").exists()


# ---- going on


def _stopping(epoch: int, error: BaseException):
    def on_epoch(number: int, ended: Epoch) -> None:
        if number == 1 and ended.epoch == epoch:
            raise error

    return on_epoch


def test_a_stopped_population_goes_on_bit_for_bit(tmp_path):
    trials = mixed()
    whole = train_population(trials)
    with pytest.raises(StopError):
        train_population(trials, tmp_path, on_epoch=_stopping(2, StopError()))
    assert open_run(tmp_path / "000").about.state == "failed"
    again = train_population(trials, tmp_path)
    assert [run.epochs for run in again] == [run.epochs for run in whole]
    assert all(run.about.state == "finished" for run in again)
    assert train_population(trials, tmp_path) == again


def test_checkpoints_may_be_rare(tmp_path):
    """What was not checkpointed is trained again, and stands in the journal once."""
    trials = mixed()[:2]
    with pytest.raises(StopError):
        train_population(trials, tmp_path, keep=Keep(epochs=3), on_epoch=_stopping(5, StopError()))
    assert [len(open_run(tmp_path / name).epochs) for name in ("000", "001")] == [5, 5]
    with pytest.raises(StopError):
        train_population(
            trials, tmp_path / "b", keep=Keep(epochs=4), on_epoch=_stopping(3, StopError())
        )
    assert not open_run(tmp_path / "b" / "000").epochs
    again = train_population(trials, tmp_path / "b", keep=Keep(epochs=4))
    assert [len(run.epochs) for run in again] == [5, 5]


def test_ctrl_c_says_how_to_go_on(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="2 runs are kept, the same call goes on"):
        train_population(mixed()[:2], tmp_path, on_epoch=_stopping(1, KeyboardInterrupt()))
    assert open_run(tmp_path / "001").about.state == "stopped"
    with pytest.raises(KeyboardInterrupt, match="in memory only"):
        train_population(mixed()[:2], on_epoch=_stopping(1, KeyboardInterrupt()))


@pytest.mark.usefixtures("_real")
def test_alone_and_together_continue_each_other(tmp_path):
    """A run stopped within an epoch alone goes on in a population, and the other way round."""
    trial = mixed()[1]
    trial.run(tmp_path / "whole")

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise StopError

    with pytest.raises(StopError):  # a checkpoint after every step, the last within no epoch
        trial.run(tmp_path / "a", on_epoch=stop, keep=Keep(seconds=0))
    newest = checkpoint.newest(tmp_path / "a" / "checkpoints")
    steps = [int(p.stem.removeprefix("step-")) for p in newest.parent.glob("step-*")]
    assert len(steps) == 2
    newest.unlink()  # and now within one
    train_population([trial, variant(seed=9)], [tmp_path / "a", tmp_path / "other"])
    _assert_same_runs(tmp_path / "a", tmp_path / "whole")
    pair = [variant(seed=9), trial]
    with pytest.raises(StopError):
        train_population(pair, [tmp_path / "c", tmp_path / "b"], on_epoch=_stopping(2, StopError()))
    trial.run(tmp_path / "b")
    _assert_same_runs(tmp_path / "b", tmp_path / "whole")


# ---- one that fails


def test_each_member_counts_its_part_of_the_time(monkeypatch):
    """Of two that train for two seconds, about one is of each."""
    train = Population.epoch
    monkeypatch.setattr(Population, "epoch", lambda all_: (time.sleep(2), train(all_))[1])
    for run in train_population([variant(seed=n, epochs=1) for n in (1, 2)]):
        assert 1.0 <= run.result.seconds < 1.9


def test_a_failed_member_stops_no_other(tmp_path):
    good = variant(*PUBLISHED, seed=1)
    trials = [good, variant(seed=2, learning_rate=1e30), variant(seed=3)]
    told: dict[int, PareqError] = {}
    runs = train_population(trials, tmp_path, on_error=told.__setitem__)
    assert list(told) == [1]
    assert "the loss is not finite" in str(told[1])
    assert [run.about.state for run in runs] == ["finished", "failed", "finished"]
    assert runs[0].epochs == train_population([good, *trials[2:]])[0].epochs
    with pytest.raises(
        RunError, match=r"trial 1: failed, as one of 1 in 3 trials: epoch 1: the loss is not"
    ):
        train_population(trials)


def test_an_operator_that_refuses_fails_its_member():
    """Its range is not finite once the weights have burst."""
    rules = (Rule("*:weight", FixedPoint(6), After(3)),)
    told: dict[int, PareqError] = {}
    runs = train_population(
        [variant(*rules, seed=1), variant(*rules, seed=2, learning_rate=1e38)],
        on_error=told.__setitem__,
    )
    assert list(told) == [1]
    assert "epoch 1: rule 1" in str(told[1])
    assert runs[0].finished
