"""An exact ONNX model computes what the reference computes, optimised or not."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pareq.backends import BACKENDS, Onnx, build, load, verify
from pareq.backends.onnx.exact import EMITTERS
from pareq.errors import BackendError, GridError, MissingExtra, PareqError
from pareq.ir.build import Builder
from pareq.ir.execute import evaluate, execute
from pareq.ir.ops import KINDS
from pareq.lower.passes import simplify
from pareq.numerics.grid import Grid
from tests.backends.networks import convolutions, perceptron, tagger
from tests.ir.random_graphs import FAMILIES, graphs, random_graph

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'pareq[onnx]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'pareq[onnx]'")


def check(graph, folder, rows=200, **how):
    artefact = build(graph, Onnx(threads=1, **how), folder / "net", name="net")
    assert verify(artefact, graph, rows=rows).samples == rows + 2
    return artefact


def model_of(artefact):
    return onnx.load(artefact.folder / f"{artefact.name}.onnx")


def test_every_kind_of_op_has_nodes():
    assert set(EMITTERS) == set(KINDS)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_random_graphs(family, optimize, tmp_path):
    check(random_graph(7, family), tmp_path, optimize=optimize)


@pytest.mark.parametrize("edge", ["real", "integer"])
def test_simplified_graphs_read_constants_and_share_outputs(edge, tmp_path):
    check(simplify(random_graph(3, "mixed")), tmp_path, edge=edge)


@pytest.mark.slow
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(graph=graphs(), simpler=st.booleans(), optimize=st.booleans(), whole=st.booleans())
def test_300_random_graphs(graph, simpler, optimize, whole):
    with TemporaryDirectory() as folder:
        found = simplify(graph) if simpler else graph
        check(found, Path(folder), optimize=optimize, edge="integer" if whole else "real")


MLPS = [
    {"bits": 6},
    {"bits": 6, "free": True},
    {"bits": 2, "free": True, "quantized": True},
    {"bits": 3, "rounding": "floor", "density": 0.8},
    {"bits": 5, "rounding": "half_even", "signed": True, "quantized": True},
    {"bits": 8, "density": 0.9, "rounding": "half_even"},
    {"bits": 8, "free": True, "density": 0.9},
    {"bits": 9, "rounding": "floor", "signed": True},
    {"bits": 12, "density": 0.5},
    {"bits": 16, "free": True, "density": 0.3},
]


@pytest.mark.parametrize("how", MLPS[:-1], ids=str)
def test_perceptrons(how, tmp_path):
    check(perceptron((16, 21, 12, 5), **how), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("how", MLPS, ids=str)
def test_many_samples_a_perceptron(how, tmp_path):
    widths = (33, 64, 32, 5) if how["bits"] < 16 else (12, 16, 5)
    graph = perceptron(widths, **how)
    artefact = check(graph, tmp_path, rows=20_000)
    plain = replace(artefact, backend=Onnx(threads=1, optimize=False))
    verify(plain, graph, rows=20_000, seed=1)


@pytest.mark.parametrize("size", [(11,), (7, 8)])
def test_convolutions_with_residuals(size, tmp_path):
    check(convolutions((3, 8, 12), size=size, bits=4, free=True), tmp_path, rows=40)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(11,), (9, 10), (7, 7, 7)])
@pytest.mark.parametrize("bits", [3, 8, 10])
@pytest.mark.parametrize("seed", range(2))
def test_many_convolutions(size, bits, seed, tmp_path):
    channels = tuple(int(n) for n in np.random.default_rng(seed).integers(1, 24, 3))
    graph = convolutions(channels, size=size, bits=bits, seed=seed, free=bool(seed % 2))
    check(graph, tmp_path, rows=40, optimize=bool(seed))


def wide_graph(*, wider: bool = False):
    """Integers beyond 32 bits in every op that could get them wrong, and several ports."""
    rng, b = np.random.default_rng(0), Builder()
    x = b.input("x", (3, 4), Grid(-(2**30), 2**30, 0.5))
    y = b.input("y/n", (4,), Grid(0, 2**16 - 1, 0.5, 7), rounding="floor")
    big = b.constant("big", rng.integers(-(2**31), 2**31, (3, 4)), 0.5)
    sums = b.op("subtract", (x, big), {"shift_a": 0, "shift_b": 0}, name="sums")
    weight = b.constant("w", rng.integers(-500, 500, (5, 4)))
    bias = b.constant("b", rng.integers(-(2**40), 2**40, 5))
    dense = b.op("dense", (sums, weight, bias), name="dense")
    levels = np.sort(rng.integers(-(2**42), 2**42, (1, 5, 100)), axis=-1)
    parts = [levels, rng.integers(-9, 9, (1, 5)), rng.choice([-1, 1], (1, 5))]
    names = [b.constant(f"t{k}", each) for k, each in enumerate(parts)]
    steps = b.op("threshold", (dense, *names), scale=1.0, name="steps")
    relu = b.op("clamp", (dense,), {"lo": 0, "hi": 2**40}, name="relu")
    leaky = b.op("leaky", (dense,), {"shift": 3}, name="leaky")
    pooled = b.op("sum", (x,), {"axes": (0, 1)}, name="total", scale=1.0)
    best = b.op("top_k", (dense,), {"axis": 1, "k": 3}, name="best", scale=1.0)
    windows = {"kernel": (2,), "stride": (2,), "padding": (1, 1), "dilation": (2,)}
    largest = b.op("max_pool", (dense,), windows, name="largest")
    product = b.op("multiply", (x, big), name="product")  # up to 2^61
    outputs = (steps, relu, leaky, pooled, best, largest, dense, dense, x, big, y)
    return b.graph((*outputs, product) if wider else outputs)


@pytest.mark.parametrize("edge", ["real", "integer"])
@pytest.mark.parametrize("optimize", [True, False])
def test_wide_integers_and_outputs_of_all_sorts(edge, optimize, tmp_path):
    graph = wide_graph(wider=edge == "integer")
    artefact = check(graph, tmp_path, rows=2000, edge=edge, optimize=optimize)
    names = [port.name for port in model_of(artefact).graph.output]
    assert len(set(names)) == len(graph.outputs)
    assert names[:2] == ["steps", "relu"]
    with pytest.raises(BackendError, match=r"output 'product': reaches .*use edge='integer'$"):
        build(wide_graph(wider=True), "onnx", tmp_path / "wider")


@pytest.mark.parametrize(("largest", "count"), [(64, 1), (65, 1), (127, 1), (129, 2), (40_000, 3)])
def test_products_are_of_bytes_that_no_processor_saturates(largest, count, tmp_path):
    """Signed bytes within -64..64, else unsigned ones with zero point 128; several when wider."""
    rng, b = np.random.default_rng(0), Builder()
    x = b.input("x", (20,), Grid(0, 255, 1.0))
    w = rng.integers(-largest, largest, (4, 20), endpoint=True)
    w[0, 0], w[1, 1] = largest, -largest
    names = b.constant("w", w), b.constant("b", rng.integers(-9, 9, 4))
    graph = b.graph((b.op("dense", (x, *names), name="y"),))
    model = model_of(check(graph, tmp_path))
    products = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    assert len(products) == count
    for node in products:
        if arrays[node.input[1]].dtype == np.int8:
            assert np.abs(arrays[node.input[1]].astype(int)).max() <= 64
        else:
            assert arrays[node.input[3]] == 128


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor", "toward_zero"])
@pytest.mark.parametrize("grid", [Grid(-8, 7, 0.25), Grid(0, 20, 0.3, 5), Grid(-9, 30, 0.7, -2)])
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
def test_reals_are_quantized_as_the_graph_says(rounding, grid, overflow, tmp_path):
    b = Builder()
    x = b.input("x", (4,), grid, rounding=rounding, overflow=overflow)
    graph = b.graph((b.op("clamp", (x,), {"lo": -5, "hi": 15}, name="y"),))
    artefact = check(graph, tmp_path)
    real = (np.arange(-400, 400).reshape(-1, 4) / 8 * grid.scale).astype(np.float32)  # ties
    noise = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32) * 5
    for given_ in (real, noise, real.astype(np.float64), noise.astype(np.float64) * 1.1):
        assert np.array_equal(artefact(given_), evaluate(graph, given_)[0])
    if overflow == "saturate":
        ends = np.array([[np.inf, -np.inf, 3e38, -3e38]], dtype=np.float32)
        assert np.array_equal(artefact(ends), evaluate(graph, ends)[0])
    with pytest.raises(GridError, match=r"^artefact 'net': 1 of 4 values are NaN$"):
        artefact(np.array([[0, np.nan, 0, 0]], dtype=np.float32))


@pytest.mark.parametrize("scale", [1e-300, 2.0**-149, 1e-40, 1e32, 1e300])
def test_scales_beyond_float32_have_ports_of_float64(scale, tmp_path):
    b = Builder()
    x = b.input("x", (4,), Grid(-8, 7, scale))
    graph = b.graph((b.op("clamp", (x,), {"lo": 0, "hi": 7}, name="y"),))
    artefact = check(graph, tmp_path)
    types = {p.type.tensor_type.elem_type for p in model_of(artefact).graph.input}
    assert types == {onnx.TensorProto.DOUBLE}
    real = np.random.default_rng(0).normal(size=(50, 4)) * 4 * scale
    assert np.array_equal(artefact(real), evaluate(graph, real)[0])
    for other in (Onnx(variant="qdq"), "qonnx"):
        with pytest.raises(BackendError, match="scale out of float32; use c, or onnx"):
            build(graph, other, tmp_path / "other")


def test_a_scale_for_each_channel_at_the_edges(tmp_path):
    b = Builder()
    x = b.input("x", (3, 2), Grid(-8, 7, np.array([[0.25], [0.3], [7.0]]), 1))
    graph = b.graph((b.op("clamp", (x,), {"lo": 0, "hi": 7}, name="y"),))
    artefact = check(graph, tmp_path)
    given_ = np.random.default_rng(0).normal(size=(300, 3, 2)).astype(np.float32)
    assert np.array_equal(artefact(given_), evaluate(graph, given_)[0])


def test_the_file_is_a_standard_model_that_says_what_it_is(tmp_path):
    graph = replace(perceptron((5, 9, 3)), metadata={"recipe_sha256": "abc"})
    artefact = check(graph, tmp_path)
    model = model_of(artefact)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    ports = (model.graph.input[0], model.graph.output[0])
    shapes = [port.type.tensor_type.shape.dim for port in ports]
    assert [(s[0].dim_param, s[1].dim_value) for s in shapes] == [("N", 5), ("N", 3)]
    assert {p.type.tensor_type.elem_type for p in ports} == {onnx.TensorProto.FLOAT}
    says = {each.key: each.value for each in model.metadata_props}
    assert (says["pareq.variant"], says["pareq.edge"]) == ("exact", "real")
    assert says["graph.recipe_sha256"] == "abc"
    wanted = {"lo": -32, "hi": 31, "scale": 0.125, "zero": 0}
    assert json.loads(says["input.x"]) == {
        **wanted,
        "rounding": "half_even",
        "overflow": "saturate",
    }
    assert json.loads(says["output.fc2"])["scale"] == graph.value("fc2").grid.scale
    origins = {node.doc_string for node in model.graph.node}
    assert {"net.fc1", "net.fc2"} <= origins
    floats = {"Cast", "Div", "Max", "Min", "Round", "Mul"}  # those at the edges
    inner = [node for node in model.graph.node if node.doc_string]
    assert {node.op_type for node in inner} - floats <= {"MatMulInteger", "Add", "BitShift"}


def test_an_integer_model_takes_and_gives_integers(tmp_path):
    graph = perceptron((5, 9, 3))
    model = model_of(check(graph, tmp_path, edge="integer"))
    types = {p.type.tensor_type.elem_type for p in (*model.graph.input, *model.graph.output)}
    assert types == {onnx.TensorProto.INT32}
    kinds = {each.data_type for each in model.graph.initializer}
    assert not kinds & {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}


def test_many_threads_give_what_one_gives(tmp_path):
    graph = tagger(free=True)
    one = build(graph, Onnx(threads=1), tmp_path / "one")
    many = build(graph, Onnx(threads=3), tmp_path / "many")
    n = np.random.default_rng(2).integers(-32, 32, (20_011, 16))
    assert np.array_equal(one.run(n)[0], many.run(n)[0])
    assert np.array_equal(one.run(n)[0], execute(graph, n).outputs[0])
    assert one.run(n[:0])[0].shape == (0, 5)


def test_what_no_model_can_say_is_an_error(tmp_path):
    with pytest.raises(BackendError, match=r"unknown variant 'qqd'; did you mean 'qdq'\?"):
        Onnx(variant="qqd")
    with pytest.raises(BackendError, match="unknown edge 'reals'; did you mean 'real'"):
        Onnx(edge="reals")
    with pytest.raises(BackendError, match="edge is 'integer', which the variant 'qdq'"):
        Onnx(variant="qdq", edge="integer")
    b = Builder()
    x = b.input("x", (2,), Grid(0, 3), rounding="stochastic")
    graph = b.graph((b.op("clamp", (x,), {"lo": 0, "hi": 2}, name="y"),))
    with pytest.raises(BackendError, match=r"input 'x': rounds stochastic.*edge='integer'$"):
        build(graph, "onnx", tmp_path / "net")
    check(graph, tmp_path, edge="integer")
    b = Builder()
    y = b.input("y", (2,), Grid(-(2**61), 2**61))
    m, o, s = (b.constant(k, np.array([n])) for k, n in (("m", 1), ("o", 2**62), ("s", 1)))
    fields = {"lo": -(2**60), "hi": 2**60, "even": 0}
    wide = b.op("requantize", (y, m, o, s), fields, name="q", scale=1.0)
    with pytest.raises(BackendError, match=r"op 'q' \(requantize\): needs 2\^63.*C back end$"):
        build(b.graph((wide,)), Onnx(edge="integer"), tmp_path / "wide")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_names_the_extra(package, tmp_path, monkeypatch):
    graph = perceptron((5, 4, 3))
    artefact = build(graph, "onnx", tmp_path / "net")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package} is not .* pip install 'pareq\[onnx\]'"):
        build(graph, "onnx", tmp_path / "net").run(np.zeros((1, 5), dtype=int))
    assert artefact.files == ("model.onnx",)


def test_a_built_folder_can_be_loaded_again(tmp_path):
    graph = perceptron((5, 9, 3))
    build(graph, Onnx(edge="integer", optimize=False), tmp_path / "net")
    again = load(tmp_path / "net")
    assert again.backend == BACKENDS["onnx"] == Onnx()
    verify(again, graph, rows=100)


def test_damaged_and_hostile_files_are_errors(tmp_path):
    """Whatever bytes change, the model is refused or runs."""
    artefact = build(perceptron((5, 9, 3)), Onnx(threads=1), tmp_path / "net")
    other = build(perceptron((4, 9, 3)), Onnx(threads=1), tmp_path / "other")
    file, n = artefact.folder / "model.onnx", np.zeros((3, 5), dtype=int)
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for data in (b"", b"no model", whole[: len(whole) // 2], bytes(1000)):
        file.write_bytes(data)
        with pytest.raises(BackendError, match=r"^artefact 'model': model.onnx cannot be loaded"):
            load(artefact.folder).run(n)
    file.write_bytes((other.folder / "model.onnx").read_bytes())
    with pytest.raises(BackendError, match=r"has tensors \[\(4,\)\], the graph \[\(5,\)\]; build"):
        load(artefact.folder).run(n)
    messages = []
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        file.write_bytes(data)
        try:
            load(artefact.folder).run(n)
        except PareqError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert not any("\n" in each for each in messages)
    file.unlink()
    with pytest.raises(BackendError, match=r"model\.onnx is missing"):
        load(artefact.folder)
