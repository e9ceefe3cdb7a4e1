"""Every back end of the registry computes what the reference computes, bit for bit.

Every kind of op by itself, with wide, narrow and extreme integers, and the matrix of trained
networks. A back end may refuse a kind, with an error that names it; a package or program that it
needs and that is missing skips its tests.
"""

import shutil

import numpy as np
import pytest
import torch

from pareq.backends import BACKENDS, C, Verilog, build, verify
from pareq.errors import BackendError, MissingExtra, PareqError
from pareq.ir.build import Builder
from pareq.ir.execute import execute, quantize_inputs
from pareq.ir.ops import KINDS
from pareq.lower.agreement import agreement
from pareq.lower.lower import lower
from pareq.numerics.grid import Grid
from tests.conformance.matrix import CASES, disagreements, jets, samples, trained

RNG = np.random.default_rng(0)


def whole(shape, largest):
    return RNG.integers(-largest, largest, shape, endpoint=True)


def constants(b, **parts):
    return [b.constant(name, np.asarray(data, dtype=np.int64)) for name, data in parts.items()]


def dense(b, k):
    for x in (b.input("x", (5,), Grid(-k(20), k(20))), b.input("rows", (3, 5), Grid(0, 255))):
        small = constants(b, w=whole((4, 5), 7), c=whole(4, 50))
        large = constants(b, W=whole((3, 5), k(17)), C=whole(3, k(40)))
        zero = constants(b, w0=np.zeros((2, 5)), c0=[-9, k(35)])
        for weights in (small, large, zero):
            yield b.op("dense", (x, *weights))


def geometry(stride, padding, dilation, groups, fill):
    return {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "fill": fill,
    }


def conv(b, k):
    x = b.input("x", (4, 7, 6), Grid(-128, 127))
    y = b.input("y", (2, 9), Grid(0, k(20)))
    w, c = constants(b, w=whole((6, 2, 3, 2), 7), c=whole(6, 99))
    yield b.op("conv", (x, w, c), geometry((2, 1), (1, 0, 2, 1), (1, 2), 2, -3 if k(9) > 99 else 0))
    w, c = constants(b, d=whole((4, 1, 3, 3), 127), e=whole(4, k(20)))
    yield b.op("conv", (x, w, c), geometry((1, 1), (1, 1, 1, 1), (1, 1), 4, 0))
    w, c = constants(b, v=whole((3, 2, 4), k(15)), u=whole(3, k(30)))
    yield b.op("conv", (y, w, c), geometry((3,), (2, 2), (2,), 1, 5 if k(9) > 99 else 0))


def conv_transpose(b, k):
    x = b.input("x", (4, 3, 3), Grid(-128, 127))
    y = b.input("y", (2, 4), Grid(0, k(20)))
    w, c = constants(b, w=whole((4, 3, 2, 3), 7), c=whole(6, 99))
    yield b.op("conv_transpose", (x, w, c), geometry((2, 3), (1, 0, 0, -1), (1, 2), 2, 0))
    w, c = constants(b, v=whole((2, 3, 3), k(12)), u=whole(3, k(20)))
    yield b.op("conv_transpose", (y, w, c), geometry((2,), (0, 1), (1,), 1, 7 if k(9) > 99 else 0))


def requantize(b, k):
    x = b.input("x", (3, 4), Grid(-(k(30)), k(30)))
    for even in (0, 1):
        for n, (multiplier, offset, shift) in enumerate(
            [(5, 7, 3), (-(k(20)) + 1, k(40), 40), (1, 0, 1), (0, 12, 2)]
        ):
            parts = [b.constant(f"{k}{n}{even}", [[v]]) for k, v in zip("mos", (multiplier, offset, shift), strict=True)]  # fmt: skip
            bounds = {"lo": -128, "hi": 127 if n else k(30), "even": even}
            yield b.op("requantize", (x, *parts), bounds, scale=1.0)
        parts = [("m", [[3], [-4], [1]]), ("o", [[1], [0], [-5]]), ("s", [[1], [20], [1]])]
        names = [b.constant(f"{k}{even}", v) for k, v in parts]
        yield b.op("requantize", (x, *names), {"lo": -9, "hi": k(31), "even": even}, scale=0.3)


