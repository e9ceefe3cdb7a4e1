"""Claims: one process at a time, whatever dies; no clock is compared."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from pareq.errors import SearchError
from pareq.search import claim
from pareq.search.claim import claimed, held, under_claim

LEASE = 0.6
ELSEWHERE = {"host": "far", "place": "far away", "process": "17", "began": "4"}


def test_a_claim_ends_with_its_block(tmp_path):
    """Also when the block fails."""
    folder = tmp_path / "new/trial"
    with claimed(folder) as held:
        held.check()
        assert [path.name for path in folder.iterdir()] == ["claim-1"]
        assert json.loads(held.path.read_text())["process"] == str(os.getpid())
    assert not list(folder.iterdir())
    with pytest.raises(ZeroDivisionError), claimed(folder):
        _ = 1 / 0
    assert not list(folder.iterdir())


def test_a_living_process_here_keeps_it(tmp_path):
    with claimed(tmp_path), pytest.raises(SearchError) as caught, claimed(tmp_path, LEASE):
        pass
    assert str(caught.value).startswith(
        f"{tmp_path}: is being worked in by process {os.getpid()} on "
    )
    assert str(caught.value).endswith("; wait for it, or stop it")


def test_work_under_a_claim(tmp_path):
    """Done once; left to a living process, after a wait; errors come through."""
    folder, did = tmp_path / "work", []

    def work(mine) -> None:
        assert held(folder)
        mine.check()
        did.append(mine.number)

    assert not held(folder)
    under_claim(folder, lambda: bool(did), work)
    under_claim(folder, lambda: bool(did), work)
    assert did == [1]
    with claimed(folder):
        under_claim(folder, lambda: False, work, LEASE)  # returns, though nothing is done
    assert did == [1]
    assert not held(folder)

    def fail(_) -> None:
        raise SearchError("has failed", where="work")

    with pytest.raises(SearchError, match="work: has failed"):
        under_claim(folder, lambda: False, fail)
    (tmp_path / "file").touch()
    with pytest.raises(SearchError, match="cannot be worked in"):
        under_claim(tmp_path / "file/folder", lambda: False, work)


def test_a_dead_process_here_is_replaced_at_once(tmp_path):
    """Known by its number and the time when it began; half a claim is waited for."""
    content = claim._oneself()
    (tmp_path / "claim-7").write_text(json.dumps(content | {"began": "1"}))
    began = time.monotonic()
    with claimed(tmp_path) as held:
        assert held.number == 8
        assert not (tmp_path / "claim-7").exists()
    assert time.monotonic() - began < claim.LEASE / 4
    (tmp_path / "claim-2").write_text("{")
    with claimed(tmp_path, LEASE) as held:
        assert held.number == 3


def _hold(folder: str) -> None:
    with claimed(Path(folder)):
        time.sleep(600)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_process_is_replaced_at_once(tmp_path):
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(tmp_path),))
    holder.start()
    file = tmp_path / "claim-1"
    while not file.exists() or not file.read_text():
        time.sleep(0.02)
    os.kill(holder.pid, signal.SIGKILL)
    if Path("/proc/self/stat").exists():
        began = time.monotonic()
        with claimed(tmp_path) as held:  # it may still be waited for by its parent
            assert held.number == 2
        assert time.monotonic() - began < claim.LEASE / 4
    holder.join()


def test_a_machine_that_is_silent_for_a_lease_is_replaced(tmp_path):
    file = tmp_path / "claim-1"
    file.write_text(json.dumps(ELSEWHERE))
    began = time.monotonic()
    with claimed(tmp_path, LEASE) as held:
        assert held.number == 2
    assert time.monotonic() - began >= LEASE


def test_a_machine_that_goes_on_keeps_it(tmp_path, monkeypatch):
    """It touches its claim; seen from elsewhere."""
    with claimed(tmp_path, LEASE):
        monkeypatch.setattr(claim, "_place", lambda: "another place")
        found = pytest.raises(SearchError, match="is being worked in by process")
        with found, claimed(tmp_path, LEASE):
            pass


def test_who_was_taken_for_dead_stops(tmp_path):
    """As soon as it looks; what the other has is left alone."""
    with claimed(tmp_path) as slow:
        (tmp_path / "claim-2").write_text(json.dumps(ELSEWHERE))
        with pytest.raises(SearchError) as caught:
            slow.check()
    assert str(caught.value) == (
        f"{tmp_path}: was taken over by another process, because this one did not answer; what it"
        " saved is kept"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["claim-2"]


def test_one_of_several_gets_it(tmp_path, monkeypatch):
    """Who finds the next number taken looks again."""
    numbers = iter([[], [1], []])
    monkeypatch.setattr(claim, "_numbers", lambda folder: next(numbers))
    (tmp_path / "claim-1").write_text(json.dumps(ELSEWHERE))
    monkeypatch.setattr(claim, "_await_end", lambda path, lease: path.unlink())
    with claimed(tmp_path) as held:
        assert held.number == 2


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SearchError) as caught, claimed(tmp_path / "file"):
        pass
    assert str(caught.value) == f"{tmp_path / 'file'}: cannot be worked in (File exists)"
