"""One panel of a figure, drawn by matplotlib: the only file that knows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from pareq.errors import MissingExtra
from pareq.report.svg import DASHES, MARKERS, Tone, embed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Axis", "Canvas"]

Numbers = Sequence[float] | npt.NDArray[np.float64]

_TOP, _BOTTOM, _RIGHT = 28, 42, 14  # pixels around the axes; the left margin depends on the labels


@dataclass(frozen=True)
class Axis:
    """What one axis shows.

    limits: both ends, NaN or None for those of the data. text: what a tick says.
    ticks: where, or None for round numbers (at most five). categories: names at 0, 1, 2, ...
    """

    label: str
    text: Callable[[float], str] = "{:g}".format
    limits: tuple[float, float] | None = None
    log: bool = False
    ticks: tuple[float, ...] | None = None
    categories: tuple[str, ...] = ()


class Canvas:
    """A drawing of `width` x `height` pixels; series 0..8 choose colour, dashes and marker."""

    def __init__(self, x: Axis, y: Axis, *, width: int = 360, height: int = 250) -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise MissingExtra("matplotlib", "report") from None
        self._x, self._y, self._size = x, y, (width, height)
        left, top = _left_margin(y), _TOP if y.label else 4
        with _settings():
            self._figure = Figure(figsize=(width / 72, height / 72))
            box = (
                left / width,
                _BOTTOM / height,
                1 - (left + _RIGHT) / width,
                1 - (top + _BOTTOM) / height,
            )
            self._axes = self._figure.add_axes(box)
            self._frame(self._axes)

    def _frame(self, axes: Axes) -> None:
        axes.set_facecolor("none")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(Tone.MUTED)
        axes.tick_params(which="both", length=0, colors=Tone.MUTED, pad=5)
        if self._y.categories:
            axes.grid(axis="x", color=Tone.GRID, linewidth=1)
        else:
            axes.grid(axis="y", color=Tone.GRID, linewidth=1)
        axes.set_axisbelow(True)
        axes.set_xlabel(self._x.label, color=Tone.MUTED, labelpad=5)
        self._figure.text(
            2 / self._size[0], 1 - 10 / self._size[1], self._y.label, color=Tone.MUTED, va="center"
        )

    def line(self, series: int, x: Numbers, y: Numbers, *, faint: bool = False) -> None:
        """A curve through the points; faint: one of several of the same series."""
        (drawn,) = self._axes.plot(
            x,
            y,
            color=_tone(series),
            linewidth=1.2 if faint else 1.8,
            alpha=0.7 if faint else 1.0,
            gid=f"series-{series}",
        )
        if DASHES[series]:
            drawn.set_dashes([length / 2 for length in DASHES[series]])

    def band(self, series: int, x: Numbers, low: Numbers, high: Numbers) -> None:
        """The area between two curves, transparent."""
        self._axes.fill_between(
            x,
            low,
            high,
            color=_tone(series),
            alpha=0.16,
            linewidth=0,
            gid=f"series-{series}",
        )

    def point(self, series: int | None, x: float, y: float, error: float = 0.0) -> None:
        """One marker with an error bar of +-`error`; a small grey dot without a series."""
        self._axes.errorbar(
            [x],
            [y],
            yerr=[error] if error > 0 and series is not None else None,
            color=_tone(series),
            marker="." if series is None else MARKERS[series],
            markersize=8.5,
            markeredgecolor=Tone.PAPER,
            markeredgewidth=1,
            elinewidth=1.6,
            capsize=0,
            zorder=2 if series is None else 3,
            gid=f"series-{series}",
        )

    def bars(self, series: int, at: Numbers, lengths: Numbers, thickness: float) -> None:
        """Horizontal bars from zero."""
        self._axes.barh(at, lengths, height=thickness, color=_tone(series), gid=f"series-{series}")

    def span(self, series: int, at: int, ends: tuple[float, float], *, faint: bool = False) -> None:
        """A horizontal bar between two ends; nothing where they meet."""
        if ends[1] > ends[0]:
            self._axes.barh(
                [at],
                [ends[1] - ends[0]],
                left=[ends[0]],
                height=0.6,
                color=_tone(series),
                alpha=0.35 if faint else 1.0,
                gid=f"series-{series}",
            )

    def cell(self, series: int, at: tuple[int, int], shade: float, text: str) -> None:
        """A square of a map around (x, y), from pale (0) to full (1), with a text."""
        x, y = at
        self._axes.bar(
            [x], [0.96], 0.96, y - 0.48, color=_tone(series), alpha=0.15 + 0.6 * shade, zorder=2
        )
        self._axes.text(x, y, text, color=Tone.INK, ha="center", va="center", zorder=3)

    def histogram(
        self, series: int | None, edges: Numbers, counts: Numbers, *, filled: bool
    ) -> None:
        """Counts between edges: filled columns or an outline; grey without a series."""
        self._axes.stairs(
            counts,
            edges,
            fill=filled,
            baseline=0.5 if self._y.log else 0,
            color=_tone(series),
            linewidth=0 if filled else 1.3,
        )

    def path(self, x: Numbers, y: Numbers) -> None:
        """A quiet grey connection, such as a Pareto front."""
        self._axes.plot(x, y, color=Tone.MUTED, linewidth=1, alpha=0.6, zorder=1)

    def guide(self, x: float) -> None:
        """A vertical grey line that marks a value."""
        self._axes.axvline(x, color=Tone.MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)

    def svg(self, key: str, label: str) -> str:
        """The finished `<svg>` element; key and label as in `svg.embed`."""
        file = StringIO()
        with _settings():
            _scale(self._axes, "x", self._x)
            _scale(self._axes, "y", self._y)
            self._figure.savefig(
                file,
                format="svg",
                transparent=True,
                metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
            )
        return embed(file.getvalue(), key, label)


def _tone(series: int | None) -> str:
    return Tone.MUTED if series is None else Tone.SERIES[series]


def _settings() -> AbstractContextManager[None]:
    """Texts stay texts, ids do not change from run to run, and $ has no meaning."""
    import matplotlib

    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "pareq",
            "text.parse_math": False,
            "font.family": "DejaVu Sans",
            "font.size": 12,
        }
    )


def _left_margin(axis: Axis) -> float:
    """Room for the tick labels of the vertical axis, pixels."""
    return max((12 + 7.2 * len(name) for name in axis.categories), default=52)


def _scale(axes: Axes, which: Literal["x", "y"], spec: Axis) -> None:
    """Limits, ticks and their texts, once everything is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    if spec.categories:
        axis.set_ticks(range(len(spec.categories)), labels=spec.categories, color=Tone.INK)
        limits: tuple[float, float] | None = (-0.5, len(spec.categories) - 0.5)
    else:
        if spec.log:
            axes.set(**{f"{which}scale": "log"})
        limits = spec.limits
        if spec.ticks is not None:
            axis.set_ticks(list(spec.ticks))
        else:
            axis.set_major_locator(
                LogLocator(10) if spec.log else MaxNLocator(5, steps=[1, 2, 5, 10])
            )
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: spec.text(value)))
    if limits:
        ends = [None if math.isnan(end) else end for end in limits]
        axes.set(**{f"{which}lim": ends[::-1] if which == "y" and spec.categories else ends})
