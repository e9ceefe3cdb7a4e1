import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from pareq.errors import ReportError
from pareq.report.collect import collect
from tests.report.runs import FLOAT, edit, make

SHORT = replace(FLOAT, epochs=4, samples=400)


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "float-seed1", SHORT)


def reason(folder):
    """Why a run is left out."""
    runs, refused = collect([folder])
    assert not runs
    assert len(refused) == 1
    assert refused[0].folder == folder
    assert "\n" not in refused[0].reason
    return refused[0].reason


def test_whole_run_is_read(run):
    (found,), refused = collect([run])
    assert not refused
    assert not found.notes
    assert found.label == "float"
    assert found.history["epoch"].tolist() == [1, 2, 3, 4]
    assert found.quality is not None
    assert found.quality.samples == 400
    assert len(found.rocs) == 5
    assert found.cost is not None
    assert found.cost.totals()["bops_paper"] == 4_652_832
    before, after = found.weights()["fc1:weight"]
    assert before is not None
    assert before.shape == after.shape == (1024,)


def test_unfinished_run_has_curves_and_says_so(tmp_path):
    (found,), refused = collect([make(tmp_path / "a", SHORT, finished=False)])
    assert not refused
    assert found.quality is None
    assert found.weights() == {}
    assert found.notes == ("unfinished after epoch 4: its curves are drawn, it counts in no mean",)


def test_runs_are_found_below_a_folder_in_natural_order_and_once(tmp_path):
    for seed in (10, 2, 1):
        make(tmp_path / "all" / f"seed{seed}", replace(SHORT, seed=seed))
    runs, _ = collect([tmp_path / "all", tmp_path / "all" / "seed2"])
    assert [found.run.about.seed for found in runs] == [1, 2, 10]


@pytest.mark.parametrize(
    ("folder", "label"),
    [("qap-seed3", "qap"), ("qap_s12", "qap"), ("qap", "qap"), ("qap/seed3", "qap"), ("7", "7")],
)
def test_label_is_the_name_of_the_folder_without_its_seed(tmp_path, folder, label):
    (found,), _ = collect([make(tmp_path / folder, replace(SHORT, label=""))])
    assert found.label == label


def test_seed_and_threads_make_no_variant_but_everything_else_does(tmp_path):
    specs = [
        SHORT,
        replace(SHORT, seed=2),
        replace(SHORT, bits=8),
        replace(SHORT, epochs=5),
        replace(SHORT, task="other"),
    ]
    folders = [make(tmp_path / str(i), spec) for i, spec in enumerate(specs)]
    runs, _ = collect(folders)
    variants = [found.variant for found in runs]
    assert variants[0] == variants[1]
    assert len(set(variants)) == 4


def test_second_run_of_a_seed_does_not_count_twice(tmp_path):
    first, second = (make(tmp_path / name, SHORT) for name in "ab")
    runs, refused = collect([first, second])
    assert [found.folder for found in runs] == [first]
    assert [entry.reason for entry in refused] == [f"same recipe and seed as {first}, which counts"]


def test_finished_twin_is_preferred_to_an_unfinished_one(tmp_path):
    first = make(tmp_path / "a", SHORT, finished=False)
    second = make(tmp_path / "b", SHORT)
    runs, refused = collect([first, second])
    assert [found.folder for found in runs] == [second]
    assert [entry.folder for entry in refused] == [first]


def test_torn_last_line_is_left_out(run):
    file = run / "metrics.jsonl"
    file.write_text(file.read_text("utf-8") + '{"epoch": 5, "st', "utf-8")
    (found,), _ = collect([run])
    assert found.history["epoch"].tolist() == [1, 2, 3, 4]


def test_path_that_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match=r"file: is a file; give the folder of a run, or one"):
        collect([tmp_path / "file"])
    with pytest.raises(ReportError, match=r"none: does not exist; give the folder of a run"):
        collect([tmp_path / "none"])


