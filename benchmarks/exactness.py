"""How many integers differ between a trained network and its programs; each number must be 0.

All networks of `tests/conformance/matrix.py`: MLPs with and without batch norm at 2 to 16 bits, a
residual, a depthwise-separable and a one-dimensional convolutional network, with powers of two and
with free scales. Inputs: all lowest, all highest, a million random points of the input grid (a
quarter of them at its ends), and the jets of the test set. Compared with the integer reference:
the network in float64, C in three builds (for this processor, for AVX2, plain), and exact ONNX
where its packages are installed. The float32 network is compared on the test set; its differences
are shown with those that rounding ties explain.

C is compiled without optimisation from 12 bits on, where compilers need minutes for the thresholds.
The networks with most bits come last. With --json each network is written as it ends, and --missing
leaves those out that the file holds: the whole matrix takes an hour or two.
"""

import json
import sys
import tempfile
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from measure import Row, arguments, report

from pareq.backends import BACKENDS, Backend, C, build
from pareq.errors import MissingExtra
from pareq.ir.execute import execute, quantize_inputs
from pareq.lower.agreement import agreement
from pareq.lower.lower import lower

sys.path.append(str(Path(__file__).parents[1]))  # the matrix is also that of the tests
from tests.conformance.matrix import CASES, disagreements, jets, samples, trained

LARGE = 12  # bits
PART = 100_000  # samples at once, which bounds the memory


def counts(name: str, rows: int) -> dict[str, int]:
    """Differences by what is compared with the integer reference, of one network."""
    torch.set_num_threads(1)
    case = CASES[name]
    net = trained(case)
    test = jets()[2].reshape(-1, *case.shape)
    graph = lower(net, test[:1])
    single = agreement(net, graph, test)
    found = {"float64": single.float64_differ, "integers compared": single.outputs}
    found |= {"float32": single.float32_differ, "float32 unexplained": single.unexplained}
    parts = [samples(graph, min(PART, rows - n), seed=n) for n in range(0, rows, PART)]
    parts.append(quantize_inputs(graph, test.numpy())[0])
    expected = [execute(graph, x, batch=4096).outputs[0] for x in parts]
    for x, y in zip(parts, expected, strict=True):
        found["float64"] += disagreements(net, graph, x, y)
        found["integers compared"] += y.size
    with tempfile.TemporaryDirectory() as folder:
        for label, backend in backends(case.bits).items():
            try:
                artefact = build(graph, backend, Path(folder) / label / "net")
            except MissingExtra:
                continue
            pairs = zip(parts, expected, strict=True)
            found[label] = sum(int((artefact.run(x)[0] != y).sum()) for x, y in pairs)
    return found


def backends(bits: int) -> dict[str, Backend]:
    """C in every build, and ONNX with integers alone where it is known."""
    level = "-O0" if bits >= LARGE else "-O1"
    builds = {"C": ("-march=native",), "C AVX2": ("-mavx2",), "C plain": ("-DNET_PLAIN",)}
    found: dict[str, Backend] = {
        label: C(flags=(level, *flags), threads=1) for label, flags in builds.items()
    }
    if "onnx" in BACKENDS:
        found["ONNX"] = BACKENDS["onnx"]
    return found


def rows_of(name: str, found: dict[str, int]) -> list[Row]:
    """A row each comparison; ours: integers that differ, which must be none."""
    rows = []
    for what, count in found.items():
        if what in ("integers compared", "float32"):
            continue
        metric, peer = f"mismatches with {what}", "integers compared"
        if what == "float32 unexplained":
            metric, peer = "float32 mismatches that are no ties", "float32"
        of = float(found[peer])
        peer = "float32 mismatches on the test set" if peer == "float32" else peer
        rows.append(Row(name, metric, float(count), of, peer, float(count), 0.0))
    return rows


def chosen(words: Sequence[str], done: Collection[str]) -> list[str]:
    """The networks whose names hold one of some words (all without words), fewest bits first."""
    names = [name for name in CASES if not words or any(word in name for word in words)]
    return sorted((name for name in names if name not in done), key=lambda name: CASES[name].bits)


def held(file: Path | None) -> set[str]:
    """The networks of a results file."""
    if file is None or not file.exists():
        return set()
    return {row["case"] for row in json.loads(file.read_text())}


def main() -> None:
    """Compare, some networks at a time."""
    parser = arguments("Mismatches between networks, the integer reference and programs.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="random samples a network")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of networks")
    parser.add_argument("--missing", action="store_true", help="not those that --json holds")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    names = chosen(given.only, held(given.json) if given.missing else ())
    holds = True
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        works = {pool.submit(counts, name, given.rows): name for name in names}
        for work in as_completed(works):
            rows = rows_of(works[work], work.result())
            holds = holds and all(row.holds for row in rows)
            report(rows, given.json)
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
