"""The driver and a descent: what is done is done once, what fails stops nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pareq.errors import MissingExtra, StudyError
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.recipe.recipe import Recipe
from pareq.search.executor import InProcess, Outcome
from pareq.studies import base, qap
from pareq.studies.base import STUDIES, drive, left_out, read_errors
from pareq.studies.descent import Descent, read_state
from pareq.studies.herd import Herd
from pareq.studies.qap import Qap
from pareq.train.run import open_run
from tests.studies.small import FRACTIONS, protocol, study

ONLY = "6b-[fl]t/1"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Fine-tuning and lottery ticket at 6 bits; the study, its folder, what was told."""
    folder = tmp_path_factory.mktemp("study")
    made, told = study(folder), []
    run = {"only": ONLY, "together": 1, "tell": told.append}
    assert drive(made, folder / "out", InProcess(), **run) == {}
    return made, folder / "out", told


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}


def test_a_descent_is_a_folder_of_runs(ran):
    """Each state prunes a share of what is left, and says what its layers say."""
    made, out, _ = ran
    for method in ("ft", "lt"):
        descent = made.trials(out)[f"6b-{method}/1"]
        assert descent.done == descent.states == len(FRACTIONS) + 1
        runs = [open_run(descent.state(n)) for n in range(descent.states)]
        assert [run.result.cost["alive"] for run in runs] == [4256, 2128, 1064]
        assert [run.about.label for run in runs][1] == f"6b-{method} 50.0% pruned"
        command = " ".join(runs[1].about.command)
        assert command.startswith("pareq study qap --matrix quick --data ")
        assert " --epochs 1 --repeats 1 --set batch_size=256 --set rewind=1 --set " in command
        assert command.endswith(f"--set fractions=[0.5,0.5] --set shapes=2 --only 6b-{method}/1")
        for n, run in enumerate(runs):
            state = read_state(descent.state(n))
            matrix = run.result.test["confusion"]
            assert len(state.predicted) == sum(map(sum, matrix)) == state.information.samples
            columns = [sum(row[c] for row in matrix) for c in range(5)]
            assert [(state.predicted == c).sum() for c in range(5)] == columns
            assert [e.path for e in state.information.layers] == ["bn1", "bn2", "bn3", "fc4"]


def test_a_lottery_ticket_begins_each_state_with_the_first_weights(ran):
    _, out, _ = ran
    starts = {
        method: [
            (out / f"6b-{method}/1/state-0{n}/weights-start.safetensors").read_bytes()
            for n in range(3)
        ]
        for method in ("ft", "lt")
    }
    assert len(set(starts["lt"])) == 1
    assert len(set(starts["ft"])) == 3
    assert starts["ft"][0] == starts["lt"][0]


def test_progress_is_told(ran):
    _, _, told = ran
    assert (told[0].done, told[0].total, told[0].left) == (0, 6, None)
    assert (told[-1].done, told[-1].total, told[-1].left, told[-1].failed) == (6, 6, 0.0, 0)


def test_what_is_done_is_not_done_again(ran):
    made, out, _ = ran
    before = times(out)
    assert drive(made, out, InProcess(), only=ONLY) == {}
    assert times(out) == before


def test_a_folder_of_another_study_is_refused(ran, tmp_path):
    """With what differs."""
    made, out, _ = ran
    with pytest.raises(StudyError) as caught:
        drive(study(tmp_path, epochs=2), out, InProcess(), only=ONLY)
    assert str(caught.value).startswith(f"study qap: {out}: began with data = ")
    assert str(caught.value).endswith("go back to the former value, or use another folder")
    with pytest.raises(StudyError) as caught:
        drive(replace(made, protocol=protocol(epochs=2)), out, InProcess(), only=ONLY)
    assert "began with protocol.epochs = 1, now it is 2;" in str(caught.value)


def test_a_name_that_no_trial_has(ran):
    made, out, _ = ran
    with pytest.raises(StudyError) as caught:
        drive(made, out, InProcess(), only="6b-fd/1")
    assert str(caught.value) == (
        "study qap: none of 14 trials is called '6b-fd/1'; a name is such as '32b-ft/1',"
        " pareq study qap --dry-run lists them"
    )


@dataclass
class Note:
    """An executor that notes what it shall run, and says `outcomes` of it."""

    outcomes: tuple[Outcome, ...] = ()
    names: list[str] = field(default_factory=list)
    places: int = 14
    works: dict[str, object] = field(default_factory=dict)

    def run(self, works, tell, watch=None):
        self.names += list(works)
        self.works = dict(works)
        for outcome in self.outcomes:
            tell(outcome)


