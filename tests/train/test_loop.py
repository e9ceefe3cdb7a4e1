from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pareq.attach.attach import attach
from pareq.errors import RunError
from pareq.operators.schedule import After
from pareq.pruners import L1
from pareq.quantizers import FixedPoint
from pareq.recipe.recipe import Recipe, Rule
from pareq.tasks.base import Data, Split
from pareq.train import checkpoint
from pareq.train.job import Job
from pareq.train.journal import Epoch
from pareq.train.loop import Keep, train
from pareq.train.run import Run, open_run
from pareq.train.state import State
from tests.train.toy import TRAINING, Toy, network, rules


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    train(network(*rules()), Toy(), out=folder)
    return folder


class StopError(Exception):
    """What a callback raises to end a run."""


def _stopping(after: int, error: BaseException):
    def on_epoch(epoch: Epoch) -> None:
        if epoch.epoch == after:
            raise error

    return on_epoch


def _stopped(folder: Path, after: int) -> None:
    """A run of the rules in `folder` that ended after so many epochs."""
    with pytest.raises(StopError):
        train(network(*rules()), Toy(), out=folder, on_epoch=_stopping(after, StopError()))


# ---- what is learned


def test_it_learns_and_returns_what_the_recipe_asked_for():
    net = network(*rules(), epochs=8)
    run = train(net, Toy())
    assert run.folder is None
    assert run.result.test["accuracy"] > 0.75
    assert run.epochs[-1].sparsity >= 0.6
    assert run.epochs[-1].bits == 4
    assert run.about.state == "finished"
    assert not net.model.training
    prune = net.sites[0].operators[0]
    assert prune.engaged
    assert all(o.engaged for s in net.sites for o in s.operators)
    weights = torch.cat([s.value().flatten() for s in net.sites if s.kind == "weight"])
    assert float((weights == 0).double().mean()) >= 0.6


