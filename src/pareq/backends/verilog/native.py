"""The design of our own: a circuit of adder trees, tables and comparisons, and its registers."""

from collections.abc import Mapping
from dataclasses import dataclass

from pareq.backends.verilog.circuit import Circuit
from pareq.backends.verilog.design import Design
from pareq.backends.verilog.estimate import estimate
from pareq.backends.verilog.module import module
from pareq.backends.verilog.pipeline import Schedule, schedule
from pareq.backends.verilog.ports import ports
from pareq.backends.verilog.unroll import unroll
from pareq.ir.graph import Graph

__all__ = ["Native", "native"]


@dataclass(frozen=True)
class Native:
    """levels: adder levels between registers, 0: none; share, deeper, tables, most: as `unroll`."""

    levels: int = 3
    share: bool = True
    deeper: int | None = None
    tables: int = 8
    most: int = 100_000


def native(graph: Graph, name: str, how: Native) -> Design:
    """The design of a graph. Raises BackendError for one that is too large."""
    limits = {"tables": how.tables, "most": how.most}
    circuit, outputs = unroll(graph, share=how.share, deeper=how.deeper, **limits)
    ends = (n for nodes in outputs for n in nodes.ravel().tolist())
    plan = schedule(circuit, ends, how.levels)
    text = module(graph, name, ports(graph), (circuit, outputs, plan))
    return Design(text, plan.latency, _figures(circuit, plan))


def _figures(circuit: Circuit, plan: Schedule) -> Mapping[str, float]:
    nodes = circuit.nodes
    sums = [node for node in plan.stages if nodes[node].kind == "sum" and circuit.delay(node)]
    return {
        "latency_cycles": float(plan.latency),
        "interval_cycles": 1.0,
        "levels": plan.levels,
        "adders": float(len(sums)),
        "table_neurons": float(sum(nodes[node].kind == "function" for node in plan.stages)),
        "adder_bits": float(sum(nodes[node].width for node in sums)),
        "register_bits": float(sum(nodes[n].width * plan.registers(n) for n in plan.stages)),
        "lut_estimate": estimate(circuit, plan.stages),
    }
