"""A QDQ model gives the graph's integers, but for rounding ties that float32 cannot tell."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from pareq.backends import Onnx, build, verify
from pareq.backends.onnx.differences import differences
from pareq.errors import BackendError
from pareq.ir.build import Builder
from pareq.ir.graph import Constant
from pareq.lower.passes import simplify
from pareq.numerics.grid import Grid
from tests.backends.networks import convolutions, perceptron, tagger
from tests.ir.random_graphs import FAMILIES, random_graph

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'pareq[onnx]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'pareq[onnx]'")

SAME = [
    {"bits": 6},
    {"bits": 6, "free": True},
    {"bits": 8, "density": 0.9, "rounding": "half_even"},
    {"bits": 8, "density": 0.9, "rounding": "floor", "signed": True},
    {"bits": 3, "rounding": "half_even", "signed": True, "quantized": True},
    {"bits": 4, "rounding": "half_up", "signed": True},
]


def built(graph, folder, **how):
    how = {"variant": "qdq", "threads": 1, **how}
    return build(graph, Onnx(**how), folder / "net", name="net")


def model_of(artefact):
    return onnx.load(artefact.folder / "net.onnx")


def arrays_of(model):
    return {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("how", SAME, ids=str)
def test_offsets_reproduce_the_rounding(how, optimize, tmp_path):
    graph = perceptron((16, 21, 12, 5), **how)
    verify(built(graph, tmp_path, optimize=optimize), graph, rows=3000)


@pytest.mark.parametrize("optimize", [True, False])
def test_convolutions_with_residuals(optimize, tmp_path):
    for graph in (convolutions((3, 8, 12), bits=4, free=True), convolutions((3, 6, 9), bits=8)):
        verify(built(graph, tmp_path, optimize=optimize), graph, rows=40)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_graphs(family, tmp_path):
    for seed in (2, 5):
        graph = random_graph(seed, family)
        found = differences(built(graph, tmp_path, optimize=seed == 2), graph, rows=200)
        assert found.ties == found.differing <= 4


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_more_random_graphs(family, tmp_path):
    differing = 0
    for seed in range(10):
        graph = random_graph(seed, family)
        graph = simplify(graph) if seed % 2 else graph
        found = differences(built(graph, tmp_path, optimize=seed % 3 > 0), graph, rows=200)
        assert found.ties == found.differing
        differing += found.differing
    assert differing <= 20  # of 2000


def test_where_float32_is_too_coarse_the_differences_are_ties_and_are_counted(tmp_path):
    graph = tagger(free=True, bits=8, density=0.8)
    found = differences(built(graph, tmp_path), graph, rows=20_000)
    assert 0 < found.differing < 40
    assert found.ties == found.differing
    assert found.largest >= 1
    assert "of 20002 samples differ (0.0" in str(found)
    x = np.random.default_rng(0).normal(size=(100, 16))
    assert differences(built(graph, tmp_path), graph, x, rows=10).samples == 112


@dataclass(frozen=True)
class Wrong(Onnx):
    """A back end that changes one weight."""

    def write(self, graph, folder, name):
        old = {each.name: each for each in graph.constants}
        weight = old["fc1.weight"]
        data = weight.data.copy()
        data[0, :] += np.where(data[0, :] > 0, -1, 1)
        old["fc1.weight"] = Constant("fc1.weight", data, weight.grid)
        return super().write(replace(graph, constants=tuple(old.values())), folder, name)


def test_a_wrong_model_differs_away_from_ties(tmp_path):
    graph = perceptron((5, 9, 3), density=0.9)
    artefact = build(graph, Wrong(variant="qdq"), tmp_path / "net", name="net")
    found = differences(artefact, graph, rows=500)
    assert found.differing > 50
    assert found.ties == 0


def test_reals_at_the_edge(tmp_path):
    graph = perceptron((5, 9, 3))
    artefact = built(graph, tmp_path)
    x = (np.random.default_rng(0).integers(-900, 900, (500, 5)) / 32).astype(np.float32)  # ties
    exact = build(graph, Onnx(), tmp_path / "exact")
    assert np.array_equal(artefact(x), exact(x))


def test_weights_are_integers_with_a_scale_for_each_channel(tmp_path):
    b, rng = Builder(), np.random.default_rng(0)
    x = b.input("x", (3, 5, 5), Grid(-8, 7, 0.25))
    scale = rng.uniform(0.1, 0.2, (4, 1, 1, 1))
    w = b.constant("w", rng.integers(-20, 20, (4, 3, 2, 2)), scale)
    how = {"stride": (1, 1), "padding": (0, 1, 0, 1), "dilation": (1, 1), "groups": 1, "fill": 0}
    c = b.constant("c", rng.integers(-20, 20, 4))
    graph = b.graph((b.op("conv", (x, w, c), how, name="y"),))
    model = model_of(built(graph, tmp_path))
    onnx.checker.check_model(model, full_check=True)
    arrays = arrays_of(model)
    nodes = {node.op_type: node for node in model.graph.node}
    weight = next(n for n in model.graph.node if n.output[0] == nodes["Conv"].input[1])
    assert weight.op_type == "DequantizeLinear"
    assert arrays[weight.input[0]].dtype == np.int8
    assert np.array_equal(arrays[weight.input[1]], scale.ravel().astype(np.float32))
    assert {each.version for each in model.opset_import} == {19}
    assert "QuantizeLinear" in nodes


@pytest.mark.parametrize("bits", [3, 4])
def test_weights_of_four_bits_can_be_stored_in_four(bits, tmp_path):
    graph = perceptron((6, 9, 4), bits=bits, quantized=True)
    model = model_of(built(graph, tmp_path, packed=True))
    kinds = {each.data_type for each in model.graph.initializer}
    assert onnx.TensorProto.INT4 in kinds
    assert onnx.TensorProto.INT8 not in kinds
    for optimize in (True, False):
        verify(built(graph, tmp_path, packed=True, optimize=optimize), graph, rows=500)


@pytest.mark.parametrize("optimize", [True, False])
def test_every_operand_of_a_product_is_quantized(optimize, tmp_path):
    """Else ONNX Runtime rounds it by a scale of its own."""
    b, rng = Builder(), np.random.default_rng(0)
    x = b.input("x", (36,), Grid(-32, 31, 0.125))
    entries = b.constant("entries", rng.integers(-14, 14, (1, 64)))
    y = b.op("table", (x, entries), {"first": -32}, name="y", scale=0.07)
    names = (
        b.constant("w", rng.integers(-15, 15, (4, 36)), 0.011),
        b.constant("b", np.zeros(4, int)),
    )
    graph = b.graph((b.op("dense", (y, *names), name="z"),))
    verify(built(graph, tmp_path, optimize=optimize), graph, rows=500)


def test_sixteen_bits_and_what_is_wider(tmp_path):
    def graph(bits):
        b = Builder()
        x = b.input("x", (4,), Grid(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0.5))
        return b.graph((b.op("clamp", (x,), {"lo": 0, "hi": 2 ** (bits - 2)}, name="y"),))

    for optimize in (True, False):
        verify(built(graph(16), tmp_path, optimize=optimize), graph(16), rows=500)
    with pytest.raises(BackendError, match=r"input 'x': has .* expected 16 bits; use c or onnx$"):
        built(graph(17), tmp_path)