def test_searches_are_left_out_without_botorch(tmp_path, monkeypatch):
    """Nothing fails, they are named beforehand, and asking for them alone is an error."""
    monkeypatch.setattr(qap, "lacking", lambda: MissingExtra("botorch", "bayes"))
    made, note = study(tmp_path, repeats=2), Note()
    named = left_out(made, tmp_path / "out", "6b-[bd]*")
    assert list(named) == ["6b-bo/1", "6b-bo/2"]
    assert drive(made, tmp_path / "out", note, only="6b-[bd]*") == {}
    assert note.names == ["6b-dense/1", "6b-dense/2"]
    with pytest.raises(MissingExtra) as caught:
        drive(made, tmp_path / "out", note, only="6b-bo/*")
    assert str(caught.value) == (
        "study qap: botorch is not installed; run: pip install 'pareq[bayes]'"
    )
    monkeypatch.setattr(qap, "lacking", lambda: None)
    drive(made, tmp_path / "out", note, only="6b-bo/1")
    assert note.names[2:] == ["6b-bo/1", "6b-bo/1 helper 1", "6b-bo/1 helper 2"]


@pytest.mark.parametrize(
    ("places", "together", "sizes"),
    [
        (1, None, [6, 5, 2, 1]),  # of eleven with batch normalisation, and two without; a search
        (2, None, [6, 5, 2, 1]),
        (4, None, [4, 4, 3, 2, 1]),  # fourteen trials on four workers
        (20, None, [1] * 14),
        (1, 1, [1] * 14),
        (1, 3, [3, 3, 3, 2, 2, 1]),
    ],
)
def test_trials_are_trained_together(tmp_path, places, together, sizes):
    """Up to eight where nothing is said; fewer where a worker would have nothing to do.

    Several workers do a search, for which two help where there is more than one at all; last.
    """
    note = Note(places=places)
    drive(study(tmp_path), tmp_path / "out", note, together=together)
    helpers = [name for name in note.names if "helper" in name]
    assert helpers == ["6b-bo/1 helper 1", "6b-bo/1 helper 2"] * (places > 1)
    assert note.names[len(note.names) - len(helpers) :] == helpers
    works = [work for name, work in note.works.items() if name not in helpers]
    found = [len(work.descents) if isinstance(work, Herd) else 1 for work in works]
    assert sorted(found, reverse=True) == sizes


def test_a_study_that_trains_each_trial_by_itself(tmp_path):
    made = STUDIES["order"].made("quick", "", None, None)
    with pytest.raises(StudyError) as caught:
        drive(made, tmp_path / "out", Note(), together=8)
    assert str(caught.value) == (
        "study order: trains each trial by itself, got together 8; leave it out, or give 1"
    )
    assert not (tmp_path / "out").exists()
    drive(made, tmp_path / "out", Note(), together=1)


def test_workers_that_write_elsewhere(tmp_path):
    """They have ended, but their folder is not here."""
    note = Note((Outcome("6b-ft/1", 5),))
    with pytest.raises(StudyError) as caught:
        drive(study(tmp_path), tmp_path / "out", note, only=ONLY)
    assert str(caught.value) == (
        f"study qap: 6b-ft/1 has ended, but {tmp_path / 'out'} does not hold it; use a folder that"
        " this process and all workers share"
    )


def test_drivers_side_by_side(tmp_path):
    """Each leaves the errors of the others alone; more repeats are no other study."""
    out = tmp_path / "out"
    for name in ("6b-ft-norm.off/1", "6b-lt/1"):
        failed = Note((Outcome(name, None, f"{name} went wrong"),))
        drive(study(tmp_path), out, failed, only=name)
    assert read_errors(out) == {
        name: f"{name} went wrong" for name in ("6b-ft-norm.off/1", "6b-lt/1")
    }
    again = Note()
    assert drive(study(tmp_path, repeats=3), out, again, only="6b-lt/*") == {
        "6b-ft-norm.off/1": "6b-ft-norm.off/1 went wrong"
    }
    assert again.names == ["6b-lt/1", "6b-lt/2", "6b-lt/3"]
    assert list(read_errors(out)) == ["6b-ft-norm.off/1"]


def test_who_helps_may_fail(ran, tmp_path):
    """What counts is whether the trial is done in the end."""
    made, out, _ = ran
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    missing = copy / "6b-ft/1/state-02"
    missing.rename(tmp_path / "aside")

    @dataclass
    class Late(Note):
        def run(self, works, tell, watch=None):
            tell(Outcome("6b-ft/1", None, "a helper has failed"))
            assert list(read_errors(copy)) == ["6b-ft/1"]
            (tmp_path / "aside").rename(missing)
            tell(Outcome("6b-ft/1", 3))

    told = []
    assert drive(made, copy, Late(), only="6b-ft/1", tell=told.append) == read_errors(copy) == {}
    assert [progress.failed for progress in told] == [0, 1, 0]


