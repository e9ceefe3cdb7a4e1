from dataclasses import replace

import pytest

from pareq.report.collect import collect
from pareq.report.svg import SERIES
from pareq.report.variants import BOPS, pareto, sections
from tests.report.runs import FLOAT, VARIANTS, make, study

SHORT = tuple(replace(spec, epochs=3, samples=500) for spec in VARIANTS)


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study(folder, seeds=2, variants=SHORT[::-1])
    runs, _ = collect([folder])
    (found,) = sections(runs)
    return found


def test_variants_come_from_the_most_bit_operations_to_the_fewest(section):
    assert [v.label for v in section.variants] == [
        "float",
        "pruned 80 %",
        "6 bits",
        "QAP, 6 bits and 80 %",
    ]
    assert section.reference.label == "float"
    assert [series for series, _ in section.drawn] == [0, 1, 2, 3]
    assert all(len(v.finished) == 2 for v in section.variants)


def test_costs_are_those_of_the_metrics(section):
    dense = section.reference.total(BOPS)
    assert dense is not None
    assert dense.mean == 4_652_832
    assert dense.error == 0
    memory = section.reference.total("memory")
    assert memory is not None
    assert memory.mean == 4 * (4256 + 133 + 256)  # weights, biases, normalisation: 4 bytes each


def test_pruned_weights_are_stored_in_their_smallest_encoding(section):
    totals = section.variants[-1].totals[0]
    kept = (8 * totals["memory"]) - totals["bits_biases"] - totals["bits_norms"]
    assert kept == min(totals[f"bits_{name}"] for name in ("dense", "bitmap", "csr", "relative"))
    assert kept < totals["bits_dense"]


def test_unfinished_runs_count_in_no_mean(tmp_path):
    done = make(tmp_path / "a", SHORT[0])
    open_run = make(tmp_path / "b", replace(SHORT[0], seed=2), finished=False)
    (found,) = sections(collect([done, open_run])[0])
    (variant,) = found.variants
    assert len(variant.runs) == 2
    assert variant.score is not None
    assert variant.score.seeds == 1


def test_tasks_and_classes_have_sections_of_their_own(tmp_path):
    specs = (SHORT[0], replace(SHORT[0], task="digits"), replace(SHORT[0], classes=("a", "b")))
    runs, _ = collect([make(tmp_path / str(i), spec) for i, spec in enumerate(specs)])
    found = sections(runs)
    assert [(s.task, len(s.classes)) for s in found] == [("jets", 5), ("digits", 5), ("jets", 2)]
    assert len({s.key for s in found}) == 3


def test_equal_labels_are_told_apart(tmp_path):
    specs = (FLOAT, replace(FLOAT, bits=8), replace(FLOAT, bits=4))
    folders = [
        make(tmp_path / str(i), replace(s, epochs=2, samples=300)) for i, s in enumerate(specs)
    ]
    (found,) = sections(collect(folders)[0])
    assert [v.label for v in found.variants] == ["float", "float (2)", "float (3)"]


def test_more_variants_than_colours_leave_some_without(tmp_path):
    specs = [replace(SHORT[0], bits=bits, label=f"{bits} bits") for bits in range(21, 33)]
    folders = [make(tmp_path / spec.label, spec) for spec in specs]
    (found,) = sections(collect(folders)[0])
    colours = [v.series for v in found.variants if v.series is not None]
    assert len(found.variants) == 12
    assert colours == list(range(SERIES))
    assert found.variants[0].series == 0
    coloured = [v.score.mean for v in found.variants[1:] if v.series is not None and v.score]
    places = [(v.total(BOPS).mean, v.score.mean) for v in found.variants[1:]]
    front = pareto(places)
    assert all(found.variants[1:][i].series is not None for i in front[: SERIES - 1])
    assert len(coloured) == SERIES - 1


def test_pareto_front_holds_what_no_other_beats():
    points = [(3.0, 0.9), (1.0, 0.7), (2.0, 0.6), (2.0, 0.8), (4.0, 0.9)]
    assert pareto(points) == [1, 3, 0]
    assert pareto([]) == []
