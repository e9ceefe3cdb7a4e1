"""The Verilog back end: a pipelined design that takes a sample a clock, and its test bench."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from pareq.backends.base import Artefact, Program
from pareq.backends.vectors import extremes, uniform
from pareq.backends.verilog.bench import bench, constraints, script
from pareq.backends.verilog.circuit import Circuit
from pareq.backends.verilog.module import module
from pareq.backends.verilog.names import KEYWORDS
from pareq.backends.verilog.pipeline import Schedule, schedule
from pareq.backends.verilog.ports import Ports, ports
from pareq.backends.verilog.simulator import Simulation, find
from pareq.backends.verilog.unroll import unroll
from pareq.errors import BackendError
from pareq.ir.execute import execute
from pareq.ir.graph import Graph

__all__ = ["Verilog"]

_SMALL = 500  # adders up to which 10,000 rows take less time than Verilator to compile
_ROWS = 62  # random rows of the test bench, beside two extremes


@dataclass(frozen=True)
class Verilog:
    """NAME.v in Verilog-2001, NAME_tb.v with vectors, NAME.xdc and NAME_vivado.tcl.

    levels: adder levels between registers; 0: no registers. period: of the clock in nanoseconds,
    for constraints. part: for the vendor's tool. share: sums that several outputs need are added
    once; deeper: adder levels that this may cost an output, None: any number. most: sums and
    comparisons of an unrolled network. simulator: "verilator" or "icarus"; default Verilator, for
    small designs Icarus, whichever is installed.
    """

    name: ClassVar[str] = "verilog"
    levels: int = 3
    period: float = 5.0
    part: str = "xcvu13p-flga2577-2-e"
    share: bool = True
    deeper: int | None = None
    most: int = 100_000
    simulator: str = ""

    def __post_init__(self) -> None:
        if self.levels < 0:
            raise BackendError(f"levels is {self.levels}, expected 0 or more", where="verilog")
        if not self.period > 0:
            raise BackendError(f"period is {self.period}, expected more than 0", where="verilog")

    def write(self, graph: Graph, folder: Path, name: str) -> dict[str, float]:
        """Write all files; no tool is needed. Raises BackendError for a graph too large."""
        if name in KEYWORDS:
            raise BackendError(f"name is {name!r}, a word of Verilog; choose another one")
        if not graph.inputs:
            raise BackendError("the graph has no inputs, expected one at least")
        begin = time.perf_counter()
        circuit, outputs = unroll(graph, share=self.share, deeper=self.deeper, most=self.most)
        plan = schedule(
            circuit, (n for nodes in outputs for n in nodes.ravel().tolist()), self.levels
        )
        buses = ports(graph)
        (folder / f"{name}.v").write_text(module(graph, name, buses, (circuit, outputs, plan)))
        (folder / f"{name}_tb.v").write_text(bench(name, buses, plan.latency, self.period))
        (folder / f"{name}.xdc").write_text(constraints(name, self.period))
        (folder / f"{name}_vivado.tcl").write_text(script(name, self.part))
        _vectors(graph, buses, folder, name)
        seconds = round(time.perf_counter() - begin, 3)
        return {**_figures(circuit, plan), "seconds_to_build": seconds}

    def load(self, artefact: Artefact) -> Program:
        """Compile the test bench for a simulator. Raises BackendError where there is none."""
        small = artefact.figures.get("adders", 0) < _SMALL
        simulator = find(self.simulator, small=small)
        return Simulation(artefact.graph, artefact.folder, artefact.name, simulator)


def _vectors(graph: Graph, buses: Ports, folder: Path, name: str) -> None:
    """NAME_x.hex and NAME_y.hex: rows for the test bench, and what must come out."""
    random = uniform(graph, _ROWS, np.random.default_rng(0))
    x = [np.concatenate(pair) for pair in zip(extremes(graph), random, strict=True)]
    found = execute(graph, *x).outputs
    for end, group, arrays in (("x", buses.inputs, x), ("y", buses.outputs, found)):
        rows = zip(*(port.pack(n) for port, n in zip(group, arrays, strict=True)), strict=True)
        (folder / f"{name}_{end}.hex").write_text("".join(" ".join(row) + "\n" for row in rows))


def _figures(circuit: Circuit, plan: Schedule) -> dict[str, float]:
    """What is known without any tool."""
    nodes = circuit.nodes
    sums = [node for node in plan.stages if nodes[node].kind == "sum" and circuit.delay(node)]
    return {
        "latency_cycles": float(plan.latency),
        "interval_cycles": 1.0,
        "levels": plan.levels,
        "adders": float(len(sums)),
        "adder_bits": float(sum(nodes[node].width for node in sums)),
        "register_bits": float(sum(nodes[n].width * plan.registers(n) for n in plan.stages)),
    }
