"""How far a study is: one line that changes on a terminal, a line each tenth elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from pareq.studies.base import Progress

__all__ = ["Trainings"]

_MINUTE = 60


class Trainings:
    """Shows the progress of a study."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("", console=console)
        self._tenths = -1

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._status.stop()

    def tell(self, progress: Progress) -> None:
        """Show it, if there is something new."""
        line = _line(progress)
        tenths = 10 * progress.done // max(progress.total, 1)
        if self._console.is_terminal:
            self._status.update(line)
        elif tenths > self._tenths:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._tenths = max(tenths, self._tenths)


def _line(progress: Progress) -> str:
    parts = [f"{progress.done:,} of {progress.total:,} trainings"]
    if progress.left is not None and progress.done < progress.total:
        parts.append(f"about {_duration(progress.left)} left")
    if progress.failed:
        parts.append(f"{progress.failed} trials failed")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / _MINUTE)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 2 * _MINUTE:
        return f"{minutes} min"
    hours = minutes / _MINUTE
    return f"{hours:.1f} h" if hours < 100 else f"{hours / 24:.0f} days"
