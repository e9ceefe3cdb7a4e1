"""The demonstration on a tiny setting: four trainings, a table, a page."""

import io
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from pareq.cli.arguments import chosen_recipe
from pareq.cli.demo import VARIANTS, Demo
from pareq.cli.tables import comparison
from pareq.errors import ReportError, RunError
from pareq.recipe.config import dump_recipe
from pareq.train.loop import Keep
from pareq.train.run import open_run
from pareq.train.trial import Trial
from tests.train.deployed import compiler


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Path, str]:
    """The folder of a demonstration, and what was printed."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    console = Console(file=io.StringIO(), width=80)
    page = Demo("digits", out, epochs=3, workers=2).run(console)
    assert page == out / "report.html"
    return out, console.file.getvalue()


@pytest.mark.slow
def test_all_variants_are_trained_and_compared(shown):
    """Every column and row of the table, in 80 columns."""
    out, said = shown
    assert all(open_run(out / variant).finished for variant in VARIANTS)
    table = said.split("±: statistical error")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert re.search(r"^ +float +pruned +quantized +QAP *$", said, flags=re.MULTILINE)
    assert re.search(
        r"^ +in integers, % +\u2013 +\u2013 +[\d.]+ ± [\d.]+ +[\d.]+ ± ", said, flags=re.MULTILINE
    )
    for row in ("accuracy, %", "macro AUC, %", "background 9, %", "memory", "non-zero weights"):
        assert re.search(rf"^ +{row}(?: +\S.*){{4}}$", said, flags=re.MULTILINE)
    assert "±: statistical error of 359 test samples" in said
    operations = re.search(r"bit operations +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)", said)
    costs = [int(figure.replace(",", "")) for figure in operations.groups()]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > 15 * costs[3]


@pytest.mark.slow
def test_it_ends_with_integers_and_a_proved_program(shown):
    """The integers do what the network does; the C file is there, its time is known."""
    out, said = shown
    for name in ("quantized", "qap"):
        line = rf"^{out / name} in integers: accuracy \d+\.\d\d %, 0 of 3,590 outputs differ from"
        assert re.search(rf"{line} float64$", said, flags=re.MULTILINE)
        assert (out / name / "graph" / "graph.json").exists()
    compiler()
    source = out / "qap" / "build" / "c" / "digits.c"
    bytes_, lines = source.stat().st_size, source.read_text().count("\n")
    assert f"C: {source}, {bytes_:,} bytes, {lines:,} lines" in said
    assert (
        "proved: 1,000,361 samples, 10,003,610 integers equal (test split 359, extremes 2, " in said
    )
    time_ = r"[\d.]+ ns a sample in batches of 1,024, [\d.]+ µs a call from Python"
    assert re.search(rf"^latency: {time_}$", said, flags=re.MULTILINE)


@pytest.mark.slow
def test_without_a_compiler_it_says_what_to_install(shown, monkeypatch):
    """And ends well, with its report."""
    monkeypatch.setattr("pareq.backends.c.compiler.shutil.which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    console = Console(file=io.StringIO(), width=80)
    page = Demo("digits", shown[0], epochs=3, workers=2).run(console)
    assert page.exists()
    assert (
        "no program was built: no C compiler (cc, gcc, clang) is installed; install gcc or clang,"
        " for example with: apt install gcc; then say it again\n" in console.file.getvalue()
    )


@pytest.mark.slow
def test_the_page_shows_them(shown):
    page = (shown[0] / "report.html").read_text()
    assert all(label in page for label in VARIANTS.values())


@pytest.mark.slow
def test_said_again_it_shows_what_there_is(shown):
    """Nothing is trained, the page is the same but for the times."""
    out, said = shown
    page = timeless(out)
    journals = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")}
    console = Console(file=io.StringIO(), width=80)
    Demo("digits", out, epochs=3, workers=2).run(console)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")} == journals
    assert timeless(out) == page
    again = console.file.getvalue()
    assert (
        again[again.index("accuracy, %") : again.index("latency")]
        == (said[said.index("accuracy, %") : said.index("latency")])
    )


def timeless(out: Path) -> str:
    """The report without what was measured anew."""
    page = (out / "report.html").read_text()
    return re.sub(r"<td>[\d.]+(e\+\d+)?</td>\s*<td>[\d.]+(e\+\d+)?</td></tr>", "", page)


def wait_for_epochs(journal: Path, count: int) -> None:
    for _ in range(1200):
        if journal.exists() and journal.read_text().count("\n") >= count:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{journal} has not {count} lines")


@pytest.mark.slow
def test_stopped_it_leaves_nothing_behind_and_goes_on(tmp_path):
    """Ctrl-C: status 130, one line, no process left. SIGKILL: none left either. Then it ends."""
    words = [sys.executable, "-m", "pareq", "demo", "--task", "digits", "--out", str(tmp_path)]
    words += ["--epochs", "30", "--workers", "2"]
    journal = tmp_path / "float" / "metrics.jsonl"
    for epochs, number, said in (
        (3, signal.SIGINT, "stopped; the same command goes on from here\n"),
        (6, signal.SIGKILL, ""),
    ):
        sitting = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for_epochs(journal, epochs)
        sitting.send_signal(number)
        assert sitting.communicate(timeout=60)[1] == said
        assert sitting.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
        time.sleep(1)
        lines = journal.read_text()
        time.sleep(1)
        assert journal.read_text() == lines  # nobody trains any more
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert journal.read_text().startswith(lines)
    assert journal.read_text().count("\n") == 30


@pytest.mark.slow
def test_a_training_that_fails_is_named(tmp_path):
    """And the others are ended."""
    (tmp_path / "pruned").mkdir()
    (tmp_path / "pruned" / "notes.txt").touch()
    with pytest.raises(RunError) as caught:
        Demo("digits", tmp_path, epochs=400, workers=2).run(Console(file=io.StringIO()))
    assert str(caught.value) == (
        f"pruned: {tmp_path / 'pruned'}: holds 'notes.txt' and no run.json, so it is no run;"
        " use a new or empty folder"
    )
    float_ = tmp_path / "float"  # ended, perhaps before it had begun
    assert not (float_ / "run.json").exists() or not open_run(float_).finished


def test_seeds_of_one_variant_are_one_column(tmp_path):
    """With the standard deviation over them."""
    for name, label in (("a-seed1", "a"), ("a-seed2", "a"), ("b-seed1", "b"), ("b-seed2", "b")):
        recipe = "pruned" if label == "b" else "float"
        text = dump_recipe(chosen_recipe(recipe, None, seed=int(name[-1]), epochs=2))
        Trial("digits", text).run(tmp_path / name, keep=Keep(label=label))
    table = comparison([tmp_path])
    assert [column.header for column in table.columns] == ["", "a", "b"]
    assert table.caption.endswith("±: standard deviation over 2 seeds")


def test_nothing_finished_is_nothing_to_compare(tmp_path):
    (tmp_path / "float").mkdir()
    with pytest.raises(ReportError) as caught:
        comparison([tmp_path / "float"])
    assert str(caught.value) == (
        f"no finished run to compare: {tmp_path / 'float'}: holds no run.json, so it is no run;"
        " give the folder of one"
    )
