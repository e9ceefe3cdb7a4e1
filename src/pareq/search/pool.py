"""A pool of worker processes on this machine, each with one thread.

A worker that dies is replaced and its piece of work tried again. Workers end with their parent,
whatever ends it: nothing goes on in the background, and nothing that was saved is lost.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from pareq.errors import SearchError
from pareq.search.executor import (
    SINGLE_THREAD,
    Outcome,
    Taken,
    Tell,
    Work,
    attempt,
    environment,
    usable_cores,
)

__all__ = ["Pool"]

_GLANCE = 0.2  # seconds between two calls of `watch`


@dataclass(frozen=True)
class Pool:
    """Runs work in `workers` processes (None: one a core). attempts: of work whose process dies."""

    workers: int | None = None
    attempts: int = 3

    def __post_init__(self) -> None:
        for name in ("workers", "attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SearchError(f"pool.{name} must be 1 or more, got {value}")

    @property
    def places(self) -> int:
        """How many workers there are."""
        return self.workers or usable_cores()

    def run(
        self, works: Mapping[str, Work], tell: Tell, watch: Callable[[], None] | None = None
    ) -> None:
        """See `Executor.run`."""
        crew = _Crew(deque(works.items()), self.attempts)
        try:
            while crew.busy or crew.waiting:
                crew.fill(min(self.places, len(works)))
                for outcome in crew.ended():
                    tell(outcome)
                if watch is not None:
                    watch()
        finally:
            crew.dismiss()


@dataclass
class _Worker:
    """A process, and the line to it."""

    process: BaseProcess
    line: Connection


@dataclass
class _Crew:
    """The workers: those with a piece of work, and those without."""

    waiting: "deque[tuple[str, Work]]"
    attempts: int
    busy: list[tuple[_Worker, Taken]] = field(default_factory=list)
    idle: list[_Worker] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=dict)

    def fill(self, places: int) -> None:
        """Give work to as many workers as there shall be."""
        while self.waiting and len(self.busy) < places:
            name, work = self.waiting.popleft()
            worker = self.idle.pop() if self.idle else _hired()
            self.tried[name] = self.tried.get(name, 0) + 1
            task = Taken(name, work, self.tried[name], time.monotonic())
            self.busy.append((worker, task))
            with suppress(OSError):  # it has died; `ended` finds out
                worker.line.send((name, work))

    def ended(self) -> Iterator[Outcome]:
        """Wait a little, then what has ended since; work of the dead waits again."""
        connection.wait([worker.line for worker, _ in self.busy], timeout=_GLANCE)
        for worker, task in list(self.busy):
            dead = not worker.process.is_alive()
            outcome = _answer(worker)
            if outcome is None and not dead:
                continue
            self.busy.remove((worker, task))
            if not dead:
                self.idle.append(worker)
            if outcome is not None:
                yield replace(outcome, attempts=task.attempt)
            elif task.attempt < self.attempts:
                self.waiting.append((task.name, task.work))
            else:
                yield _lost(worker, task)

    def dismiss(self) -> None:
        """End all processes."""
        for worker in [*self.idle, *(worker for worker, _ in self.busy)]:
            worker.process.terminate()  # nothing that was saved is lost
            worker.process.join()
            worker.line.close()


def _answer(worker: _Worker) -> Outcome | None:
    """What the worker has said, if anything whole."""
    try:
        return worker.line.recv() if worker.line.poll() else None
    except (EOFError, OSError):
        worker.process.join()  # its line is cut, so it ends
        return None


def _lost(worker: _Worker, task: Taken) -> Outcome:
    worker.line.close()
    error = f"its process ended with status {worker.process.exitcode}; see what it wrote above"
    return Outcome(task.name, None, error, task.attempt, time.monotonic() - task.began)


def _hired() -> _Worker:
    """A new process that waits for work."""
    context = multiprocessing.get_context("spawn")
    line, end = context.Pipe()
    process = context.Process(target=_serve, args=(end,), daemon=True)
    with _deaf_to_interrupts(), environment(SINGLE_THREAD):
        process.start()
    end.close()
    return _Worker(process, line)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C is for the parent alone, which then ends what it started."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears it
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _serve(line: Connection) -> None:
    """In a worker: take work and say how it ended, until the parent is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    while True:
        try:
            name, work = line.recv()
        except EOFError:
            return
        line.send(attempt(name, work))


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)  # nothing that was saved is lost
