"""What a terminal shows of a network in integers: its ops, its files, its proof, its latency."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pareq.backends import Artefact
from pareq.backends import verify as compare
from pareq.errors import BackendError, MissingExtra
from pareq.ir.execute import quantize_inputs
from pareq.report.record import read_cost
from pareq.report.structure import accumulators, removals, steps
from pareq.report.words import count, plural, size
from pareq.tasks.base import TASKS, Judged
from pareq.train.deploy import Lowered, home, load_artefact
from pareq.train.latency import PEER, Latency, float32_peer, keep_latencies, latencies
from pareq.train.run import open_run
from pareq.train.trial import reopen

__all__ = ["Proof", "Race", "files", "lowered"]

Progress = Callable[[int, int], None]

_CHUNK = 100_000  # random samples between two looks at the progress


def lowered(found: Lowered) -> RenderableType:
    """The ops of a graph, its largest accumulator, what was removed, and how it agrees."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("module", "op"):
        table.add_column(name, no_wrap=True)
    for name in ("shape", "bits", "integers", "a step is"):
        table.add_column(name, justify="right")
    table.add_column("holds")
    for step in steps(found.graph):
        row = (step.path, step.kind, step.size, str(step.bits), step.range, step.grid)
        table.add_row(*(Text(_plain(each)) for each in (*row, step.constants)))
    return Group(table, *(Text(line) for line in _sentences(found)))


def _sentences(found: Lowered) -> Iterator[str]:
    widest = accumulators(found.graph)[:1]
    for each in widest:
        yield f"widest accumulator: {each.bits} bits, {_plain(each.range)} in {each.path}"
    result = open_run(found.folder).result
    if result is not None:
        gone = removals(found.graph, read_cost(result.cost))
        channels, zeros = sum(e.channels for e in gone), sum(e.zeros for e in gone)
        weights = sum(each.weights[0] for each in gone)
        yield f"removed: {plural(channels, 'channel')}, {count(zeros)} of {count(weights)} weights"
    agrees = found.agrees
    task = open_run(found.folder).about.task
    judged = TASKS[task].judged if task in TASKS else Judged()
    score = found.test.get(judged.figure)
    if isinstance(score, float):
        shown = f"{judged.factor * score:.2f} {judged.unit}".rstrip()
        yield f"{judged.label} on {agrees.rows:,} test samples: {shown}"
    yield (
        f"beside the network in float64: {agrees.float64_differ} of {agrees.outputs:,} outputs"
        " differ"
    )
    yield f"beside the network in float32: {_float32(found)}"


def _float32(found: Lowered) -> str:
    agrees = found.agrees
    line = f"{agrees.float32_differ} of {agrees.outputs:,} outputs differ"
    if not agrees.float32_differ:
        return line
    line += f"; at {agrees.explained_by_ties} of them a rounding tie fell on the other side"
    return f"{line}, float32 being off by {agrees.farthest:.1g} of a step or less"


def files(made: Artefact) -> RenderableType:
    """The files of an artefact with their sizes."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column(justify="right")
    for name in made.files:
        path = made.folder / name
        lines = "" if _binary(path) else plural(path.read_text().count("\n"), "line")
        table.add_row(str(path), _plain(size(path.stat().st_size)), lines)
    return table


def _binary(path: Path) -> bool:
    return b"\0" in path.read_bytes()[:4096] or path.suffix == ".onnx"


@dataclass(frozen=True)
class Proof:
    """An artefact and the samples to hold it to; x: integers of the test split, if known."""

    artefact: Artefact
    x: tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], ...]
    rows: int
    seed: int

    @classmethod
    def of(cls, place: Path, rows: int, seed: int) -> "Proof":
        """The artefact in a folder, and the test split of its run."""
        artefact, run = load_artefact(place), home(place)
        if run is None:
            return cls(artefact, (), rows, seed)
        _, task, _ = reopen(run)
        x = quantize_inputs(artefact.graph, task.load().test.x.numpy())
        return cls(artefact, x, rows, seed)

    def run(self, progress: Progress) -> str:
        """What was compared without a difference, in words. Raises BackendError."""
        given = len(self.x[0]) if self.x else 0
        total = given + 2 + self.rows
        done = compare(self.artefact, self.artefact.graph, *self.x, rows=0)
        samples, integers = done.samples, done.integers
        progress(samples, total)
        for number, begin in enumerate(range(0, self.rows, _CHUNK)):
            part = min(_CHUNK, self.rows - begin)
            seed = self.seed * 1_000_003 + number
            done = compare(self.artefact, self.artefact.graph, rows=part, seed=seed)
            extremes = done.samples - part
            samples += part
            integers += done.integers * part // (part + extremes)
            progress(samples, total)
        split = f"test split {given:,}" if given else "no run, so no test split"
        return (
            f"{samples:,} samples, {integers:,} integers equal ({split}, extremes 2, random"
            f" {self.rows:,})"
        )


@dataclass(frozen=True)
class Race:
    """Programs of one network that are timed side by side; missing: why the float one is not."""

    run_folder: Path | None
    programs: dict[str, Artefact]
    missing: str = ""

    @classmethod
    def over(cls, places: Iterable[Path]) -> "Iterator[Race]":
        """One race a run, with all of its artefacts that are given."""
        groups: dict[Path | None, dict[str, Artefact]] = {}
        for place in places:
            artefact = load_artefact(place)
            name = artefact.backend.name
            group = groups.setdefault(home(place), {})
            group[name if name not in group else str(place)] = artefact
        for run, programs in groups.items():
            peer, missing = _peer(run, next(iter(programs.values())))
            yield cls(run, programs | ({PEER: peer} if peer else {}), missing)

    def run(self, rows: int, seconds: float, progress: Progress) -> tuple[Latency, ...]:
        """Measure all by turns, and note it in the run."""
        found = latencies(self.programs, rows=rows, seconds=seconds, progress=progress)
        if self.run_folder is not None:
            keep_latencies(self.run_folder, found)
        return found

    def table(self, found: Sequence[Latency]) -> Table:
        """Times, and how many times as fast as the float network."""
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("one thread", no_wrap=True, vertical="bottom")
        peer = next((each for each in found if each.program == PEER), None)
        most = max(each.rows for each in found)
        for name in (f"ns a sample,\n{most:,} at once", "µs a call\nwith one"):
            table.add_column(name, justify="right")
            if peer:
                table.add_column("times\nas fast", justify="right")
        for each in found:
            cells = [f"{each.sample_ns:.3g}", f"{each.call_us:.3g}"]
            if peer:
                cells.insert(1, f"{peer.sample_ns / each.sample_ns:.3g}")
                cells.append(f"{peer.call_us / each.call_us:.3g}")
            fewer = f" ({each.rows:,} at once)" if each.rows < most else ""
            table.add_row(f"{each.program}{fewer}", *cells)
        return table


def _peer(run: Path | None, artefact: Artefact) -> tuple[Artefact | None, str]:
    """The float network of a run in ONNX Runtime, or why it is not there."""
    if run is None:
        return None, "no run above it, so no float network to compare with"
    _, task, net = reopen(run)
    try:
        return float32_peer(net, artefact.graph, task.example), ""
    except (MissingExtra, BackendError) as error:
        return None, f"without the float network: {error}"


def _plain(text: str) -> str:
    """With plain spaces and minus signs, which every terminal has."""
    return text.replace("\u202f", " ").replace("\u2212", "-")
