"""Files that are whole or not there: written beside, made durable, then put in place.

After `write` returns, the bytes survive a power cut; before, the old file is untouched. A process
killed in between leaves a `.tmp` file that nothing reads and `sweep` removes.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pareq.errors import RunError

__all__ = ["append", "cut", "sweep", "write"]

_SUFFIX = ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one piece.

    Raises RunError when the disk is full or the folder cannot be written; what was there stays.
    """
    beside = path.with_name(f".{path.name}{_SUFFIX}")
    with _explained(path, len(data)):
        try:
            with beside.open("wb") as file:
                _write(file.fileno(), data)
                os.fsync(file.fileno())
            os.replace(beside, path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def append(path: Path, data: bytes) -> None:
    """Add `data` at the end of `path`: all of it, or none.

    Raises RunError as `write` does.
    """
    with _explained(path, len(data)), path.open("ab") as file:
        size = file.seek(0, os.SEEK_END)
        try:
            _write(file.fileno(), data)
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise


def cut(path: Path, size: int) -> None:
    """Keep the first `size` bytes of `path`."""
    with _explained(path, 0), path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def sweep(folder: Path) -> None:
    """Remove what killed writers left behind in `folder`."""
    for left in folder.glob(f".*{_SUFFIX}"):
        left.unlink(missing_ok=True)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and a rename is durable
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            fact = (
                f"no space for {size:,} bytes ({error.strerror}); free some and make the same "
                "call again, all that was saved before is intact"
            )
        else:
            fact = f"cannot be written ({error.strerror}); check the folder and its permissions"
        raise RunError(fact, where=str(path)) from None
