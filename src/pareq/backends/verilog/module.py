"""A circuit and its schedule as the text of one Verilog module."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pareq.backends.c.text import Names
from pareq.backends.verilog.circuit import Circuit
from pareq.backends.verilog.expression import EXPRESSIONS, Wire, literal
from pareq.backends.verilog.names import KEYWORDS
from pareq.backends.verilog.pipeline import Schedule
from pareq.backends.verilog.ports import Port, Ports
from pareq.ir.graph import Graph, Value

__all__ = ["module"]

Integers = npt.NDArray[np.int64]

_LINT = [
    "/* verilator lint_off DECLFILENAME */",
    "/* verilator lint_off UNUSED */ // bits that rounding drops are needed for their carries only",
]


def module(
    graph: Graph,
    name: str,
    buses: Ports,
    made: tuple[Circuit, Sequence[Integers], Schedule],
) -> str:
    """The text of NAME.v."""
    circuit, outputs, plan = made
    writer = _Writer(graph, circuit, plan, buses)
    body = writer.body()
    lines = [*_about(graph, name, buses, plan), "", *_LINT, f"module {name} ("]
    lines += ["    input  wire clk,"]
    lines += [f"    input  wire [{port.bits - 1}:0] {port.name}," for port in buses.inputs]
    lines += [f"    output wire [{port.bits - 1}:0] {port.name}," for port in buses.outputs]
    lines[-1] = lines[-1].rstrip(",")
    lines += [");", *(f"    {each}" if each else "" for each in writer.functions), *body]
    for port, nodes in zip(buses.outputs, outputs, strict=True):
        lines += [f"    assign {port.name} = {{"]
        found = [writer.wire(n, plan.latency).bits(port.width) for n in nodes.ravel().tolist()]
        lines += [f"        {each}," for each in reversed(found[1:])]
        lines += [f"        {found[0]}", "    };"]
    return "\n".join([*lines, "endmodule", ""])


def _about(graph: Graph, name: str, buses: Ports, plan: Schedule) -> list[str]:
    lines = [
        f"// {name}: an integer network; takes one sample a clock.",
        f"// Results follow after {plan.latency} rising edges of clk; between registers lie",
        f"// {plan.levels:g} adder levels at most.",
        "//",
    ]
    for port in (*buses.inputs, *buses.outputs):
        shape = " x ".join(map(str, port.value.shape)) or "1"
        sign = "signed" if port.signed else "unsigned"
        lines += [
            f"// {port.name}: {_plain(port.value.name)}, {shape} {sign} numbers of {port.width}",
            "//    bits in C order, the first in the lowest bits;",
            f"//    {_grid(port.value)}",
        ]
    return lines + [
        f"// of the graph, {_plain(key)}: {_plain(text)}" for key, text in graph.metadata.items()
    ]


def _grid(value: Value) -> str:
    grid = value.grid
    if isinstance(grid.scale, float):
        return f"{grid.lo}..{grid.hi}, n stands for {grid.scale!r} * (n - {grid.zero})"
    return f"{grid.lo}..{grid.hi}, each channel has its own step, see the graph"


def _plain(text: str) -> str:
    return " ".join(text.split())


@dataclass
class _Writer:
    """Names of nodes and the text that defines them."""

    graph: Graph
    circuit: Circuit
    plan: Schedule
    buses: Ports
    functions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        taken = (port.name for port in (*self.buses.inputs, *self.buses.outputs))
        self._free = Names({*KEYWORDS, *taken})
        self._names: dict[int, str] = {}
        self._delayed: dict[tuple[int, int], str] = {}
        self._tables: dict[tuple[tuple[int, ...], int, int], str] = {}

    def body(self) -> list[str]:
        """Inputs, then one part an op."""
        owners: dict[int, list[int]] = {}
        for node in self.plan.stages:
            owners.setdefault(self.circuit.nodes[node].owner, []).append(node)
        lines = []
        for owner, nodes in sorted(owners.items()):
            lines += ["", f"    // {self._title(owner)}", *self._part(owner, nodes)]
        return [*lines, ""]

    def wire(self, node: int, stage: int) -> Wire:
        """A node as it is read in a stage."""
        at = self.circuit.nodes[node]
        if at.kind == "constant":
            return Wire(literal(at.lo, at.width), at)
        late = stage - self.plan.stages[node]
        return Wire(self._delayed[node, late] if late else self._names[node], at)

    def _title(self, owner: int) -> str:
        if owner < 0:
            return "inputs"
        op = self.graph.ops[owner]
        return _plain(f"op {op.name}: {op.kind} {op.origin}; {_grid(op.output)}")

    def _part(self, owner: int, nodes: Iterable[int]) -> list[str]:
        label = self.graph.ops[owner].name if owner >= 0 else ""
        wires, registers, steps = [], [], []
        for number, node in enumerate(nodes):
            at = self.circuit.nodes[node]
            if at.kind == "input":
                port: Port = self.buses.inputs[at.detail[0]]
                name = self._free.free(f"{port.name}_{at.detail[1]}")
            else:
                name = self._free.free(f"{label}_{number}")
            self._names[node] = name
            wires.append(f"    wire [{at.width - 1}:0] {name} = {self._expression(node)};")
            for late in range(1, self.plan.registers(node) + 1):
                self._delayed[node, late] = self._free.free(f"{self._names[node]}_r{late}")
                registers.append(f"    reg [{at.width - 1}:0] {self._delayed[node, late]};")
                steps.append(f"        {self._delayed[node, late]} <= {name};")
                name = self._delayed[node, late]
        if steps:
            steps = ["    always @(posedge clk) begin", *steps, "    end"]
        return [*wires, *registers, *steps]

    def _expression(self, node: int) -> str:
        at, stage = self.circuit.nodes[node], self.plan.stages[node]
        if at.kind == "input":
            port = self.buses.inputs[at.detail[0]]
            low = at.detail[1] * port.width
            return f"{port.name}[{low + port.width - 1}:{low}]"
        wires = [self.wire(each, stage) for each in at.operands]
        if at.kind == "table":
            return f"{self._table(node)}({wires[0].name})"
        if at.kind == "function":
            return f"{self._table(node)}({{{', '.join(each.name for each in reversed(wires))}}})"
        return EXPRESSIONS[at.kind](at, wires)

    def _table(self, node: int) -> str:
        """The function of a table, written once."""
        at = self.circuit.nodes[node]
        wide = sum(self.circuit.nodes[each].width for each in at.operands)
        key = at.detail, wide, at.width
        if key not in self._tables:
            name = self._tables[key] = self._free.free("lookup")
            first, entries = at.detail[0], at.detail[1:]
            if at.kind == "function":
                first, entries = 0, at.detail[len(at.operands) :]
            self.functions += ["", f"function [{at.width - 1}:0] {name};"]
            self.functions += [f"    input [{wide - 1}:0] n;", "    case (n)"]
            self.functions += [
                f"        {literal(n, wide)}: {name} = {literal(entry, at.width)};"
                for n, entry in enumerate(entries, first)
            ]
            if len(entries) < 1 << wide:  # what cannot occur may be anything
                self.functions.append(f"        default: {name} = {{{at.width}{{1'bx}}}};")
            self.functions += ["    endcase", "endfunction"]
        return self._tables[key]
