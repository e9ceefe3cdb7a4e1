"""What cannot be meant is refused in one line that says what to do; the whole line is held here.

Every case goes through the command line, as a person meets it: files are put into an empty folder,
a command is given, stderr must be that line, and the status 2, or 1 where a training failed. Faults
of recipes are in tests/recipe/test_bad_recipe.py.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pareq.cli import main
from tests.refusal import refused
from tests.tasks.tables import named, rows, write_csv

FOLDER = Path()  # each case runs in a folder of its own
RESTART = "restore it, or use another folder"
OTHER = "go back to the former value, or use another folder"

# What a command says, in a folder with an empty folder "folder" and a file "binary.toml".
COMMANDS = {
    "check nothing.toml": "nothing.toml: does not exist; give a recipe file in TOML",
    "check ./folder": "./folder: is a folder; give the recipe file in it",
    "check binary.toml": "binary.toml: is not UTF-8 text (byte 0); give a recipe in TOML",
    "check quantised": "unknown recipe 'quantised'; did you mean 'quantized'? (or the path of a"
    " file in TOML)",
    "trian jets qap": "pareq: no such command 'trian'; did you mean 'train'?; see pareq --help",
    "train jets": "pareq train: missing argument 'RECIPE'; see pareq train --help",
    "train jets qap --epoch 3": "pareq train: no such option: --epoch; did you mean --epochs?; see"
    " pareq train --help",
    "train jet qap": "task jet: unknown task 'jet'; did you mean 'jets'?",
    "train digits qap -o netwrk=cnn": "task digits: unknown option 'netwrk'; did you mean"
    " 'network'?",
    "train digits qap -o widths=64": "task digits: widths must be a list, got 64",
    "train digits qap -o network=rnn": "task digits: digits: unknown network 'rnn'; did you mean"
    " 'cnn'?",
    "train digits qap -o network": "--option: expected KEY=VALUE, got 'network'",
    "train digits qap --data folder": "task digits: unknown option 'data'; expected one of"
    " batch_norm, network, split, split_seed, test, val, widths",
    "train digits qap --epochs 0": "training.epochs=0: training.epochs: must be 1 or more, got 0",
    "show qap --set training.epochs": "training.epochs: expected KEY=VALUE, such as"
    " training.epochs=50 or rule.1.op.bits=4",
    "show qap --set training.epoch=3": "training.epoch=3: training: unknown key 'epoch'; did you"
    " mean 'epochs'?",
    "show qap --set rule.9.op.bits=3": "rule.9.op.bits=3: no rule 9; the recipe has 5 (the first"
    " is rule.1)",
    "show qap --set train.epochs=3": "train.epochs=3: no key 'train.epochs' in a recipe; write"
    " training.FIELD or rule.NUMBER.op.FIELD",
    "show qap --set rule.2.op.bits=99": "rule.2.op.bits=99: rule 2.op.bits: must be in 1..32, got"
    " 99",
    "list operator": "unknown list 'operator'; did you mean 'operators'?",
    "data jets": "expected --info or --generate N; see pareq data --help",
    "data digits --generate 100": "only jets can be generated, got 'digits'; leave out --generate",
    "data jets --info --data absent.npz": "jets: no file or folder 'absent.npz'; expected one of"
    " openml, sample, zenodo-100p, zenodo-150p",
    "report": "pareq report: missing argument 'RUNS...'; see pareq report --help",
    "report nothing": "report: nothing: does not exist; give the folder of a run, or one that"
    " holds runs",
    "report folder --out report.pdf": "report: out: a file name that ends in .html was expected,"
    " got 'report.pdf'",
    "report folder": "report: no run can be read: folder: holds no run.json, so it is no run; give"
    " the folder of one",
    "eval nothing": "nothing: does not exist, expected the folder of a run; give its path",
    "eval binary.toml": "binary.toml: is a file, expected the folder of a run; give its path",
    "eval folder": "folder: holds no run.json, so it is no run; give the folder of one",
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAREQ_DATA", raising=False)
    Path("folder").mkdir()
    Path("binary.toml").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_refused(capsys, command):
    refused(capsys, command, COMMANDS[command])
    assert sorted(path.name for path in FOLDER.iterdir()) == ["binary.toml", "folder"]


def with_value(value: float) -> dict[str, np.ndarray]:
    x, y = rows()
    x[3, 5] = x[7, 0] = value
    return {"X": x, "y": y}


def with_labels(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    x, y = rows()
    return {"X": x, "y": change(y)}


# What `pareq data jets --info --data jets.npz` says of the arrays of a file; "jets: " comes first.
NOT_FINITE = (
    "2 values in 2 rows are NaN or infinite, first in column 'c2_b2_mmdt' (rows 3, 7); repair the"
    " rows or set drop_nonfinite"
)
ARRAYS = {
    "NaN": (lambda: with_value(np.nan), NOT_FINITE),
    "infinity": (lambda: with_value(np.inf), NOT_FINITE),
    "a column too few": (
        lambda: {"X": rows()[0][:, :15], "y": rows()[1]},
        "jets.npz: X must be (N, 16), got (40, 15)",
    ),
    "label out of range": (
        lambda: with_labels(lambda y: y + (np.arange(40) == 4)),
        "1 labels are outside 0..4: the first is 5 in row 4",
    ),
    "labels that are not whole": (
        lambda: with_labels(lambda y: y + 0.5),
        "jets.npz: labels must be integers, got 0.5 in row 0",
    ),
    "a label too few": (
        lambda: with_labels(lambda y: y[:-1]),
        "jets.npz: 40 rows but 39 labels",
    ),
    "no labels": (
        lambda: {"X": rows()[0]},
        "jets.npz: array 'y' is missing, the file holds X",
    ),
    "no rows": (
        lambda: {"X": rows()[0][:0], "y": rows()[1][:0]},
        "the table has no rows",
    ),
    "an empty split": (
        lambda: {"X": rows(2)[0], "y": rows(2)[1]},
        "the test split is empty (2 rows, split 'random')",
    ),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_data_are_refused(capsys, case):
    make, line = ARRAYS[case]
    np.savez("jets.npz", **make())
    refused(capsys, "data jets --info --data jets.npz", f"jets: {line}")


def test_a_misspelt_column_is_refused(capsys):
    columns = named(rows()[0])
    columns["multiplicty"] = columns.pop("multiplicity")
    write_csv(Path("jets.csv"), columns | {"class": rows()[1]})
    refused(
        capsys,
        "data jets --info --data jets.csv",
        "jets: jets.csv: 1 of 16 columns are missing: multiplicity (not known: multiplicty); did"
        " you mean 'multiplicty'?",
    )


def test_a_truncated_data_file_is_refused(capsys):
    np.savez("jets.npz", **with_value(0.0))
    Path("jets.npz").write_bytes(Path("jets.npz").read_bytes()[:500])
    refused(
        capsys,
        "data jets --info --data jets.npz",
        "jets: jets.npz: not a readable npz file (File is not a zip file)",
    )


def test_an_unknown_format_is_refused(capsys):
    Path("jets.txt").touch()
    refused(
        capsys,
        "data jets --info --data jets.txt",
        "jets: jets.txt: unknown format; expected one of .arff, .csv, .npy, .npz, .parquet",
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.raises(SystemExit) as ended:
        main(["train", "digits", "pruned", "--epochs", "2", "--out", str(folder)])
    assert ended.value.code == 0
    return folder


@pytest.fixture
def run(trained) -> Path:
    """A copy of it in the present folder."""
    return Path(shutil.copytree(trained, "run"))


TRAIN = "train digits pruned --epochs 2 --out run"
OTHER_RUNS = {
    "train digits pruned --epochs 3 --out run": f"run: the run began with training.epochs = 2, now"
    f" it is 3; {OTHER}",
    TRAIN + " --seed 3": f"run: the run began with training.seed = 0, now it is 3; {OTHER}",
    TRAIN + " -o network=cnn": "run: the run began with task_options = {}, now it is"
    f' {{"network": "cnn"}}; {OTHER}',
    "train digits float --out binary.toml": "binary.toml: cannot be a run folder (File exists);"
    " choose another",
    "train digits float --out run/checkpoints": "run/checkpoints: holds 'best.safetensors' and no"
    " run.json, so it is no run; use a new or empty folder",
}


@pytest.mark.parametrize("command", OTHER_RUNS)
def test_another_training_in_a_run_is_refused(capsys, run, command):
    refused(capsys, command, OTHER_RUNS[command], status=1)


def edit(file: Path, key: str, value: object) -> None:
    content = json.loads(file.read_text())
    if value is None:
        del content[key]
    else:
        content[key] = value
    file.write_text(json.dumps(content))


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


NEWEST = "run/checkpoints/step-00000004.safetensors"
BEST = "run/checkpoints/best.safetensors"
WHOLE = "move it away to continue from step-{}.safetensors, which is whole"
MOVE_2, MOVE_4 = WHOLE.format("00000002"), WHOLE.format("00000004")
# Damage to a run, whether it had finished, the command that meets it, and what that says.
DAMAGES = {
    "recipe edited": (
        lambda run: (run / "recipe.toml").write_text("[training]\nepochs = 4\n"),
        True,
        TRAIN,
        "run/recipe.toml: was edited after the run had begun; restore it, or train the new recipe"
        " in another folder",
    ),
    "run.json cut": (
        lambda run: cut(run / "run.json", 9),
        True,
        TRAIN,
        f"run/run.json: is not JSON; {RESTART}",
    ),
    "run.json without its seed": (
        lambda run: edit(run / "run.json", "seed", None),
        True,
        "eval run",
        "run/run.json: lacks the field 'seed'; it was written by another pareq, or edited",
    ),
    "run.json with a misspelt task": (
        lambda run: edit(run / "run.json", "task", "digit"),
        True,
        "eval run",
        "run: task digit: unknown task 'digit'; did you mean 'digits'?",
    ),
    "result cut": (
        lambda run: cut(run / "result.json", 9),
        True,
        "eval run",
        f"run/result.json: is not JSON; {RESTART}",
    ),
    "journal damaged": (
        lambda run: flip_first(run / "metrics.jsonl"),
        False,
        TRAIN,
        "run/metrics.jsonl: line 1 is damaged; restore the file, or start anew in another folder",
    ),
    "journal lost": (
        lambda run: (run / "metrics.jsonl").write_text(""),
        False,
        TRAIN,
        "run/metrics.jsonl: has 0 of the 2 epochs before the checkpoint of step 4; restore the"
        " file, or start anew in another folder",
    ),
    "checkpoint cut": (
        lambda run: cut(newest(run), 5000),
        False,
        TRAIN,
        f"{NEWEST}: is truncated: it ends inside its header, at 5,000 bytes; {MOVE_2}",
    ),
    "checkpoint with a flipped bit": (
        lambda run: flip(newest(run)),
        False,
        TRAIN,
        f"{NEWEST}: is damaged: its checksum does not fit its bytes; {MOVE_2}",
    ),
    "all checkpoints destroyed": (
        lambda run: [p.write_text("nonsense.") for p in newest(run).parent.iterdir()],
        False,
        TRAIN,
        f"{NEWEST}: is damaged: its header makes no sense; no other checkpoint beside it is whole,"
        " so start anew in another folder",
    ),
    "no best network": (
        lambda run: (run / "checkpoints" / "best.safetensors").unlink(),
        True,
        "eval run",
        "run: has no best network yet: no epoch ended after all schedules had; train further",
    ),
    "best network with a flipped bit": (
        lambda run: flip(run / "checkpoints" / "best.safetensors"),
        True,
        "eval run",
        f"{BEST}: is damaged: its checksum does not fit its bytes; {MOVE_4}",
    ),
    "best network of something else": (
        lambda run: shutil.copy(run / "weights.safetensors", BEST),
        True,
        "eval run",
        f"{BEST}: is no checkpoint of pareq; {MOVE_4}",
    ),
}


def flip_first(file: Path) -> None:
    file.write_bytes(b"!" + file.read_bytes()[1:])


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_run_is_refused(capsys, run, case):
    """And nothing in it is changed."""
    damage, finished, command, line = DAMAGES[case]
    if not finished:
        (run / "result.json").unlink()
    damage(run)
    before = {path: path.read_bytes() for path in run.rglob("*.safetensors")}
    refused(capsys, command, line, status=1 if command == TRAIN else 2)
    assert {path: path.read_bytes() for path in run.rglob("*.safetensors")} == before


def test_no_line_stands_for_two_faults():
    """But for NaN and infinity."""
    lines = list(COMMANDS.values())
    lines += [line for _, line in ARRAYS.values()] + list(OTHER_RUNS.values())
    lines += [case[-1] for case in DAMAGES.values()]
    assert len(set(lines)) == len(lines) - 1
