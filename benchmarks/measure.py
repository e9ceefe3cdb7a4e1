"""What every benchmark shares: interleaved timing, rows, a table, --json."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pareq.ir.execute import evaluate
from pareq.ir.graph import Graph
from pareq.tasks.base import Task

Record = dict[str, object]


@dataclass(frozen=True)
class Row:
    """One comparison: ours beside a peer. ratio = ours / peer; holds: ratio <= bar.

    With at_least, more is better: holds: ratio >= bar.
    """

    case: str
    metric: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    bar: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the bar is met; None when there is none."""
        if self.bar is None:
            return None
        return self.ratio >= self.bar if self.at_least else self.ratio <= self.bar


def interleave(
    steps: Mapping[str, Callable[[], None]], blocks: int, per_block: int, warm_up: int = 20
) -> dict[str, list[float]]:
    """Milliseconds per call of each step, one number per block; the order turns at every block."""
    for step in steps.values():
        for _ in range(warm_up):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for block in range(blocks):
        for name in names if block % 2 else reversed(names):
            start = time.perf_counter()
            for _ in range(per_block):
                steps[name]()
            times[name].append((time.perf_counter() - start) / per_block * 1e3)
    return times


def compare(
    case: str,
    metric: str,
    ours: Sequence[float],
    peer: Sequence[float],
    peer_name: str,
    bar: float | None,
) -> Row:
    """A row from paired blocks: medians, and the median of the ratios of the pairs."""
    ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
    medians = statistics.median(ours), statistics.median(peer)
    return Row(case, metric, *(round(m, 4) for m in medians), peer_name, round(ratio, 3), bar)


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser


class Kept:
    """Records in a file that grows while a benchmark runs; without a file, those of this run."""

    def __init__(self, file: Path | None) -> None:
        self.file, self._own = file, list[Record]()

    def all(self) -> list[Record]:
        """What was measured, by another process in the meantime too."""
        if self.file is None or not self.file.exists():
            return self._own
        found: list[Record] = json.loads(self.file.read_text())
        return found

    def like(self, key: Record) -> list[Record]:
        """The records that hold the key."""
        return [each for each in self.all() if key.items() <= each.items()]

    def add(self, key: Record, figures: Record) -> None:
        """Keep the figures of a key, instead of those that it had."""
        old = self.like(key)
        self._own = [*(each for each in self.all() if each not in old), key | figures]
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(self._own, indent=1) + "\n")


def accuracy(graph: Graph, task: Task) -> float:
    """Of the integers of a classifier, on the test split."""
    test = task.load().test
    right = evaluate(graph, test.x.numpy())[0].argmax(axis=1) == test.y.numpy()
    return float(right.mean())


def report(rows: Sequence[Row], file: Path | None) -> None:
    """Print the rows, and write them where asked."""
    table = Table("case", "metric", "ours", "peer", "", "ratio", "bar", "holds")
    for r in rows:
        verdict = {True: "yes", False: "NO", None: ""}[r.holds]
        bar = "" if r.bar is None else f"{r.bar:.4g}"
        cells = (r.case, r.metric, f"{r.ours:.5g}", f"{r.peer:.5g}", r.peer_name, f"{r.ratio:.3f}")
        table.add_row(*cells, bar, verdict)
    Console().print(table)
    if file is not None:
        new = [asdict(r) | {"holds": r.holds} for r in rows]
        cases = {r["case"] for r in new}
        old = json.loads(file.read_text()) if file.exists() else []
        kept = [r for r in old if r["case"] not in cases]  # cases that were not measured this time
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(new + kept, indent=1) + "\n")
