"""A QONNX model gives the graph's integers in the executor of QONNX."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pareq.backends import Finn, Qonnx, build, load, verify
from pareq.backends.onnx.edge import recovered
from pareq.errors import BackendError, MissingExtra
from pareq.ir.build import Builder
from pareq.ir.execute import execute, quantize_inputs
from pareq.lower.emit import emit
from pareq.lower.passes import simplify
from pareq.lower.transfer import Transfer
from pareq.numerics.grid import Grid
from tests.backends.networks import convolutions, perceptron
from tests.ir.random_graphs import FAMILIES, graphs, random_graph

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'pareq[qonnx]'")
pytest.importorskip("qonnx", reason="needs qonnx: pip install 'pareq[qonnx]'")


def check(graph, folder, rows=200, backend=None):
    artefact = build(graph, backend or Qonnx(), folder / "net", name="net")
    assert verify(artefact, graph, rows=rows).samples == rows + 2
    return artefact


def nodes_of(artefact):
    return onnx.load(artefact.folder / "net.onnx").graph.node


def modes_of(artefact):
    return [
        attribute.s.decode()
        for node in nodes_of(artefact)
        for attribute in node.attribute
        if attribute.name == "rounding_mode"
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_random_graphs(family, tmp_path):
    check(random_graph(7, family), tmp_path)
    check(simplify(random_graph(8, family)), tmp_path)


@pytest.mark.slow
@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(graph=graphs(), simpler=st.booleans())
def test_40_random_graphs(graph, simpler):
    with TemporaryDirectory() as folder:
        check(simplify(graph) if simpler else graph, Path(folder))


MLPS = [
    {"bits": 6},
    {"bits": 2, "free": True, "quantized": True},
    {"bits": 6, "free": True, "rounding": "floor"},
    {"bits": 8, "density": 0.9, "rounding": "half_even"},
    {"bits": 5, "rounding": "half_even", "signed": True, "quantized": True},
    {"bits": 8, "free": True, "density": 0.9},
]


@pytest.mark.parametrize("how", MLPS, ids=str)
def test_perceptrons(how, tmp_path):
    check(perceptron((16, 21, 12, 5), **how), tmp_path, rows=2000)


@pytest.mark.parametrize("how", MLPS[::2], ids=str)
def test_for_finn_activations_are_rounded_by_thresholds_alone(how, tmp_path):
    nodes = nodes_of(check(perceptron((6, 9, 4), **how), tmp_path, backend=Finn()))
    kinds = [node.op_type for node in nodes]
    assert kinds.count("MultiThreshold") == 2 + how.get("quantized", False)
    assert kinds.count("Quant") == 4  # of weights and biases
    for node in nodes:
        for each in node.attribute if node.op_type == "MultiThreshold" else ():
            assert each.name != "out_dtype" or each.s.decode().startswith(("INT", "UINT"))


def test_channels_of_an_input_have_thresholds_of_their_own(tmp_path):
    b = Builder()
    grid = Grid(-8, 7, np.array([0.5, 0.25, 0.125]))
    x = b.input("x", (3,), grid, rounding="floor")
    graph = b.graph((x,))
    artefact = check(graph, tmp_path, backend=Finn())
    real = np.random.default_rng(0).normal(0, 2, (500, 3)).astype(np.float32)
    expected = grid.dequantize(grid.quantize(real, "floor"))
    assert np.array_equal(artefact.program.of_reals(real)[0], expected.astype(np.float32))


@pytest.mark.parametrize("size", [(11,), (7, 8)])
def test_convolutions_with_residuals(size, tmp_path):
    check(convolutions((3, 8, 12), size=size, bits=4, free=True), tmp_path, rows=40)


def test_powers_of_two_are_quants_and_the_rest_thresholds(tmp_path):
    simple = check(perceptron((6, 9, 4), bits=6), tmp_path)
    kinds = [node.op_type for node in nodes_of(simple)]
    assert "MultiThreshold" not in kinds
    assert {"Quant", "MatMul", "Add"} <= set(kinds)
    assert "Gemm" not in kinds
    assert modes_of(simple).count("FLOOR") == 1
    even = check(perceptron((6, 9, 4), bits=6, rounding="half_even"), tmp_path)
    assert "FLOOR" not in modes_of(even)
    free = check(perceptron((6, 9, 4), bits=6, free=True), tmp_path)
    assert [node.op_type for node in nodes_of(free)].count("MultiThreshold") == 1


@pytest.mark.parametrize(("top", "kinds"), [(100, []), (90, ["Min"])])
def test_an_end_that_is_never_reached_needs_no_clamp(top, kinds, tmp_path):
    """A word of 7 bits holds 0..127; readers such as hls4ml take no Min with a constant."""
    b = Builder()
    x = b.input("x", (3,), Grid(0, 50, 0.25))
    names = [b.constant(n, np.array([v])) for n, v in (("m", 2), ("o", 0), ("s", 0))]
    y = b.op("requantize", (x, *names), {"lo": 0, "hi": top, "even": 0}, name="y", scale=0.125)
    artefact = check(b.graph((y,)), tmp_path)
    ends = [node.op_type for node in nodes_of(artefact) if node.op_type in ("Min", "Max")]
    assert ends == ["Min", *kinds]  # that of the input first


def test_weights_have_a_scale_for_each_channel_and_two_values_are_bipolar(tmp_path):
    b, rng = Builder(), np.random.default_rng(0)
    x = b.input("x", (7,), Grid(-8, 7, 0.25))
    scale = rng.uniform(0.1, 0.2, (4, 1))
    w = b.constant("w", rng.choice([-1, 1], (4, 7)), scale)
    v = b.constant("v", rng.integers(-5, 5, (4, 4)), 0.5)
    zero = b.constant("zero", np.zeros(4, dtype=int))
    y = b.op("dense", (x, w, zero), name="y")
    y = emit(b, y, Transfer(np.ones(4), np.zeros(4), Grid(0, 15, 0.3)), name="q", origin="q")
    graph = b.graph((b.op("dense", (y, v, zero), name="z"),))
    artefact = check(graph, tmp_path)
    model = onnx.load(artefact.folder / "net.onnx")
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    bipolar = next(node for node in model.graph.node if node.op_type == "BipolarQuant")
    assert np.array_equal(arrays[bipolar.input[1]], scale.T.astype(np.float32))
    quant = next(node for node in model.graph.node if node.op_type == "Quant")
    assert [node.domain for node in (bipolar, quant)] == ["qonnx.custom_op.general"] * 2


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor", "toward_zero"])
@pytest.mark.parametrize("grid", [Grid(-8, 7, 0.25), Grid(0, 20, 0.3, 5), Grid(-9, 30, 0.5, -3)])
def test_the_input_is_rounded_as_the_graph_says(rounding, grid, tmp_path):
    b = Builder()
    x = b.input("x", (4,), grid, rounding=rounding)
    graph = b.graph((b.op("clamp", (x,), {"lo": -5, "hi": 15}, name="y"),))
    artefact = check(graph, tmp_path)
    ties = (np.arange(-400, 400).reshape(-1, 4) / 8 * grid.scale).astype(np.float32)
    noise = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32) * 5
    for real in (ties, noise):
        found = recovered(graph.value("y"), artefact.program.of_reals(real)[0])
        assert np.array_equal(found, execute(graph, *quantize_inputs(graph, real)).outputs[0])


def test_what_float32_cannot_hold_is_refused(tmp_path):
    message = r"op 'fc\d.out' \(\w+\): reaches \d+, which float32 cannot round exactly; "
    with pytest.raises(BackendError, match=message + "use fewer bits, or the exact back ends"):
        build(perceptron((40, 9, 4), bits=15, free=True, density=0.9), "qonnx", tmp_path / "net")
    b = Builder()
    x = b.input("x", (2,), Grid(0, 3), overflow="wrap")
    graph = b.graph((b.op("clamp", (x,), {"lo": 0, "hi": 2}, name="y"),))
    with pytest.raises(BackendError, match=r"input 'x': rounds half_even, wrap, which no QONNX"):
        build(graph, "qonnx", tmp_path / "net")


def test_no_samples_and_another_number_of_them(tmp_path):
    graph = perceptron((5, 9, 3))
    artefact = check(graph, tmp_path)
    assert artefact.run(np.zeros((0, 5), dtype=int))[0].shape == (0, 3)
    n = np.random.default_rng(0).integers(-32, 32, (9, 5))
    assert np.array_equal(artefact.run(n)[0][:4], artefact.run(n[:4])[0])


def test_another_file_is_an_error(tmp_path):
    graph = perceptron((5, 9, 3))
    artefact = check(graph, tmp_path)
    verify(load(artefact.folder), graph, rows=10)
    file = artefact.folder / "net.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    for other in (b"", bytes(data)):
        file.write_bytes(other)
        with pytest.raises(BackendError, match=r"net.onnx is not what its graph gives; build it"):
            load(artefact.folder).run(np.zeros((1, 5), dtype=int))


def test_the_missing_package_names_the_extra(tmp_path, monkeypatch):
    artefact = build(perceptron((5, 4, 3)), "qonnx", tmp_path / "net")
    monkeypatch.setitem(__import__("sys").modules, "qonnx.core.modelwrapper", None)
    with pytest.raises(MissingExtra, match=r"qonnx is not installed.*'pareq\[qonnx\]'"):
        artefact.run(np.zeros((1, 5), dtype=int))