def threshold(b, k):
    x, y = b.input("x", (3, 4), Grid(-100, 100)), b.input("y", (2,), Grid(-(k(40)), k(40)))
    levels = np.sort(whole((3, 1, 9), 90), axis=-1)
    names = constants(b, t=levels, base=[[4], [-7], [0]], step=[[1], [-1], [1]])
    yield b.op("threshold", (x, *names), scale=1.0)
    names = constants(b, T=np.sort(whole((1, 300), k(39))), B=[k(33)], S=[-1])
    yield b.op("threshold", (y, *names), scale=0.25)
    names = constants(b, t1=[[5]], b1=[0], s1=[1])
    yield b.op("threshold", (y, *names), scale=0.25)


def table(b, k):
    x, y = b.input("x", (2, 3), Grid(-5, 6)), b.input("y", (4,), Grid(1000, 1200))
    yield b.op("table", (x, *constants(b, t=whole((2, 1, 12), k(33)))), {"first": -5}, scale=1.0)
    yield b.op("table", (y, *constants(b, u=whole((1, 256), 9))), {"first": 990}, scale=0.5)


def pair(b, k):
    x = b.input("x", (3, 4), Grid(-k(20), k(20)))
    y = b.input("y", (4,), Grid(0, 255))
    return x, y, b.constant("c", whole((3, 1), k(33)))


def add(b, k):
    x, y, c = pair(b, k)
    yield b.op("add", (x, y), {"shift_a": 0, "shift_b": 0})
    yield b.op("add", (x, x), {"shift_a": 0, "shift_b": 0})
    yield b.op("add", (c, x), {"shift_a": 0, "shift_b": 0})
    finer = b.input("z", (3, 4), Grid(-7, 7, 0.125))
    yield b.op("add", (x, finer), {"shift_a": 3, "shift_b": 0})


def subtract(b, k):
    x, y, c = pair(b, k)
    yield b.op("subtract", (x, y), {"shift_a": 0, "shift_b": 0})
    yield b.op("subtract", (y, x), {"shift_a": 0, "shift_b": 0})
    yield b.op("subtract", (c, x), {"shift_a": 0, "shift_b": 0})
    finer = b.input("z", (3, 4), Grid(-7, 7, 0.125))
    yield b.op("subtract", (finer, x), {"shift_a": 0, "shift_b": 3})


def multiply(b, k):
    x, y, c = pair(b, k)
    yield b.op("multiply", (x, y))
    yield b.op("multiply", (x, x))
    yield b.op("multiply", (x, c))


def leaky(b, k):
    x = b.input("x", (5,), Grid(-k(20), k(30)))
    for shift in (0, 1, 7):
        yield b.op("leaky", (x,), {"shift": shift})


def clamp(b, k):
    x = b.input("x", (5,), Grid(-(k(40)), k(40)))
    for lo, hi in ((0, k(50)), (-7, 7), (3, 3), (-(k(39)), -5)):
        yield b.op("clamp", (x,), {"lo": lo, "hi": hi})


def mask(b, k):
    x = b.input("x", (3, 4), Grid(-128, 127))
    for n, keep in enumerate(([[1, 0, 1, 1]], [[1], [0], [1]], RNG.integers(0, 2, (3, 4)), [[0]])):
        yield b.op("mask", (x, b.constant(f"keep{n}", keep)), {"fill": (0, -128, 99, 5)[n]})


def concat(b, k):
    x, y = b.input("x", (2, 3), Grid(-9, 200)), b.input("y", (2, 5), Grid(-(k(33)), 7))
    yield b.op("concat", (x, y, x), {"axis": 1})
    yield b.op("concat", (x, b.constant("c", whole((4, 3), 99)), x), {"axis": 0})


def window(kernel, stride, padding, **more):
    return {"kernel": kernel, "stride": stride, "padding": padding, **more}


