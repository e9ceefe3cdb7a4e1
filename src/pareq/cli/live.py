"""What a person sees while something runs: bars on a terminal, a few lines elsewhere."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from pareq.train.journal import Epoch

__all__ = ["Board", "Counter"]

_LINES = 10  # for each run or piece of work, where there is no terminal


class Board:
    """The progress of some runs, each a name and its number of epochs; score: see `Task`."""

    def __init__(
        self,
        console: Console,
        runs: Mapping[str, int],
        score: Callable[[float], str] = "{:6.1%}".format,
    ) -> None:
        self._console = console
        self._score = score
        self._epochs = dict(runs)
        self._told = dict.fromkeys(runs, 0)
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        for name, epochs in self._epochs.items():
            self._bars[name] = self._progress.add_task(
                name, total=epochs, figures="waits", start=False
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def tell(self, name: str, epoch: Epoch) -> None:
        """Show an epoch; one that was shown already changes nothing."""
        if epoch.epoch <= self._told[name]:
            return
        bar = self._bars[name]
        if not self._told[name]:
            self._progress.start_task(bar)
        last, total = self._told[name], self._epochs[name]
        self._told[name] = epoch.epoch
        self._progress.update(bar, completed=epoch.epoch, figures=self._figures(epoch))
        due = epoch.epoch * _LINES // total > last * _LINES // total or not last
        if due and not self._console.is_terminal:
            line = f"{name}: epoch {epoch.epoch}/{total}, {self._figures(epoch)}"
            self._console.print(Text(line), soft_wrap=True)

    def _figures(self, epoch: Epoch) -> str:
        pruned = f"  {epoch.sparsity:.0%} zero" if epoch.sparsity >= 0.005 else ""
        bits = f"  {epoch.bits:.3g} bits" if epoch.bits < 32 else ""
        return f"loss {epoch.val_loss:.4f}  {self._score(epoch.val_accuracy)}{pruned}{bits}"


class Counter:
    """The progress of one piece of work that counts `unit`.

    lines: at most so many where there is no terminal.
    """

    def __init__(self, console: Console, unit: str, *, lines: int = _LINES) -> None:
        self._console = console
        self._unit = unit
        self._lines = lines
        self._part = -1 if lines else 0
        self._progress = Progress(
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + unit),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def tell(self, done: int, total: int) -> None:
        """Show how many of all are done."""
        if self._bar is None:
            self._bar = self._progress.add_task("", total=total)
        self._progress.update(self._bar, completed=done, total=total)
        part = self._lines * done // max(total, 1)
        if part > self._part and not self._console.is_terminal:
            self._part = part
            self._console.print(f"{done:,} of {total:,} {self._unit}", highlight=False)
