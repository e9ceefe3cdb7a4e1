"""The C back end computes what the reference computes, for every kind of op and shape of code."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pareq.backends import C, build, verify
from pareq.backends.c.chain import chain
from pareq.backends.c.loops import EMITTERS
from pareq.backends.c.source import sources
from pareq.ir.build import Builder
from pareq.ir.ops import KINDS
from pareq.lower.passes import simplify
from pareq.numerics.grid import Grid
from tests.backends.networks import convolutions, perceptron, tagger
from tests.ir.random_graphs import FAMILIES, graphs, random_graph

STRICT = ("-O1", "-march=native", "-Wall", "-Wextra", "-Werror")
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]


def check(graph, folder, rows=200, **how):
    artefact = build(graph, C(flags=STRICT, **how), folder / "net", name="net")
    assert verify(artefact, graph, rows=rows).samples == rows + 2


def test_every_kind_of_op_has_c():
    assert set(EMITTERS) == set(KINDS)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_graphs(family, tmp_path):
    check(random_graph(7, family), tmp_path)


def test_simplified_graphs_read_constants_and_share_outputs(tmp_path):
    check(simplify(random_graph(3, "mixed")), tmp_path)


@pytest.mark.slow
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(graph=graphs(), compiler=st.sampled_from(COMPILERS), simpler=st.booleans())
def test_300_random_graphs(graph, compiler, simpler):
    with TemporaryDirectory() as folder:
        check(simplify(graph) if simpler else graph, Path(folder), compiler=compiler)


MLPS = [
    {"bits": 6},
    {"bits": 6, "free": True},
    {"bits": 2, "free": True, "quantized": True},
    {"bits": 8, "density": 0.9, "rounding": "half_even"},
    {"bits": 5, "rounding": "half_even", "signed": True, "quantized": True},
    {"bits": 8, "free": True, "density": 0.5},
    {"bits": 12, "density": 0.5},
    {"bits": 16, "free": True, "density": 0.3},
]


@pytest.mark.parametrize("how", MLPS[:3], ids=str)
def test_perceptrons(how, tmp_path):
    check(perceptron((16, 21, 12, 5), **how), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("widths", [(1, 1, 1), (33, 17, 9), (200, 70, 3)])
@pytest.mark.parametrize("how", MLPS, ids=str)
def test_many_perceptrons(how, widths, compiler, tmp_path):
    check(perceptron(widths, **how), tmp_path, rows=2000, compiler=compiler)


def test_convolutions_with_residuals(tmp_path):
    check(convolutions((3, 8, 20), bits=4, free=True), tmp_path, rows=40)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("size", [(11,), (9, 10), (7, 7, 7)])
@pytest.mark.parametrize("bits", [3, 8, 10])
@pytest.mark.parametrize("seed", range(2))
def test_many_convolutions(size, bits, seed, compiler, tmp_path):
    channels = tuple(int(n) for n in np.random.default_rng(seed).integers(1, 40, 3))
    graph = convolutions(channels, size=size, bits=bits, seed=seed, free=bool(seed % 2))
    check(graph, tmp_path, rows=40, compiler=compiler)


def odd_graph():
    """What the other graphs have seldom: several inputs, wide integers, outputs that are no ops."""
    rng, b = np.random.default_rng(0), Builder()
    x = b.input("x.int", (3, 4), Grid(-(2**30), 2**30, 0.5))
    y = b.input("NULL", (4,), Grid(0, 2**16 - 1, 0.5))
    z = b.input("z", (2, 3, 4), Grid(-2, 200, 1.0))
    big = b.constant("exp", rng.integers(-(2**31), 2**31, (3, 4)), 0.5)
    wide = b.op("subtract", (x, big), {"shift_a": 0, "shift_b": 0}, name="wide")
    dense = b.op(
        "dense",
        (
            wide,
            b.constant("w", rng.integers(-500, 500, (5, 4))),
            b.constant("b", rng.integers(-(2**40), 2**40, 5)),
        ),
        name="dense",
    )
    levels = np.sort(rng.integers(-(2**42), 2**42, (1, 5, 100)), axis=-1)
    parts = [levels, rng.integers(-9, 9, (1, 5)), rng.choice([-1, 1], (1, 5))]
    names = [b.constant(f"t{k}", each) for k, each in enumerate(parts)]
    steps = b.op("threshold", (dense, *names), scale=1.0, name="steps")
    product = b.op("multiply", (x, y), name="product")
    largest = b.op("top_k", (product,), {"axis": 1, "k": 3}, name="largest", scale=1.0)
    entries = rng.integers(-(2**33), 2**33, (1, 3, 1, 203))
    looked = b.op("table", (z, b.constant("table", entries)), {"first": -2}, scale=1.0, name="look")
    total = b.op("sum", (looked,), {"axes": (0, 2)}, name="total", scale=1.0)
    flat = b.op("reshape", (b.op("permute", (total,), {"axes": (2, 1, 0)}),), {"shape": (3,)})
    still = b.op("reshape", (big,), {"shape": (12,)}, name="still")
    return b.graph((steps, largest, flat, x, big, still, steps, product, wide))


def test_odd_graphs(tmp_path):
    check(odd_graph(), tmp_path)


def test_ties_of_top_k_go_to_the_lowest_index(tmp_path):
    b = Builder()
    x = b.input("x", (2, 5), Grid(0, 1))
    graph = b.graph((b.op("top_k", (x,), {"axis": 1, "k": 5}, scale=1.0),))
    artefact = build(graph, C(flags=STRICT), tmp_path / "net")
    n = (np.arange(1024)[:, None] >> np.arange(10) & 1).reshape(1024, 2, 5)
    verify(artefact, graph, n, rows=0)


def test_large_results_do_not_live_on_the_stack(tmp_path):
    b = Builder()
    x = b.input("x", (2, 400, 400), Grid(0, 3))
    padded = b.op("pad", (x,), {"before": (0, 9, 9), "after": (0, 9, 9), "fill": 1}, name="pad")
    graph = b.graph((b.op("clamp", (padded,), {"lo": 1, "hi": 2}),))
    assert "NET_THREAD int8_t" in sources(graph, "net")[1]
    check(graph, tmp_path, rows=3)


def test_code_is_named_by_module_path_and_holds_no_float():
    header, program = sources(tagger(), "jets")
    assert "net.fc2: fc2 = dense" in program
    assert "jets_fc2_weight" in program
    before, _, rest = program.partition("#ifdef JETS_REAL")
    integers = before + rest.partition("#endif /* JETS_REAL */")[2]
    for word in ("float", "double", "malloc", "static int8_t", "math.h"):
        assert word not in integers
    assert max(map(len, header.splitlines())) <= 100
    assert "void jets_run(const int8_t *x, int16_t *y, size_t n);" in header


def run(command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    assert done.stderr == ""
    return done.stdout


def selftest(graph, folder, command, suffix=".c", runner=()):
    """Compile with -DNET_TEST and run: `main` compares with the reference."""
    header, program = sources(graph, "net")
    (folder / "net.h").write_text(header)
    (folder / f"net{suffix}").write_text(program)
    strict = ["-Wall", "-Wextra", "-Werror", "-DNET_TEST", "-o", "test"]
    run([*command, *strict, f"net{suffix}"], folder)
    assert "no difference" in run([*runner, "./test"], folder)


GRAPHS = {
    "tagger": tagger,
    "free": lambda: tagger(free=True),
    "even": lambda: perceptron((9, 20, 8), rounding="half_even", signed=True, quantized=True),
    "raised": lambda: perceptron((16, 24, 16, 6), free=True, quantized=True, density=0.4),
    "upper": lambda: perceptron((16, 24, 16, 6), density=0.4),
    "wide": lambda: perceptron((9, 20, 8), bits=11, free=True),
    "bytes": lambda: convolutions((3, 12, 33), bits=8, free=True),
    "deep": lambda: convolutions((2, 5), size=(6, 5, 7), bits=5),
    "mixed": lambda: random_graph(1, "mixed"),
    "odd": odd_graph,
}
SANITIZE = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
VARIANTS = {
    "native": ("-std=c11", "-O2", "-march=native"),
    "unoptimized": ("-std=c11", "-O0", "-march=native"),
    "avx2": ("-std=c11", "-O2", "-mavx2"),
    "baseline": ("-std=c11", "-O2"),
    "plain": ("-std=c11", "-O2", "-DNET_PLAIN", "-march=native"),
    "sanitized": ("-std=c11", *SANITIZE, "-march=native"),
    "sanitized-avx2": ("-std=c11", *SANITIZE, "-mavx2"),
    "sanitized-plain": ("-std=c11", *SANITIZE, "-DNET_PLAIN"),
}


@pytest.mark.parametrize("name", ["tagger", "odd"])
def test_the_self_test_runs_clean_under_sanitizers(name, tmp_path):
    graph = perceptron((6, 9, 4)) if name == "tagger" else odd_graph()
    selftest(graph, tmp_path, [COMPILERS[0], *VARIANTS["sanitized"]])


def test_the_self_test_fails_where_the_program_is_wrong(tmp_path):
    graph = perceptron((6, 9, 4))
    header, program = sources(graph, "net")
    (tmp_path / "net.h").write_text(header)
    lines = program.splitlines()
    start = lines.index(next(each for each in lines if "net_test_y[" in each))
    lines[start + 1] = lines[start + 1].replace(",", "+ 1,", 1)
    (tmp_path / "net.c").write_text("\n".join(lines))
    run([COMPILERS[0], "-DNET_TEST", "-o", "test", "net.c"], tmp_path)
    done = subprocess.run(["./test"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("y, sample 0, index 0: ")


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_every_variant_of_the_code(compiler, variant, graph, tmp_path):
    selftest(GRAPHS[graph](), tmp_path, [compiler, *VARIANTS[variant]])


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [each for each in ("g++", "clang++") if shutil.which(each)])
@pytest.mark.parametrize("flags", [("-march=native",), ("-mavx2",), (), ("-DNET_PLAIN",)])
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_code_is_cpp_as_well(compiler, flags, graph, tmp_path):
    selftest(GRAPHS[graph](), tmp_path, [compiler, "-std=c++17", "-O1", *flags], ".cpp")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["armv8.2-a+dotprod", "armv8-a"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_code_runs_on_arm(target, graph, tmp_path):
    """In an emulator where there is one; else it only has to compile."""
    cross, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if cross and emulator:
        command = [cross, "-static", "-O2", f"-march={target}"]
        selftest(GRAPHS[graph](), tmp_path, command, runner=[emulator, "-cpu", "max"])
        return
    if not shutil.which("clang"):
        pytest.skip("needs clang, or aarch64-linux-gnu-gcc and qemu-aarch64, to read code for ARM")
    header, program = sources(GRAPHS[graph](), "net")
    (tmp_path / "net.h").write_text(header)
    (tmp_path / "net.c").write_text(program)
    functions = "void *memcpy(void *, const void *, size_t); void *memset(void *, int, size_t);"
    (tmp_path / "string.h").write_text(f"#include <stddef.h>\n{functions}\n")
    command = ["clang", "--target=aarch64-linux-gnu", f"-march={target}", "-ffreestanding", "-I."]
    run([*command, "-Wall", "-Wextra", "-Werror", "-O2", "-c", "net.c"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_tagger_compiles_in_seconds(compiler, tmp_path):
    artefact = build(tagger(), C(compiler=compiler), tmp_path / "jets", name="jets")
    assert artefact.figures["seconds_to_compile"] < 20  # on a busy machine; 2 on an idle one
    assert chain(tagger()) is not None
    verify(artefact, tagger(), rows=100_000)
