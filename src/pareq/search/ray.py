"""Ray (extra `ray`): the executor for many machines, and the only file that knows it.

Work whose worker or node dies is tried again elsewhere; its folder, which all machines see, holds
what was saved. Ctrl-C ends everything, and a driver that is killed takes its workers along.
"""

import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

from pareq.errors import MissingExtra, SearchError
from pareq.search.executor import (
    SINGLE_THREAD,
    Outcome,
    Taken,
    Tell,
    Work,
    attempt,
    described,
    environment,
    usable_cores,
)

__all__ = ["Ray"]

_GLANCE = 0.2  # seconds between two calls of `watch`
_PATIENCE = 10.0  # seconds for a cluster to answer
_OWN = "local"
_MEMORY = 100_000_000  # bytes that machines share for values; ours are small

# What Ray itself would print: each worker that dies, with its log. Its outcome says it in one line.
_HUSH = {"RAY_DEDUP_LOGS_SKIP_REGEX": ".", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_PRIVATE = {"RAY_USAGE_STATS_ENABLED": "0"}  # of a Ray that is started here


@dataclass(frozen=True)
class Ray:
    """Runs work on a Ray cluster, in worker processes with one thread each.

    address: "auto" (the cluster of this machine), HOST:PORT or ray://HOST:PORT; None or "local":
    Ray is started on this machine and ended afterwards. A connection that exists already is used.
    workers: at most so many at a time; None: as many as there is room for. attempts: of work whose
    worker or node dies. cpus, gpus: that each takes up. shared: a path that all machines must see.
    """

    address: str | None = None
    workers: int | None = None
    attempts: int = 3
    cpus: float = 1.0
    gpus: float = 0.0
    shared: str = "."

    def __post_init__(self) -> None:
        for name in ("workers", "attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SearchError(f"ray.{name} must be 1 or more, got {value}")
        for name in ("cpus", "gpus"):
            value = getattr(self, name)
            if not value >= 0:
                raise SearchError(f"ray.{name} must be 0 or more, got {value}")

    @property
    def places(self) -> int:
        """How many workers there are, or may be on the machines of the moment."""
        if self.workers is not None:
            return self.workers
        if self.address in (None, _OWN) and not self.gpus:
            return _room({"CPU": self._cores()}, self._needs())
        with self._connected() as ray:
            return sum(_room(node, self._needs()) for node in _nodes(ray))

    def run(
        self, works: Mapping[str, Work], tell: Tell, watch: Callable[[], None] | None = None
    ) -> None:
        """See `Executor.run`.

        Raises MissingExtra without Ray; SearchError for a cluster that cannot be reached, has no
        machine that is large enough, or one that does not see `shared`.
        """
        if not works:
            return
        with self._connected() as ray:
            self._check(ray)
            crew = _Crew(ray, self._remote(ray), deque(works.items()), self.attempts)
            try:
                while crew.busy or crew.waiting:
                    crew.fill(self.workers or len(works))
                    for outcome in crew.ended():
                        tell(outcome)
                    if watch is not None:
                        watch()
            finally:
                crew.dismiss()

    @contextmanager
    def _connected(self) -> Iterator[ModuleType]:
        """Ray, connected; what was connected before stays so."""
        with _as_before(), environment(_HUSH | dict(os.environ)):
            ray = _library()
            if ray.is_initialized():
                yield ray
                return
            self._connect(ray)
            try:
                yield ray
            finally:
                ray.shutdown()

    def _connect(self, ray: ModuleType) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self.address in (None, _OWN):
                size = {"num_cpus": self._cores(), "object_store_memory": _MEMORY}
                with environment(_PRIVATE | SINGLE_THREAD):
                    ray.init(address=_OWN, include_dashboard=False, **size, **quiet)
            else:
                _knock(self.address)
                ray.init(address=self.address, **quiet)
        except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            if self.address in (None, _OWN):
                raise SearchError(
                    f"ray: does not start on this machine ({_first(error)})"
                ) from None
            raise SearchError(
                f"ray: no cluster answers at {self.address!r} ({_first(error)}); start one with:"
                " ray start --head, or give local"
            ) from None

    def _cores(self) -> int:
        """Those of a Ray of our own."""
        wanted = (self.workers or 1) * self.cpus
        return max(usable_cores(), int(-(-wanted // 1)))

    def _needs(self) -> dict[str, float]:
        return {"CPU": self.cpus, "GPU": self.gpus}

    def _check(self, ray: ModuleType) -> None:
        """Raise SearchError where work would wait for ever."""
        if not any(_room(node, self._needs()) for node in _nodes(ray)):
            most = [
                max((node.get(k, 0) for node in _nodes(ray)), default=0) for k in ("CPU", "GPU")
            ]
            raise SearchError(
                f"ray: each piece of work takes {self.cpus:g} cores and {self.gpus:g} GPUs, but no"
                f" machine of the cluster has more than {most[0]:g} and {most[1]:g}; ask for less,"
                " or add one that has"
            )

    def _remote(self, ray: ModuleType) -> Callable[[str, Work], object]:
        """What hands a piece of work to the cluster and returns a reference to its outcome."""
        kind = ray.remote(
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            max_retries=0,  # the crew tries again, and counts
            runtime_env={"env_vars": SINGLE_THREAD},
        )(_work)
        home, shared = str(Path.cwd()), str(Path(self.shared).absolute())

        def hand(name: str, work: Work) -> object:
            return kind.options(name=name).remote(name, work, home, shared)

        return hand


@dataclass
class _Crew:
    """What waits, and what the cluster has, by its reference."""

    ray: ModuleType
    hand: Callable[[str, Work], object]
    waiting: "deque[tuple[str, Work]]"
    attempts: int
    busy: dict[object, Taken] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)

    def fill(self, places: int) -> None:
        """Hand over as much as may run."""
        while self.waiting and len(self.busy) < places:
            name, work = self.waiting.popleft()
            self.tried[name] = self.tried.get(name, 0) + 1
            task = Taken(name, work, self.tried[name], time.monotonic())
            self.busy[self.hand(name, work)] = task

    def ended(self) -> Iterator[Outcome]:
        """Wait a little, then what has ended since; work of the dead waits again."""
        done, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=_GLANCE)
        for reference in done:
            task = self.busy.pop(reference)
            try:
                yield replace(self.ray.get(reference), attempts=task.attempt)
            except self.ray.exceptions.RayTaskError as error:
                yield Outcome(task.name, None, _refused(error), task.attempt, _since(task))
            except self.ray.exceptions.RayError as error:
                if task.attempt < self.attempts:
                    self.waiting.append((task.name, task.work))
                else:
                    lost = f"its worker died: {_first(error)}"
                    yield Outcome(task.name, None, lost, task.attempt, _since(task))

    def dismiss(self) -> None:
        """End what still runs."""
        for reference in self.busy:
            self.ray.cancel(reference, force=True)  # nothing that was saved is lost


def _work(name: str, work: Work, home: str, shared: str) -> Outcome:
    """In a worker: do it where the driver is."""
    if os.path.isdir(home):
        os.chdir(home)
    if not os.path.exists(shared):
        raise SearchError(
            "does not exist on every machine of the cluster; use a folder that all of them share",
            where=shared,
        )
    return attempt(name, work)


def _library() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    library: ModuleType = ray
    return library


def _nodes(ray: ModuleType) -> list[dict[str, float]]:
    """What each living machine has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _room(node: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """How many pieces of work a machine takes at a time."""
    return min((int(node.get(kind, 0) // need) for kind, need in needs.items() if need), default=1)


def _refused(error: Exception) -> str:
    """Why work could not begin there, or a fault of pareq; raises what concerns all work."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, SearchError):
        raise SearchError(cause.fact, where=f"ray: {cause.where}") from None
    return described(cause) if isinstance(cause, Exception) else _first(error)


def _first(error: Exception) -> str:
    """The first sentence."""
    return " ".join(str(error).split()).split(". ")[0].rstrip(".")


def _since(task: Taken) -> float:
    return time.monotonic() - task.began


def _knock(address: str) -> None:
    """Raise OSError where nothing listens, which Ray would find out after many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


@contextmanager
def _as_before() -> Iterator[None]:
    """Ray takes over SIGTERM and some variables when it connects; afterwards all is as before."""
    variables = dict(os.environ)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(variables)
        if main:
            signal.signal(signal.SIGTERM, handler)