def max_pool(b, k):
    x, y = b.input("x", (3, 6, 5), Grid(-128, -3)), b.input("y", (2, 9), Grid(-(k(40)), k(40)))
    yield b.op("max_pool", (x,), window((2, 2), (2, 2), (0, 0, 0, 0), dilation=(1, 1)))
    yield b.op("max_pool", (x,), window((3, 2), (1, 2), (1, 1, 1, 0), dilation=(2, 1)))
    yield b.op("max_pool", (y,), window((9,), (9,), (0, 0), dilation=(1,)))


def sum_pool(b, k):
    x, y = b.input("x", (3, 6, 5), Grid(-128, 127)), b.input("y", (2, 9), Grid(0, k(33)))
    yield b.op("sum_pool", (x,), window((2, 2), (2, 2), (0, 0, 0, 0), fill=0), scale=0.25)
    yield b.op("sum_pool", (x,), window((3, 2), (1, 2), (1, 1, 1, 0), fill=-7), scale=1.0)
    yield b.op("sum_pool", (y,), window((4,), (3,), (1, 2), fill=k(33)), scale=1.0)


def sum_(b, k):
    x, y = b.input("x", (3, 6, 5), Grid(-128, 127)), b.input("y", (40,), Grid(-1, k(40)))
    yield b.op("sum", (x,), {"axes": (1, 2)}, scale=1.0)
    yield b.op("sum", (x,), {"axes": (0,)}, scale=0.5)
    yield b.op("sum", (y,), {"axes": (0,)}, scale=1.0)


def reshape(b, k):
    x = b.input("x", (2, 3, 4), Grid(-(k(40)), k(40)))
    yield b.op("reshape", (x,), {"shape": (24,)})
    yield b.op("reshape", (x,), {"shape": (4, 1, 6)})


def permute(b, k):
    x = b.input("x", (2, 3, 4), Grid(-(k(40)), k(40)))
    yield b.op("permute", (x,), {"axes": (2, 0, 1)})
    yield b.op("permute", (x,), {"axes": (0, 2, 1)})


def slice_(b, k):
    x = b.input("x", (5, 3, 4), Grid(-(k(40)), k(40)))
    yield b.op("slice", (x,), {"start": (1, 0, 2), "stop": (5, 3, 4), "step": (2, 1, 1)})
    yield b.op("slice", (x,), {"start": (4, 2, 0), "stop": (5, 3, 4), "step": (1, 1, 3)})


def pad(b, k):
    x, y = b.input("x", (2, 3), Grid(-7, 7)), b.input("y", (4,), Grid(0, k(33)))
    yield b.op("pad", (x,), {"before": (1, 0), "after": (0, 2), "fill": -100})
    yield b.op("pad", (y,), {"before": (3,), "after": (3,), "fill": k(35)})


def top_k(b, k):
    x, y = b.input("x", (2, 5), Grid(0, 2)), b.input("y", (6,), Grid(-(k(40)), k(40)))
    yield b.op("top_k", (x,), {"axis": 1, "k": 1}, scale=1.0)
    yield b.op("top_k", (x,), {"axis": 0, "k": 2}, scale=1.0)
    yield b.op("top_k", (y,), {"axis": 0, "k": 6}, scale=1.0)


KIND_GRAPHS = {
    "dense": dense, "conv": conv, "conv_transpose": conv_transpose, "requantize": requantize,
    "threshold": threshold, "table": table, "add": add, "subtract": subtract,
    "multiply": multiply, "leaky": leaky, "clamp": clamp, "mask": mask, "concat": concat,
    "max_pool": max_pool, "sum_pool": sum_pool, "sum": sum_, "reshape": reshape,
    "permute": permute, "slice": slice_, "pad": pad, "top_k": top_k,
}  # fmt: skip


def built(graph, backend, folder):
    """The artefact; the test is skipped, loudly, where a program or package is missing."""
    if backend == "c" and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler is installed; the C back end is not tested")
    try:
        return build(graph, backend, folder / "net")
    except MissingExtra as error:
        pytest.skip(f"{error}; the {backend} back end is not tested")


def test_every_kind_has_a_graph():
    assert set(KIND_GRAPHS) == set(KINDS)


