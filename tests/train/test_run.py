import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pareq.errors import RunError
from pareq.train.loop import Keep, train
from pareq.train.run import Run, open_run, runs
from pareq.train.store import opened
from tests.train.toy import Toy, network, rules


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    keep = Keep(label="small & <fast>", command=("pareq", "train", "toy"))
    return train(network(*rules(), epochs=3), Toy(), out=folder, keep=keep)


@pytest.fixture
def begun(tmp_path, finished):
    """A folder in which the run of `finished` was begun and not trained."""
    with opened(tmp_path / "run", replace(finished.about, state="running"), finished.recipe):
        pass
    return tmp_path / "run"


def _refusal(folder, finished, **about: object) -> str:
    with (
        pytest.raises(RunError) as error,
        opened(folder, replace(finished.about, **about), finished.recipe),
    ):
        pass
    return str(error.value)


def test_a_run_is_read_as_it_was_returned(finished):
    assert isinstance(finished, Run)
    assert finished.finished
    assert open_run(finished.folder) == open_run(str(finished.folder)) == finished
    assert finished.about.label == "small & <fast>"
    assert finished.about.command == ("pareq", "train", "toy")
    assert finished.about.classes == ("a", "b", "c")
    assert [e.epoch for e in finished.epochs] == [1, 2, 3]


def test_run_json_holds_what_a_reader_needs(finished):
    about = json.loads((finished.folder / "run.json").read_text())
    assert about["state"] == "finished"
    assert about["task"] == "toy"
    assert about["task_options"] == {}
    assert about["data"] == "three clouds, 330"
    assert about["seed"] == 3
    assert len(about["recipe_sha256"]) == 64


def test_an_unfinished_run_is_read_too(begun):
    run = open_run(begun)
    assert not run.finished
    assert run.epochs == ()
    assert run.about.state == "running"


def test_runs_are_found_at_any_depth(tmp_path, finished):
    for name in ("b", "a/deep", "not"):
        (tmp_path / name).mkdir(parents=True)
        if name != "not":
            (tmp_path / name / "run.json").write_text("junk, which must not hide the others")
    assert runs(tmp_path) == (tmp_path / "a/deep", tmp_path / "b")
    assert runs(finished.folder) == (finished.folder,)


def test_no_folder_of_runs(tmp_path):
    with pytest.raises(RunError) as error:
        runs(tmp_path / "no")
    assert str(error.value) == f"{tmp_path / 'no'}: is not a folder; give one that holds runs"


@pytest.mark.parametrize(
    ("make", "fact"),
    [
        (lambda p: None, "does not exist, expected the folder of a run; give its path"),
        (lambda p: p.write_text(""), "is a file, expected the folder of a run; give its path"),
        (lambda p: p.mkdir(), "holds no run.json, so it is no run; give the folder of one"),
    ],
)
def test_what_is_no_run(tmp_path, make, fact):
    make(tmp_path / "x")
    with pytest.raises(RunError) as error:
        open_run(tmp_path / "x")
    assert str(error.value) == f"{tmp_path / 'x'}: {fact}"


@pytest.mark.parametrize(
    ("name", "text", "fact"),
    [
        ("run.json", "{", "is not JSON; restore it, or use another folder"),
        ("run.json", "[]", "holds no JSON object; restore it, or use another folder"),
        ("run.json", "{}", "lacks the field 'classes'; it was written by another pareq, or edited"),
        ("recipe.toml", b"\xff", "is not text; restore it, or use another folder"),
        (
            "recipe.toml",
            "[training]",
            "was edited after the run had begun; restore it, or train the new recipe in another"
            " folder",
        ),
        ("result.json", "", "is not JSON; restore it, or use another folder"),
    ],
)
def test_damaged_files(begun, name, text, fact):
    path = begun / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError) as error:
        open_run(begun)
    assert str(error.value) == f"{path}: {fact}"


