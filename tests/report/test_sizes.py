import re
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from pareq.report.collect import collect
from pareq.report.sizes import _edges, cost, layers, weights
from pareq.report.variants import sections
from tests.report.runs import VARIANTS, edit, make, study

SHORT = tuple(replace(spec, epochs=3, samples=500) for spec in VARIANTS[::3])


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study(folder, seeds=2, variants=SHORT)
    (found,) = sections(collect([folder])[0])
    return found


def of(*folders):
    (found,) = sections(collect(folders)[0])
    return found


def said(panel):
    label = re.search(r'aria-label="([^"]+)"', panel.svg)
    assert label
    return label[1].replace("\u202f", " ")


def test_quality_against_cost_names_every_variant(section):
    figure = cost(section)
    assert figure is not None
    operations, memory, area = (said(panel) for panel in figure.panels)
    assert operations.startswith("Accuracy and bit operations: float 4.65 M, ")
    assert memory.startswith("Accuracy and memory: float 18.6 kB, ")
    assert area.startswith("Macro AUC and bit operations: float 4.65 M, 0.9")
    assert [row[0] for row in figure.table.rows] == ["float", "QAP, 6 bits and 80 %"]


def test_runs_without_cost_have_no_figure_of_it(tmp_path):
    found = of(edit(make(tmp_path / "a", SHORT[0]), "result.json", cost={}))
    assert cost(found) is None
    assert layers(found) is None


def test_single_variant_has_ticks_around_its_cost(tmp_path):
    figure = cost(of(make(tmp_path / "a", SHORT[0])))
    assert figure is not None
    ticks = re.findall(r">([\d.]+\u202f[kM])</text>", figure.panels[0].svg)
    assert ticks


def test_layers_show_bits_density_and_operations(section):
    figure = layers(section)
    assert figure is not None
    widths, density, share = (said(panel) for panel in figure.panels)
    assert "float: fc1 32, fc2 32, fc3 32, fc4 32; QAP" in widths
    assert widths.endswith("fc1 6, fc2 6, fc3 6, fc4 6.")
    assert density.endswith("fc1 20 %, fc2 20 %, fc3 20 %, fc4 20 %.")
    assert "float: fc1 24 %, fc2 48.2 %, fc3 24.1 %, fc4 3.76 %" in share
    assert figure.table.rows[0] == ("float", "fc1", "32", "32", "1,024", "1,024", "1,118,208")


def test_many_layers_with_long_names_are_cut_in_the_picture_only(tmp_path):
    names = [(f"stages.{i}.blocks.{i}.convolution", 4, 4) for i in range(45)]
    figure = layers(of(make(tmp_path / "a", replace(SHORT[0], layers=tuple(names)))))
    assert figure is not None
    assert len(figure.table.rows) == 45
    assert "5 further layers stand in the table only" in figure.caption
    shown = re.findall(r">([^<]+…[^<]+)</text>", figure.panels[0].svg)
    assert len(shown) == 40
    assert all(len(name) == 18 for name in shown)
    assert len(set(shown)) > 9


def test_weights_show_the_smallest_network_first_and_fold_the_others(section):
    found = weights(section)
    assert [figure.folded for figure in found] == [False, True]
    assert found[0].title == "Weights of QAP, 6 bits and 80 %"
    assert [panel.title for panel in found[0].panels] == ["fc1", "fc2", "fc3", "fc4"]
    assert re.match(
        r"Histogram of fc1:weight: after training 20\d of 1,024 weights are not zero, in \d+ values",
        said(found[0].panels[0]),
    )
    assert found[0].table.rows[0][:3] == ("fc1:weight", "1,024", "205")


def test_columns_of_a_quantized_histogram_hold_one_value_each(tmp_path):
    after = np.array([-0.5, 0.0, 0.0, 0.125, 0.5])
    edges = _edges(np.concatenate([after, [0.3]]), after)
    counts, _ = np.histogram(after, edges)
    assert counts.sum() == len(after)
    assert set(counts[counts > 0]) == {1, 2}
    middles = (edges[1:] + edges[:-1]) / 2
    np.testing.assert_allclose(middles[counts > 0], [-0.5, 0.0, 0.125, 0.5])


@pytest.mark.parametrize(
    "values",
    [np.zeros(5), np.full(4, 0.25), np.array([np.nan, 1.0, np.inf]), np.array([1e-30]), np.ones(1)],
    ids=["zeros", "equal", "not finite", "tiny", "one"],
)
def test_odd_weights_have_a_histogram(tmp_path, values):
    folder = make(tmp_path / "a", SHORT[0])
    save_file({"value/fc1:weight": values}, folder / "weights.safetensors")
    (figure,) = weights(of(folder))
    assert len(figure.panels) == 1
    assert len(figure.table.rows) == 1


def test_many_layers_have_twelve_histograms(tmp_path):
    names = tuple((f"fc{i}", 4 + i, 4) for i in range(14))
    (figure,) = weights(of(make(tmp_path / "a", replace(SHORT[0], layers=names))))
    assert len(figure.panels) == 12
    assert figure.panels[0].title == "fc2"
    assert len(figure.table.rows) == 14
    assert "2 smaller layers stand in the table only" in figure.caption
