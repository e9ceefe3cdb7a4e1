"""Ops that combine elements without weights: pools, sums, the k largest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pareq.backends.c.elementwise import Emit
from pareq.backends.c.frame import frame
from pareq.backends.c.nest import index, loops
from pareq.backends.c.scene import Array, Scene
from pareq.backends.c.text import Text, whole
from pareq.backends.c.types import CType, narrowest, register
from pareq.ir.graph import Op

__all__ = ["REDUCE"]


@dataclass(frozen=True)
class _Fold:
    """How samples become one: type and first value of `y`, and the step for each sample v."""

    kind: CType
    first: int
    step: str

    def begin(self, name: str) -> str:
        """The statement that sets a result to the first value."""
        return f"{name} = {whole(self.first)};"

    def take(self, name: str, sample: str) -> str:
        """The statement that adds a sample to a result."""
        return self.step.format(y=name, v=sample)


def _max_pool(scene: Scene, op: Op, text: Text) -> None:
    lowest, highest = scene.limits(op.inputs[0])
    fold = _Fold(narrowest(lowest, highest), lowest, "if ({v} > {y}) {y} = {v};")
    dilation = op.attributes.wholes("dilation")
    _pool(scene, op, text, (lowest, dilation), fold)  # padded by what is never above a sample


def _sum_pool(scene: Scene, op: Op, text: Text) -> None:
    kernel, value = op.attributes.wholes("kernel"), op.attributes.whole("fill")
    top = math.prod(kernel) * max(scene.magnitude(op.inputs[0]), abs(value))
    fold = _Fold(register(top), 0, "{y} += {v};")
    _pool(scene, op, text, (value, (1,) * len(kernel)), fold)


def _pool(scene: Scene, op: Op, text: Text, how: tuple[int, tuple[int, ...]], fold: _Fold) -> None:
    """Fold each window; how: what is around the input, and the dilation."""
    (around, dilation), x = how, scene.operand(op.inputs[0])
    padded = frame(scene, op, text, (x, around), op.attributes.wholes("padding"))
    own, stride = padded.steps, op.attributes.wholes("stride")
    far = [own[0], *(a * b for a, b in zip(stride, own[1:], strict=True))]
    reach = [d * s for d, s in zip(dilation, own[1:], strict=True)]
    window = (op.attributes.wholes("kernel"), reach)
    _fold(text, (scene.arrays[op.name], padded), far, window, fold)


def _sum(scene: Scene, op: Op, text: Text) -> None:
    x, y = scene.operand(op.inputs[0]), scene.arrays[op.name]
    axes = op.attributes.wholes("axes")
    fold = _Fold(register(scene.magnitude(op.inputs[0]) * (x.size // y.size)), 0, "{y} += {v};")
    window = ([x.shape[axis] for axis in axes], [x.steps[axis] for axis in axes])
    _fold(text, (y, x), x.steps, window, fold)


def _fold(
    text: Text,
    ends: tuple[Array, Array],
    far: Sequence[int],
    window: tuple[Sequence[int], Sequence[int]],
    fold: _Fold,
) -> None:
    """Fold the window (sizes, steps) of each result of y in x, windows `far` apart."""
    (y, x), (sizes, reach) = ends, window
    kind, channels = fold.kind.name, y.shape[0] if y.shape else 1
    if far and far[0] == 1 and y.steps[0] == 1 and channels > 1:  # all channels side by side
        each = f"for (int c = 0; c < {channels}; c++)"
        with loops(text, y.shape[1:], y.steps[1:], far[1:]) as (to, at):
            text.line(f"{kind} found[{channels}];")
            text.line(f"{each} {fold.begin('found[c]')}")
            with loops(text, sizes, reach, letters="abde") as (tap,):
                place = index([(one, 1) for one in (at, tap) if one != "0"])
                text.line(f"const {x.type.name} *v = {x.name} + {place};")
                text.line(f"{each} {fold.take('found[c]', 'v[c]')}")
            put = index([(to, 1)] * (to != "0") + [("c", 1)])
            text.line(f"{each} {y.name}[{put}] = ({y.type.name})found[c];")
        return
    with loops(text, y.shape, y.steps, far) as (to, at):
        text.line(f"{kind} {fold.begin('found')}")
        with loops(text, sizes, reach, letters="abde") as (tap,):
            place = index([(one, 1) for one in (at, tap) if one != "0"])
            text.line(fold.take("found", f"{x.name}[{place}]"))
        text.line(f"{y.name}[{to}] = ({y.type.name})found;")


def _top_k(scene: Scene, op: Op, text: Text) -> None:
    """Index by index: the largest value that comes after the one chosen before.

    Order: by value, largest first, then by index, lowest first.
    """
    x, y = scene.operand(op.inputs[0]), scene.arrays[op.name]
    axis, k = op.attributes.whole("axis"), op.attributes.whole("k")
    size, far, near = x.shape[axis], x.steps, y.steps
    lines = [(each if i != axis else 1) for i, each in enumerate(y.shape)]
    with loops(text, lines, near, far) as (to, at):
        text.line(f"const {x.type.name} *v = {x.name} + {at};")
        text.line("int last = -1;")
        with text.block(f"for (int r = 0; r < {k}; r++)"):
            text.line("int best = -1;")
            with text.block(f"for (int c = 0; c < {size}; c++)"):
                one = index([("c", far[axis])])
                old, top = index([("last", far[axis])]), index([("best", far[axis])])
                before = f"v[{one}] > v[{old}] || (v[{one}] == v[{old}] && c <= last)"
                text.line(f"if (last >= 0 && ({before})) continue;")
                text.line(f"if (best < 0 || v[{one}] > v[{top}]) best = c;")
            place = index([*([] if to == "0" else [(to, 1)]), ("r", near[axis])])
            text.line(f"{y.name}[{place}] = ({y.type.name})best;")
            text.line("last = best;")


REDUCE: dict[str, Emit] = {
    "max_pool": _max_pool,
    "sum": _sum,
    "sum_pool": _sum_pool,
    "top_k": _top_k,
}
