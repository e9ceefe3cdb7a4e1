"""A design as text, whichever program made it, and the files of the folder around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pareq.backends.vectors import extremes, uniform
from pareq.backends.verilog.bench import bench, constraints, script
from pareq.backends.verilog.names import KEYWORDS
from pareq.backends.verilog.ports import Ports, ports
from pareq.errors import BackendError
from pareq.ir.execute import execute
from pareq.ir.graph import Graph

__all__ = ["Clock", "Design", "check", "put"]

_ROWS = 62  # random rows of the test bench, beside two extremes


@dataclass(frozen=True)
class Clock:
    """For the vendor's tool. period: nanoseconds; part: of the FPGA."""

    period: float = 5.0
    part: str = "xcvu13p-flga2577-2-e"


@dataclass(frozen=True)
class Design:
    """text: of NAME.v, whose module has the ports of `ports`; latency: rising edges of the clock.

    figures: what is known without any tool, `lut_estimate` among them; more: further files.
    """

    text: str
    latency: int
    figures: Mapping[str, float]
    more: Mapping[str, str] = field(default_factory=dict)


def check(graph: Graph, name: str) -> None:
    """Raises BackendError for a graph without inputs, or a name that Verilog does not allow."""
    if name in KEYWORDS:
        raise BackendError(f"name is {name!r}, a word of Verilog; choose another one")
    if not graph.inputs:
        raise BackendError("the graph has no inputs, expected one at least")


def put(graph: Graph, design: Design, folder: Path, name: str, clock: Clock) -> None:
    """Write NAME.v, its test bench with vectors, constraints and the vendor's script."""
    buses = ports(graph)
    texts = {
        f"{name}.v": design.text,
        f"{name}_tb.v": bench(name, buses, design.latency, clock.period),
        f"{name}.xdc": constraints(name, clock.period),
        f"{name}_vivado.tcl": script(name, clock.part),
        **design.more,
    }
    for file, text in texts.items():
        place = folder / file
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    _vectors(graph, buses, folder, name)


def _vectors(graph: Graph, buses: Ports, folder: Path, name: str) -> None:
    """NAME_x.hex and NAME_y.hex: rows for the test bench, and what must come out."""
    random = uniform(graph, _ROWS, np.random.default_rng(0))
    x = [np.concatenate(pair) for pair in zip(extremes(graph), random, strict=True)]
    found = execute(graph, *x).outputs
    for end, group, arrays in (("x", buses.inputs, x), ("y", buses.outputs, found)):
        rows = zip(*(port.pack(n) for port, n in zip(group, arrays, strict=True)), strict=True)
        (folder / f"{name}_{end}.hex").write_text("".join(" ".join(row) + "\n" for row in rows))
