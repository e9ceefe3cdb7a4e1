"""Inference of the jet tagger in C, beside ONNX Runtime, torch.compile and OpenVINO.

The network is 16-64-32-32-5 with relu, 6 bits, 80 % of the weights zero, in one thread. Two cases:

    qap         trained here for 20 epochs (15 s) by the preset `qap` on the jets that ship with the
                package: batch normalisation and learned scales, so each neuron has its own factor
    shifts      random weights of the same shape and sparsity, all scales powers of two

`--graph FOLDER` takes any lowered graph of 16 features and 5 results instead (`graph/` of an
artefact). The peers get the weights as floats, without neurons that are always zero.

Every program runs at batches of 256 to 16,384 samples, the programs take turns, and each is judged
by its shortest time at its best batch: the one that other programs on the machine disturbed least.
"integers" is the bound call of the C function, which is what a detector has; "reals" takes and
gives floats, as the peers do.

Single samples: a C loop that calls the function once a sample, and one call from Python.

The distance to the port limit: how many vector instructions of the code a core must execute, times
the time in which it executes one (measured beside), over the time that it takes.
"""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import Row, arguments, report
from numpy.random import default_rng
from runtimes import Run, compiled, onnx_runtime, open_vino, quickest
from torch import nn

import pareq as pq
from pareq.backends import Artefact, C, build, verify
from pareq.ir.build import Builder
from pareq.ir.graph import Graph
from pareq.ir.store import load_graph
from pareq.numerics.grid import Grid, integer_range
from pareq.recipe.presets import find_recipe
from pareq.tasks.base import make_task
from pareq.train.trial import network

WIDTHS = (16, 64, 32, 32, 5)
EPOCHS = 20
BATCHES = (256, 1024, 4096, 16384)
BLOCKS = 60
LANES = 48  # samples that the code computes at once
BAR_THROUGHPUT, BAR_SINGLE, BAR_PYTHON, BAR_COMPILE = 10.0, 150.0, 3.0, 5.0
LOOP = Path(__file__).with_suffix(".c")


def trained() -> Graph:
    """A tagger trained by the preset `qap` for fewer epochs, and lowered."""
    task, recipe = make_task("jets", {}), find_recipe("qap")
    net = network(task, recipe)
    pq.train(net, task, epochs=EPOCHS)
    return pq.lower(net, task.example)


def shifts() -> Graph:
    """Random weights of which the largest fifth stays, and shifts that use the range."""
    rng, b = default_rng(0), Builder()
    x = b.input("x", (16,), Grid(*integer_range(6), 0.125))
    for i, shape in enumerate(zip(WIDTHS[1:], WIDTHS, strict=False), 1):
        real = rng.normal(size=shape)
        real[np.abs(real) < np.quantile(np.abs(real), 0.8)] = 0
        weight = np.round(real / np.abs(real).max() * 31).astype(np.int64)
        operands = [b.constant(f"fc{i}.weight", weight, 2.0**-5)]
        operands.append(b.constant(f"fc{i}.bias", rng.integers(-200, 200, shape[0]), 2.0**-8))
        x = b.op("dense", (x, *operands), name=f"fc{i}", origin=f"fc{i}")
        if i < len(WIDTHS) - 1:
            shift = max(int(np.log2(max(b.range(x).limits) / 64)) - 1, 1)
            parts = ((1, "multiplier"), (1 << shift >> 1, "offset"), (shift, "shift"))
            parts = [b.constant(f"relu{i}.{name}", np.full(1, n)) for n, name in parts]
            clamp = {"lo": 0, "hi": 63, "even": 0}
            x = b.op("requantize", (x, *parts), clamp, name=f"relu{i}", scale=0.125)
    return b.graph((x,))


def weights(graph: Graph) -> list[np.ndarray]:
    """Those of the layers, as integers `(out, in)`."""
    return [graph.constant(op.inputs[1]) for op in graph.ops if op.kind == "dense"]


