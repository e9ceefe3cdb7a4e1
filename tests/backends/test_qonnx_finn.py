"""What FINN makes of a model is the graph: converted, and streamlined to integers alone."""

import warnings

import numpy as np
import pytest

from pareq.backends import build
from pareq.backends.vectors import extremes, uniform
from pareq.ir.execute import dequantize_outputs, execute
from tests.backends.networks import perceptron

pytest.importorskip("qonnx", reason="needs qonnx: pip install 'pareq[qonnx]'")
pytest.importorskip("finn", reason="needs FINN: pip install --no-deps finn-plus==1.6.1")

NETWORKS = {
    "powers of two": {"bits": 6, "quantized": True},
    "half to even": {"bits": 5, "rounding": "half_even", "signed": True, "quantized": True},
    "free scales": {"bits": 4, "free": True, "quantized": True},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of FINN and what it imports
@pytest.mark.parametrize("how", NETWORKS.values(), ids=NETWORKS)
def test_streamlined_by_finn_every_output_is_that_of_the_graph(how, tmp_path, monkeypatch):
    monkeypatch.setenv("FINN_BUILD_DIR", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from finn.transformation.qonnx.convert_qonnx_to_finn import ConvertQONNXtoFINN
        from finn.transformation.streamline import Streamline
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.change_batchsize import ChangeBatchSize
        from qonnx.util.cleanup import cleanup_model

    graph = perceptron((16, 21, 12, 5), **how)
    artefact = build(graph, "finn", tmp_path / "net", name="net")
    model = cleanup_model(ModelWrapper(str(artefact.folder / "net.onnx")))
    n = np.concatenate([*extremes(graph), *uniform(graph, 500, np.random.default_rng(0))])
    expected = dequantize_outputs(graph, execute(graph, n).outputs)[0].astype(np.float32)
    x = graph.inputs[0].value.grid.dequantize(n).astype(np.float32)
    model = model.transform(ChangeBatchSize(len(n)))
    for step in (ConvertQONNXtoFINN(), Streamline()):
        model = model.transform(step)
        given, found = model.graph.input[0].name, model.graph.output[0].name
        assert np.array_equal(execute_onnx(model, {given: x})[found], expected), step
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["MultiThreshold", "MatMul"] * 3 + ["MultiThreshold", "Mul"]
    weights = [model.get_initializer(n.input[1]) for n in model.graph.node if n.op_type == "MatMul"]
    assert all(np.array_equal(each, np.round(each)) for each in weights)
