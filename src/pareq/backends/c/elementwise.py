"""Ops that treat each element by itself: one loop nest with one expression."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.backends.c.nest import loops
from pareq.backends.c.scene import Array, Scene
from pareq.backends.c.text import Text, whole
from pareq.backends.c.types import CType, register
from pareq.ir.graph import Op

__all__ = ["ELEMENTWISE", "Emit", "clamp"]

Emit = Callable[[Scene, Op, Text], None]

_FEW = 16  # thresholds that are counted one by one; more are searched by halves


def clamp(value: str, lo: int, hi: int, reach: tuple[int, int]) -> str:
    """A C expression that brings the variable `value` into lo..hi where it can leave it."""
    text = value
    if reach[0] < lo:
        text = f"{value} < {whole(lo)} ? {whole(lo)} : {text}"
    if reach[1] > hi:
        text = f"{value} > {whole(hi)} ? {whole(hi)} : {text}"
    return text


@dataclass(frozen=True)
class _Element:
    """One operand inside the loops: an element of an array, or a literal where all are equal."""

    array: Array
    literal: str = ""
    at: str = ""

    def __str__(self) -> str:
        return self.literal or f"{self.array.name}[{self.at}]"

    def row(self, length: int) -> str:
        """A pointer to row number `at` of a table with rows of that length."""
        return self.array.name if self.at == "0" else f"{self.array.name} + ({self.at}) * {length}"


@contextmanager
def _each(
    scene: Scene, op: Op, text: Text, rows: Sequence[int] = ()
) -> Iterator[tuple[Callable[[str], None], list[_Element]]]:
    """Loops over the result; gives the function that stores an element, and the operands.

    rows: operands that are tables, indexed without their last axis.
    """
    y = scene.arrays[op.name]
    arrays, literals = [], []
    for place, name in enumerate(op.inputs):
        data = scene.graph.constant(name)
        same = data is not None and place not in rows and data.min() == data.max()
        literals.append(whole(int(data.flat[0])) if data is not None and same else "")
        arrays.append(y if same else scene.operand(name))
    layouts = []
    for place, (each, literal) in enumerate(zip(arrays, literals, strict=True)):
        indexed = Array("", each.type, each.shape[:-1]) if place in rows else each
        layouts.append((0,) * len(y.shape) if literal else indexed.along(y.shape))
    with loops(text, y.shape, y.steps, *layouts) as (to, *places):
        elements = [_Element(*each) for each in zip(arrays, literals, places, strict=True)]
        yield lambda value: text.line(f"{y.name}[{to}] = ({y.type.name})({value});"), elements


def _clamp(scene: Scene, op: Op, text: Text) -> None:
    lo, hi = op.attributes.whole("lo"), op.attributes.whole("hi")
    kind = register(max(scene.magnitude(op.inputs[0]), abs(lo), abs(hi)))
    with _each(scene, op, text) as (store, (x,)):
        text.line(f"const {kind.name} v = {x};")
        store(clamp("v", lo, hi, scene.limits(op.inputs[0])))


def _requantize(scene: Scene, op: Op, text: Text) -> None:
    lo, hi = op.attributes.whole("lo"), op.attributes.whole("hi")
    top = scene.magnitude(op.inputs[0]) * _largest(scene.data(op, 1)) + _largest(scene.data(op, 2))
    most, even = _largest(scene.data(op, 3)), op.attributes.whole("even")
    top += even << most
    kind = _shifted(register(max(top, abs(lo), abs(hi))), most)
    with _each(scene, op, text) as (store, (x, factor, offset, shift)):
        product = f"({kind.name}){x}" + ("" if factor.literal == "1" else f" * {factor}")
        moved = product if offset.literal == "0" else f"({product} + {offset})"
        if even:
            text.line(f"const {kind.name} t = {moved};")
            half = f"(({kind.name})1 << ({shift} - 1)) - 1"
            moved = f"(t + {half} + ((t >> {shift}) & 1))"
        text.line(f"const {kind.name} v = {moved} >> {shift};".replace(" >> 0;", ";"))
        store(clamp("v", lo, hi, (-top, top)))


def _threshold(scene: Scene, op: Op, text: Text) -> None:
    count = scene.data(op, 1).shape[-1]
    kind = register(max(_largest(scene.data(op, 2)) + count, scene.magnitude(op.inputs[0])))
    with _each(scene, op, text, rows=(1,)) as (store, (x, levels, base, step)):
        text.line(f"const {kind.name} v = {x};")
        text.line(f"const {levels.array.type.name} *t = {levels.row(count)};")
        text.line("int low = 0;")
        if count <= _FEW:
            text.line(f"for (int k = 0; k < {count}; k++) low += v >= t[k];")
        else:
            _halves(text, count)
        store(f"{base} + ({kind.name}){step} * low")


def _halves(text: Text, count: int) -> None:
    """Count the levels at or below v by halving the interval."""
    text.line(f"int high = {count};")
    with text.block("while (low < high)"):
        text.line("const int half = (low + high) / 2;")
        text.line("if (v >= t[half]) low = half + 1;")
        text.line("else high = half;")


def _table(scene: Scene, op: Op, text: Text) -> None:
    size, first = scene.data(op, 1).shape[-1], op.attributes.whole("first")
    kind = register(scene.magnitude(op.inputs[0]) + abs(first))
    with _each(scene, op, text, rows=(1,)) as (store, (x, table)):
        text.line(f"const {table.array.type.name} *t = {table.row(size)};")
        store(f"t[({kind.name}){x} - {whole(first)}]".replace("- -", "+ ").replace(" - 0]", "]"))


def _sum_of_two(sign: str) -> Emit:
    def emit(scene: Scene, op: Op, text: Text) -> None:
        shifts = [op.attributes.whole("shift_a"), op.attributes.whole("shift_b")]
        tops = [scene.magnitude(n) << s for n, s in zip(op.inputs, shifts, strict=True)]
        kind = register(sum(tops))
        with _each(scene, op, text) as (store, elements):
            a, b = (_scaled(kind, x, s) for x, s in zip(elements, shifts, strict=True))
            store(f"{a} {sign} {b}")

    return emit


def _multiply(scene: Scene, op: Op, text: Text) -> None:
    kind = register(scene.magnitude(op.inputs[0]) * scene.magnitude(op.inputs[1]))
    with _each(scene, op, text) as (store, (a, b)):
        store(f"({kind.name}){a} * {b}")


def _leaky(scene: Scene, op: Op, text: Text) -> None:
    shift = op.attributes.whole("shift")
    kind = register(scene.magnitude(op.inputs[0]) << shift)
    with _each(scene, op, text) as (store, (x,)):
        text.line(f"const {kind.name} v = {x};")
        store(f"v >= 0 ? v * {whole(1 << shift)} : v")


def _mask(scene: Scene, op: Op, text: Text) -> None:
    with _each(scene, op, text) as (store, (x, keep)):
        store(f"{keep} ? {x} : {whole(op.attributes.whole('fill'))}")


def _scaled(kind: CType, x: _Element, shift: int) -> str:
    """X times a power of two; a product, for a negative number has no left shift in C."""
    return f"({kind.name}){x}" + (f" * {whole(1 << shift)}" if shift else "")


def _shifted(kind: CType, shift: int) -> CType:
    """The type itself, or a wider one that can be shifted that far."""
    return kind if shift < kind.bits else register(2**62)


def _largest(data: npt.NDArray[np.int64]) -> int:
    return max(abs(int(data.min())), abs(int(data.max())))


ELEMENTWISE: dict[str, Emit] = {
    "add": _sum_of_two("+"),
    "clamp": _clamp,
    "leaky": _leaky,
    "mask": _mask,
    "multiply": _multiply,
    "requantize": _requantize,
    "subtract": _sum_of_two("-"),
    "table": _table,
    "threshold": _threshold,
}
