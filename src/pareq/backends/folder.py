"""A folder that appears whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pareq.errors import BackendError

__all__ = ["replacing"]


@contextmanager
def replacing(place: Path, mark: str) -> Iterator[Path]:
    """Give an empty folder beside `place`, and put it there when the block ends well.

    mark: the file by which a folder is known that may be replaced. Whatever happens, nothing
    half-written is left. Raises BackendError when `place` holds anything else, or cannot be
    written.
    """
    if (
        place.exists()
        and not (place / mark).is_file()
        and (place.is_file() or any(place.iterdir()))
    ):
        raise BackendError(f"holds other files and no {mark}; name another folder, or empty it")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        raise BackendError(f"cannot be written ({error.strerror}); check the folder") from None
    try:
        yield beside
        _exchange(beside, place)
    except OSError as error:
        raise BackendError(f"cannot be written ({error.strerror}); check the folder") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _exchange(new: Path, place: Path) -> None:
    """Move `new` to `place`; what was there is set aside first, and put back if that fails."""
    new.chmod(0o755)
    if not place.exists():
        os.rename(new, place)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{place.name}.old.", dir=place.parent))
    os.rename(place, aside / "old")
    try:
        os.rename(new, place)
    except OSError:
        os.rename(aside / "old", place)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
