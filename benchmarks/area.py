"""Look-up tables of the Verilog back end, beside alkaid's, by one Yosys script.

The network is 16-64-32-32-5 with relu, random weights of 6 bits, 80 % of them zero, all scales
powers of two; or `--bits` and `--density`; or `--graph FOLDER` with any lowered perceptron.
alkaid (`pip install alkaid==0.8.2`) is compared where it is installed, without its ternary adders,
which Yosys cannot map; its design is checked on the same integers first. Counts are those of Yosys,
not of Vivado.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Row, arguments, report

from pareq.backends import Verilog, build
from pareq.backends.vectors import uniform
from pareq.backends.verilog.area import Area, area, synthesize
from pareq.ir.build import Builder
from pareq.ir.execute import execute
from pareq.ir.graph import Graph
from pareq.ir.store import load_graph
from pareq.numerics.grid import Grid, integer_range

BAR_TABLES, BAR_SECONDS = 1.25, 5.0
PERIOD = 3.0  # nanoseconds of alkaid's delay model between registers


def network(bits: int, density: float) -> Graph:
    """The tagger with random weights."""
    rng, b, widths = np.random.default_rng(0), Builder(), (16, 64, 32, 32, 5)
    x = b.input("x", (16,), Grid(*integer_range(bits), 0.125))
    top = 2 ** (bits - 1) - 1
    for i, shape in enumerate(zip(widths[1:], widths, strict=False), 1):
        real = rng.normal(size=shape)
        real[np.abs(real) < np.quantile(np.abs(real), 1 - density)] = 0
        weight = np.round(real / np.abs(real).max() * top).astype(np.int64)
        bias = b.constant(f"fc{i}.bias", rng.integers(-200, 200, len(weight)))
        x = b.op("dense", (x, b.constant(f"fc{i}.weight", weight, 0.0625), bias), name=f"fc{i}")
        if i < len(widths) - 1:
            shift = max(int(np.round(np.log2(b.range(x).limits[1] / 4 / 2**bits))), 1)
            names = [
                b.constant(f"{name}{i}", np.array([n]))
                for name, n in (("multiplier", 1), ("offset", 1 << (shift - 1)), ("shift", shift))
            ]
            how = {"lo": 0, "hi": 2**bits - 1, "even": 0}
            x = b.op("requantize", (x, *names), how, name=f"relu{i}", scale=0.125)
    return b.graph((x,))


def peer(graph: Graph, folder: Path) -> tuple[Area, float] | None:
    """The design of alkaid for the same integers: its area, and the seconds to make it."""
    try:
        from alkaid.codegen import RTLModel
        from alkaid.trace import FVArray, trace
        from alkaid.trace.ops import quantize
    except ImportError:
        return None
    grid, size = graph.inputs[0].value.grid, graph.inputs[0].value.shape[0]
    wide = max((-grid.lo - 1).bit_length(), grid.hi.bit_length())
    begin = time.perf_counter()
    kif = [np.full(size, n) for n in (int(grid.lo < 0), wide, 0)]
    x = h = FVArray.from_kif(*kif)
    for op in graph.ops:
        params = [graph.constant(name).astype(float) for name in op.inputs[1:]]
        if op.kind == "dense":
            h = h @ params[0].T + params[1]
            continue
        multiplier, offset, shift = params
        bits = op.attributes.whole("hi").bit_length()
        known = (op.kind, op.attributes.whole("lo"), op.attributes.whole("even"))
        if known != ("requantize", 0, 0) or op.attributes.whole("hi") != 2**bits - 1:
            raise SystemExit(f"{op.name}: only relu of whole bits, rounded up or down, is compared")
        h = quantize(h * (multiplier / 2**shift) + offset / 2**shift, 0, bits, 0, "SAT", "TRN")
    design = trace(x, h)
    n = uniform(graph, 1000, np.random.default_rng(0))
    if not np.array_equal(design.predict(n[0].astype(float)), execute(graph, *n).outputs[0]):
        raise SystemExit("alkaid's design gives other integers")
    model = RTLModel(
        design,
        folder,
        flavor="verilog",
        latency_cutoff=PERIOD,
        clock_period=2.0,
        ternary_fuse=False,
    )
    model.write()
    seconds = time.perf_counter() - begin
    text = [each.read_text() for each in sorted((folder / "src").rglob("*.v"))]
    whole = folder / "whole.v"
    whole.write_text("\n".join(text))
    return synthesize(whole, folder.name), seconds


def rows(graph: Graph, case: str, family: str, levels: int) -> list[Row]:
    """Ours beside alkaid's."""
    place = Path(tempfile.mkdtemp(prefix="area-"))
    try:
        begin = time.perf_counter()
        artefact = build(graph, Verilog(levels=levels), place / "ours")
        seconds = time.perf_counter() - begin
        ours = area(artefact, family=family)
        name = f"{ours.tool} {ours.version.split()[0]} {family}"
        found = [Row(case, "build, s", seconds, BAR_SECONDS, "the bar", seconds / BAR_SECONDS, 1.0)]
        other = peer(graph, place / "alkaid")
        if other is None:
            return [
                *found,
                Row(case, f"LUT, {name}", ours.luts, ours.luts, "itself: no alkaid", 1.0),
            ]
        its, its_seconds = other
        found.append(Row(case, "build, s", seconds, its_seconds, "alkaid", seconds / its_seconds))
        for label, a, b, bar in (
            (f"LUT, {name}", ours.luts, its.luts, BAR_TABLES),
            (f"LUT packed, {name}", ours.packed or 0, its.packed or 1, None),
            (f"FF, {name}", ours.flip_flops, its.flip_flops, None),
            (f"depth, {name}", ours.depth, its.depth, None),
        ):
            found.append(Row(case, label, a, b, "alkaid", a / max(b, 1), bar))
        return found
    finally:
        shutil.rmtree(place)


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--graph", type=Path, help="the folder of a lowered graph")
    parser.add_argument("--bits", type=int, default=6)
    parser.add_argument("--density", type=float, default=0.2)
    parser.add_argument("--levels", type=int, default=3, help="adder levels between registers")
    parser.add_argument("--family", default="xcup", choices=["xcup", "xc7"])
    args = parser.parse_args()
    case = f"tagger, {args.bits} bits, {100 * (1 - args.density):.0f} % zero"
    graph = load_graph(args.graph) if args.graph else network(args.bits, args.density)
    report(
        rows(graph, case if not args.graph else args.graph.name, args.family, args.levels),
        args.json,
    )


if __name__ == "__main__":
    main()
