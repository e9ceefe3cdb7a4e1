"""Loss and accuracy over the epochs of a descent, state after state."""

from collections.abc import Sequence
from dataclasses import dataclass

from pareq.report.canvas import Axis, Canvas
from pareq.report.figure import Figure, Key, Panel, Table
from pareq.report.svg import swatch
from pareq.report.words import join, percent, tick
from pareq.studies.matrix import Setting
from pareq.studies.points import Point, Results
from pareq.train.journal import Epoch

__all__ = ["traces"]

# Those of the published figure, and the nominal width beside them.
_SHOWN = (Setting(6), Setting(6, "lt"), Setting(32))
_FAR = 0.05  # below the best accuracy of a descent: these states are not drawn
_WHAT = {
    "train_loss": "Training loss",
    "val_loss": "Validation loss",
    "val_accuracy": "Validation accuracy",
}


@dataclass(frozen=True)
class _Trace:
    """The states of one descent, from dense to sparse."""

    label: str
    points: Sequence[Point]

    @property
    def near(self) -> "_Trace":
        """Without the states that would flatten all others."""
        best = max(self.kept(point).val_accuracy for point in self.points)
        kept = [p for p in self.points if self.kept(p).val_accuracy > best - _FAR]
        return _Trace(self.label, kept)

    @property
    def begins(self) -> list[int]:
        """The epochs before each state, and all at the end."""
        ends = [0]
        for point in self.points:
            ends.append(ends[-1] + len(point.run.epochs))
        return ends

    def kept(self, point: Point) -> Epoch:
        """The epoch whose network was kept."""
        best = point.run.result.best_epoch if point.run.result else point.run.epochs[-1].epoch
        return next(epoch for epoch in point.run.epochs if epoch.epoch == best)


def traces(results: Results) -> Figure | None:
    """The first repeat of fine-tuning and exact rewinding at 6 bits, and of 32 bits.

    None where no such descent has begun.
    """
    found = [trace for setting in _SHOWN if (trace := _trace(results, setting)) is not None]
    if not found:
        return None
    drawn = [trace.near for trace in found]
    far = sum(len(a.points) > len(b.points) for a, b in zip(found, drawn, strict=True))
    return Figure(
        "traces",
        "Training, state after state",
        "One repeat of each. Each state has a training of its own: curves break where weights fall"
        f"{_dotted(drawn)}; a marker is the epoch whose network was kept. The losses are without"
        " penalties; validation is measured on the network as it computes, pruned and quantized."
        + f" States {100 * _FAR:.0f} points below the best are in the table only."
        * bool(far),
        tuple(Key(trace.label, swatch(k), k) for k, trace in enumerate(drawn)),
        tuple(_panel(drawn, name) for name in _WHAT),
        _table(found),
    )


def _trace(results: Results, setting: Setting) -> _Trace | None:
    points = [point for place in results.curve(setting) for point in place.points]
    first = min((point.repeat for point in points), default=0)
    ours = [point for point in points if point.repeat == first and point.run.epochs]
    return _Trace(setting.name, ours) if ours else None


def _common(found: Sequence[_Trace]) -> list[int]:
    """Where all descents begin a further state; none where they do so at different epochs."""
    longest = max((trace.begins for trace in found), key=len)
    same = all(trace.begins == longest[: len(trace.begins)] for trace in found)
    return longest[1:-1] if same else []


def _dotted(found: Sequence[_Trace]) -> str:
    return ", at the dotted lines" * bool(_common(found))


def _panel(found: Sequence[_Trace], name: str) -> Panel:
    scored = name == "val_accuracy"
    canvas = Canvas(Axis("epoch"), Axis("accuracy", tick) if scored else Axis("loss"))
    for begin in _common(found):
        canvas.guide(begin)
    ends = []
    for k, trace in enumerate(found):
        for before, point in zip(trace.begins, trace.points, strict=False):
            epochs, kept = point.run.epochs, trace.kept(point)
            values = [getattr(epoch, name) for epoch in epochs]
            canvas.line(k, [before + epoch.epoch for epoch in epochs], values, faint=True)
            canvas.point(k, before + kept.epoch, getattr(kept, name))
        first, last = (getattr(trace.kept(trace.points[n]), name) for n in (0, -1))
        ends.append(f"{first:.3f} dense and {last:.3f} in the last state drawn for {trace.label}")
    label = f"{_WHAT[name]} over the epochs of all states. It is {join(ends)}."
    return Panel(_WHAT[name], canvas.svg(f"traces-{name.replace('_', '-')}", label))


def _table(found: Sequence[_Trace]) -> Table:
    rows = []
    for trace in found:
        for point in trace.points:
            epochs, kept = point.run.epochs, trace.kept(point)
            losses = (epochs[0].train_loss, epochs[-1].train_loss, kept.val_loss)
            rows.append(
                (
                    trace.label,
                    percent(point.pruned),
                    str(len(epochs)),
                    *(f"{loss:.4f}" for loss in losses),
                    str(kept.epoch),
                    percent(kept.val_accuracy, 2),
                )
            )
    head = (
        *("Network", "Pruned", "Epochs", "Training loss, first", "last"),
        *("Validation loss, kept", "Kept epoch", "Validation accuracy"),
    )
    return Table("Losses of each state", head, tuple(rows))
