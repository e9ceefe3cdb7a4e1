"""Files that are whole or absent, whenever the process dies."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

__all__ = ["write_whole"]


def write_whole(path: Path, content: Callable[[IO[bytes]], object]) -> None:
    """Let `content` write to a temporary file beside `path`, then give it that name."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            content(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