SIMULATED = ("verilog", "alkaid")  # whose programs take minutes to compile
QUICK = [name for name in BACKENDS if name not in SIMULATED]


def checked(backend, kind, limit, folder):
    """Build and verify, or a refusal that names a place."""
    b = Builder()
    graph = b.graph(tuple(KIND_GRAPHS[kind](b, lambda bits: 2 ** min(bits, limit))))
    assert {op.kind for op in graph.ops} == {kind}
    refusal = ""
    try:
        artefact = built(graph, backend, folder)
    except PareqError as error:
        refusal = str(error)
    if refusal:
        assert any(f"{what} '" in refusal for what in ("op", "input", "output"))
        assert "\n" not in refusal
        return
    assert verify(artefact, graph, rows=150).samples == 152


@pytest.mark.parametrize("limit", [62, 5], ids=["wide", "narrow"])
@pytest.mark.parametrize("kind", KIND_GRAPHS)
@pytest.mark.parametrize("backend", QUICK)
def test_kind(backend, kind, limit, tmp_path):
    checked(backend, kind, limit, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KIND_GRAPHS)
def test_kind_in_verilog(kind, tmp_path):
    """By our own emitter; kinds by alkaid: tests/backends/verilog/test_alkaid.py."""
    checked(Verilog(emitter="native"), kind, 5, tmp_path)


DEFAULT = (
    "MLP, 2 bits, free",
    "MLP with batch norm, 6 bits, power of two",
    "MLP with batch norm, 8 bits, free",
    "ResidualNet, 4 bits, free",
    "SeparableNet, 4 bits, power of two",
    "SignalNet, 6 bits, free",
)
LARGE = 13  # bits from which on compilers take long for the tables of a network


def held(name, folder, rows, backends):
    """One network of the matrix: float64, the reference and the back ends give the same."""
    case = CASES[name]
    net = trained(case)
    test = jets()[2][:2000].reshape(-1, *case.shape)
    graph = lower(net, test[:1])
    found = agreement(net, graph, test)
    assert found.exact
    assert found.unexplained == 0
    random = samples(graph, rows)
    for x in (random, quantize_inputs(graph, test.numpy())[0]):
        expected = execute(graph, x).outputs[0]
        assert disagreements(net, graph, x, expected) == 0
        assert len(np.unique(expected)) > 3
        for backend in backends:
            try:
                artefact = built(graph, backend, folder / str(backend).partition("(")[0])
            except BackendError as error:  # those of QONNX compute in float32, which ends
                known = backend in ("qonnx", "finn")
                if not known or "which float32 cannot round exactly" not in str(error):
                    raise
                continue
            np.testing.assert_array_equal(artefact.run(x)[0], expected)


@pytest.mark.parametrize("name", DEFAULT)
def test_network(name, tmp_path):
    held(name, tmp_path, 2000, QUICK)


SLOW = [name for name, case in CASES.items() if name not in DEFAULT and case.bits % 2 == 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_every_network(name, tmp_path):
    """All of the matrix at even widths; the widest ones without back ends that compile tables."""
    wide = CASES[name].bits >= LARGE
    quick = [each for each in QUICK if each != "c"] if wide else [C(flags=("-O1",))]
    held(name, tmp_path, 5000, quick)


def test_reals_beyond_everything_saturate(tmp_path):
    """What enters as infinity or as the largest float is the end of the grid, in every back end."""
    net = trained(CASES["MLP, 4 bits, free"], steps=5)
    graph = lower(net, torch.zeros(1, 16))
    x = np.array([[np.inf] * 16, [-np.inf] * 16, [1e308] * 16, [-1e308] * 16])
    lo, hi = (int(v) for v in (graph.inputs[0].value.grid.lo, graph.inputs[0].value.grid.hi))
    expected = execute(graph, np.array([[hi] * 16, [lo] * 16] * 2)).outputs[0]
    for backend in QUICK:
        artefact = built(graph, backend, tmp_path / backend)
        grid = graph.value(graph.outputs[0]).grid
        np.testing.assert_array_equal(artefact(x), grid.dequantize(expected))
