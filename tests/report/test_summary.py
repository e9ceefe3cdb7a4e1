import json
from dataclasses import replace

import pytest

from pareq.report.collect import collect
from pareq.report.summary import cost_table, summary, tables, tiles
from pareq.report.variants import sections
from tests.report.runs import FLOAT, VARIANTS, edit, make, study

SHORT = tuple(replace(spec, epochs=3, samples=500) for spec in VARIANTS)


def of(*folders):
    (found,) = sections(collect(folders)[0])
    return found


def told(section):
    """The whole paragraph, with plain spaces."""
    said = " ".join(f"{s.label} {s.text}".strip() for s in summary(section))
    return said.replace("\u202f", " ")


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study(folder, seeds=3, variants=SHORT)
    return of(folder)


def with_accuracy(folder, value, error=0.003):
    """The same run with another accuracy."""
    test = json.loads((folder / "result.json").read_text("utf-8"))["test"]
    return edit(folder, "result.json", test=test | {"accuracy": value, "accuracy_error": error})


def test_paragraph_names_data_seeds_reference_and_savings(section):
    text = told(section)
    assert text.startswith(
        "4 variants were trained with 3 seeds each on generated jets, 110,000, sha256 3fa2c1. float"
        " classifies "
    )
    assert "4,652,832 bit operations an inference and 18.6 kB." in text
    assert "pruned 80 % needs 4.0 times fewer bit operations and keeps 20 % of its weights" in text


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ([0.75, 0.751, 0.749], "is 1.00 points lower, which is more than noise"),
        ([0.78, 0.781, 0.779], "is 2.00 points higher, which is more than noise"),
        ([0.77, 0.75, 0.757], "shows no difference beyond noise (0.10 points)"),
    ],
)
def test_difference_within_noise_is_said_to_be_none(tmp_path, accuracies, said):
    for seed, (a, b) in enumerate(zip((0.76, 0.761, 0.759), accuracies, strict=True), 1):
        with_accuracy(make(tmp_path / f"float{seed}", replace(SHORT[0], seed=seed)), a)
        with_accuracy(make(tmp_path / f"qap{seed}", replace(SHORT[3], seed=seed)), b)
    assert said in told(of(tmp_path))


def test_single_seed_is_judged_by_its_statistical_error(tmp_path):
    with_accuracy(make(tmp_path / "a", SHORT[0]), 0.76)
    with_accuracy(make(tmp_path / "b", SHORT[3]), 0.755)
    found = of(tmp_path)
    assert "trained with 1 seed each" in told(found)
    assert "accuracy of 75.50 ± 0.30 % shows no difference beyond noise (0.50 points)" in told(
        found
    )


def test_one_variant_alone_is_compared_with_nothing(tmp_path):
    found = of(make(tmp_path / "a", SHORT[0]))
    assert told(found).startswith("1 variant was trained with 1 seed on generated jets")
    assert len(summary(found)) == 2
    assert tiles(found) == ("", ())


def test_tiles_show_the_smallest_variant(section):
    label, found = tiles(section)
    assert label == "QAP, 6 bits and 80 %"
    values = [tile.value.replace("\u202f", " ") for tile in found]
    assert len(found) == 4
    assert abs(float(values[0].replace("\u2212", "-"))) < 10
    assert found[0].meaning.startswith("points of accuracy, ")
    assert values[1].endswith("\u00d7")
    assert 25 < float(values[1][:-1]) < 35
    assert values[3] == "20 %"


def test_tables_hold_every_finished_variant_and_class(section):
    results, background = tables(section)
    assert [row[0] for row in results.rows] == [v.label for v in section.variants]
    assert results.rows[0][4:] == ("4,652,832", "18.6\u202fkB", "4,256")
    assert background.head == ("Variant", "g", "q", "t", "w", "z")
    assert all(len(row) == 6 for row in background.rows)


def test_cost_table_has_a_column_for_each_variant(section):
    table = cost_table(section)
    assert table is not None
    assert table.head[1:] == tuple(v.label for v in section.variants)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["bops code"][0] == "4,652,832"
    assert rows["weights"] == ("4,256",) * 4


def test_unfinished_runs_alone_give_one_sentence_and_no_table(tmp_path):
    found = of(make(tmp_path / "a", SHORT[0], finished=False))
    assert told(found).endswith("3fa2c1. 1 variant not finished yet.")
    assert tables(found) == ()
    assert cost_table(found) is None


def test_many_variants_are_told_by_the_best_of_them(tmp_path):
    folders = [
        with_accuracy(
            make(tmp_path / str(bits), replace(FLOAT, bits=bits, label=f"w{bits}", epochs=2)),
            0.5 + bits / 100,
        )
        for bits in (2, 4, 6, 8, 10, 12, 32)
    ]
    text = told(of(*folders))
    labels = [s.label for s in summary(of(*folders))]
    assert labels == ["", "w32", "w8", "w6", "w4", "w2"]
    assert "w12" not in text
