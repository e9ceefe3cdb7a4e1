"""A tensor with padding around it and gaps in it, as a convolution or a pool reads it."""

from collections.abc import Sequence

from pareq.backends.c.movement import copy, fill
from pareq.backends.c.nest import last
from pareq.backends.c.scene import Array, Scene
from pareq.backends.c.text import Text
from pareq.backends.c.types import CType, narrowest
from pareq.ir.graph import Op

__all__ = ["byte_frame", "frame"]


def frame(
    scene: Scene,
    op: Op,
    text: Text,
    what: tuple[Array, int],
    padding: Sequence[int],
    spread: Sequence[int] = (),
) -> Array:
    """The input of an op in a frame; the input itself where nothing is added or cut.

    what: the array `(C, *spatial)`, and the integer that stands around and between. padding: at the
    beginning of each spatial axis, then at the end; negative cuts. spread: the distance at which
    neighbours are put.
    """
    x, value = what
    spread = spread or (1,) * (len(x.shape) - 1)
    if not any(padding) and all(each == 1 for each in spread):
        return x
    shape = _shape(x, padding, spread)
    reach = scene.limits(op.inputs[0])
    kind = narrowest(min(reach[0], value), max(reach[1], value))
    steps = last(shape, shape[0]) if x.channels_last else ()
    made = Array(scene.names.free(f"{op.name}_frame"), kind, shape, steps)
    scene.local(text, made)
    fill(text, made, value)
    _place(text, made, x, (padding, spread, 0))
    return made


def byte_frame(scene: Scene, op: Op, text: Text, low: int) -> Array:
    """The input of a convolution as unsigned bytes less `low`, channels last, in fours."""
    x = scene.operand(op.inputs[0])
    padding, value = op.attributes.wholes("padding"), op.attributes.whole("fill")
    ones = (1,) * (len(x.shape) - 1)
    direct = x.channels_last and x.steps[-1] == x.shape[0] and x.shape[0] % 4 == 0
    if direct and low == 0 and x.type.bits == 8 and not any(padding):
        text.line(f"const uint8_t *u = (const uint8_t *){x.name};")
        return Array("u", CType(8, signed=False), x.shape, x.steps)
    shape = _shape(x, padding, ones)
    deep = -(-shape[0] // 4) * 4
    made = Array("u", CType(8, signed=False), shape, last(shape, deep))
    whole = Array("u", made.type, (deep, *shape[1:]))
    scene.local(text, whole)
    if any(padding) or deep > shape[0]:
        fill(text, whole, value - low)
    _place(text, made, x, (padding, ones, -low))
    return made


def _shape(x: Array, padding: Sequence[int], spread: Sequence[int]) -> tuple[int, ...]:
    rank = len(spread)
    full = [(n - 1) * s + 1 for n, s in zip(x.shape[1:], spread, strict=True)]
    around = zip(padding[:rank], padding[rank:], strict=True)
    return (x.shape[0], *(n + sum(pad) for n, pad in zip(full, around, strict=True)))


def _place(text: Text, to: Array, x: Array, how: tuple[Sequence[int], Sequence[int], int]) -> None:
    """Copy the samples of x, plus a shift, that land inside: begin + i * spread in 0..size-1."""
    padding, spread, shift = how
    begin, sizes, counts = padding[: len(spread)], to.shape[1:], x.shape[1:]
    first = [max(-(b // s), 0) for b, s in zip(begin, spread, strict=True)]
    final = [
        min((n - 1 - b) // s, m - 1)
        for n, b, s, m in zip(sizes, begin, spread, counts, strict=True)
    ]
    shape = [b - a + 1 for a, b in zip(first, final, strict=True)]
    if min(shape) < 1:
        return
    own, at = to.steps, x.steps
    wide = [own[0], *(t * s for t, s in zip(own[1:], spread, strict=True))]
    left = sum((b + a * s) * t for a, b, s, t in zip(first, begin, spread, own[1:], strict=True))
    right = sum(a * t for a, t in zip(first, at[1:], strict=True))
    copy(text, (x.shape[0], *shape), (to, wide, left), (x, at, right), shift)
