"""The back end alkaid: its adder graphs as Verilog and VHDL, in a folder like that of our own."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pareq.backends.base import Artefact, Program
from pareq.backends.verilog.alkaid.design import plan
from pareq.backends.verilog.design import Clock, check, put
from pareq.backends.verilog.simulator import Simulation, find
from pareq.backends.verilog.unroll import check_size
from pareq.errors import BackendError
from pareq.ir.graph import Graph

__all__ = ["Alkaid"]


@dataclass(frozen=True)
class Alkaid:
    """NAME.v by alkaid behind the ports of the Verilog back end, its test bench, and vhdl/.

    stage: nanoseconds of alkaid's delay model between registers; 0: no registers. vhdl: whether to
    write the design in VHDL too, where its top is NAME_graph. period, part, most, simulator: as of
    Verilog. Needs the extra fpga.
    """

    name: ClassVar[str] = "alkaid"
    stage: float = 3.0
    vhdl: bool = True
    period: float = 5.0
    part: str = "xcvu13p-flga2577-2-e"
    most: int = 100_000
    simulator: str = ""

    def __post_init__(self) -> None:
        if self.stage < 0:
            raise BackendError(f"stage is {self.stage}, expected 0 or more", where="alkaid")
        if not self.period > 0:
            raise BackendError(f"period is {self.period}, expected more than 0", where="alkaid")

    def write(self, graph: Graph, folder: Path, name: str) -> dict[str, float]:
        """Write all files. Raises MissingExtra, and BackendError for what alkaid cannot take."""
        check(graph, name)
        check_size(graph, self.most)
        begin = time.perf_counter()
        made = plan(graph).design(name, stage=self.stage, vhdl=self.vhdl)
        put(graph, made, folder, name, Clock(self.period, self.part))
        return {**made.figures, "seconds_to_build": round(time.perf_counter() - begin, 3)}

    def load(self, artefact: Artefact) -> Program:
        """Compile the test bench for a simulator. Raises BackendError where there is none."""
        simulator = find(self.simulator, small=artefact.figures.get("adders", 0) < 500)
        return Simulation(artefact.graph, artefact.folder, artefact.name, simulator)
