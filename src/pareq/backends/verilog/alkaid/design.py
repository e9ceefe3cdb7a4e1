"""The design that alkaid makes, behind the same ports as that of our own."""

import re
import tempfile
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from pareq.backends.verilog.alkaid.emitters import EMITTERS
from pareq.backends.verilog.alkaid.trace import (
    AdderGraph,
    Layout,
    Machine,
    estimated,
    machine,
    opened,
    refusing,
    traced,
)
from pareq.backends.verilog.design import Design
from pareq.backends.verilog.ports import Port, Ports, ports
from pareq.errors import at
from pareq.ir.graph import Graph

__all__ = ["Plan", "plan"]

_HEAD = """\
// {name}: an integer network; takes one sample a clock, results follow after {latency} rising edges
// of clk. Made by alkaid {version}, whose modules here are LGPL-3.0-or-later.
/* verilator lint_off DECLFILENAME */
/* verilator lint_off UNUSED */
/* verilator lint_off WIDTH */

module {name} (
    input  wire clk,
{ports}
);
    wire [{inside}:0] taken;
    wire [{outside}:0] given;
{wires}
    {name}_graph graph ({clock}.model_inp(taken), .model_out(given));
endmodule

"""


@dataclass(frozen=True)
class Plan:
    """What alkaid makes of a graph, before it is written; raises as `plan` does.

    cost: look-up tables by alkaid's own model; estimate: by that of the Verilog back end.
    """

    graph: Graph
    adders: AdderGraph
    version: str

    @property
    def cost(self) -> float:
        """Look-up tables as alkaid counts them."""
        return float(self.adders.cost)

    @cached_property
    def estimate(self) -> float:
        """Look-up tables as `pareq.backends.verilog.estimate` counts them."""
        return estimated(self.adders)

    def design(self, name: str, *, stage: float, vhdl: bool = False) -> Design:
        """Write it, with registers every `stage` nanoseconds of alkaid's delays; 0: none.

        vhdl: the same in VHDL as well, in the folder `vhdl`.
        """
        top = f"{name}_graph"
        with tempfile.TemporaryDirectory(prefix="alkaid-") as folder:
            languages = ("verilog", "vhdl") if vhdl else ("verilog",)
            made = [
                machine(self.adders, top, Path(folder) / each, stage=stage, language=each)
                for each in languages
            ]
        whole, others = made[0], made[1:]
        figures = {
            "latency_cycles": float(whole.latency),
            "interval_cycles": 1.0,
            "adders": float(whole.adders),
            "register_bits": float(whole.register_bits),
            "lut_estimate": self.estimate,
            "alkaid_cost": self.cost,
        }
        sources = "\n".join(_renamed(text, name) for text in whole.sources.values())
        more = {f"vhdl/{file}": text for each in others for file, text in each.sources.items()}
        return Design(
            _wrapper(self.graph, name, whole, self.version) + sources, whole.latency, figures, more
        )


def plan(graph: Graph) -> Plan:
    """Let alkaid search. Raises MissingExtra, and BackendError for what alkaid cannot take."""
    scene = opened(graph)
    for op in graph.ops:
        with at(f"op {op.name!r}"), refusing():
            scene.values[op.name] = EMITTERS[op.kind](scene, op)
    return Plan(graph, traced(scene), version("alkaid"))


def _wrapper(graph: Graph, name: str, made: Machine, release: str) -> str:
    """The module with the ports of the graph around alkaid's."""
    buses = ports(graph)
    directions = [f"    input  wire [{p.bits - 1}:0] {p.name}" for p in buses.inputs]
    directions += [f"    output wire [{p.bits - 1}:0] {p.name}" for p in buses.outputs]
    return _HEAD.format(
        name=name,
        latency=made.latency,
        version=release,
        ports=",\n".join(directions),
        inside=max(sum(map(sum, made.inputs)) - 1, 0),
        outside=max(sum(map(sum, made.outputs)) - 1, 0),
        wires="\n".join([*_taken(buses, made.inputs), *_given(buses, made.outputs)]),
        clock=".clk(clk), " if made.latency else "",
    )


def _taken(buses: Ports, layout: Layout) -> list[str]:
    """What each element of alkaid's input is, the first in the lowest bits."""
    low, found = 0, []
    elements = [(port, i) for port in buses.inputs for i in range(port.size)]
    for (port, i), (signed, above, below) in zip(elements, layout, strict=True):
        width = signed + above + below
        if width > 0:
            source = _element(port, i, max(-below, 0))
            found.append(f"    assign taken[{low + width - 1}:{low}] = {source};")
            low += width
    return found


def _given(buses: Ports, layout: Layout) -> list[str]:
    low, found = 0, []
    elements = [(port, i) for port in buses.outputs for i in range(port.size)]
    for (port, i), (signed, above, below) in zip(elements, layout, strict=True):
        width = signed + above + below
        left, right = i * port.width + port.width - 1, i * port.width
        parts = []
        if width > 0:
            parts = [f"given[{low + width - 1}:{low}]"] + ([f"{-below}'d0"] if below < 0 else [])
            more = port.width - width - max(-below, 0)
            sign = f"given[{low + width - 1}]" if signed else "1'b0"
            parts = [f"{{{more}{{{sign}}}}}"] * (more > 0) + parts
            low += width
        value = f"{{{', '.join(parts)}}}" if parts else f"{port.width}'d0"
        found.append(f"    assign {port.name}[{left}:{right}] = {value};")
    return found


def _element(port: Port, index: int, low: int) -> str:
    """An element of a bus, its lowest bits left out."""
    first = index * port.width
    return f"{port.name}[{first + port.width - 1}:{first + low}]"


def _renamed(text: str, name: str) -> str:
    """Modules of one design have its name, so that two fit into one project.

    What alkaid tells Verilator goes: not every version knows the words.
    """
    text = re.sub(r"/\*\s*verilator lint_\w+ \w+\s*\*/|//\s*verilator lint_.*", "", text)
    return re.sub(r"\b(logic\d+)\b", rf"{name}_\1", text)
