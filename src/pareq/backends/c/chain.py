"""A network that is a chain of dense layers on bytes: the shape that lanes can run."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.backends.c.narrow import Narrow, Rescale, narrow
from pareq.backends.c.types import narrowest
from pareq.backends.c.wide import wide
from pareq.ir.graph import Graph, Op

__all__ = ["Chain", "Layer", "chain"]

Integers = npt.NDArray[np.int64]

_MOST = 20_000  # non-zero weights; straight-line code beyond takes long to compile


@dataclass(frozen=True, eq=False)
class Layer:
    """One dense layer on inputs 0..255, which stand for integers less their smallest.

    weight: `(out, in)`, in bytes. bias: with all corrections and the offset of a narrow `form`.
    op: how sums become the bytes of the next layer; None: sums are the result. form: the same as it
    is computed, in 16 or 32 bits. low: what byte 0 of the results stands for. words: every sum
    stays in 16 bits, at every step.
    """

    name: str
    weight: Integers
    bias: Integers
    op: Rescale | None
    form: Narrow | Rescale | None
    low: int
    words: bool

    @property
    def sum_bias(self) -> Integers:
        """The bias without the offset of a narrow form: what `op` expects in the sums."""
        return self.bias - self.form.offset if isinstance(self.form, Narrow) else self.bias


@dataclass(frozen=True, eq=False)
class Chain:
    """Layers in order; low: what byte 0 of the input stands for; top: its largest byte."""

    layers: tuple[Layer, ...]
    low: int
    top: int

    @property
    def words(self) -> bool:
        """Whether every sum stays in 16 bits, at every step."""
        return all(layer.words for layer in self.layers)


def chain(graph: Graph) -> Chain | None:
    """The graph as a chain, or None where it is none.

    Weights are bytes, the integers between layers span 256 at most, and requantizations can be
    computed in 32 bits.
    """
    steps = _steps(graph)
    if not steps:
        return None
    low = graph.inputs[0].value.grid.lo
    top = graph.inputs[0].value.grid.hi - low
    if narrowest(low, low + top).bits != 8:
        return None
    first, span, layers = low, top, []
    for dense, rescale in steps:
        layer = _layer(graph, dense, rescale, (low, top))
        if layer is None:
            return None
        layers.append(layer)
        low, top = layer.low, layer.form.top if layer.form else 0
    weights = sum(np.count_nonzero(layer.weight) for layer in layers)
    return Chain(tuple(layers), first, span) if weights <= _MOST else None


def _steps(graph: Graph) -> list[tuple[Op, Op | None]]:
    """Pairs of dense and requantize that follow one another from the input to the only output."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return []
    at, found = graph.inputs[0].name, list[tuple[Op, Op | None]]()
    while at != graph.outputs[0]:
        users = graph.users(at)
        if len(users) != 1:
            return []
        at, (op,) = users[0].name, users
        if op.kind == "dense" and len(op.output.shape) == 1:
            found.append((op, None))
        elif op.kind == "requantize" and found and found[-1][1] is None:
            found[-1] = (found[-1][0], op)
        elif op.kind != "reshape":
            return []
    inner = all(rescale is not None for _, rescale in found[:-1])
    return found if inner else []


def _layer(graph: Graph, dense: Op, rescale: Op | None, x: tuple[int, int]) -> Layer | None:
    """One layer for inputs low..low + top, or None where it does not fit."""
    low, top = x
    weight, bias = (_constant(graph, name) for name in dense.inputs[1:])
    bias = bias + low * weight.sum(axis=1)
    op, form, first = None, None, 0
    if rescale is not None:
        op, sign = _rescale(graph, rescale, (weight, bias, top))
        weight, bias, first = weight * sign[:, None], bias * sign, op.lo
        if op.top > 255:
            return None
        form = narrow(op) or op
        if isinstance(form, Narrow):
            bias = bias + form.offset
        elif any(wide(form, neuron) is None for neuron in range(len(bias))):
            return None
    rise = np.maximum(weight, 0).sum(axis=1) * top + np.maximum(bias, 0)
    fall = np.minimum(weight, 0).sum(axis=1) * top + np.minimum(bias, 0)
    if weight.min() < -128 or weight.max() > 127 or max(rise.max(), -fall.min()) >= 2**31:
        return None
    spare = 2**form.shift if isinstance(form, Narrow) else 0  # what rounding to even adds
    words = bool(rise.max() + spare < 2**15 and fall.min() >= -(2**15))
    return Layer(dense.origin or dense.name, weight, bias, op, form, first, words)


def _rescale(
    graph: Graph, op: Op, layer: tuple[Integers, Integers, int]
) -> tuple[Rescale, Integers]:
    """The op with multipliers that are not negative, and the factors of neurons that make it so.

    A factor is 0 for a neuron whose multiplier is 0: its result does not depend on its sum.
    """
    weight, bias, top = layer
    multiplier, offset, shift = (
        np.broadcast_to(_constant(graph, name), bias.shape) for name in op.inputs[1:]
    )
    sign = np.sign(multiplier)
    weight, bias = weight * sign[:, None], bias * sign
    low = np.minimum(weight, 0).sum(axis=1) * top + bias
    high = np.maximum(weight, 0).sum(axis=1) * top + bias
    lo, hi = op.attributes.whole("lo"), op.attributes.whole("hi")
    even = bool(op.attributes.whole("even"))
    return Rescale(multiplier * sign, offset, shift, even, lo, hi, low, high), sign


def _constant(graph: Graph, name: str) -> Integers:
    data = graph.constant(name)
    return np.zeros(0, dtype=np.int64) if data is None else data
