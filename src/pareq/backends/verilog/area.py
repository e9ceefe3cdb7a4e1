"""What a design takes on an FPGA, as Yosys counts it."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pareq.backends.base import Artefact
from pareq.backends.verilog.netlist import Netlist
from pareq.backends.verilog.tools import run
from pareq.errors import BackendError, UnknownName, at
from pareq.registry import suggest

__all__ = ["FAMILIES", "Area", "area", "synthesize"]

_XILINX = "-flatten -noiopad -noclkbuf -nosrl -nodsp -nobram"
FAMILIES: Mapping[str, str] = {
    "xcup": f"synth_xilinx -family xcup {_XILINX}",
    "xc7": f"synth_xilinx -family xc7 {_XILINX}",
    "ecp5": "synth_ecp5 -nodsp -nobram",
}


@dataclass(frozen=True)
class Area:
    """Counts of one synthesis; no placement, no routing, no timing.

    luts: look-up tables (of 6 inputs, on ecp5 of 4, a carry cell of two bits being two of them);
    packed: those that remain when two small functions share one with two outputs (Xilinx only);
    flip_flops: bits; carries: carry cells; depth: tables on the longest path between registers;
    cells: all primitives. tool, version, options: how it was counted.
    """

    luts: int
    packed: int | None
    flip_flops: int
    carries: int
    depth: int
    cells: Mapping[str, int]
    tool: str
    version: str
    options: str


def area(artefact: Artefact, *, family: str = "xcup") -> Area:
    """Synthesize a built design for a family of FAMILIES. Raises BackendError, UnknownName.

    The figures are those of Yosys, not of a vendor's tool.
    """
    with at(f"artefact {artefact.name!r}"):
        return synthesize(artefact.folder / f"{artefact.name}.v", artefact.name, family=family)


def synthesize(source: Path, top: str, *, family: str = "xcup") -> Area:
    """Synthesize the module `top` of a Verilog file. Raises BackendError, UnknownName."""
    if family not in FAMILIES:
        raise UnknownName(f"unknown family {family!r}{suggest(family, FAMILIES)}")
    if shutil.which("yosys") is None:
        raise BackendError("yosys is not installed; run, for example: apt install yosys")
    if not source.is_file():
        raise BackendError(f"{source.name} is missing; build the graph with the Verilog back end")
    options = FAMILIES[family]
    with tempfile.TemporaryDirectory(prefix="area-") as folder:
        place = Path(folder)
        version = run(["yosys", "-V"], place).strip()
        commands = [f'read_verilog -defer "{source.resolve()}"', f"{options} -top {top}"]
        run(["yosys", "-q", "-p", "; ".join([*commands, "write_json made.json"])], place)
        whole = json.loads((place / "made.json").read_text())
    return _counted(Netlist.of(whole["modules"][top]), version, options)


def _counted(netlist: Netlist, version: str, options: str) -> Area:
    cells = netlist.count()
    luts = len(netlist.luts()) + 2 * cells.get("CCU2C", 0)
    return Area(
        luts=luts,
        packed=None if "ecp5" in options else netlist.packed(),
        flip_flops=sum(n for kind, n in cells.items() if kind.startswith(("FD", "TRELLIS_FF"))),
        carries=sum(n for kind, n in cells.items() if kind.startswith(("CARRY", "CCU2C"))),
        depth=netlist.depth(),
        cells=dict(cells),
        tool="Yosys",
        version=version.removeprefix("Yosys "),
        options=options,
    )
