"""The commands, as a person types them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pareq
from pareq.cli import main
from pareq.cli.app import app
from pareq.cli.listing import KINDS
from pareq.recipe.config import parse_recipe
from pareq.recipe.presets import find_recipe
from pareq.train.loop import Keep
from pareq.train.run import open_run

COMMANDS = ("train", "eval", "report", "demo", "lower", "build", "verify", "bench", "area", "study")
COMMANDS += ("list", "show", "check", "data", "tune")


@pytest.fixture(autouse=True)
def _plain(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("PAREQ_DATA", raising=False)


def process(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pareq", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_help_lists_every_command(pareq_says):
    """In groups, each with its first line, and how to begin."""
    said = pareq_says("--help")
    assert sorted(re.findall(r"^│ (\w+) {2,}", said, flags=re.MULTILINE)) == sorted(COMMANDS)
    assert "Begin with pareq demo" in said
    panels = ("Train and compare", "Deploy", "Look before")
    assert [said.index(f"─ {panel} ─") for panel in panels] == sorted(
        said.index(f"─ {panel} ─") for panel in panels
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(pareq_says, command):
    """What it does, what it takes, and examples that name real commands and options."""
    said = pareq_says(command, "--help")
    assert f"Usage: pareq {command}" in said
    options = set(re.findall(r"^│ \*? *(--[a-z-]+)", said, flags=re.MULTILINE))
    examples = re.findall(r"^ pareq (.+)", said, flags=re.MULTILINE)
    assert examples or command == "demo"
    for example in examples:
        first, *rest = example.split()
        assert first == command
        assert {word for word in rest if word.startswith("--")} <= options


def test_no_command_is_help(pareq_says, capsys):
    with pytest.raises(SystemExit):
        main([])
    said = capsys.readouterr()
    assert "Usage: pareq" in said.out + said.err


def test_version(pareq_says):
    assert pareq_says("--version") == f"pareq {pareq.__version__}\n"


def test_python_m_pareq_is_pareq():
    """With the same name in its messages, and plain text where there is no terminal."""
    said = process("trian")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == (
        "error: pareq: no such command 'trian'; did you mean 'train'?; see pareq --help\n"
    )


def test_a_terminal_gets_colours_unless_it_asks_for_none():
    assert process("trian", FORCE_COLOR="1").stderr.startswith("\x1b[1;31merror: \x1b[0m")
    assert "\x1b[1;31m" not in process("trian", FORCE_COLOR="1", NO_COLOR="1").stderr


def test_a_terminal_without_such_characters_is_served_too():
    """What it cannot show is replaced; no traceback."""
    said = process("--help", PYTHONIOENCODING="ascii")
    assert (said.returncode, said.stderr) == (0, "")
    assert "train" in said.stdout
    assert said.stdout.isascii()


def test_help_is_shown_without_torch():
    """So that it and the completion of names are quick."""
    program = (
        "import sys; from pareq.cli import main\n"
        "try: main(['train', '--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell):
    said = process("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert said.returncode == 0
    assert "_PAREQ_COMPLETE" in said.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pareq tr", {"train"}),
        ("pareq train ", {"jets", "digits", "cifar10", "superres", "facades", "detect"}),
        ("pareq train jets qap", {"qap", "qap-fixed", "qap-paper", "qap-reversed"}),
        ("pareq list o", {"operators"}),
        ("pareq train jets qap --ep", {"--epochs"}),
    ],
)
def test_completion_of_words(typed, offered):
    said = process(
        _PAREQ_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(typed.split(" ")) - 1)
    )
    assert set(said.stdout.split()) == offered


def test_debug_shows_the_traceback(capsys):
    """Before the command and behind it."""
    for words in (["--debug", "show", "x.toml"], ["show", "x.toml", "--debug"]):
        with pytest.raises(pareq.PareqError, match=r"^x\.toml: does not exist"):
            main(words)


@pytest.mark.parametrize("kind", KINDS)
def test_each_list_names_and_explains(pareq_says, kind):
    """All entries, each with a line that ends as a sentence."""
    said = pareq_says("list", kind)
    for name, line, _ in KINDS[kind]():
        assert re.search(rf"^{re.escape(name)} {{2}}", said, flags=re.MULTILINE)
        assert line.endswith((".", "):", ")."))
    assert f"{kind} " in pareq_says("list")


def test_a_list_shows_fields_with_values_and_defaults(pareq_says):
    said = " ".join(pareq_says("list", "operators").split())
    assert "bits a whole number needed" in said
    assert "scope one of 'global', 'layer' default \"global\"" in said
    assert "frac a whole number default none" in said


def test_a_shown_recipe_can_be_used(pareq_says):
    """`pareq show qap > my.toml` is the start of one's own."""
    assert parse_recipe(pareq_says("show", "qap")) == find_recipe("qap")
    changed = parse_recipe(pareq_says("show", "qap", "-s", "rule.2.op.bits=4"))
    assert changed.rules[1].op.bits == 4


