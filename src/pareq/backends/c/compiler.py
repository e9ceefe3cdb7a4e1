"""Find a C compiler and run it."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pareq.errors import BackendError

__all__ = ["FLAGS", "compile_c", "find"]

FLAGS = ("-O3", "-march=native", "-Wall", "-Wextra", "-Werror")

_KNOWN = ("cc", "gcc", "clang")
_SECONDS = 600


def find(name: str = "") -> str:
    """The path of a compiler: the one named, else $CC, else the first of cc, gcc and clang.

    Raises BackendError that says what to install.
    """
    wanted = [name] if name else [each for each in (os.environ.get("CC", ""), *_KNOWN) if each]
    for each in wanted:
        path = shutil.which(each)
        if path:
            return path
    raise BackendError(
        f"no C compiler ({', '.join(wanted)}) is installed; install gcc or clang, "
        "for example with: apt install gcc"
    )


def compile_c(compiler: str, arguments: Sequence[str | Path]) -> None:
    """Run a compiler. Raises BackendError with its first complaint."""
    command = [compiler, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BackendError(f"{compiler} took more than {_SECONDS} s; use a smaller graph") from None
    except OSError as error:
        raise BackendError(f"{compiler} cannot be run ({error.strerror})") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise BackendError(f"{compiler} ended with {done.returncode}: {lines[0].strip()}")
