"""The command `study`, as a person types it."""

import importlib.util

import pytest

from pareq.cli import main
from pareq.errors import MissingExtra
from pareq.studies import base, qap
from tests.studies.small import few_jets


def said(capsys, *words: str) -> tuple[int, str, str]:
    """Exit status, output and error output."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    heard = capsys.readouterr()
    return ended.value.code, heard.out, heard.err


def test_a_dry_run_lists_the_trials(capsys, tmp_path):
    """And makes no folder."""
    words = ("study", "qap", "--quick", "--dry-run", "--out", str(tmp_path / "out"))
    status, out, err = said(capsys, *words)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "32b-ft/1: 0 of 5 trainings done"
    assert "6b-bo/2: 0 of 12 trainings done" in lines
    assert len(lines) == 28
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("qab",), "error: unknown study 'qab'; did you mean 'qap'?\n"),
        (("qap", "--matrix", "quik"), "error: unknown matrix 'quik'; did you mean 'quick'?\n"),
        (
            ("qap", "--quick", "--only", "7b-*"),
            "error: study qap: none of 28 trials is called '7b-*'; a name is such as '32b-ft/1',"
            " pareq study qap --dry-run lists them\n",
        ),
        (
            ("order", "--quick", "--together", "8"),
            "error: study order: trains each trial by itself, got together 8; leave it out, or give"
            " 1\n",
        ),
        (
            ("qap", "--quick", "--set", "gaol=front"),
            "error: --set gaol=front: unknown key 'gaol'; did you mean 'goal'?\n",
        ),
    ],
)
def test_what_no_study_is(capsys, tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    status, _, err = said(capsys, "study", *words)
    assert status == 2
    assert err == line


def test_what_is_left_out_is_said_first(capsys, tmp_path, monkeypatch):
    """Without BoTorch: what to install; the rest runs, and the exit status is 0."""
    monkeypatch.setattr(qap, "lacking", lambda: MissingExtra("botorch", "bayes"))
    monkeypatch.setattr(base, "drive", lambda *_, **__: {})
    words = ("study", "qap", "--quick", "--repeats", "4", "--no-report", "--out", str(tmp_path))
    status, out, err = said(capsys, *words)
    assert (status, err) == (0, "")
    assert out == (
        "left out: 6b-bo/1, 6b-bo/2, 6b-bo/3, ...: botorch is not installed; run: pip install"
        " 'pareq[bayes]'; then the same command adds them\n"
    )


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="ray is not installed: --ray is not tested; extra 'ray'",
)
def test_a_cluster_that_is_not_there(capsys, tmp_path):
    words = ("study", "qap", "--quick", "--ray", "127.0.0.1:1", "--out", str(tmp_path))
    status, out, err = said(capsys, *words)
    assert (status, out) == (2, "0 of 146 trainings\n")
    assert err.startswith("error: study qap: ray: no cluster answers at '127.0.0.1:1' (")
    assert err.endswith("; start one with: ray start --head, or give local\n")


@pytest.mark.slow
def test_a_trial_that_fails_is_told_at_the_end(capsys, tmp_path):
    """The report is written, the exit status is 1."""
    out = tmp_path / "out"
    (out / "6b-lt/1/state-00").mkdir(parents=True)
    (out / "6b-lt/1/state-00/notes.txt").touch()
    words = ("study", "qap", "--quick", "--epochs", "1", "--workers", "2", "--out", str(out))
    words += ("--only", "6b-[fl]t/1", "--data", few_jets(tmp_path))
    status, told, err = said(capsys, *words)
    assert (status, err) == (1, "")
    assert told.startswith("0 of 10 trainings\n")
    assert "failed: 6b-lt/1: 6b-lt: " in told
    assert "holds 'notes.txt' and no run.json" in told
    assert told.endswith(f"report: {out / 'report.html'}\n")
    assert "holds &#39;notes.txt&#39;" in (out / "report.html").read_text()