def test_a_look_that_takes_long_is_rare():
    """As over a slow network: a twentieth of the time."""

    class Slow:
        states = 1

        @property
        def done(self) -> int:
            time.sleep(0.15)
            return 1

    watch = base._Watch({"slow": Slow()}, None)
    watch.look()
    assert 3 <= watch.pause < 30


@pytest.mark.slow
def test_a_trial_that_fails_stops_nothing(ran, tmp_path):
    """It is told, kept in a file, in the report, and tried again the next time."""
    made, out, _ = ran
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    broken = copy / "6b-lt/1/state-02"
    shutil.rmtree(broken)
    broken.mkdir()
    (broken / "notes.txt").touch()
    told = []
    errors = drive(made, copy, InProcess(), only=ONLY, tell=told.append)
    assert list(errors) == ["6b-lt/1"]
    assert "holds 'notes.txt' and no run.json" in errors["6b-lt/1"]
    assert errors == read_errors(copy)
    assert (copy / "errors/6b-lt/1.txt").read_text() == errors["6b-lt/1"] + "\n"
    assert (told[-1].done, told[-1].failed) == (5, 1)
    page = made.report(copy).read_text()
    assert "holds &#39;notes.txt&#39;" in page
    (broken / "notes.txt").unlink()
    assert drive(made, copy, InProcess(), only=ONLY) == read_errors(copy) == {}
    straight, mended = (open_run(d / "6b-lt/1/state-02") for d in (out, copy))
    assert mended.epochs == straight.epochs
    assert mended.result.test == straight.result.test


def test_a_damaged_measurement_is_told_with_its_remedy(ran, tmp_path):
    made, out, _ = ran
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    file = copy / "6b-lt/1/state-01/study.json"
    file.write_text("{")
    with pytest.raises(StudyError) as caught:
        read_state(file.parent)
    assert str(caught.value).endswith("remove it and run the study again")
    assert "remove it and run the study again" in made.report(copy).read_text()


def test_a_descent_needs_something_to_prune(tmp_path):
    with pytest.raises(StudyError) as caught:
        Descent(str(tmp_path), "digits", dump_recipe(Recipe()), (0.5,), label="plain").run()
    assert str(caught.value) == ("plain: the recipe has no rule with the operator prune; add one")


def test_late_rewinding_goes_back_to_an_epoch(ran, tmp_path):
    """Its dense state is that of fine-tuning, its later ones begin with what was kept."""
    made, out, _ = ran
    tuned = made.trials(out)["6b-ft/1"]
    late = Descent(
        str(tmp_path), "jets", tuned.recipe, FRACTIONS[:1], tuned.options, rewind=1, label="late"
    )
    late.run()
    assert open_run(late.state(0)).epochs == open_run(tuned.state(0)).epochs
    kept = list((late.state(0) / "checkpoints").glob("kept-*.safetensors"))
    steps = open_run(late.state(0)).epochs[0].step
    assert [path.name for path in kept] == [f"kept-{steps:08d}.safetensors"]
    begun = [d.state(1) / "weights-start.safetensors" for d in (late, tuned)]
    assert begun[0].read_bytes() == begun[1].read_bytes()  # after one epoch the best is the last
    assert parse_recipe(open_run(late.state(1)).recipe).rules[0].when.fractions == (0.5,)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(ran, tmp_path):
    """The whole study, workers and all, again and again; the result is that of one sitting."""
    made, _, _ = ran
    words = [sys.executable, "-m", "pareq", "study", "qap", "--quick", "--data", made.data]
    words += ["--epochs", "1", "--repeats", "1", "--only", "6b-ft/1", "--workers", "1"]
    words += ["--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for state in (0, 2):
        sitting = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
        awaited = tmp_path / f"6b-ft/1/state-0{state}/run.json"
        for _ in range(1200):
            if awaited.exists():
                break
            time.sleep(0.05)
        sitting.send_signal(signal.SIGKILL)
        sitting.wait()
        time.sleep(0.5)
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith(f"report: {tmp_path / 'report.html'}\n")
    straight = tmp_path / "straight"
    assert drive(Qap.made("quick", made.data, 1, 1), straight, InProcess(), only="6b-ft/1") == {}
    for n in range(5):
        one, two = (open_run(f / f"6b-ft/1/state-0{n}") for f in (tmp_path, straight))
        assert one.epochs == two.epochs
        assert one.result.test == two.result.test
        files = [f / f"6b-ft/1/state-0{n}/study.json" for f in (tmp_path, straight)]
        assert files[0].read_bytes() == files[1].read_bytes()