def module(graph: Graph) -> nn.Module:
    """The layers as floats, with relu between them."""
    layers: list[nn.Module] = []
    for weight in weights(graph):
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data = torch.from_numpy(weight / 32).float()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def throughput(
    case: str, ours: dict[str, Run], others: dict[str, Run], data: dict[str, np.ndarray]
) -> list[Row]:
    """Each at its best batch; ratio: how many times more samples a second than the peer."""
    best: dict[str, float] = {}
    for batch in BATCHES:
        parts = {name: data.get(name, data["reals"])[:batch] for name in (*ours, *others)}
        steps = {name: partial(run, parts[name]) for name, run in {**ours, **others}.items()}
        for name, shortest in quickest(steps, BLOCKS, max(1, 2048 // batch)).items():
            best[name] = min(best.get(name, np.inf), shortest * 1e6 / batch)
    rows = []
    for mine, bar in zip(ours, (BAR_THROUGHPUT, None), strict=True):
        where = f"{case}, {mine}"
        rows += [faster(where, "ns a jet in batch", (best[mine], best[n]), n, bar) for n in others]
    return rows


def faster(case: str, metric: str, times: tuple[float, float], name: str, bar: float | None) -> Row:
    """A row whose ratio says how many times faster we are."""
    ours, peer = (round(each, 3) for each in times)
    return Row(case, metric, ours, peer, name, round(times[1] / times[0], 2), bar, at_least=True)


def driver(artefact: Artefact, folder: Path) -> ctypes.CDLL:
    """The timing loops around the C function."""
    types = [artefact.bind(1).x[0].dtype, artefact.bind(1).y[0].dtype]
    names = [f"-D{name}={each.name}_t" for name, each in zip(("IN", "OUT"), types, strict=True)]
    command = ["cc", "-O3", "-march=native", "-shared", "-fPIC", f"-I{artefact.folder}", *names]
    sources = [LOOP, artefact.folder / "jets.c"]
    subprocess.run([*command, "-o", folder / "loop.so", *sources], check=True)
    loop = ctypes.CDLL(str(folder / "loop.so"))
    loop.single.argtypes = [ctypes.c_void_p] * 2
    loop.single.restype = loop.slot.restype = ctypes.c_double
    return loop


def singles(
    case: str, artefact: Artefact, loop: ctypes.CDLL, others: dict[str, Run], x: np.ndarray
) -> list[Row]:
    """One sample at a time: in a C loop, and through Python."""
    many = artefact.bind(64)
    many.x[0][...] = quantized(artefact, x[:64])
    inside = loop.single(many.x[0].ctypes.data, many.y[0].ctypes.data)
    ratio = round(inside / BAR_SINGLE, 3)
    rows = [Row(case, "ns a call in a C loop", round(inside, 2), BAR_SINGLE, "bar", ratio, 1.0)]
    one = x[:1].copy()
    ours = {"bound": artefact.bind(1), "array": lambda: artefact(one)}
    calls = ours | {name: partial(run, one) for name, run in others.items()}
    found = {name: 1e3 * shortest for name, shortest in quickest(calls, BLOCKS, 20).items()}
    for mine in ours:
        for name in others:
            bar = BAR_PYTHON if name.startswith("ONNX") and mine == "bound" else None
            pair = (found[mine], found[name])
            rows.append(faster(f"{case}, {mine}", "us a call in Python", pair, name, bar))
    return rows


def quantized(artefact: Artefact, x: np.ndarray) -> np.ndarray:
    """The integers that the input has for reals."""
    return artefact.graph.inputs[0].value.grid.quantize(x)


def port_limit(
    case: str, artefact: Artefact, slot: float, batch_ns: float, folder: Path
) -> list[Row]:
    """What the vector ports of a core need for the code, beside what it takes."""
    if not slot or not shutil.which("objdump"):
        return []
    command = ["cc", "-O3", "-march=native", "-fno-inline", "-c", "-o", folder / "jets.o"]
    subprocess.run([*command, artefact.folder / "jets.c"], check=True)
    listing = ["objdump", "-d", "--no-show-raw-insn", folder / "jets.o"]
    text = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    names = []
    for function in text.split("\n\n"):
        if re.match(r"\w+ <jets_(layer|enter|lanes)", function):
            names += re.findall(r"\t(v\w+)\s+[^\n]*zmm", function)
    busy = sum(not re.match(r"vmov|vpbroadcast|vbroadcast", each) for each in names) / LANES
    each = round(busy * 16 / sum(map(np.count_nonzero, weights(artefact.graph))), 3)
    limit, what = busy * slot, f"{case}, code"
    measured, ratio = round(batch_ns, 3), round(limit / batch_ns, 3)
    return [
        Row(what, "vector instructions a product", each, 0.25, "four in each", each / 0.25),
        Row(what, "ns a jet, port limit", round(limit, 3), measured, "measured", ratio),
    ]


def compile_times(case: str, graph: Graph, folder: Path) -> list[Row]:
    """Processor time of the compilers that are installed."""
    rows = []
    for compiler in [name for name in ("gcc", "clang") if shutil.which(name)]:
        begin = os.times()
        build(graph, C(compiler=compiler), folder / compiler, name="jets")
        end = os.times()
        spent = end.children_user - begin.children_user + end.children_system
        seconds = round(spent - begin.children_system, 2)
        metric, ratio = f"s to compile, {compiler}", round(seconds / BAR_COMPILE, 3)
        rows.append(Row(case, metric, seconds, BAR_COMPILE, "bar", ratio, 1.0))
    return rows


def measured(case: str, graph: Graph, folder: Path) -> list[Row]:
    """All rows of one network; verified before it is timed."""
    x = default_rng(1).normal(0, 1.5, (max(BATCHES), WIDTHS[0])).astype(np.float32)
    artefact = build(graph, C(threads=1), folder / "jets", name="jets")
    verify(artefact, graph, x[:4096])
    bound = {size: artefact.bind(size) for size in BATCHES}
    n = quantized(artefact, x)
    for size, each in bound.items():
        each.x[0][...] = n[:size]
    ours: dict[str, Run] = {"integers": lambda part: bound[len(part)](), "reals": artefact}
    net = module(graph)
    others = onnx_runtime(net, x, folder) | compiled(net) | open_vino(net, x, folder)
    loop = driver(artefact, folder)
    rows = throughput(case, ours, others, {"reals": x, "integers": n})
    rows += singles(case, artefact, loop, others, x)
    rows += port_limit(case, artefact, loop.slot(), rows[0].ours, folder)
    return rows + compile_times(case, graph, folder)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--graph", type=Path, help="the folder of a lowered graph")
    options = parser.parse_args()
    if options.graph:
        graphs = {"graph": load_graph(options.graph)}
    else:
        graphs = {"qap": trained(), "shifts": shifts()}
    rows: list[Row] = []
    for name, graph in graphs.items():
        with tempfile.TemporaryDirectory() as folder:
            rows += measured(f"jet tagger, {name}", graph, Path(folder))
    report(rows, options.json)


if __name__ == "__main__":
    main()
