"""hls4ml reads the QONNX model, and its C++ gives the graph's numbers."""

import shutil
import warnings

import numpy as np
import pytest

from pareq.backends import build
from pareq.backends.vectors import extremes, uniform
from pareq.ir.execute import dequantize_outputs, execute
from tests.backends.networks import tagger

pytest.importorskip("qonnx", reason="needs qonnx: pip install 'pareq[qonnx]'")
pytest.importorskip("hls4ml", reason="needs hls4ml: pip install hls4ml")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++ to compile what hls4ml writes")
@pytest.mark.filterwarnings("ignore")  # of hls4ml and what it imports
def test_its_emulation_of_the_tagger_is_the_graph(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import hls4ml
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.util.cleanup import cleanup_model

    graph = tagger()  # scales are powers of two
    artefact = build(graph, "qonnx", tmp_path / "net", name="jets")
    model = cleanup_model(ModelWrapper(str(artefact.folder / "jets.onnx")))
    how = {"backend": "Vitis", "default_precision": "fixed<32,16>"}
    config = hls4ml.utils.config.config_from_onnx_model(model, granularity="name", **how)
    firmware = hls4ml.converters.convert_from_onnx_model(
        model, output_dir=str(tmp_path / "hls"), backend="Vitis", hls_config=config
    )
    firmware.compile()
    samples = uniform(graph, 2000, np.random.default_rng(0))
    n = np.concatenate([extremes(graph)[0], samples[0]])
    grid = graph.inputs[0].value.grid
    found = firmware.predict(np.ascontiguousarray(grid.dequantize(n), dtype=np.float32))
    expected = dequantize_outputs(graph, execute(graph, n).outputs)[0]
    assert np.array_equal(found, expected.astype(np.float32))
