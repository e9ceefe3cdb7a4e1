"""Look-up tables of our own Verilog, beside alkaid's and a naive design, by one Yosys script.

Networks are those of benchmarks/networks.py; or `--graph FOLDER` with any lowered graph. alkaid
(extra fpga) is compared where it is installed, without its ternary adders, which Yosys cannot map.
The naive design has a multiplier a weight and one sum an output (perceptrons only). Counts are
those of Yosys, not of Vivado.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Row, arguments, report
from naive import naive
from networks import NETWORKS

from pareq.backends import Alkaid, Verilog, build
from pareq.backends.verilog.area import Area, area, synthesize
from pareq.errors import MissingExtra
from pareq.ir.graph import Graph
from pareq.ir.store import load_graph

BAR_TABLES, BAR_NAIVE, BAR_SECONDS = 1.25, 4 / 3, 5.0  # a naive design and a third of it
STAGE = 3.0  # nanoseconds of alkaid's delay model between registers


def rows(graph: Graph, case: str, family: str, levels: int, *, beside: bool) -> Iterator[Row]:
    """Ours beside the others, and `beside` them the naive; bars are for the tagger of 6 bits."""
    with tempfile.TemporaryDirectory(prefix="area-") as folder:
        place, first = Path(folder), case == next(iter(NETWORKS))
        begin = time.perf_counter()
        ours = build(graph, Verilog(emitter="native", levels=levels), place / "ours", name="net")
        seconds = time.perf_counter() - begin
        bar = BAR_SECONDS if first else None
        yield Row(
            case, "build, s", seconds, BAR_SECONDS, "the bar", seconds / BAR_SECONDS, bar and 1
        )
        counted = area(ours, family=family)
        guess = ours.figures["lut_estimate"]
        yield _row(case, "LUT, estimated without a tool", guess, counted.luts, "Yosys", None)
        yield from _alkaid(graph, case, counted, (family, place))
        if beside and {op.kind for op in graph.ops} <= {"dense", "requantize"}:
            (place / "naive.v").write_text(naive(graph, "net"))
            other = synthesize(place / "naive.v", "net", family=family)
            label = f"LUT, {_tool(counted, family)}"
            yield _row(case, label, counted.luts, other.luts, "naive design", BAR_NAIVE)


def _alkaid(graph: Graph, case: str, ours: Area, where: tuple[str, Path]) -> Iterator[Row]:
    family, place = where
    try:
        begin = time.perf_counter()
        built = build(graph, Alkaid(stage=STAGE, vhdl=False), place / "alkaid", name="net")
        seconds = time.perf_counter() - begin
    except MissingExtra as error:
        print(f"{case}: no row of alkaid: {error}")
        return
    its, tool = area(built, family=family), _tool(ours, family)
    yield Row(case, "build by alkaid, s", seconds, seconds, "itself", 1.0)
    guess, own = built.figures["lut_estimate"], built.figures["alkaid_cost"]
    yield _row(
        case, "LUT of alkaid's design, estimated without a tool", guess, its.luts, "Yosys", None
    )
    yield _row(case, "LUT of alkaid's design, by its own model", own, its.luts, "Yosys", None)
    for label, a, b, bar in (
        (f"LUT, {tool}", ours.luts, its.luts, BAR_TABLES),
        (f"LUT packed, {tool}", ours.packed or 0, its.packed or 0, None),
        (f"FF, {tool}", ours.flip_flops, its.flip_flops, None),
        (f"depth, {tool}", ours.depth, its.depth, None),
    ):
        yield _row(case, label, a, b, "alkaid", bar)


def _row(case: str, label: str, a: float, b: float, name: str, bar: float | None) -> Row:
    return Row(case, label, a, b, name, round(a / max(b, 1), 3), bar)


def _tool(found: Area, family: str) -> str:
    return f"{found.tool} {found.version.split()[0]} {family}"


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--graph", type=Path, help="the folder of a lowered graph")
    parser.add_argument("--case", action="append", choices=list(NETWORKS), help="these only")
    parser.add_argument("--levels", type=int, default=3, help="adder levels between registers")
    parser.add_argument("--no-naive", action="store_true", help="Yosys needs minutes for it")
    parser.add_argument("--family", default="xcup", choices=["xcup", "xc7"])
    args = parser.parse_args()
    cases = {name: NETWORKS[name] for name in args.case or NETWORKS}
    if args.graph:
        cases = {args.graph.name: lambda: load_graph(args.graph)}
    for case, make in cases.items():
        found = rows(make(), case, args.family, args.levels, beside=not args.no_naive)
        report(list(found), args.json)


if __name__ == "__main__":
    main()
