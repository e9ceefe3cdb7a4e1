"""Neurons of few input bits as tables: sum, scale and clamp at once, for every input enumerated.

A neuron that reads few bits is a function of them, whatever its weights are (Umuroglu et al. 2020,
LogicNets). It is written as a table where that is estimated to take fewer look-up tables than its
adders do; an adder that several neurons share counts with its share of each.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pareq.backends.verilog.circuit import Circuit, Term
from pareq.backends.verilog.estimate import cost, tables
from pareq.backends.verilog.scene import Scene

__all__ = ["cheaper"]

Integers = npt.NDArray[np.int64]
Step = Callable[[int], int]


def cheaper(
    scene: Scene, terms: Sequence[Term], nodes: Sequence[int], steps: Sequence[Step]
) -> list[int]:
    """For each neuron the node that it has, or that of a table that takes less.

    terms: the sums; nodes: of step(sum), as adders; steps: functions of the sums.
    """
    if not scene.tables:
        return list(nodes)
    circuit = scene.circuit
    forms = [circuit.form(term) for term in terms]
    cones = [_cone(circuit, n, set(form)) for n, (form, _) in zip(nodes, forms, strict=True)]
    users = Counter(node for cone in cones for node in cone)
    found = []
    for node, cone, (form, offset), step in zip(nodes, cones, forms, steps, strict=True):
        wide = sum(circuit.nodes[each].width for each in form)
        price = sum(cost(circuit, each) / users[each] for each in cone)
        if not form or wide > scene.tables or price < 1:
            found.append(node)
            continue
        entries = _enumerated(circuit, form, offset, step)
        better = tables(entries, wide) < price
        found.append(circuit.function(tuple(form), entries) if better else node)
    return found


def _cone(circuit: Circuit, node: int, base: set[int]) -> set[int]:
    """The nodes between a node and those of a base."""
    cone, waiting = set[int](), [node]
    while waiting:
        each = waiting.pop()
        if each not in cone and each not in base:
            cone.add(each)
            waiting += circuit.nodes[each].operands
    return cone


def _enumerated(circuit: Circuit, form: dict[int, int], offset: int, step: Step) -> tuple[int, ...]:
    """step(sum) for all bits of the nodes of a form, the first one in the lowest bits."""
    wide = sum(circuit.nodes[each].width for each in form)
    index = np.arange(1 << wide, dtype=np.int64)
    total = np.full(index.shape, offset)
    for each, factor in form.items():
        node = circuit.nodes[each]
        n = index & ((1 << node.width) - 1)
        if node.signed:
            n = n - ((n >> (node.width - 1)) << node.width)
        total += factor * np.clip(n, node.lo, node.hi)  # what cannot occur is as what can
        index = index >> node.width
    sums, where = np.unique(total, return_inverse=True)
    results = [step(n) for n in sums.tolist()]
    return tuple(results[i] for i in where.tolist())
