"""Emit a dense layer or a convolution in quads, with the requantization behind it where it fits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pareq.backends.c.frame import byte_frame
from pareq.backends.c.movement import fill
from pareq.backends.c.nest import index, loops
from pareq.backends.c.quads import VECTOR, Cut
from pareq.backends.c.scene import Array, Integers, Scene
from pareq.backends.c.text import Text, whole
from pareq.backends.c.types import INT32, INT64, CType
from pareq.ir.graph import Op

__all__ = ["bounds", "fits", "follower", "products", "tops"]

_FEWEST = 4  # outputs below which most of a vector would be padding


def fits(scene: Scene, op: Op) -> bool:
    """Whether an op can be computed in quads."""
    if op.kind not in ("dense", "conv") or scene.graph.constant(op.inputs[0]) is not None:
        return False
    weight = scene.data(op, 1)
    if len(weight) < _FEWEST or (op.kind == "conv" and op.attributes.whole("groups") > 1):
        return False
    lo, hi = bounds(scene, op)
    narrow = weight.min() >= -128 and weight.max() <= 127 and hi - lo <= 255
    return bool(narrow and _magnitude(scene, op) < 2**31)


def bounds(scene: Scene, op: Op) -> tuple[int, int]:
    """The extremes of what an op reads, with its padding; the lower one is not above 0."""
    lo, hi = scene.limits(op.inputs[0])
    value = op.attributes.whole("fill") if op.kind == "conv" else lo
    return min(lo, value, 0), max(hi, value)


def follower(scene: Scene, op: Op) -> Op | None:
    """The requantization to bytes that alone reads the sums of an op."""
    users = scene.graph.users(op.name)
    if len(users) != 1 or users[0].kind != "requantize" or op.name in scene.graph.outputs:
        return None
    shape = op.output.shape
    channel = len(shape) - 1 if op.kind == "dense" else 0
    factors = [scene.data(users[0], place) for place in (1, 2, 3)]
    for each in factors:
        if any(n != 1 for axis, n in enumerate(each.shape) if axis != channel):
            return None
    fine = scene.type_of(users[0].name).bits == 8
    return users[0] if fine and _largest(scene, op, users[0]) < 2**62 else None


def _largest(scene: Scene, op: Op, behind: Op) -> int:
    """What no number exceeds between the sums of an op and the bytes behind it."""
    m, b, s = (int(np.abs(scene.data(behind, place)).max()) for place in (1, 2, 3))
    if m >= 2**31:
        return 2**62
    top = _magnitude(scene, op) * m + b + (behind.attributes.whole("even") << s)
    return max(top, 1 << s)


def tops(scene: Scene) -> tuple[int, int]:
    """The largest sum of two products, and the largest byte that is read, of all ops in quads."""
    pair = byte = 0
    for op in scene.graph.ops:
        if fits(scene, op):
            lo, hi = bounds(scene, op)
            pair = max(pair, 2 * int(np.abs(scene.data(op, 1)).max()) * (hi - lo))
            byte = max(byte, hi - lo)
    return pair, byte


def _magnitude(scene: Scene, op: Op) -> int:
    """What no sum of an op exceeds, in any order."""
    weight, (lo, hi) = scene.data(op, 1), bounds(scene, op)
    norms = np.abs(weight).reshape(len(weight), -1).sum(axis=1)
    return int((norms * (hi - lo) + np.abs(_bias(scene, op))).max())


def _bias(scene: Scene, op: Op) -> Integers:
    """The bias for inputs that are shifted into 0..255."""
    weight = scene.data(op, 1)
    total = weight.reshape(len(weight), -1).sum(axis=1)
    return np.asarray(scene.data(op, 2) + bounds(scene, op)[0] * total)


@dataclass(frozen=True)
class _Walk:
    """Where the bytes of each place are.

    start: C text of a pointer. place: bytes between neighbours in a line; outer: (sizes, steps) of
    the lines; rows: (sizes, steps) of the runs of one place.
    """

    start: str
    place: int
    outer: tuple[Sequence[int], Sequence[int]]
    rows: tuple[Sequence[int], Sequence[int]]


def products(scene: Scene, op: Op, text: Text) -> None:
    """Statements for one op and, where `follower` gives one, the op behind it."""
    scene.uses.add("quads")
    weight, shape = scene.data(op, 1), op.output.shape
    if op.kind == "dense":
        rows = int(np.prod(shape[:-1], dtype=np.int64))
        quads = -(-weight.shape[1] // 4)
        cut = Cut(len(weight), 1, quads, rows)
        walk = _Walk(_flat(scene, op, text), quads * 4, ((), ()), ((), ()))
        packed = cut.packed(weight[:, None])
    else:
        cut, walk, packed = _window(scene, op, text)
    behind = follower(scene, op)
    y = scene.arrays[behind.name if behind else op.name]
    _emit(scene, text, (op, behind), (cut, walk, packed), y)


def _flat(scene: Scene, op: Op, text: Text) -> str:
    """The input of a dense layer as unsigned bytes, each row a multiple of four."""
    x = scene.operand(op.inputs[0])
    lo, features = bounds(scene, op)[0], scene.data(op, 1).shape[1]
    if lo == 0 and features % 4 == 0 and x.type.bits == 8 and x.ordered:
        text.line(f"const uint8_t *u = (const uint8_t *){x.name};")
        return "u"
    rows, wide = x.size // features, -(-features // 4) * 4
    made = Array("u", CType(8, signed=False), (rows, wide))
    scene.local(text, made)
    if wide > features:
        fill(text, made, 0)
    steps = Array("u", x.type, (*x.shape[:-1], wide)).steps
    with loops(text, x.shape, steps, x.steps) as (to, at):
        shift = f" - {whole(lo)}".replace("- -", "+ ") if lo else ""
        text.line(f"u[{to}] = (uint8_t)({x.name}[{at}]{shift});")
    return "u"


def _window(scene: Scene, op: Op, text: Text) -> tuple[Cut, _Walk, Integers]:
    """A convolution: its frame, and the rows of a window in it."""
    weight = scene.data(op, 1)
    outputs, _, *kernel = weight.shape
    frame = byte_frame(scene, op, text, bounds(scene, op)[0])
    deep = frame.steps[-1]  # bytes of one place, a multiple of four
    stride, dilation = op.attributes.wholes("stride"), op.attributes.wholes("dilation")
    far = [d * s for d, s in zip(dilation, frame.steps[1:], strict=True)]
    full = np.zeros((outputs, *kernel, deep), dtype=np.int64)
    full[..., : weight.shape[1]] = np.moveaxis(weight, 1, -1)
    sizes = kernel
    if dilation[-1] == 1:  # a row of the window is one run
        sizes, far, deep = kernel[:-1], far[:-1], deep * kernel[-1]
    rows = int(np.prod(sizes, dtype=np.int64))
    cut = Cut(outputs, rows, deep // 4, op.output.shape[-1])
    steps = [a * b for a, b in zip(stride, frame.steps[1:], strict=True)]
    walk = _Walk(frame.name, steps[-1], (op.output.shape[1:-1], steps[:-1]), (sizes, far))
    return cut, walk, cut.packed(full.reshape(outputs, rows, -1))


def _emit(
    scene: Scene,
    text: Text,
    ops: tuple[Op, Op | None],
    how: tuple[Cut, _Walk, Integers],
    y: Array,
) -> None:
    op, (cut, walk, packed) = ops[0], how
    name, size = scene.name, cut.vectors * VECTOR
    weights = scene.fixed(op.inputs[1], packed)
    bias = np.zeros(cut.padded, dtype=np.int64)
    bias[: cut.outputs] = _bias(scene, op)
    biases = scene.fixed(op.inputs[2], bias, kind=INT32)
    place = y.steps[-1] if op.kind == "conv" else cut.outputs
    names = [[f"s{p}{v}" for v in range(cut.vectors)] for p in range(cut.tile * cut.chains)]
    block = f"for (int k = 0; k < {cut.count}; k++)" if cut.count > 1 else ""
    outer = y.steps[1:-1] if op.kind == "conv" else ()
    with (
        text.block(block),
        loops(text, walk.outer[0], outer, walk.outer[1], letters="rst") as (to, at),
        text.block(_tiles(cut)),
    ):
        first = "p" if cut.places > cut.tile else ""
        if first:
            text.line(f"const int p = i < {cut.places - cut.tile} ? i : {cut.places - cut.tile};")
        for p, row in enumerate(names):
            text.line(f"{name}_sums {', '.join(row)};")
            for v, each in enumerate(row):
                source = index([("k", size)] * (cut.count > 1), v * VECTOR)
                start = (
                    f"load(&{each}, {biases.name} + {source})" if p < cut.tile else f"none(&{each})"
                )
                text.line(f"{name}_{start};")
        begin = index([(at, 1)] * (at != "0") + [(first, walk.place)] * bool(first))
        _sum(scene, text, (cut, walk, weights), (names, begin))
        for p, row in enumerate(names[cut.tile :]):
            for v, each in enumerate(row):
                text.line(f"{name}_both(&{names[p % cut.tile][v]}, &{each});")
        where = index([(to, 1)] * (to != "0") + [(first, place)] * bool(first))
        _finish(scene, text, ops, (cut, names, y, (where, place)))


def _tiles(cut: Cut) -> str:
    if cut.places <= cut.tile:
        return ""
    return f"for (int i = 0; i < {cut.places}; i += {cut.tile})"


def _sum(
    scene: Scene,
    text: Text,
    how: tuple[Cut, _Walk, Array],
    what: tuple[list[list[str]], str],
) -> None:
    """Add up all rows and quads of the places in one tile."""
    (cut, walk, weights), (names, begin), name = how, what, scene.name
    size = cut.vectors * VECTOR * 4
    along = Array("", weights.type, tuple(walk.rows[0])).steps
    far = [step * cut.quads * size for step in along]
    step = "q++" if cut.chains == 1 else f"q += {cut.chains}"
    with (
        loops(text, walk.rows[0], far, walk.rows[1], letters="abc") as (row, reach),
        text.block(f"for (int q = 0; q < {cut.quads}; {step})"),
    ):
        block = [("k", cut.rows * cut.quads * size)] * (cut.count > 1)
        at = index([*block, *[(row, 1)] * (row != "0"), ("q", size)])
        text.line(f"const int8_t *w = {weights.name} + {at};")
        parts = [(each, 1) for each in (begin, reach) if each != "0"]
        text.line(f"const uint8_t *v = {walk.start} + {index([*parts, ('q', 4)])};")
        text.line(f"{name}_quad x;")
        for p, sums in enumerate(names):
            place, chain = p % cut.tile, p // cut.tile
            text.line(f"{name}_four(&x, v + {place * walk.place + chain * 4});")
            for v, each in enumerate(sums):
                text.line(f"{name}_dot(&{each}, &x, w + {chain * size + v * VECTOR * 4});")


def _finish(
    scene: Scene,
    text: Text,
    ops: tuple[Op, Op | None],
    what: tuple[Cut, list[list[str]], Array, tuple[str, int]],
) -> None:
    """Store the sums of a tile, or what follows them."""
    (op, behind), (cut, names, y, (where, place)) = ops, what
    size = cut.vectors * VECTOR
    how = _constants(scene, (op, behind), cut) if behind else None
    for v in range(cut.vectors):
        first = index([("k", size)] * (cut.count > 1), v * VECTOR)
        count = str(min(VECTOR, cut.outputs - v * VECTOR))
        if cut.count > 1 and cut.padded > cut.outputs:
            text.line(f"const int left{v} = {cut.outputs} - ({first});")
            count = f"(left{v} < 0 ? 0 : left{v} < {VECTOR} ? left{v} : {VECTOR})"
        for p in range(cut.tile):
            parts = [(each, 1) for each in (where, first) if each != "0"]
            to, each = index(parts, p * place), names[p][v]
            if how:
                call, constants, rest = how
                at = index([("k", cut.vectors * 48)] * (cut.count > 1), v * 48)
                target = f"(uint8_t *){y.name} + {to}"
                text.line(f"{call}({target}, &{each}, {constants} + {at}, {count}, {rest});")
            else:
                with text.block():
                    text.line(f"int32_t t[{VECTOR}];")
                    text.line(f"{scene.name}_store(t, &{each});")
                    loop = f"for (int j = 0; j < {count}; j++)"
                    text.line(f"{loop} {y.name}[{to} + j] = ({y.type.name})t[j];")


def _constants(scene: Scene, ops: tuple[Op, Op], cut: Cut) -> tuple[str, str, str]:
    """The function that finishes, its array of constants, and its other arguments."""
    op, behind = ops
    rows = np.zeros((3, cut.padded), dtype=np.int64)
    for row, place in zip(rows, (1, 2, 3), strict=True):
        row[: cut.outputs] = np.broadcast_to(scene.data(behind, place).ravel(), cut.outputs)
    mixed = np.ascontiguousarray(rows.reshape(3, -1, VECTOR).swapaxes(0, 1))
    wide = _largest(scene, op, behind) >= 2**31
    made = scene.fixed(f"{behind.name}_finish", mixed, kind=INT64 if wide else INT32)
    even, lo, hi = (behind.attributes.whole(name) for name in ("even", "lo", "hi"))
    ones = "" if wide else f"{int((rows[0, : cut.outputs] == 1).all())}, "
    call = "finish_wide" if wide else "finish"
    scene.uses.add(call)
    return f"{scene.name}_{call}", made.name, f"{ones}{even}, {lo}, {hi}"
