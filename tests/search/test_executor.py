"""Executors: the same outcomes in this process and in others, whatever dies."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pareq.errors import SearchError
from pareq.search.executor import InProcess, Outcome
from pareq.search.pool import Pool
from tests.search.work import Fatal, Refusal, Sleep, Square, Threads


def outcomes(executor, works) -> dict[str, Outcome]:
    told: dict[str, Outcome] = {}

    def tell(outcome):
        assert outcome.name not in told
        told[outcome.name] = outcome

    executor.run(works, tell)
    return told


def plain(told) -> dict[str, tuple]:
    """Without the times."""
    return {name: (o.value, o.error, o.attempts) for name, o in sorted(told.items())}


WORKS = {
    **{f"square {n}": Square(n) for n in range(4)},
    "refused": Refusal("pareq"),
    "wrong": Refusal("python"),
}


def test_in_this_process():
    """Values and errors in one line; nothing stops the rest."""
    told = plain(outcomes(InProcess(), WORKS))
    assert told["square 3"] == (9, "", 1)
    assert told["refused"] == (None, "somewhere: no rows", 1)
    assert told["wrong"] == (None, "ValueError: not a number", 1)
    assert len(told) == len(WORKS)


@pytest.mark.slow
def test_a_pool_says_the_same():
    """Serial = pool; each worker has one thread; the environment is as before."""
    before = dict(os.environ)
    works = WORKS | {"threads": Threads()}
    told = plain(outcomes(Pool(2), works))
    assert told.pop("threads") == (("1", 1), "", 1)
    assert told == plain(outcomes(InProcess(), WORKS))
    assert dict(os.environ) == before


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(tmp_path):
    """Its work is tried again, three times in all; the others do not notice."""
    for name in ("once", "always"):
        (tmp_path / name).mkdir()
    works = {
        "once": Fatal(str(tmp_path / "once"), 1),
        "always": Fatal(str(tmp_path / "always"), 99),
        **{f"square {n}": Square(n) for n in range(3)},
    }
    told = plain(outcomes(Pool(2), works))
    assert told["once"] == (1, "", 2)
    value, error, attempts = told["always"]
    assert (value, attempts) == (None, 3)
    assert error.startswith("its process ended with status -9")
    assert len(list((tmp_path / "always").iterdir())) == 3
    assert [told[f"square {n}"] for n in range(3)] == [(n * n, "", 1) for n in range(3)]


def alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_what_tell_raises_ends_everything():
    """At once, with no process left."""
    workers = []

    def tell(outcome):
        workers.append(outcome.value)
        raise RuntimeError("enough")

    began = time.monotonic()
    with pytest.raises(RuntimeError, match="enough"):
        Pool(2).run({"short": Sleep(0.1), "long": Sleep(120)}, tell)
    assert time.monotonic() - began < 60
    assert not alive(workers[0])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to look at processes")
def test_workers_end_with_their_parent(tmp_path):
    """Even when it is killed."""
    script = (
        "from pareq.search.pool import Pool\n"
        "from tests.search.work import Sleep\n"
        "if __name__ == '__main__':\n"
        "    tell = lambda outcome: print(outcome.value, flush=True)\n"
        "    Pool(1).run({'first': Sleep(0), 'second': Sleep(300)}, tell)\n"
    )
    (tmp_path / "script.py").write_text(script)
    root = str(Path(__file__).resolve().parents[2])
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    worker = int(parent.stdout.readline())
    assert alive(worker)
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if not alive(worker):
            break
        time.sleep(0.1)
    assert not alive(worker)


def test_nothing_to_do_is_done():
    assert outcomes(Pool(2), {}) == {}


@pytest.mark.parametrize("fields", [{"workers": 0}, {"attempts": 0}])
def test_a_pool_needs_workers(fields):
    (name,) = fields
    with pytest.raises(SearchError) as caught:
        Pool(**fields)
    assert str(caught.value) == f"pool.{name} must be 1 or more, got 0"
