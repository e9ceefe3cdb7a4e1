"""The journal of a run: `metrics.jsonl`, one line an epoch, only ever appended or cut.

It holds no wall times, so that a resumed run writes the same bytes as one that was never stopped.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pareq.errors import RunError
from pareq.train import durable

__all__ = ["Epoch", "append", "read", "rewind"]


@dataclass(frozen=True)
class Epoch:
    """One epoch, measured at its end.

    epoch, step: how many are done. train_loss: mean over the samples as they were trained, without
    the penalty; penalty: mean over the steps. val_loss, val_accuracy: of the whole validation
    split. sparsity: fraction of the weights at sites that compute as zero. bits: mean bits of a
    weight. settled: all schedules have ended, so that the epoch counts for the best checkpoint.
    stopping: what penalties add to the validation loss before it is judged.
    """

    epoch: int
    step: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    sparsity: float
    bits: float
    learning_rate: float
    penalty: float
    settled: bool
    stopping: float = 0.0


def append(path: Path, epoch: Epoch) -> None:
    """Add a line; raises RunError when the disk is full, and then the file is as it was."""
    durable.append(path, (json.dumps(asdict(epoch), allow_nan=False) + "\n").encode())


def read(path: Path) -> tuple[Epoch, ...]:
    """All whole lines; a last line that was torn by a kill is left out.

    Raises RunError for a damaged line before the last.
    """
    return tuple(epoch for epoch, _ in _lines(path))


def rewind(path: Path, epochs: int) -> tuple[Epoch, ...]:
    """Cut what was written after so many epochs, and a torn last line; return the rest.

    Raises RunError for a damaged line before that.
    """
    kept = [(epoch, end) for epoch, end in _lines(path) if epoch.epoch <= epochs]
    size = kept[-1][1] if kept else 0
    if path.exists() and path.stat().st_size > size:
        durable.cut(path, size)
    return tuple(epoch for epoch, _ in kept)


def _lines(path: Path) -> list[tuple[Epoch, int]]:
    """Each whole line and the byte after it."""
    if not path.exists():
        return []
    found: list[tuple[Epoch, int]] = []
    end = 0
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn
    for number, line in enumerate(lines, 1):
        end += len(line) + 1
        epoch = _parsed(line)
        if epoch is None and number < len(lines):
            raise RunError(
                f"line {number} is damaged; restore the file, or start anew in another folder",
                where=str(path),
            )
        if epoch is not None:
            found.append((epoch, end))
    return found


def _parsed(line: bytes) -> Epoch | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or {"stopping", *entry} != {f.name for f in fields(Epoch)}:
        return None  # earlier journals have no `stopping`
    return Epoch(**entry)
