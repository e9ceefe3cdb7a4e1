"""`fetch`: one file from a URL to a path: resumed where cut off, checked, whole or absent."""

import hashlib
import http.client
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from pareq.errors import DataError, at

__all__ = ["Progress", "cache_folder", "fetch"]

Progress = Callable[[int, int], None]

_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without a byte


def cache_folder() -> Path:
    """Where downloads are kept: PAREQ_CACHE, else pareq in the user's cache folder."""
    if named := os.environ.get("PAREQ_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pareq"


def fetch(
    url: str,
    to: Path,
    *,
    checksum: str = "",
    progress: Progress | None = None,
) -> Path:
    """Download `url` to the file `to` unless it is there, and return `to`.

    checksum: such as "md5:0123..." or "sha256:0123...", compared before the file gets its name.
    progress: called as (bytes done, bytes in all, 0 when unknown). What came before an
    interruption waits in `TO.part`; the next call asks the server for the rest only.

    Raises DataError when the server cannot be reached or says no, when the disk is full, and when
    the bytes are not those promised; it says where to put the file by hand.
    """
    if to.exists():
        return to
    with at("download"):
        algorithm = checksum.partition(":")[0]
        if checksum and algorithm not in hashlib.algorithms_available:
            raise DataError(f"unknown checksum {checksum!r}, expected md5:... or sha256:...")
        part = to.with_name(to.name + ".part")
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            _receive(url, part, progress)
        except HTTPError as error:
            raise DataError(
                f"{url} answered {error.code} ({error.reason}); {_by_hand(to)}"
            ) from None
        except (URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise DataError(
                f"{url} could not be reached ({reason}); repeat the call, or {_by_hand(to)}"
            ) from None
        except (OSError, ValueError) as error:
            raise DataError(f"{url} could not be saved to {part} ({error})") from None
        _check(part, checksum, url)
        os.replace(part, to)
    return to


def _by_hand(to: Path) -> str:
    return f"download it on another machine and put it at {to}"


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """Append to the part file what is missing of it."""
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # nothing after what we have: it is whole, or of another file
            return
        raise
    with answer:
        resumed = getattr(answer, "status", None) == 206
        have = have if resumed else 0
        length = int(answer.headers.get("Content-Length") or 0)
        total = have + length if length else 0
        with part.open("ab" if resumed else "wb") as file:
            _copy(answer, file, have, total, progress)


def _copy(
    source: IO[bytes], file: IO[bytes], done: int, total: int, progress: Progress | None
) -> None:
    while chunk := source.read(_CHUNK):
        file.write(chunk)
        done += len(chunk)
        if progress is not None:
            progress(done, total)
    file.flush()
    os.fsync(file.fileno())
    if total and done != total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _check(part: Path, checksum: str, url: str) -> None:
    """Remove a part file whose bytes are not those promised."""
    if not checksum:
        return
    algorithm, _, expected = checksum.partition(":")
    with part.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected.lower():
        part.unlink()
        raise DataError(
            f"{url} has {algorithm} {found}, expected {expected}; the file was removed, repeat"
            " the call"
        )
