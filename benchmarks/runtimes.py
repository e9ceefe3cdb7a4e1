"""The runtimes that inference is compared with: each takes and gives float32, in one thread.

| runtime | what runs |
|---|---|
| ONNX Runtime float32 | the module, exported |
| ONNX Runtime int8 | the same, statically quantized: 8 bits, per channel |
| torch.compile | the module itself |
| OpenVINO float32 | the exported module, kept in float32 |
| OpenVINO | the same as OpenVINO runs it by default: in bfloat16 where the machine has it |

One that is not installed is left out and said so.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from measure import interleave
from torch import nn

Run = Callable[[np.ndarray], object]


def exported(module: nn.Module, x: np.ndarray, file: Path) -> Path:
    """The module as ONNX for batches of any size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        axes = {"x": {0: "N"}, "y": {0: "N"}}
        names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
        given = torch.from_numpy(x[:1])
        torch.onnx.export(module, given, str(file), dynamo=False, opset_version=17, **names)
    return file


def onnx_runtime(module: nn.Module, x: np.ndarray, folder: Path) -> dict[str, Run]:
    """In float32, and quantized with the ranges of x."""
    try:
        import onnxruntime
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        return missing("ONNX Runtime", error)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[np.ndarray] = iter(np.array_split(x[:512], 8))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"x": batch}

    real, ready, whole = (folder / f"{name}.onnx" for name in ("float32", "ready", "int8"))
    quant_pre_process(exported(module, x, real), ready)
    types = {
        "activation_type": quantization.QuantType.QUInt8,
        "weight_type": quantization.QuantType.QInt8,
    }
    quantization.quantize_static(ready, whole, Reader(), per_channel=True, **types)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    def session(file: Path) -> Run:
        loaded = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda x: loaded.run(None, {"x": x})

    return {f"ONNX Runtime {name}": session(f) for name, f in (("float32", real), ("int8", whole))}


def compiled(module: nn.Module) -> dict[str, Run]:
    """torch.compile, for each batch size anew."""
    torch.set_num_threads(1)
    torch._dynamo.config.recompile_limit = 64  # one for each batch size
    ready = torch.compile(module, dynamic=False)

    def run(x: np.ndarray) -> object:
        with torch.no_grad():
            return ready(torch.from_numpy(x))

    return {"torch.compile": run}


def open_vino(module: nn.Module, x: np.ndarray, folder: Path) -> dict[str, Run]:
    """In float32, and in the precision that it chooses."""
    try:
        import openvino
    except ImportError as error:
        return missing("OpenVINO", error)
    core = openvino.Core()
    model = core.read_model(exported(module, x, folder / "openvino.onnx"))
    single = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}

    def run(settings: dict[str, str]) -> Run:
        request = core.compile_model(model, "CPU", {**single, **settings}).create_infer_request()
        return lambda x: request.infer({"x": x}, share_inputs=True)

    return {"OpenVINO float32": run({"INFERENCE_PRECISION_HINT": "f32"}), "OpenVINO": run({})}


def quickest(
    steps: Mapping[str, Callable[[], object]], blocks: int, per_block: int
) -> dict[str, float]:
    """Milliseconds of one call of each: of the shortest block, where other programs run beside."""
    times = interleave(steps, blocks, per_block, 2)
    return {name: min(each) for name, each in times.items()}


def missing(name: str, error: ImportError) -> dict[str, Run]:
    """No runtime, and a word about it."""
    print(f"{name} is not installed: no rows for it ({error})", file=sys.stderr)
    return {}
