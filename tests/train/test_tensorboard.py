import sys

import pytest

from pareq.errors import MissingExtra
from pareq.train.journal import Epoch
from pareq.train.loop import train
from pareq.train.tensorboard import TensorBoard
from tests.train.toy import Toy, network


def _curves(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def test_every_figure_of_every_epoch_is_written(tmp_path):
    board = TensorBoard(tmp_path)
    run = train(network(epochs=2), Toy(), on_epoch=board)
    board.close()
    curves = _curves(tmp_path)
    assert set(curves) == {
        "train_loss",
        "val_loss",
        "val_accuracy",
        "sparsity",
        "bits",
        "learning_rate",
        "penalty",
        "stopping",
    }
    assert curves["val_loss"] == [(e.step, pytest.approx(e.val_loss)) for e in run.epochs]


def test_a_resumed_run_hides_what_it_does_again(tmp_path):
    first = TensorBoard(tmp_path)
    for number in (1, 2, 3):
        first(_epoch(number, 0.5))
    first.close()
    first.close()
    second = TensorBoard(tmp_path)
    second(_epoch(3, 0.25))
    second.close()
    assert _curves(tmp_path)["val_loss"] == [(10, 0.5), (20, 0.5), (30, 0.25)]


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra) as error:
        TensorBoard(tmp_path)
    assert str(error.value) == (
        "tensorboard is not installed; run: pip install 'pareq[tensorboard]'"
    )


def _epoch(number: int, loss: float) -> Epoch:
    return Epoch(number, 10 * number, 1.0, loss, 0.9, 0.0, 32.0, 1e-3, 0.0, settled=True)
