"""What a demonstration ends with: networks in integers, and one of them as a proved C program."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from pareq.backends.c.compiler import find
from pareq.cli.integers import Proof, Race
from pareq.cli.live import Counter
from pareq.cli.options import say
from pareq.errors import BackendError, RunError
from pareq.train.deploy import Lowered, build_run, lower_run, open_lowered
from pareq.train.latency import PEER, Latency

__all__ = ["finish", "lower_all"]

_ROWS = 1_000_000  # random samples of the proof
_SECONDS = 0.05  # of each measurement
_BATCH = 1024


def lower_all(runs: Sequence[Path]) -> None:
    """Lower the runs that have no graph of their best network yet. Raises LoweringError."""
    for run in runs:
        _lowered(run)


def finish(console: Console, runs: Sequence[Path], program: Path) -> None:
    """Say how runs agree with their integers; build, prove and time one of them in C.

    Without a C compiler it says what to install. Raises LoweringError, BackendError.
    """
    for run in runs:
        say(console, f"{run} in integers: {_agrees(_lowered(run))}")
    try:
        find()
    except BackendError as error:
        say(console, f"no program was built: {error}; then say it again")
        return
    with console.status("compiling"):
        made = build_run(program, "c")
    source = made.folder / f"{made.name}.c"
    lines = source.read_text().count("\n")
    say(console, f"C: {source}, {source.stat().st_size:,} bytes, {lines:,} lines")
    with Counter(console, "samples", lines=0) as samples:
        proved = Proof.of(made.folder, _ROWS, seed=0).run(samples.tell)
    say(console, f"proved: {proved}")
    for race in Race.over([made.folder]):
        with Counter(console, "measurements", lines=0) as measured:
            found = race.run(_BATCH, _SECONDS, measured.tell)
        for line in _times(found):
            say(console, line)


def _lowered(run: Path) -> Lowered:
    try:
        return open_lowered(run)
    except RunError:  # not yet, or of another checkpoint
        return lower_run(run)


def _agrees(found: Lowered) -> str:
    agrees, accuracy = found.agrees, found.test.get("accuracy")
    shown = f"accuracy {100 * accuracy:.2f} %, " if isinstance(accuracy, float) else ""
    return f"{shown}{agrees.float64_differ} of {agrees.outputs:,} outputs differ from float64"


def _times(found: Sequence[Latency]) -> Iterator[str]:
    for each in found:
        name = f"beside {PEER}" if each.program == PEER else "latency"
        yield (
            f"{name}: {each.sample_ns:.3g} ns a sample in batches of {each.rows:,},"
            f" {each.call_us:.3g} µs a call from Python"
        )
