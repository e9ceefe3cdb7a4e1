"""Ops that combine elements without weights: pools, sums, the k largest."""

import math

from pareq.backends.c.elementwise import Emit
from pareq.backends.c.frame import frame
from pareq.backends.c.nest import index, loops
from pareq.backends.c.scene import Scene
from pareq.backends.c.text import Text, whole
from pareq.backends.c.types import register
from pareq.ir.graph import Op

__all__ = ["REDUCE"]


def _max_pool(scene: Scene, op: Op, text: Text) -> None:
    lowest = scene.limits(op.inputs[0])[0]  # around the input: never above a sample
    _pool(scene, op, text, lowest, (lowest, "if ({v} > {y}) {y} = {v};"))


def _sum_pool(scene: Scene, op: Op, text: Text) -> None:
    _pool(scene, op, text, op.attributes.whole("fill"), (0, "{y} += {v};"))


def _pool(scene: Scene, op: Op, text: Text, around: int, how: tuple[int, str]) -> None:
    """Combine the samples of each window; how: the first value, and the step for each sample."""
    x, y = scene.operand(op.inputs[0]), scene.arrays[op.name]
    kernel, stride = op.attributes.wholes("kernel"), op.attributes.wholes("stride")
    many = "dilation" in op.attributes
    dilation = op.attributes.wholes("dilation") if many else (1,) * len(kernel)
    padded = frame(scene, op, text, (x, around), op.attributes.wholes("padding"))
    own = padded.steps
    kind = register(math.prod(kernel) * max(scene.magnitude(op.inputs[0]), abs(around)))
    far = [own[0], *(a * b for a, b in zip(stride, own[1:], strict=True))]
    reach = [d * s for d, s in zip(dilation, own[1:], strict=True)]
    with loops(text, y.shape, y.steps, far) as (to, at):
        text.line(f"const {padded.type.name} *v = {padded.name} + {at};")
        text.line(f"{kind.name} found = {whole(how[0])};")
        with loops(text, kernel, reach, letters="abcd") as (tap,):
            text.line(how[1].format(v=f"v[{tap}]", y="found"))
        text.line(f"{y.name}[{to}] = ({y.type.name})found;")


def _sum(scene: Scene, op: Op, text: Text) -> None:
    x, y = scene.operand(op.inputs[0]), scene.arrays[op.name]
    axes = op.attributes.wholes("axes")
    own = x.steps
    kind = register(scene.magnitude(op.inputs[0]) * (x.size // y.size))
    inner = [x.shape[axis] for axis in axes]
    with loops(text, y.shape, y.steps, own) as (to, at):
        text.line(f"{kind.name} sum = 0;")
        with loops(text, inner, [own[axis] for axis in axes], letters="abcd") as (tap,):
            place = index([(each, 1) for each in (at, tap) if each != "0"])
            text.line(f"sum += {x.name}[{place}];")
        text.line(f"{y.name}[{to}] = ({y.type.name})sum;")


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
