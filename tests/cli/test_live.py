"""What is shown while something runs."""

import io

import pytest
from rich.console import Console

from pareq.cli.live import Board, Counter
from pareq.cli.tables import figures_table
from pareq.tasks import TASKS
from pareq.train.journal import Epoch


def epoch(number: int, **changed: float) -> Epoch:
    values = {
        "epoch": number,
        "step": 10 * number,
        "train_loss": 1.0,
        "val_loss": 0.5,
        "val_accuracy": 0.75,
        "sparsity": 0.0,
        "bits": 32.0,
        "learning_rate": 0.1,
        "penalty": 0.0,
        "settled": True,
    }
    return Epoch(**{**values, **changed})


def screen(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)


def test_without_a_terminal_each_run_gets_about_ten_lines():
    """The first epoch, each tenth, the last; nothing twice; no control characters."""
    console = screen(terminal=False)
    with Board(console, {"a": 100, "b": 3}) as board:
        for number in range(1, 101):
            board.tell("a", epoch(number))
            board.tell("a", epoch(number))
        board.tell("b", epoch(3, sparsity=0.8, bits=6.0))
    lines = console.file.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "a: epoch 1/100",
        *(f"a: epoch {n}/100" for n in range(10, 101, 10)),
        "b: epoch 3/3",
    ]
    assert lines[0] == "a: epoch 1/100, loss 0.5000   75.0%"
    assert lines[-1] == "b: epoch 3/3, loss 0.5000   75.0%  80% zero  6 bits"
    assert "\x1b" not in console.file.getvalue()


def test_on_a_terminal_each_run_has_a_bar():
    console = screen(terminal=True)
    with Board(console, {"float": 4, "qap": 4}) as board:
        board.tell("float", epoch(2))
    said = console.file.getvalue()
    last = [line for line in said.splitlines() if "━" in line][-2:]
    assert "float" in last[0]
    assert "2/4" in last[0]
    assert "loss 0.5000" in last[0]
    assert "waits" in last[1]


def test_an_older_epoch_does_not_turn_back():
    console = screen(terminal=False)
    with Board(console, {"a": 4}) as board:
        board.tell("a", epoch(3))
        board.tell("a", epoch(2))
    assert console.file.getvalue().count("\n") == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_a_counter_counts(terminal):
    console = screen(terminal)
    with Counter(console, "jets") as counter:
        for done in range(0, 5001, 100):
            counter.tell(done, 5000)
    said = console.file.getvalue()
    assert "5,000 of 5,000 jets" in said
    assert terminal or said.count("\n") == 11


def test_a_score_is_shown_as_its_task_reads_it():
    console = screen(terminal=False)
    with Board(console, {"a": 1}, TASKS["superres"]().score_text) as board:
        board.tell("a", epoch(1, val_accuracy=28.25))
    assert console.file.getvalue() == "a: epoch 1/1, loss 0.5000  28.25 dB\n"


def test_figures_of_a_task_without_labels_are_rows():
    console = screen(terminal=False)
    console.print(figures_table({"loss": 0.25, "psnr": 28.25, "psnr_pictures": [28.0, 28.5]}))
    assert [line.split() for line in console.file.getvalue().splitlines() if line.strip()] == [
        ["loss", "0.25"],
        ["psnr", "28.25"],
    ]
