"""A design in a simulator: compiled once, rows streamed through it."""

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pareq.backends.base import Program
from pareq.backends.verilog.ports import ports
from pareq.backends.verilog.tools import run
from pareq.errors import BackendError
from pareq.ir.graph import Graph

__all__ = ["SIMULATORS", "Simulation", "find"]

Integers = npt.NDArray[np.int64]
Whole = npt.NDArray[np.integer]

SIMULATORS = {"verilator": "verilator", "icarus": "iverilog"}  # name: command
_QUICK = ("OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")  # to compile takes most of the time


def find(name: str = "", *, small: bool = False) -> str:
    """A simulator of SIMULATORS that is installed: the one named, else the first.

    small: the last one is preferred; Verilator compiles longer than a small design runs.
    Raises BackendError that says what to install.
    """
    if name and name not in SIMULATORS:
        raise BackendError(f"simulator is {name!r}, expected one of {', '.join(SIMULATORS)}")
    order = list(SIMULATORS)[:: -1 if small else 1]
    for each in [name] if name else order:
        if shutil.which(SIMULATORS[each]):
            return each
    wanted = name or " or ".join(SIMULATORS)
    package = SIMULATORS.get(name, "verilator")
    raise BackendError(
        f"no simulator ({wanted}) is installed; install one, for example: apt install {package}"
    )


class Simulation(Program):
    """NAME.v under its test bench, compiled in a folder that goes when this does."""

    def __init__(self, graph: Graph, folder: Path, name: str, simulator: str) -> None:
        super().__init__(graph)
        self.simulator, self.name, self.ports = simulator, name, ports(graph)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        sources = [folder.resolve() / f"{name}_tb.v", folder.resolve() / f"{name}.v"]
        for each in sources:
            if not each.is_file():
                raise BackendError(f"{each.name} is missing; build the artefact again")
        self._command = _compile(self.simulator, sources, self._folder, name)

    def integers(self, arrays: Sequence[Whole]) -> tuple[Integers, ...]:
        """Outputs for inputs that are checked. Raises BackendError where the simulator fails."""
        inputs, outputs = self.ports.inputs, self.ports.outputs
        rows = len(arrays[0]) if arrays else 1
        if rows == 0 or not inputs:
            return tuple(np.zeros((rows, *p.value.shape), dtype=np.int64) for p in outputs)
        given = [port.pack(n.astype(np.int64)) for port, n in zip(inputs, arrays, strict=True)]
        lines = (" ".join(row) for row in zip(*given, strict=True))
        (self._folder / f"{self.name}_x.hex").write_text("\n".join(lines) + "\n")
        run(self._command, self._folder)
        found = (self._folder / f"{self.name}_found.hex").read_text().splitlines()
        if len(found) != rows:
            raise BackendError(f"{self.simulator} gives {len(found)} rows, expected {rows}")
        columns = zip(*(line.split() for line in found), strict=True)
        return tuple(p.unpack(list(column)) for p, column in zip(outputs, columns, strict=True))


def _compile(simulator: str, sources: Sequence[Path], folder: Path, name: str) -> list[str]:
    """Compile; return the command that runs the result."""
    files = [str(each) for each in sources]
    if simulator == "icarus":
        run(["iverilog", "-g2001", "-o", f"{name}.vvp", *files], folder)
        return ["vvp", "-n", f"{name}.vvp"]
    top = f"{name}_tb"
    options = ["--binary", "--timing", "--top-module", top, "--Mdir", "made", "-o", "simulation"]
    quick = [word for each in _QUICK for word in ("-MAKEFLAGS", each)]
    run(["verilator", *options, *quick, *files], folder)
    return ["./made/simulation"]
