"""Pieces of work for executors; they must be importable in other processes."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pareq.errors import DataError


@dataclass(frozen=True)
class Square:
    number: int

    def run(self) -> int:
        return self.number**2


@dataclass(frozen=True)
class Refusal:
    kind: str

    def run(self) -> None:
        if self.kind == "pareq":
            raise DataError("no rows", where="somewhere")
        raise ValueError("not\na number")


@dataclass(frozen=True)
class Fatal:
    """Kills its process `times` times, and leaves a mark each time it begins."""

    folder: str
    times: int

    def run(self) -> int:
        tried = len(list(Path(self.folder).iterdir()))
        (Path(self.folder) / str(tried)).touch()
        if tried < self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return tried


@dataclass(frozen=True)
class Sleep:
    seconds: float

    def run(self) -> int:
        time.sleep(self.seconds)
        return os.getpid()


@dataclass(frozen=True)
class Threads:
    def run(self) -> tuple[str, int]:
        import torch

        return os.environ["OMP_NUM_THREADS"], torch.get_num_threads()