def test_an_unknown_field(begun):
    path = begun / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"zeal": 1}))
    with pytest.raises(RunError) as error:
        open_run(begun)
    assert str(error.value) == (
        f"{path}: has the unknown field 'zeal'; it was written by another pareq, or edited"
    )


def test_a_missing_recipe(begun):
    (begun / "recipe.toml").unlink()
    with pytest.raises(RunError) as error:
        open_run(begun)
    assert str(error.value) == (
        f"{begun / 'recipe.toml'}: cannot be read (No such file or directory); restore it, or use"
        " another folder"
    )


def test_a_run_killed_before_its_recipe_was_written_begins_again(begun, finished):
    (begun / "recipe.toml").unlink()
    with opened(begun, finished.about, finished.recipe):
        pass
    assert open_run(begun).recipe == finished.recipe


def test_leftovers_of_killed_writers_are_removed(begun, finished):
    left = [begun / ".run.json.tmp", begun / "checkpoints" / ".step-00000001.safetensors.tmp"]
    for path in left:
        path.write_bytes(b"half")
    with opened(begun, finished.about, finished.recipe):
        assert not any(path.exists() for path in left)


def test_an_empty_folder_with_a_leftover_is_a_new_run(tmp_path, finished):
    (tmp_path / ".run.json.tmp").write_bytes(b"{")
    with opened(tmp_path, finished.about, finished.recipe) as place:
        assert place.run().folder == tmp_path


@pytest.mark.parametrize(
    ("field", "value", "fact"),
    [
        ("task", "jets", 'the run began with task = "toy", now it is "jets"'),
        (
            "task_options",
            {"noise": 2.0},
            'the run began with task_options = {}, now it is {"noise": 2.0}',
        ),
        ("data", "other", 'the run began with data = "three clouds, 330", now it is "other"'),
    ],
)
def test_another_task(begun, finished, field, value, fact):
    assert _refusal(begun, finished, **{field: value}) == (
        f"{begun}: {fact}; go back to the former value, or use another folder"
    )


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        ("seed = 3", "seed = 4", "training.seed = 3, now it is 4"),
        ("epochs = 3", "epochs = 9", "training.epochs = 3, now it is 9"),
        ("bits = 4", "bits = 5", "rule[2].op.bits = 4, now it is 5"),
        ("threads = 1\n", "", "training.threads = 1, now it is absent"),
    ],
)
def test_another_recipe_names_the_field(begun, finished, old, new, fact):
    assert old in finished.recipe
    changed = replace(finished, recipe=finished.recipe.replace(old, new, 1))
    assert _refusal(begun, changed) == (
        f"{begun}: the run began with {fact}; go back to the former value, or use another folder"
    )


def test_a_folder_of_something_else(tmp_path, finished):
    (tmp_path / "thesis.tex").write_text("x")
    assert _refusal(tmp_path, finished) == (
        f"{tmp_path}: holds 'thesis.tex' and no run.json, so it is no run; use a new or empty "
        "folder"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("below", ["", "x"])
def test_a_file_in_the_place_of_the_folder(tmp_path, finished, below):
    (tmp_path / "a").write_text("")
    path = tmp_path / "a" / below
    assert _refusal(path, finished).startswith(f"{path}: cannot be a run folder (")


@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_folder_without_permission(tmp_path, finished, monkeypatch, call):
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "a"
    with monkeypatch.context() as patch:
        patch.setattr(*{"mkdir": (Path, "mkdir"), "open": (os, "open")}[call], refuse)
        refusal = _refusal(path, finished)
    assert refusal == f"{path}: cannot be a run folder (Permission denied); choose another"


def test_a_second_process_is_kept_out(begun, finished):
    with opened(begun, finished.about, finished.recipe):
        assert _refusal(begun, finished) == (
            f"{begun}: is being trained by another process; wait for it, or use another folder"
        )
    with opened(begun, finished.about, finished.recipe):
        pass
