"""Designs in simulators, integer by integer: 10,000 random samples and the extremes a design.

Networks are those of benchmarks/networks.py. Both emitters, our own and alkaid's (extra fpga), and
both simulators, Icarus and Verilator. A difference is an error that names op, sample and integers.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from measure import Row, arguments, report
from networks import NETWORKS

from pareq.backends import Alkaid, Verilog, build, verify
from pareq.backends.verilog.simulator import SIMULATORS
from pareq.errors import MissingExtra
from pareq.ir.graph import Graph

ROWS = 10_000
EMITTERS = ("our own", "alkaid")


def rows(
    graph: Graph, case: str, simulators: Sequence[str], emitters: Sequence[str]
) -> Iterator[Row]:
    """What was compared without a difference, and how long it took."""
    for simulator in simulators:
        if shutil.which(SIMULATORS[simulator]) is None:
            print(f"{simulator} is not installed: no rows of it")
            continue
        makers = {
            "our own": Verilog(emitter="native", simulator=simulator),
            "alkaid": Alkaid(vhdl=False, simulator=simulator),
        }
        for name in emitters:
            with tempfile.TemporaryDirectory(prefix="rtl-") as folder:
                try:
                    artefact = build(graph, makers[name], Path(folder) / "net", name="net")
                except MissingExtra as error:
                    print(f"{case}: no row of alkaid: {error}")
                    continue
                begin = time.perf_counter()
                done = verify(artefact, graph, rows=ROWS)
                seconds = time.perf_counter() - begin
            label = f"{name}, {simulator}"
            equal = done.samples / ROWS
            yield Row(
                case, f"equal samples, {label}", done.samples, ROWS, "asked", equal, 1.0, True
            )
            yield Row(case, f"simulation, s, {label}", seconds, seconds, "itself", 1.0)


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=list(NETWORKS), help="these only")
    parser.add_argument("--simulator", action="append", choices=list(SIMULATORS), help="these only")
    parser.add_argument("--emitter", action="append", choices=EMITTERS, help="these only")
    args = parser.parse_args()
    for case in args.case or NETWORKS:
        simulators = args.simulator or list(SIMULATORS)
        found = rows(NETWORKS[case](), case, simulators, args.emitter or EMITTERS)
        report(list(found), args.json)


if __name__ == "__main__":
    main()
