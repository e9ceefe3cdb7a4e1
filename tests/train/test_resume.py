"""A killed run goes on bit for bit: real processes, real SIGKILL."""

import random
import signal
import time

import pytest

from pareq.train import checkpoint
from pareq.train.run import open_run
from tests.train.toy import everything
from tests.train.victim import Nursery

SLOW = {"pause": 0.01, "every": 0.02}  # every write takes a while, and there are many


@pytest.fixture(scope="module")
def nursery():
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="module")
def straight(nursery, tmp_path_factory):
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert nursery.train(folder) == 0
    return folder


@pytest.fixture(scope="module")
def seconds(nursery, straight, tmp_path_factory):
    """How long such a run takes with slow writes, on this machine, today."""
    began = time.monotonic()
    assert nursery.train(tmp_path_factory.mktemp("timed") / "run", **SLOW) == 0
    return time.monotonic() - began


def _torn(folder) -> bool:
    """Whether the last write was cut off in its middle."""
    journal = folder / "metrics.jsonl"
    torn_line = journal.exists() and journal.read_bytes()[-1:] not in (b"", b"\n")
    return torn_line or any(folder.rglob(".*.tmp"))


def _assert_same(run, straight) -> None:
    assert everything(run) == everything(straight)
    mine, its = open_run(run), open_run(straight)
    assert mine.result.test == its.result.test
    assert mine.result.cost == its.result.cost
    assert mine.about == its.about
    last, its_last = (
        checkpoint.read(checkpoint.newest(f / "checkpoints")) for f in (run, straight)
    )
    assert last.tensors.keys() == its_last.tensors.keys()
    for name, tensor in last.tensors.items():
        assert tensor.equal(its_last.tensors[name]), name
    assert {**last.facts, "seconds": 0} == {**its_last.facts, "seconds": 0}
    assert not list(run.rglob(".*.tmp"))


def _kill_in_write(nursery, folder, straight, number: int, every: float = 60.0) -> bool:
    """Kill a run half-way through a write, and go on; False when it made fewer writes."""
    code = nursery.train(folder, kill_at=number, every=every)
    if code == 0:
        return False
    assert code == -signal.SIGKILL
    assert _torn(folder)
    assert nursery.train(folder) == 0
    _assert_same(folder, straight)
    return True


def _kill_at_random(nursery, folder, straight, waits: list[float]) -> None:
    """Kill a run with slow writes after each of these seconds, then let it end."""
    for wait in waits:
        assert nursery.train(folder, kill_after=wait, **SLOW) in (0, -signal.SIGKILL)
    assert nursery.train(folder) == 0
    _assert_same(folder, straight)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 5, 8, 13, 18])
def test_killed_while_it_writes(nursery, straight, tmp_path, number):
    assert _kill_in_write(nursery, tmp_path / "run", straight, number)


def test_killed_at_random_moments(nursery, straight, seconds, tmp_path):
    chance = random.Random(0)
    waits = [chance.uniform(0.1, 0.6) * seconds for _ in range(4)]
    _kill_at_random(nursery, tmp_path / "run", straight, waits)


def test_checkpoints_within_epochs_change_nothing(nursery, straight, tmp_path):
    assert nursery.train(tmp_path / "run", every=0.0) == 0
    _assert_same(tmp_path / "run", straight)


@pytest.mark.slow
def test_killed_in_every_write(nursery, straight, tmp_path):
    number = 0
    while _kill_in_write(nursery, tmp_path / str(number), straight, number):
        number += 1
    assert number > 20


@pytest.mark.slow
def test_killed_in_writes_within_epochs(nursery, straight, tmp_path):
    for number in range(4, 70, 6):
        assert _kill_in_write(nursery, tmp_path / str(number), straight, number, every=0.0)


@pytest.mark.slow
def test_twenty_of_twenty_random_kills(nursery, straight, seconds, tmp_path):
    chance = random.Random(1)
    for number in range(20):
        waits = [chance.uniform(0, 1) * seconds]
        _kill_at_random(nursery, tmp_path / str(number), straight, waits)
