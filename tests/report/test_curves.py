import re
from dataclasses import replace

import pytest

from pareq.report.collect import collect
from pareq.report.curves import learning, roc, shrinking
from pareq.report.variants import sections
from tests.report.runs import CLASSES, VARIANTS, edit, make, study

SHORT = tuple(replace(spec, epochs=5, samples=500) for spec in VARIANTS[::3])


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study(folder, seeds=2, variants=SHORT)
    (found,) = sections(collect([folder])[0])
    return found


def alone(folder, spec=SHORT[0], *, finished=True):
    (found,) = sections(collect([make(folder, spec, finished=finished)])[0])
    return found


def lines(panel):
    """How many curves a panel has."""
    return len(re.findall(r'class="series series-\d"><path', panel.svg))


def test_roc_has_a_panel_for_each_class_and_says_what_it_shows(section):
    figure = roc(section)
    assert figure is not None
    assert [panel.title for panel in figure.panels] == [f"Class {name}" for name in CLASSES]
    label = re.search(r'aria-label="([^"]+)"', figure.panels[0].svg)
    assert label
    said = label[1].replace("\u202f", " ")
    assert re.fullmatch(
        r"ROC curve of class g\. At 50 % signal efficiency the background efficiency is [\d.]+ % for"
        r" float and [\d.]+ % for QAP, 6 bits and 80 %\.",
        said,
    )
    assert [key.label for key in figure.keys] == ["float", "QAP, 6 bits and 80 %"]
    assert len(figure.table.rows) == 2 * len(CLASSES)


def test_roc_at_half_the_signal_is_the_background_efficiency(section):
    figure = roc(section)
    assert figure is not None
    for row, c in zip(figure.table.rows, range(5), strict=False):
        exact = section.reference.background(c)
        assert exact is not None
        assert float(row[3].split("\u202f")[0]) == pytest.approx(100 * exact.mean, abs=0.15)


def test_roc_of_many_classes_stops_at_twelve_panels_and_says_so(tmp_path):
    spec = replace(SHORT[0], classes=tuple("abcdefghijklmn"), samples=700)
    figure = roc(alone(tmp_path / "a", spec))
    assert figure is not None
    assert len(figure.panels) == 12
    assert len(figure.table.rows) == 14
    assert "2 further classes stand in the table only" in figure.caption


def test_perfect_classifier_has_a_roc_figure(tmp_path):
    figure = roc(alone(tmp_path / "a", replace(SHORT[0], skill=500.0)))
    assert figure is not None
    assert "nan" not in "".join(panel.svg for panel in figure.panels).lower()


def test_runs_without_curves_or_epochs_have_no_figure(tmp_path):
    folder = make(tmp_path / "a", SHORT[0], finished=False)
    (folder / "metrics.jsonl").unlink()
    (found,) = sections(collect([folder])[0])
    assert (roc(found), learning(found), shrinking(found)) == (None, None, None)


def test_unfinished_runs_are_drawn(tmp_path):
    found = alone(tmp_path / "a", finished=False)
    assert roc(found) is None
    figure = learning(found)
    assert figure is not None
    assert [lines(panel) for panel in figure.panels] == [1, 1, 1]


def test_training_has_a_line_for_each_run(section):
    figure = learning(section)
    assert figure is not None
    assert [lines(panel) for panel in figure.panels] == [4, 4, 4]
    assert figure.table.rows[0][:2] == ("float", "5 and 5")


def test_equal_lines_of_several_seeds_are_drawn_once(section):
    figure = shrinking(section)
    assert figure is not None
    assert [panel.title for panel in figure.panels] == ["Pruning", "Quantization", "Learning rate"]
    assert [lines(panel) for panel in figure.panels] == [2, 2, 2]


def test_table_over_time_ends_at_what_was_asked(section):
    figure = shrinking(section)
    assert figure is not None
    rows = {row[:2]: row[-1] for row in figure.table.rows}
    assert rows["QAP, 6 bits and 80 %", "sparsity"] == "80.0\u202f%"
    assert rows["QAP, 6 bits and 80 %", "bits"] == "6"
    assert rows["float", "bits"] == "32"


def test_label_with_markup_is_escaped_in_the_drawing(tmp_path):
    folder = edit(make(tmp_path / "a", SHORT[0]), "run.json", label='<script>"&')
    (found,) = sections(collect([folder])[0])
    figure = learning(found)
    assert figure is not None
    assert all("<script" not in panel.svg for panel in figure.panels)
    assert "&lt;script&gt;&quot;&amp;" in figure.panels[0].svg
