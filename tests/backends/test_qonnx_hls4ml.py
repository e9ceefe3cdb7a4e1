"""One trained graph, three ways out: C, Verilog, and QONNX, which hls4ml reads. All agree."""

import shutil
import warnings

import numpy as np
import pytest

from pareq.backends import Verilog, build, verify
from pareq.backends.vectors import extremes, uniform
from pareq.ir.execute import dequantize_outputs, execute, quantize_inputs
from pareq.recipe.config import change_recipe, dump_recipe
from pareq.recipe.presets import find_recipe
from pareq.tasks.base import make_task
from pareq.train.deploy import lower_run
from pareq.train.trial import Trial
from tests.backends.verilog.programs import icarus
from tests.studies.small import few_jets
from tests.train.deployed import compiler

pytest.importorskip("qonnx", reason="needs qonnx: pip install 'pareq[qonnx]'")
pytest.importorskip("hls4ml", reason="needs hls4ml: pip install hls4ml")

ROWS = 400  # of the test split


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The graph of the jet tagger after two epochs, and samples: integers, and what is predicted.

    Scales are powers of two, one a tensor, which is what hls4ml reads of QONNX.
    """
    folder = tmp_path_factory.mktemp("three")
    options = {"data": few_jets(folder), "batch_norm": False}
    changes = ["training.epochs=2", "training.batch_size=128"]
    recipe = dump_recipe(change_recipe(find_recipe("qap-fixed"), changes))
    Trial("jets", recipe, options).run(folder / "run")
    graph = lower_run(folder / "run").graph
    x = make_task("jets", options).load().test.x.numpy()[:ROWS]
    n = np.concatenate([*quantize_inputs(graph, x), *extremes(graph)])
    y = execute(graph, n).outputs[0]
    assert len(np.unique(y.argmax(1))) > 2  # else nothing is predicted
    return graph, n, y


@icarus
@pytest.mark.slow
def test_c_verilog_and_qonnx_give_the_same_integers(trained, tmp_path):
    compiler()
    graph, n, y = trained
    verilog = Verilog(emitter="native", simulator="icarus")
    for name, backend in {"c": "c", "verilog": verilog, "qonnx": "qonnx"}.items():
        artefact = build(graph, backend, tmp_path / name, name="jets")
        assert np.array_equal(artefact.run(n)[0], y), name
        verify(artefact, graph, rows=100)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++ to compile what hls4ml writes")
@pytest.mark.filterwarnings("ignore")  # of hls4ml and what it imports
def test_the_emulation_of_hls4ml_is_the_graph(trained, tmp_path, capfd):
    """Of the C++ that would be synthesized: every output, so every prediction."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import hls4ml
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.util.cleanup import cleanup_model

    graph, n, y = trained
    artefact = build(graph, "qonnx", tmp_path / "net", name="jets")
    model = cleanup_model(ModelWrapper(str(artefact.folder / "jets.onnx")))
    how = {"backend": "Vitis", "default_precision": "fixed<32,16>"}
    config = hls4ml.utils.config.config_from_onnx_model(model, granularity="name", **how)
    firmware = hls4ml.converters.convert_from_onnx_model(
        model, output_dir=str(tmp_path / "hls"), backend="Vitis", hls_config=config
    )
    firmware.compile()
    n = np.concatenate([n, *uniform(graph, 2000, np.random.default_rng(0))])
    grid = graph.inputs[0].value.grid
    found = firmware.predict(np.ascontiguousarray(grid.dequantize(n), dtype=np.float32))
    expected = dequantize_outputs(graph, execute(graph, n).outputs)[0]
    assert np.array_equal(found, expected.astype(np.float32))
    assert np.array_equal(found[: len(y)].argmax(1), y.argmax(1))
