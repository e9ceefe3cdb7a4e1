"""The figure of losses over the epochs, from descents made by hand."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from pareq.studies.matrix import Setting
from pareq.studies.points import Results
from pareq.studies.traces import _common, _trace, traces
from pareq.train.journal import Epoch
from tests.studies.test_findings import point

pytest.importorskip("matplotlib", reason="matplotlib is not installed: no figure; extra 'report'")


def epoch(number: int, accuracy: float) -> Epoch:
    loss = 1 - accuracy + 0.01 * number
    return Epoch(number, 10 * number, loss, loss, accuracy, 0.0, 6.0, 1e-3, 0.1, settled=True)


def state(setting: Setting, number: int, accuracies: list[float], repeat: int = 1):
    """A training whose last but one epoch was kept."""
    epochs = tuple(epoch(n, a) for n, a in enumerate(accuracies, 1))
    run = SimpleNamespace(epochs=epochs, result=SimpleNamespace(best_epoch=len(epochs) - 1))
    return replace(point(setting, repeat, number, accuracies[-1]), run=run)


def made(*points) -> Results:
    return Results(points)


def test_states_follow_each_other():
    """The first repeat alone; each state begins where the one before ended."""
    found = made(
        state(Setting(6), 0, [0.5, 0.6, 0.7]),
        state(Setting(6), 1, [0.6, 0.7]),
        state(Setting(6), 0, [0.1, 0.1], repeat=2),
    )
    trace = _trace(found, Setting(6))
    assert trace.begins == [0, 3, 5]
    assert [trace.kept(p).epoch for p in trace.points] == [2, 1]
    figure = traces(found)
    assert [panel.title for panel in figure.panels] == [
        "Training loss",
        "Validation loss",
        "Validation accuracy",
    ]
    assert "curves break where weights fall, at the dotted lines;" in figure.caption
    assert [row[:3] for row in figure.table.rows] == [
        ("6b-ft", "0.0\u202f%", "3"),
        ("6b-ft", "50.0\u202f%", "2"),
    ]
    assert figure.table.rows[0][3:] == ("0.5100", "0.3300", "0.4200", "2", "60.00\u202f%")


def test_descents_that_stop_at_other_epochs_have_no_common_lines():
    tuned = state(Setting(6), 0, [0.6, 0.7]), state(Setting(6), 1, [0.6, 0.7])
    longer = state(Setting(32), 0, [0.6, 0.7, 0.7]), state(Setting(32), 1, [0.6, 0.7])
    both = [_trace(made(*tuned, *longer), setting) for setting in (Setting(6), Setting(32))]
    assert (_common(both), _common(both[:1])) == ([], [2])
    figure = traces(made(*tuned, *longer))
    assert "at the dotted lines" not in figure.caption
    assert [key.label for key in figure.keys] == ["6b-ft", "32b-ft"]


def test_what_is_far_below_is_in_the_table_only():
    figure = traces(
        made(state(Setting(6), 0, [0.6, 0.7, 0.7]), state(Setting(6), 1, [0.2, 0.2, 0.2]))
    )
    assert "0.700 dense and 0.700 in the last state drawn for 6b-ft" in figure.panels[2].svg
    assert len(figure.table.rows) == 2
    assert figure.caption.endswith(" States 5 points below the best are in the table only.")


def test_nothing_to_trace():
    assert traces(made(state(Setting(4), 0, [0.6, 0.7]))) is None
