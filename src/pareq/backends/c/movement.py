"""Ops that only move integers: strided copies."""

from collections.abc import Sequence

from pareq.backends.c.elementwise import Emit
from pareq.backends.c.nest import index, loops, steps
from pareq.backends.c.scene import Array, Scene
from pareq.backends.c.text import Text, whole
from pareq.ir.graph import Op

__all__ = ["MOVEMENT", "copy", "fill"]


End = tuple[Array, Sequence[int], int]


def copy(text: Text, shape: Sequence[int], y: End, x: End, shift: int = 0) -> None:
    """Copy elements plus `shift`; an end: array, steps along `shape`, where it begins."""
    with loops(text, shape, y[1], x[1]) as (to, at):
        left, right = _moved(to, y[2]), _moved(at, x[2])
        value = f"{x[0].name}[{right}]"
        if shift:
            value = f"({value} + {whole(shift)})".replace("+ -", "- ")
        cast = "" if y[0].type == x[0].type and not shift else f"({y[0].type.name})"
        text.line(f"{y[0].name}[{left}] = {cast}{value};")


def fill(text: Text, y: Array, value: int) -> None:
    """Set every element."""
    text.line(f"for (int i = 0; i < {y.size}; i++) {y.name}[i] = {whole(value)};")


def _moved(at: str, offset: int) -> str:
    return index([(at, 1)] if at != "0" else [], offset)


def _reshape(scene: Scene, op: Op, text: Text) -> None:
    x, y = scene.operand(op.inputs[0]), scene.arrays[op.name]
    if x.ordered:
        copy(text, y.shape, (y, y.steps, 0), (x, steps(y.shape), 0))
    else:  # the result lies in C order: `loops.layout` gives it no other
        copy(text, x.shape, (y, steps(x.shape), 0), (x, x.steps, 0))


def _permute(scene: Scene, op: Op, text: Text) -> None:
    x, y = scene.operand(op.inputs[0]), scene.arrays[op.name]
    moved = [x.steps[axis] for axis in op.attributes.wholes("axes")]
    copy(text, y.shape, (y, y.steps, 0), (x, moved, 0))


def _slice(scene: Scene, op: Op, text: Text) -> None:
    x, y = scene.operand(op.inputs[0]), scene.arrays[op.name]
    wide = [a * b for a, b in zip(x.steps, op.attributes.wholes("step"), strict=True)]
    begin = sum(a * b for a, b in zip(x.steps, op.attributes.wholes("start"), strict=True))
    copy(text, y.shape, (y, y.steps, 0), (x, wide, begin))


def _pad(scene: Scene, op: Op, text: Text) -> None:
    x, y = scene.operand(op.inputs[0]), scene.arrays[op.name]
    fill(text, y, op.attributes.whole("fill"))
    begin = sum(a * b for a, b in zip(y.steps, op.attributes.wholes("before"), strict=True))
    copy(text, x.shape, (y, y.steps, begin), (x, x.steps, 0))


def _concat(scene: Scene, op: Op, text: Text) -> None:
    y, begin = scene.arrays[op.name], 0
    axis = op.attributes.whole("axis")
    for name in op.inputs:
        x = scene.operand(name)
        copy(text, x.shape, (y, y.steps, begin), (x, x.steps, 0))
        begin += y.steps[axis] * x.shape[axis]


MOVEMENT: dict[str, Emit] = {
    "concat": _concat,
    "pad": _pad,
    "permute": _permute,
    "reshape": _reshape,
    "slice": _slice,
}
