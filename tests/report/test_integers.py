"""A report on runs that were lowered: figure, table, and what is left out."""

import json
import re

import pytest

from pareq.report import report
from pareq.report.collect import collect
from pareq.report.integers import integers, programs
from pareq.report.structure import steps
from pareq.report.variants import sections
from tests.report.integers import AGREES, deploy
from tests.report.runs import VARIANTS, make


@pytest.fixture
def runs(tmp_path):
    """Float, 6 bits and QAP; the latter two in integers, one of them built."""
    for name, variant in zip(("float", "six", "qap"), (VARIANTS[0], *VARIANTS[2:]), strict=True):
        make(tmp_path / name, variant)
    deploy(tmp_path / "six", family="mixed", built=False)
    deploy(tmp_path / "qap")
    return tmp_path


def section(runs):
    found, refused = collect([runs])
    assert not refused
    return sections(found)[0]


def test_each_lowered_variant_has_a_figure_the_smallest_open(runs):
    figures = integers(section(runs))
    assert [figure.title for figure in figures] == [
        "QAP, 6 bits and 80 % in integers",
        "6 bits in integers",
    ]
    assert [figure.folded for figure in figures] == [False, True]
    assert [panel.title for panel in figures[0].panels] == ["Graph", "Widest accumulators"]
    assert (
        "On 4,000 test samples all 20,000 outputs are those of the network in float64; in float32"
        f" {AGREES.float32_differ} differ, {AGREES.explained_by_ties} of them because a value next"
        " to a rounding tie falls on its other side." in figures[0].caption
    )
    assert re.search(r"Removed: \d+ channels?, [\d,]+ of [\d,]+ weights\.", figures[0].caption)


def test_the_table_has_a_row_an_op_and_what_is_gone(runs):
    held = next(run for run in collect([runs])[0] if run.folder.name == "qap").deployed
    made = steps(held.lowered.graph)
    table = integers(section(runs))[0].table
    assert [row[:2] for row in table.rows[: len(made)]] == [(s.path, s.kind) for s in made]
    assert [row[1] for row in table.rows[len(made) :]] == [
        "removed"
    ] * 4  # fc1 to fc4 are not in it
    assert all(len(row) == len(table.head) for row in table.rows)


def test_the_programs_and_their_times_are_a_table(runs):
    (table,) = programs(section(runs))
    rows = [[cell.replace("\u202f", " ") for cell in row] for row in table.rows]
    assert [row[2:] for row in rows] == [
        ["\u2013"] * 5,
        ["c", "1", "93.5 kB", "6.4", "0.7"],
        ["ONNX Runtime, float32", "\u2013", "\u2013", "63.2", "5.1"],
    ]
    assert rows[0][1].endswith("%")


def test_nothing_lowered_is_nothing_shown(tmp_path):
    make(tmp_path / "float", VARIANTS[0])
    assert integers(section(tmp_path)) == []
    assert programs(section(tmp_path)) == ()
    assert "in integers" not in report([tmp_path], tmp_path / "r.html").read_text("utf-8")


def test_what_is_damaged_or_older_is_left_out_with_the_reason(runs):
    """The run itself stays."""
    (runs / "six" / "integers.json").write_text("{}")
    (runs / "qap" / "checkpoints" / "best.safetensors").write_bytes(b"others")
    found, refused = collect([runs])
    assert not refused
    assert [run.notes for run in found if run.folder.name != "float"] == [
        (
            "graph: was made from another checkpoint; lower the run again: pareq lower"
            f" {runs / 'qap'}: not shown in integers",
        ),
        (
            "integers.json: is missing or damaged; lower the run again: pareq lower"
            f" {runs / 'six'}: not shown in integers",
        ),
    ]
    assert integers(sections(found)[0]) == []


@pytest.mark.parametrize("content", ["{", "[1]", '[{"program": 3}]', '[{"rows": 2}]'])
def test_damaged_times_are_said(runs, content):
    (runs / "qap" / "latency.json").write_text(content)
    run = next(run for run in collect([runs])[0] if run.folder.name == "qap")
    assert run.deployed is None
    assert run.notes == (
        "latency.json: is damaged; measure again: pareq bench: not shown in integers",
    )


def test_the_page_holds_all_of_it(runs):
    page = report([runs], runs / "r.html").read_text("utf-8").replace("\u202f", " ")
    titles = re.findall(r"<h3[^>]*>([^<]+)</h3>", page)
    assert "QAP, 6 bits and 80 % in integers" in titles
    assert "<summary>6 bits in integers</summary>" in page
    assert "Networks in integers, as programs" in page
    graph = json.loads((runs / "qap" / "graph" / "graph.json").read_text())["graph"]
    assert all(op["kind"] in page for op in graph["ops"])
