"""Programs of the system: simulators and synthesis."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from pareq.errors import BackendError

__all__ = ["run"]

_SECONDS = 3600


def run(command: Sequence[str], folder: Path, *, errors: bool = False) -> str:
    """Run a program in a folder; return what it prints, with `errors` to both streams.

    Raises BackendError with its complaint.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BackendError(f"{command[0]} took more than {_SECONDS} s; use less") from None
    except OSError as error:
        raise BackendError(f"{command[0]} cannot be run ({error.strerror})") from None
    if done.returncode:
        lines = [
            each for each in (done.stderr + done.stdout).splitlines() if "error" in each.lower()
        ]
        raise BackendError(
            f"{command[0]} ended with {done.returncode}: {(lines or ['no message'])[0].strip()}"
        )
    return done.stdout + done.stderr if errors else done.stdout