def test_check_names_the_sites(pareq_says):
    lines = pareq_says("check", "qap", "--task", "digits", "-o", "network=cnn").splitlines()
    assert lines[0].split()[:3] == ["rule", "1", "*:weight"]
    assert sum("values" in line for line in lines) == 8  # four layers, pruned and quantized
    assert (
        sum(":output" in line for line in lines) == 6
    )  # two rules, three activations, the last layer
    assert "nothing is pruned or quantized" in pareq_says("check", "float")


def test_data_are_described(pareq_says):
    said = pareq_says("data", "digits", "--info")
    assert "scikit-learn" in said
    assert re.search(r"all +1,150 +288 +359", said)


def test_train_evaluate_report(pareq_says, monkeypatch):
    """From a recipe to a page; what is evaluated is what was trained."""
    monkeypatch.setattr(sys, "argv", ["pareq", "train", "..."])
    train = ("train", "digits", "qap", "--epochs", "3", "--seed", "7")
    said = pareq_says(*train, "--label", "mine", "-s", "training.batch_size=256")
    assert re.search(
        r"^qap: epoch 3/3, loss \d\.\d{4} +\d+\.\d% {2}80% zero {2}6 bits$", said, re.M
    )
    assert said.endswith("kept in runs/digits-qap-seed7\n")

    run = open_run("runs/digits-qap-seed7")
    assert run.finished
    assert (run.about.label, run.about.command) == ("mine", ("pareq", "train", "..."))
    assert parse_recipe(run.recipe).training.seed == 7

    figures = json.loads(pareq_says("eval", "runs/digits-qap-seed7", "--json"))
    assert figures == run.result.test
    accuracy = f"accuracy {100 * figures['accuracy']:.1f}"
    assert accuracy in said
    assert accuracy in pareq_says("eval", "runs/digits-qap-seed7")

    assert pareq_says("report", "runs", "--out", "r.html") == "report: r.html\n"
    assert "mine" in Path("r.html").read_text()


def test_the_same_command_only_shows_a_finished_run(pareq_says):
    train = ("train", "digits", "float", "--epochs", "2", "--out", "run")
    first = pareq_says(*train)
    before = {path: path.read_bytes() for path in Path("run").rglob("*.*")}
    again = pareq_says(*train)
    assert "epoch 1/2" in first
    assert "epoch 1/2" not in again
    assert first.splitlines()[2:] == again.splitlines()
    assert {path: path.read_bytes() for path in Path("run").rglob("*.*")} == before


def test_tensorboard_events_are_written(pareq_says):
    pytest.importorskip("tensorboard", reason="needs tensorboard, to read what was written")
    pareq_says("train", "digits", "float", "--epochs", "2", "--out", "run", "--tensorboard", "tb")
    assert [path.name.startswith("events") for path in Path("tb").iterdir()] == [True]


def test_an_interrupted_training_says_how_to_go_on(capsys, monkeypatch):
    """Status 130, no traceback; the same command then ends as if nothing had been."""
    from pareq.train.trial import Trial

    whole = Trial.run

    def stopped(trial, out, *, on_epoch, keep: Keep):
        def stop(epoch):
            on_epoch(epoch)
            if epoch.epoch == 2:
                raise KeyboardInterrupt

        return whole(trial, out, on_epoch=stop, keep=keep)

    train = ("train", "digits", "float", "--epochs", "3", "--out", "run")
    with monkeypatch.context() as patched:
        patched.setattr(Trial, "run", stopped)
        with pytest.raises(SystemExit) as ended:
            main(train)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped; run is kept, the same call goes on from step 4\n"
    with pytest.raises(SystemExit) as ended:
        main(train)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "epoch 3/3" in said
    assert "epoch 1/3" not in said


def test_a_diverging_training_is_status_1(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "digits", "float", "--out", "run", "-s", "training.learning_rate=1e38"])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert re.match(r"error: .*epoch 1: the loss is not finite", said)
    assert said.count("\n") == 1


def test_every_command_is_covered_here():
    assert {command.name for command in app.registered_commands} >= {"eval", "list"}
    names = {c.name or c.callback.__name__ for c in app.registered_commands}
    assert names == set(COMMANDS)