def test_against_the_plain_loop_of_torch():
    """Without rules the run is what anyone would write: same batches, same optimizer, same loss."""
    task, training = Toy(), replace(TRAINING, decay="constant", epochs=2, optimizer="sgd")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    net = attach(model, Recipe(training=training))
    job = Job(net, task, net.recipe)
    data = task.load()
    optimizer = torch.optim.SGD(theirs.parameters(), 1e-2, momentum=0.9)
    losses = []
    for epoch in range(2):
        total = 0.0
        for rows in job.batches.order(epoch).split(32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(theirs(data.train.x[rows]), data.train.y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / 330)
        with torch.no_grad():
            val = float(nn.functional.cross_entropy(theirs(data.val.x), data.val.y))
    run = train(net, task)
    assert [e.train_loss for e in run.epochs] == pytest.approx(losses, rel=1e-6)
    assert run.epochs[-1].val_loss == pytest.approx(val, rel=1e-6)
    for mine, its in zip(model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-6)


def test_the_seed_decides_and_the_callers_generator_does_not():
    runs = []
    for noise in (1, 2):
        net = network(*rules(), epochs=3)
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        runs.append(train(net, Toy()).epochs)
        assert torch.equal(torch.get_rng_state(), before)
    assert runs[0] == runs[1]
    assert train(network(*rules(), epochs=3, seed=4), Toy()).epochs != runs[0]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("decay", ["constant", "step", "plateau"])
def test_every_optimizer_and_decay_resumes(tmp_path, optimizer, decay):
    fields = {"optimizer": optimizer, "decay": decay, "decay_every": 1, "warmup": 1, "epochs": 4}
    whole = train(network(**fields), Toy())
    with pytest.raises(StopError):
        train(network(**fields), Toy(), out=tmp_path / "a", on_epoch=_stopping(2, StopError()))
    assert train(network(start=9, **fields), Toy(), out=tmp_path / "a").epochs == whole.epochs


def test_a_folder_changes_nothing(straight):
    assert train(network(*rules()), Toy()).epochs == open_run(straight).epochs


def test_the_threads_of_the_recipe_are_used_and_put_back():
    before, seen = torch.get_num_threads(), []
    train(
        network(epochs=1, threads=2), Toy(), on_epoch=lambda _: seen.append(torch.get_num_threads())
    )
    assert seen == [2]
    assert torch.get_num_threads() == before
    torch.set_num_threads(1)
    train(
        network(epochs=1, threads=0), Toy(), on_epoch=lambda _: seen.append(torch.get_num_threads())
    )
    assert seen == [2, 1]
    torch.set_num_threads(before)


def test_epochs_instead_of_the_recipes():
    run = train(network(), Toy(), epochs=2)
    assert len(run.epochs) == run.result.epochs == 2
    assert "epochs = 2" in run.recipe


def test_a_last_batch_of_one_row_does_not_crash_batch_norm():
    run = train(network(epochs=1), Toy(rows=321))
    assert run.epochs[-1].step == 10


# ---- best and early stopping


def test_nothing_is_judged_before_all_schedules_have_ended(straight):
    run = open_run(straight)
    assert [e.settled for e in run.epochs] == [False] * 3 + [True] * 3
    settled = [e for e in run.epochs if e.settled]
    assert run.result.best_epoch == min(settled, key=lambda e: e.val_loss).epoch


def test_early_stopping_waits_for_the_schedules():
    late = Rule("*:weight", FixedPoint(8), After("4 epochs"))
    run = train(network(late, epochs=30, patience=2, learning_rate=0.05, decay="constant"), Toy())
    assert run.result.stopped == "early"
    losses = {e.epoch: e.val_loss for e in run.epochs if e.settled}
    assert min(losses) == 5
    assert run.result.best_epoch == min(losses, key=losses.__getitem__)
    assert run.result.epochs == run.epochs[-1].epoch == run.result.best_epoch + 2


def test_a_penalty_may_count_in_stopping():
    """Alone or in the training loss too; epochs are judged by both, the validation loss stays."""
    fields = {"epochs": 15, "learning_rate": 2e-3, "decay": "constant"}

    def runs(*rules: Rule) -> list[Run]:
        return [train(network(*rules, patience=p, **fields), Toy()) for p in (None, 3)]

    plain, _ = runs()
    for counts, weight in (("stopping", 50.0), ("both", 0.01)):
        long, short = runs(Rule("*:weight", L1(weight, counts)))
        trains = counts == "both"
        assert all((e.penalty > 0) == trains and e.stopping > 0 for e in long.epochs)
        judged = {e.epoch: e.val_loss + e.stopping for e in long.epochs}
        best = min(judged, key=judged.__getitem__)
        assert long.result.best_epoch == best
        if not trains:
            assert best < min(long.epochs, key=lambda e: e.val_loss).epoch
            ended = short.result
            assert (ended.stopped, ended.epochs) == ("early", ended.best_epoch + 3)
            assert [replace(e, stopping=0.0) for e in long.epochs] == list(plain.epochs)


def test_the_model_holds_the_best_epoch_not_the_last():
    fields = {"epochs": 25, "patience": 4, "learning_rate": 0.1, "decay": "constant"}
    net = network(*rules()[:2], **fields)
    run = train(net, Toy())
    best = run.epochs[run.result.best_epoch - 1]
    assert best.epoch < run.epochs[-1].epoch
    data = Toy().load()
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(net.model(data.val.x), data.val.y))
    assert loss == pytest.approx(best.val_loss, rel=1e-5)


def test_a_schedule_may_end_with_the_run():
    net = network(Rule("*:weight", FixedPoint(3), After(1.0)), epochs=2)
    run = train(net, Toy())
    assert [(e.bits, e.settled) for e in run.epochs] == [(32, False), (3, True)]
    assert run.result.best_epoch == 2
    assert net.sites[0].quantizer.engaged


def test_a_schedule_must_not_end_after_the_run():
    net = network(Rule("*:weight", FixedPoint(3), After(67)))
    with pytest.raises(RunError) as error:
        train(net, Toy())
    assert str(error.value) == (
        "train: the recipe's schedules end at step 67, the run has 66 steps (6 epochs of 11); train"
        " longer, or let them end sooner"
    )


# ---- losses that are no numbers


@dataclass(frozen=True)
class Exploding(Toy):
    """The loss is NaN from a batch of the third epoch on."""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        loss = super().loss(output, y)
        return loss * torch.where(loss < 0.68, torch.nan, 1.0)


