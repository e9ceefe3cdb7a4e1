"""A graph as a circuit: every element of every value on wires of its own."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pareq.backends.verilog.choices import CHOICES
from pareq.backends.verilog.circuit import Circuit
from pareq.backends.verilog.linear import LINEAR, adders
from pareq.backends.verilog.scene import Scene
from pareq.backends.verilog.steps import STEPS
from pareq.errors import BackendError, at
from pareq.ir.attributes import Attributes
from pareq.ir.graph import Graph, Op
from pareq.ir.ops import KINDS

__all__ = ["EMITTERS", "check_size", "unroll"]

Integers = npt.NDArray[np.int64]


def unroll(
    graph: Graph, *, share: bool = True, deeper: int | None = None, tables: int = 0, most: int
) -> tuple[Circuit, tuple[Integers, ...]]:
    """The circuit of a graph, and the node of every element of its outputs.

    share: whether sums are shared; deeper: adder levels that this may cost an output; tables: bits
    up to which a neuron may be a table. Raises BackendError for a graph that asks for more than
    `most` adders and comparisons.
    """
    check_size(graph, most)
    scene = Scene(graph, share, deeper, tables)
    for port, each in enumerate(graph.inputs):
        grid, shape = each.value.grid, each.value.shape
        size = int(np.prod(shape))
        terms = (scene.circuit.input(port, i, grid.lo, grid.hi) for i in range(size))
        scene.values[each.name] = scene.array(terms, shape)
    for number, op in enumerate(graph.ops):
        scene.circuit.owner = number
        with at(f"op {op.name!r}"):
            scene.values[op.name] = EMITTERS[op.kind](scene, op)
    outputs = []
    for name in graph.outputs:
        numbers = scene.value(name)
        nodes = [scene.node(number) for number in numbers.ravel().tolist()]
        outputs.append(np.array(nodes, dtype=np.int64).reshape(numbers.shape))
    return scene.circuit, tuple(outputs)


def check_size(graph: Graph, most: int) -> None:
    """Raise BackendError for a graph that asks for more than `most` adders and comparisons."""
    counts = {op.name: adders(graph, op) for op in graph.ops}
    if sum(counts.values()) > most:
        largest = max(counts, key=lambda name: counts[name])
        raise BackendError(
            f"unrolled it takes {sum(counts.values())} sums and comparisons ({largest!r} alone "
            f"{counts[largest]}), expected {most} at most; prune it, use fewer bits, or raise the "
            "limit: Verilog(most=...)"
        )


def _moved(scene: Scene, op: Op) -> Integers:
    """What only moves integers moves the numbers of their terms."""
    operands = [scene.value(name)[None] for name in op.inputs]
    attributes = op.attributes
    if "fill" in attributes:
        attributes = Attributes({**attributes, "fill": scene.fixed(attributes.whole("fill"))})
    return np.asarray(KINDS[op.kind].run(attributes, operands)[0])


_MOVES = ("reshape", "permute", "slice", "concat", "pad")
EMITTERS: dict[str, Callable[[Scene, Op], Integers]] = {
    **LINEAR,
    **STEPS,
    **CHOICES,
    **dict.fromkeys(_MOVES, _moved),
}
