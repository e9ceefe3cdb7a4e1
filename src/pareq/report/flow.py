"""A graph of integers as a picture: a box an op from top to bottom, a line for each value read."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from pareq.report.structure import Step

__all__ = ["flow"]

_WIDTH: Final = 360
_TALL, _GAP, _LANE = 38, 14, 9  # pixels: of a box, between two, of a line that passes boxes
_LANES: Final = 6
_LETTERS: Final = 24  # of a module's name
_LINE: Final = 48  # letters of a box's first line
_WORD: Final = 32  # bits that the bar of a box shows at full length


@dataclass(frozen=True)
class _Jump:
    """A value that is read further down than in the next box."""

    start: int
    end: int
    lane: int


def flow(steps: Sequence[Step], series: int, label: str) -> str:
    """The `<svg>` element; series: the colour of the bars; label: what it shows, in words.

    Each box names module, op, shape, integers and what a step is worth; its bar is as long as its
    integers are wide, full at 32 bits.
    """
    jumps = _jumps(steps)
    left = _LANE * (1 + max((jump.lane for jump in jumps), default=-1)) + 1
    height = len(steps) * (_TALL + _GAP) - _GAP + 2
    parts = [_jump(jump, left) for jump in jumps]
    names = [step.name for step in steps]
    for place, step in enumerate(steps):
        if place and names[place - 1] in step.reads:
            parts.append(_arrow(place, left))
        parts.append(_box(place, step, left, series))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _jumps(steps: Sequence[Step]) -> list[_Jump]:
    """Lines that pass other boxes, each in the first lane that is free there."""
    place = {step.name: number for number, step in enumerate(steps)}
    found: list[_Jump] = []
    for end, step in enumerate(steps):
        for start in sorted({place[name] for name in step.reads if name in place}):
            if end - start > 1:
                taken = {jump.lane for jump in found if jump.end > start}
                free = next((lane for lane in range(_LANES) if lane not in taken), _LANES - 1)
                found.append(_Jump(start, end, free))
    return found


def _top(place: int) -> int:
    return 1 + place * (_TALL + _GAP)


def _jump(jump: _Jump, left: int) -> str:
    x, begin, end = left - _LANE * (jump.lane + 1), _top(jump.start) + 26, _top(jump.end) + 12
    return _line(f"M{left} {begin}H{x}V{end}H{left - 2}", "var(--muted)") + _head(left, end, 0)


def _arrow(place: int, left: int) -> str:
    x, end = left + (_WIDTH - left) // 2, _top(place)
    return _line(f"M{x} {end - _GAP}V{end - 3}", "var(--muted)") + _head(x, end, 1)


def _line(path: str, colour: str) -> str:
    return f'<path d="{path}" style="fill:none;stroke:{colour};stroke-width:1.2"/>'


def _head(x: int, y: int, down: int) -> str:
    shape = "m-3.5 -5h7l-3.5 5z" if down else "m-5 -3.5v7l5 -3.5z"
    return f'<path d="M{x} {y}{shape}" style="fill:var(--muted)"/>'


def _box(place: int, step: Step, left: int, series: int) -> str:
    y, inside, right = _top(place), left + 9, _WIDTH - 9
    bar = round((_WIDTH - left - 2) * min(step.bits, _WORD) / _WORD)
    first = f'<tspan style="font-weight:600">{escape(_shortened(step.path))}</tspan>'
    if step.kind != "input":
        words = f"{step.kind}, {step.constants}" if _fits(step) else step.kind
        first += f'<tspan dx="6" style="fill:var(--muted)">{escape(words)}</tspan>'
    second = f"{step.range}, a step is {step.grid}"
    word = f"{step.bits} bit" if step.bits == 1 else f"{step.bits} bits"
    return (
        f'<rect x="{left}" y="{y}" width="{_WIDTH - left - 1}" height="{_TALL}" rx="5"'
        ' style="fill:var(--raised);stroke:var(--line)"/>'
        f'<rect x="{left + 1}" y="{y + _TALL - 3}" width="{bar}" height="3"'
        f' style="fill:var(--s{series})"/>'
        f"{_text(inside, y + 15, first)}{_text(right, y + 15, escape(step.size), 'end')}"
        f"{_text(inside, y + 29, escape(second), quiet=True)}"
        f"{_text(right, y + 29, word, 'end', quiet=True)}"
    )


def _fits(step: Step) -> bool:
    """Whether a box has room for what an op holds."""
    texts = (_shortened(step.path), step.kind, step.constants, step.size)
    return bool(step.constants) and sum(map(len, texts)) <= _LINE


def _text(x: int, y: int, content: str, anchor: str = "start", *, quiet: bool = False) -> str:
    colour = "var(--muted)" if quiet else "var(--ink)"
    return (
        f'<text x="{x}" y="{y}" style="font-size:11.5px;fill:{colour};text-anchor:{anchor}">'
        f"{content}</text>"
    )


def _shortened(path: str) -> str:
    """A module path that leaves room for the op: both its ends, if it is long."""
    half = _LETTERS // 2
    return path if len(path) <= _LETTERS else f"{path[:half]}…{path[1 - half :]}"