def test_nan_stops_the_run_and_keeps_what_was_saved(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(RunError) as error:
        train(network(*rules()), Exploding(), out=folder, keep=Keep(seconds=0))
    epoch = len(open_run(folder).epochs) + 1
    assert str(error.value).startswith(f"epoch {epoch}: the loss is not finite (training nan, ")
    assert str(error.value).endswith(
        "lower training.learning_rate (now 0.01), or raise training.warmup, and train in another "
        "folder; all that was saved before is kept"
    )
    assert open_run(folder).about.state == "failed"
    newest = checkpoint.read(checkpoint.newest(folder / "checkpoints"))
    assert all(bool(t.isfinite().all()) for t in newest.tensors.values())


def test_a_diverging_run_names_the_first_epoch():
    with pytest.raises(RunError, match="epoch 1: the loss is not finite"):
        train(network(learning_rate=1e30, optimizer="sgd"), Toy())


def test_parameters_are_looked_at_too():
    net = network(epochs=1)
    job = Job(net, Toy(), net.recipe)
    assert job.state.finite()
    with torch.no_grad():
        net.model[4].bias[0] = torch.inf
    assert not job.state.finite()


# ---- what cannot be trained


@dataclass(frozen=True)
class Cut(Toy):
    """A task with so few rows for validation."""

    left: int = 0

    def load(self) -> Data:
        data = super().load()
        return replace(data, val=Split(data.val.x[: self.left], data.val.y[: self.left]))


@pytest.mark.parametrize(
    ("call", "fact"),
    [
        (
            lambda: train(Toy().model(), Toy()),
            "expected a network with a recipe, got Sequential; give what attach(model, recipe) "
            "returns",
        ),
        (
            lambda: train(network(), "toy"),
            "expected a task, got 'toy'; give one such as TASKS['digits']()",
        ),
        (lambda: train(network(), Toy(), epochs=2.5), "epochs must be a whole number, got 2.5"),
        (lambda: train(network(), Toy(), epochs=True), "epochs must be a whole number, got True"),
        (
            lambda: train(network(), Cut()),
            "the validation split is empty; give it at least one row",
        ),
        (
            lambda: train(network(), Toy(rows=1)),
            "the training split has 1 rows, too few for a batch of 32; give at least 2",
        ),
        (
            lambda: train(attach(nn.ReLU(), Recipe()), Toy()),
            "the model has no parameters; there is nothing to train",
        ),
        (
            lambda: train(attach(nn.Linear(8, 3).requires_grad_(False), Recipe()), Toy()),
            "the model has no parameter that requires a gradient; there is nothing to train",
        ),
    ],
)
def test_what_cannot_be_trained(call, fact):
    with pytest.raises(RunError) as error:
        call()
    assert str(error.value) == f"train: {fact}"


def test_a_model_on_two_devices():
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 3, device="meta"))
    with pytest.raises(RunError) as error:
        train(attach(model, Recipe()), Toy())
    assert str(error.value) == (
        "train: the model lies on several devices (cpu, meta); move it to one"
    )


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({"epochs": 0}, "keep.epochs must be 1 or more, got 0"),
        ({"seconds": -1.0}, "keep.seconds must be 0 or more, got -1.0"),
        ({"seconds": float("nan")}, "keep.seconds must be 0 or more, got nan"),
    ],
)
def test_keep(fields, fact):
    with pytest.raises(RunError) as error:
        Keep(**fields)
    assert str(error.value) == fact


def test_the_state_names_its_counters():
    net = network(epochs=1)
    job = Job(net, Toy(), net.recipe)
    assert isinstance(job.state, State)
    job.state.count(torch.tensor(2.0), torch.tensor(0.5), 3)
    job.state.count(torch.tensor(4.0), torch.tensor(0.0), 1)
    assert job.state.means() == (2.5, 0.375)
    assert (job.state.step, job.state.batch, job.state.rows) == (2, 2, 4)
    job.state.next_epoch()
    assert job.state.means() == (0.0, 0.0)
    assert (job.state.step, job.state.epoch, job.state.batch) == (2, 1, 0)
