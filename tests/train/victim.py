"""Trains toy runs in processes that may be killed; imports torch once and forks for each.

Reads a JSON object a line: `folder`; `kill_at`, the number of the write half-way through which it
dies, or null; `kill_after`, seconds after which it is killed, or null; `pause`, seconds in the
middle of every write; `every`, seconds between checkpoints within an epoch. Answers with the exit
code.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from subprocess import PIPE, Popen

import torch
import torch._dynamo  # an optimizer imports it at its first step, which takes seconds

from pareq.train import durable
from pareq.train.loop import Keep, train
from tests.train.toy import Toy, network, rules


def _torn(kill_at: int | None, pause: float) -> None:
    """Make each write stop in its middle, and one of them the last thing that happens."""
    whole = durable._write
    count = 0

    def write(descriptor: int, data: bytes) -> None:
        nonlocal count
        half = len(data) // 2
        whole(descriptor, data[:half])
        time.sleep(pause)
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        whole(descriptor, data[half:])

    durable._write = write


def _child(order: dict[str, object]) -> None:
    torch.set_num_threads(1)
    _torn(order["kill_at"], order["pause"])
    begun = any(Path(order["folder"]).glob("checkpoints/step-*"))
    net = network(*rules(), start=1 if begun else 0)  # once begun, another start must not matter
    train(net, Toy(), out=order["folder"], keep=Keep(seconds=order["every"]))


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _child(order)
                code = 0
            finally:
                if code:
                    traceback.print_exc()
                sys.stderr.flush()
                os._exit(code)
        if order["kill_after"] is not None:
            time.sleep(order["kill_after"])
            os.kill(pid, signal.SIGKILL)  # it may have ended, but is still ours
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


class Nursery:
    """The process that forks, seen from a test."""

    def __init__(self) -> None:
        self.process = Popen(
            [sys.executable, "-m", "tests.train.victim"],
            cwd=Path(__file__).parents[2],
            stdin=PIPE,
            stdout=PIPE,
            text=True,
        )

    def train(
        self,
        folder: Path,
        *,
        kill_at: int | None = None,
        kill_after: float | None = None,
        pause: float = 0.0,
        every: float = 60.0,
    ) -> int:
        """Begin a run, or go on with it, until it ends or is killed; its exit code."""
        order = {"folder": str(folder), "kill_at": kill_at, "kill_after": kill_after}
        self.process.stdin.write(json.dumps(order | {"pause": pause, "every": every}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


if __name__ == "__main__":
    main()
