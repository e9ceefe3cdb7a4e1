"""A claim: one process at a time works in a folder, on whichever machine, whatever dies.

FOLDER/claim-1, claim-2, ...: the highest number holds. Its holder touches it as long as it lives;
who finds one that stays untouched for a lease takes the next number, which only one can create. So
no clocks are compared, and a file system without locks will do. A holder that was taken for dead
finds the higher number and stops.
"""

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pareq.errors import SearchError

__all__ = ["LEASE", "Claim", "claimed", "held", "under_claim"]

LEASE = 60.0  # seconds without a touch after which a holder is taken for dead
_GLANCE = 0.1


@dataclass(frozen=True)
class Claim:
    """A folder that this process holds."""

    folder: Path
    number: int

    @property
    def path(self) -> Path:
        """The file that says so."""
        return self.folder / f"claim-{self.number}"

    def check(self, _: object = None) -> None:
        """Raise SearchError once another process has taken the folder."""
        if _numbers(self.folder)[-1:] != [self.number]:
            raise SearchError(
                "was taken over by another process, because this one did not answer; what it saved"
                " is kept",
                where=str(self.folder),
            )


@contextmanager
def claimed(folder: Path, lease: float = LEASE) -> Iterator[Claim]:
    """Hold `folder`, which is made, for as long as the block runs.

    lease: seconds. A dead holder on this machine is replaced at once, one elsewhere after a lease.
    Raises SearchError when a living one keeps it all that time, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        claim = _taken(folder, lease)
    except OSError as error:
        raise SearchError(f"cannot be worked in ({error.strerror})", where=str(folder)) from None
    over = threading.Event()
    beats = threading.Thread(target=_beat, args=(claim.path, over, lease / 6), daemon=True)
    beats.start()
    try:
        yield claim
    finally:
        over.set()
        beats.join()
        claim.path.unlink(missing_ok=True)


def under_claim(
    folder: Path, done: Callable[[], bool], work: Callable[[Claim], None], lease: float = LEASE
) -> None:
    """Do the work under a claim of `folder`, unless another process does it.

    Returns also while that one is at it, after a wait; so ask again until it is done. Raises what
    `claimed` raises when the folder cannot be worked in, and what the work raises.
    """
    try:
        with claimed(folder, lease) as claim:
            if not done():
                work(claim)
    except SearchError:
        if not (held(folder) or done()):
            raise


def held(folder: Path) -> bool:
    """Whether a process works in the folder, or died there."""
    return bool(_numbers(folder))


def _taken(folder: Path, lease: float) -> Claim:
    """Wait until nobody holds the folder, and take it."""
    while True:
        numbers = _numbers(folder)
        if numbers:
            _await_end(Claim(folder, numbers[-1]).path, lease)
        mine = Claim(folder, max(numbers, default=0) + 1)
        with suppress(FileExistsError):  # then another was faster
            descriptor = os.open(mine.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.write(descriptor, json.dumps(_oneself()).encode())
            os.close(descriptor)
            for dead in numbers:
                Claim(folder, dead).path.unlink(missing_ok=True)
            return mine


def _numbers(folder: Path) -> list[int]:
    """The numbers of the claims, rising; the last one holds."""
    names = (path.name.removeprefix("claim-") for path in folder.glob("claim-*"))
    return sorted(int(name) for name in names if name.isdecimal())


def _await_end(path: Path, lease: float) -> None:
    """Return once the claim is gone or its holder is dead; raise SearchError if that lives on."""
    began, first = time.monotonic(), None
    while True:
        try:
            with path.open() as file:  # opened each time: a network file system then looks again
                touched, holder = os.fstat(file.fileno()).st_mtime_ns, _read(file.read())
        except FileNotFoundError:
            return
        here = holder.get("place") == _place()
        if here and not _lives(holder):
            return
        first = touched if first is None else first
        if time.monotonic() - began > (lease / 4 if here else lease):
            if here or touched != first:
                break
            return
        time.sleep(_GLANCE)
    raise SearchError(
        f"is being worked in by process {holder.get('process')} on {holder.get('host')};"
        " wait for it, or stop it",
        where=str(path.parent),
    )


def _beat(path: Path, over: threading.Event, pause: float) -> None:
    """Touch the claim now and then; if it is gone, `Claim.check` says so."""
    while not over.wait(pause):
        with suppress(OSError):
            os.utime(path)


def _oneself() -> dict[str, str]:
    process = str(os.getpid())
    return {
        "host": platform.node(),
        "place": _place(),
        "process": process,
        "began": _began(process),
    }


def _place() -> str:
    """What processes that see each other have in common: machine, boot and process namespace."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _lives(holder: dict[str, str]) -> bool:
    """Whether a process of this place lives, and is not another with the same number."""
    process = holder.get("process", "")
    if os.path.exists("/proc/self/stat"):
        return bool(_began(process)) and _began(process) == holder.get("began")
    if os.name != "posix" or not process.isdecimal():
        return True  # nobody can say
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _began(process: str) -> str:
    """When a living process began, in ticks since the boot; empty for one that has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _read(text: str) -> dict[str, str]:
    """A claim; empty while it is being written."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return {}
