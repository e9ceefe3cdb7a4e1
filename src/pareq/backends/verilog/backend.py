"""The Verilog back end: a pipelined design that takes a sample a clock, and its test bench."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

from pareq.backends.base import Artefact, Program
from pareq.backends.verilog.alkaid.design import plan
from pareq.backends.verilog.design import Clock, Design, check, put
from pareq.backends.verilog.native import Native, native
from pareq.backends.verilog.simulator import Simulation, find
from pareq.backends.verilog.unroll import check_size
from pareq.errors import BackendError, MissingExtra
from pareq.ir.graph import Graph

__all__ = ["Emitter", "Verilog"]

Emitter = Literal["best", "native", "alkaid"]

_SMALL = 500  # adders up to which 10,000 rows take less time than Verilator to compile
_STAGE = 1.0  # nanoseconds of alkaid's delay model for an adder level


@dataclass(frozen=True)
class Verilog:
    """NAME.v in Verilog-2001, NAME_tb.v with vectors, NAME.xdc and NAME_vivado.tcl.

    emitter: "native" is our own; "alkaid" that of the package (extra fpga); "best" the one of the
    two with fewer estimated look-up tables, where alkaid is installed and takes the graph. levels:
    adder levels between registers; 0: no registers. period: of the clock in nanoseconds, for
    constraints. part: for the vendor's tool. share: sums that several outputs need are added once;
    deeper: adder levels that this may cost an output, None: any number.
    tables: bits up to which a neuron may be a table, where that is smaller; 0: none. most: sums and
    comparisons of an unrolled network. simulator: "verilator" or "icarus"; default Verilator, for
    small designs Icarus, whichever is installed.
    """

    name: ClassVar[str] = "verilog"
    emitter: Emitter = "best"
    levels: int = 3
    period: float = 5.0
    part: str = "xcvu13p-flga2577-2-e"
    share: bool = True
    deeper: int | None = None
    tables: int = 8
    most: int = 100_000
    simulator: str = ""

    def __post_init__(self) -> None:
        if self.emitter not in get_args(Emitter):
            known = ", ".join(get_args(Emitter))
            raise BackendError(
                f"emitter is {self.emitter!r}, expected one of {known}", where="verilog"
            )
        if self.levels < 0:
            raise BackendError(f"levels is {self.levels}, expected 0 or more", where="verilog")
        if not self.period > 0:
            raise BackendError(f"period is {self.period}, expected more than 0", where="verilog")

    def write(self, graph: Graph, folder: Path, name: str) -> dict[str, float]:
        """Write all files; no tool is needed.

        Raises BackendError for a graph too large, MissingExtra for an emitter that is not there.
        """
        check(graph, name)
        begin = time.perf_counter()
        made = self._design(graph, name)
        put(graph, made, folder, name, Clock(self.period, self.part))
        return {**made.figures, "seconds_to_build": round(time.perf_counter() - begin, 3)}

    def load(self, artefact: Artefact) -> Program:
        """Compile the test bench for a simulator. Raises BackendError where there is none."""
        small = artefact.figures.get("adders", 0) < _SMALL
        simulator = find(self.simulator, small=small)
        return Simulation(artefact.graph, artefact.folder, artefact.name, simulator)

    def _design(self, graph: Graph, name: str) -> Design:
        if self.emitter == "alkaid":
            check_size(graph, self.most)
            return plan(graph).design(name, stage=self.levels * _STAGE)
        ours = native(
            graph, name, Native(self.levels, self.share, self.deeper, self.tables, self.most)
        )
        if self.emitter == "best":
            try:
                other = plan(graph)
            except (MissingExtra, BackendError):
                return ours
            if other.estimate < ours.figures["lut_estimate"]:
                return other.design(name, stage=self.levels * _STAGE)
        return ours