def test_folder_without_runs(tmp_path):
    assert "holds no run.json" in reason(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("run.json", "{", "run.json: is not JSON"),
        ("run.json", "[]", "run.json: holds no JSON object"),
        ("run.json", "{}", "run.json: lacks the field 'classes'"),
        ("recipe.toml", "epochs = 5\n", "recipe.toml: was edited"),
        ("metrics.jsonl", "nonsense\n{}\n", "metrics.jsonl: line 1 is damaged"),
        ("result.json", "", "result.json: is not JSON"),
        ("result.json", "{}", "result.json: lacks the field 'best_epoch'"),
    ],
)
def test_damaged_file_is_named(run, file, content, said):
    (run / file).write_text(content, "utf-8")
    assert said in reason(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"accuracy": None}, "test: accuracy: a finite number was expected, got None"),
        ({"accuracy": float("nan")}, "test: accuracy: a finite number was expected, got nan"),
        ({"accuracy": "high"}, "test: accuracy: a finite number was expected, got 'high'"),
        ({"samples": True}, "test: samples: a finite number was expected, got True"),
        ({"classes": []}, "classes are , but in run.json g, q, t, w, z"),
        ({"classes": 5}, "classes must be a list, got int"),
        ({"roc": [1]}, "test.roc: an object was expected, got 1"),
        ({"roc": [{"signal": [0, 1]}]}, "test.roc: a list was expected, got None"),
        (
            {"roc": [{"signal": [0, 1], "background": [0], "auc": 1}]},
            "test.roc: 2 signal and 1 background efficiencies",
        ),
        (
            {"roc": [{"signal": [0, "x"], "background": [0, 1], "auc": 1}]},
            "test.roc: signal[1]: a finite number was expected, got 'x'",
        ),
        (
            {"roc": [{"signal": [0, 1], "background": [0, 1], "auc": 0.5}]},
            "test.roc: 1 curves for 5 classes",
        ),
    ],
)
def test_damaged_quality_is_named(run, change, said):
    test = json.loads((run / "result.json").read_text("utf-8"))["test"]
    found = reason(edit(run, "result.json", test=test | change))
    assert found.startswith("result.json: test")
    assert said in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": None}, "layers must be a list of tables"),
        ({"layers": []}, "cost: no layer was counted"),
        ({"layers": [{"path": "fc1"}]}, "cost: a layer lacks alive, bias_bits"),
    ],
)
def test_damaged_cost_is_named(run, change, said):
    cost = json.loads((run / "result.json").read_text("utf-8"))["cost"]
    assert said in reason(edit(run, "result.json", cost=cost | change))


def test_cost_with_a_word_for_a_number_is_named(run):
    cost = json.loads((run / "result.json").read_text("utf-8"))["cost"]
    cost["layers"][0]["inputs"] = "many"
    assert "result.json: cost" in reason(edit(run, "result.json", cost=cost))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": 5}, "holds a value of the wrong type"),
        ({"classes": [1, 2]}, "run.json: classes: texts were expected, got (1, 2)"),
        ({"task": None}, "run.json: task: a text was expected, got None"),
        ({"seed": "one"}, "run.json: seed: a whole number was expected, got 'one'"),
        ({"seed": True}, "run.json: seed: a whole number was expected, got True"),
        ({"label": 3}, "run.json: label: a text was expected, got 3"),
        ({"task_options": []}, "run.json: task_options: an object was expected, got []"),
    ],
)
def test_value_of_a_wrong_type_in_run_json_is_named(run, change, said):
    assert said in reason(edit(run, "run.json", **change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seconds": "long"}, "result.json: seconds: a finite number was expected, got 'long'"),
        ({"test": []}, "result.json: test: an object was expected, got []"),
        ({"cost": 5}, "result.json: cost: an object was expected, got 5"),
    ],
)
def test_value_of_a_wrong_type_in_result_json_is_named(run, change, said):
    assert said in reason(edit(run, "result.json", **change))


def test_word_in_the_metrics_is_named(run):
    file = run / "metrics.jsonl"
    lines = file.read_text("utf-8").replace('"bits": 32.0', '"bits": "many"')
    file.write_text(lines, "utf-8")
    assert "holds a value of the wrong type (could not convert" in reason(run)


def test_missing_parts_of_a_result_are_noted(run):
    test = json.loads((run / "result.json").read_text("utf-8"))["test"]
    del test["roc"]
    (found,), _ = collect([edit(run, "result.json", test=test, cost={})])
    assert found.quality is not None
    assert found.cost is None
    assert found.notes == ("result.json has no cost and no ROC curves",)


def test_damaged_weights_cost_only_the_histograms(run):
    file = run / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    (found,), refused = collect([run])
    assert not refused
    assert found.quality is not None
    assert found.weights() == {}
    (note,) = found.notes
    assert note.startswith("weights.safetensors: cannot be read (")
    assert note.endswith("): no histograms")


def test_weights_without_a_start_have_none_before(run):
    (run / "weights-start.safetensors").unlink()
    save_file({"value/a:weight": np.ones(3), "value/none": np.ones(0)}, run / "weights.safetensors")
    (found,), _ = collect([run])
    assert list(found.weights()) == ["a:weight"]
    assert found.weights()["a:weight"][0] is None
