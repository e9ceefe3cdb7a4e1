"""lower, build, verify and bench, as a person types them."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pareq.backends import BACKENDS
from pareq.backends.base import Program
from pareq.cli import main
from pareq.cli.integers import Race
from pareq.errors import MissingExtra
from pareq.train.deploy import build_run
from pareq.train.latency import PEER, kept_latencies
from tests.refusal import refused
from tests.train.deployed import compiler, trained

compiler()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("deploying") / "run")


@pytest.fixture
def run(whole, tmp_path, monkeypatch) -> Path:
    """A copy of a trained run, as ./run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    shutil.copytree(whole, "run")
    return Path("run")


@pytest.fixture(scope="module")
def whole_built(whole, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "run"
    shutil.copytree(whole, folder)
    build_run(folder, "c")
    return folder


@pytest.fixture
def built(run, whole_built) -> Path:
    """The same with its graph and a C program."""
    shutil.rmtree(run)
    shutil.copytree(whole_built, run)
    return run


def test_from_a_run_to_a_proved_program(pareq_says, run):
    """The four commands in a row."""
    said = pareq_says("lower", "run")
    for module, op in (("input", "input"), ("fc1", "dense"), ("act1", "requantize")):
        assert re.search(rf"^ {module} +{op} ", said, flags=re.MULTILINE)
    assert re.search(r"^widest accumulator: \d+ bits, -?[\d,]+\.\.[\d,]+ in fc\d$", said, re.M)
    assert re.search(r"^removed: \d+ channels?, \d+ of 656 weights$", said, re.M)
    assert re.search(r"^accuracy on 359 test samples: \d+\.\d\d %$", said, re.M)
    assert "\nbeside the network in float64: 0 of 3,590 outputs differ\n" in said
    assert "\nbeside the network in float32: " in said
    assert said.endswith("\nkept in run/graph\n")

    said = pareq_says("build", "run", "c")
    lines = Path("run/build/c/digits.c").read_text().count("\n")
    assert re.search(rf"^run/build/c/digits\.c +[\d.]+ kB +{lines:,} lines *$", said, re.M)
    assert re.search(r"^run/build/c/libdigits\.so +[\d.]+ kB *$", said, re.M)

    said = pareq_says("verify", "run", "--rows", "1000")
    assert said == (
        "run/build/c: 1,361 samples, 13,610 integers equal (test split 359, extremes 2, random"
        " 1,000)\n"
    )


def test_an_artefact_elsewhere_has_no_test_split(pareq_says, run):
    pareq_says("build", "run", "c", "--out", "far/away", "--name", "tagger")
    assert Path("far/away/tagger.c").exists()
    said = pareq_says("verify", "far/away", "--rows", "10")
    assert said == (
        "far/away: 12 samples, 120 integers equal (no run, so no test split, extremes 2, random 10)\n"
    )


def test_programs_are_timed_and_noted(pareq_says, built):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'pareq[onnx]'")
    said = pareq_says("bench", "run", "--rows", "64", "--seconds", "0.004")
    row = r" +[\d.e+]+" * 4
    assert re.search(rf"^ c {row} *$", said, re.M)
    assert re.search(rf"^ {PEER} +[\d.e+]+ +1 +[\d.e+]+ +1 *$", said, re.M)
    assert [each.program for each in kept_latencies(built)] == ["c", PEER]
    assert json.loads((built / "latency.json").read_text())[0]["rows"] == 64


def test_without_onnx_runtime_it_says_what_to_install(pareq_says, built, monkeypatch):
    def missing(*_: object) -> None:
        raise MissingExtra("onnxruntime", "onnx")

    monkeypatch.setattr("pareq.cli.integers.float32_peer", missing)
    said = pareq_says("bench", "run", "--rows", "8", "--seconds", "0.002")
    assert "times" not in said
    assert said.endswith(
        "without the float network: onnxruntime is not installed; run: pip install 'pareq[onnx]'\n"
    )


def test_programs_of_one_run_race_together(built):
    """Those of another run, and one that belongs to none, by themselves."""
    shutil.copytree("run/build/c", "run/build/again")
    shutil.copytree("run/build/c", "alone")
    races = list(Race.over(map(Path, ("run/build/again", "run/build/c", "alone"))))
    assert [[*race.programs][:2] for race in races] == [["c", "run/build/c"], ["c"]]
    assert races[1].missing == "no run above it, so no float network to compare with"


def test_a_difference_is_an_error_that_names_it(capsys, built, monkeypatch):
    """Whatever gives another integer; here the program itself is changed."""
    kind = type(BACKENDS["c"])
    load = kind.load

    class Wrong(Program):
        def __init__(self, inner: Program) -> None:
            super().__init__(inner.graph)
            self.inner = inner

        def integers(self, arrays):
            return tuple(
                np.where(each == each.max(), 0, each) for each in self.inner.integers(arrays)
            )

    monkeypatch.setattr(kind, "load", lambda backend, artefact: Wrong(load(backend, artefact)))
    with pytest.raises(SystemExit) as ended:
        main(["verify", "run", "--rows", "0"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"error: run/build/c: op '[^']+' \(\w+\), given sample \d+, index \[\d+\]: c gives 0, the graph \d+; report"
        r" it with the graph\n",
        said,
    )


def test_an_interrupted_build_leaves_nothing(pareq_says, capsys, run, monkeypatch):
    """Status 130, one word, no half-written folder."""
    pareq_says("lower", "run")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pareq.backends.c.backend.compile_c", stop)
    with pytest.raises(SystemExit) as ended:
        main(["build", "run", "c"])
    assert (ended.value.code, capsys.readouterr().err) == (130, "stopped\n")
    assert list(Path("run/build").iterdir()) == []


def lowered(run: Path) -> None:
    with pytest.raises(SystemExit):
        main(["lower", str(run)])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def older(run: Path) -> None:
    """Built, then trained to another best network."""
    build_run(run, "c")
    best = run / "checkpoints" / "best.safetensors"
    best.write_bytes(next(run.glob("checkpoints/step-*")).read_bytes())


REFUSED = {
    "no graph, no artefact": (
        lambda run: None,
        "verify run",
        "run: nothing was built yet; run: pareq build run c",
    ),
    "graph cut": (
        lambda run: (lowered(run), cut(run / "graph" / "graph.json")),
        "build run c",
        "run: graph: graph.json is damaged or cut off; lower the run again: pareq lower run",
    ),
    "graph without its note": (
        lambda run: (lowered(run), (run / "integers.json").unlink()),
        "build run c",
        "run: integers.json: is missing or damaged; lower the run again: pareq lower run",
    ),
    "artefact of another checkpoint": (
        older,
        "verify run",
        "run/build/c: was built from another checkpoint than the run has now; build it again: pareq"
        " build run c",
    ),
    "unfinished": (
        lambda run: (run / "result.json").unlink(),
        "lower run",
        "run: has not finished; train it to its end: pareq train digits mine.toml",
    ),
    "no run": (
        lambda run: Path("x").mkdir(),
        "lower x",
        "x: holds no run.json, so it is no run; give the folder of one",
    ),
    "unknown back end": (
        lambda run: None,
        "build run cc",
        "unknown back end 'cc'; did you mean 'c'?",
    ),
    "neither run nor artefact": (
        lambda run: Path("x").mkdir(),
        "bench x",
        "x: is neither, expected the folder of a run, or one that pareq build wrote",
    ),
    "nothing there": (
        lambda run: None,
        "verify x",
        "x: does not exist, expected the folder of a run, or one that pareq build wrote",
    ),
    "name that C does not know": (
        lambda run: None,
        "build run c --name 2x",
        "name is '2x', expected letters, digits and _, such as 'jets'",
    ),
    "folder with something else": (
        lambda run: (Path("x").mkdir(), Path("x/notes").touch()),
        "build run c --out x",
        "build c x: holds other files and no artefact.json; name another folder, or empty it",
    ),
    "no artefact named": (
        lambda run: None,
        "verify",
        "pareq verify: missing argument 'RUN|ARTEFACT...'; see pareq verify --help",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_deployed_is_refused(capsys, run, case):
    """In one line that says what to do."""
    damage, command, line = REFUSED[case]
    damage(run)
    capsys.readouterr()
    refused(capsys, command, line)


def test_no_compiler_says_what_to_install(capsys, run, monkeypatch):
    monkeypatch.setattr("pareq.backends.c.compiler.shutil.which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    refused(
        capsys,
        "build run c",
        "build c run/build/c: no C compiler (cc, gcc, clang) is installed; install gcc or clang, for"
        " example with: apt install gcc",
    )
    assert list(Path("run/build").iterdir()) == []


def test_a_network_of_reals_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained(Path("run"), "float")
    for command in ("lower run", "build run c"):
        refused(
            capsys,
            command,
            "run: no rule of its recipe quantizes, so its numbers are no integers; train one that"
            " does, such as: pareq train digits qap",
        )


def test_a_recipe_without_edges_names_the_rule_to_add(capsys, tmp_path, monkeypatch):
    """As published, qap-paper quantizes neither input nor output."""
    monkeypatch.chdir(tmp_path)
    trained(Path("run"), "qap-paper", epochs=10)
    refused(
        capsys,
        "lower run",
        "run: lower: fc1 (linear): reads the input before it is on a grid; add a rule with a"
        " quantizer for 'fc1:input'",
    )
