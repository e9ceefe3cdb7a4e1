"""Sheets as ONNX files: the only place that imports `onnx`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pareq.backends.onnx.sheet import Array, Node, Port, Sheet
from pareq.errors import BackendError, MissingExtra

__all__ = ["model_bytes"]

_IR = {13: 7, 18: 8, 19: 9, 21: 10}  # the oldest format that holds a version of the ops
_LARGEST = 2**31  # bytes of one protocol buffer


def model_bytes(sheet: Sheet, name: str, metadata: Mapping[str, str]) -> bytes:
    """A checked model with inferred shapes. Raises BackendError, MissingExtra."""
    onnx = _onnx()
    if sum(each.nbytes for each in sheet.arrays.values()) >= _LARGEST:
        raise BackendError("constants exceed 2 GB, which one ONNX file cannot hold; use c")
    graph = onnx.helper.make_graph(
        [_node(onnx, each) for each in sheet.nodes],
        name,
        [_port(onnx, each) for each in sheet.inputs],
        [_port(onnx, each) for each in sheet.outputs],
        [_array(onnx, key, data, key in sheet.fours) for key, data in sheet.arrays.items()],
    )
    opsets = [onnx.helper.make_opsetid(domain, n) for domain, n in sheet.opsets.items()]
    model = onnx.helper.make_model(
        graph,
        ir_version=_IR[sheet.opsets[""]],
        opset_imports=opsets,
        producer_name="pareq",
        producer_version=metadata["pareq.version"],
    )
    onnx.helper.set_model_props(model, dict(metadata))
    try:
        known = set(sheet.opsets) == {""}  # the shapes of other domains are not known
        onnx.checker.check_model(model, full_check=known)
        model = onnx.shape_inference.infer_shapes(model, check_type=known, strict_mode=known)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BackendError(f"onnx refuses the model: {_line(error)}; report the graph") from None
    return bytes(model.SerializeToString(deterministic=True))


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError:
        raise MissingExtra("onnx", "onnx") from None
    return onnx


def _node(onnx: Any, node: Node) -> Any:
    attributes = dict(node.attributes)
    if "to" in attributes:
        attributes["to"] = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(str(attributes["to"])))
    return onnx.helper.make_node(
        node.kind,
        node.inputs,
        node.outputs,
        name=node.name,
        doc_string=node.origin,
        domain=node.domain,
        **attributes,
    )


def _array(onnx: Any, name: str, data: Array, four: bool) -> Any:
    if four:
        return onnx.helper.make_tensor(name, onnx.TensorProto.INT4, data.shape, data.ravel())
    return onnx.numpy_helper.from_array(data, name)


def _port(onnx: Any, port: Port) -> Any:
    dtype = onnx.helper.np_dtype_to_tensor_dtype(port.dtype)
    return onnx.helper.make_tensor_value_info(port.name, dtype, [port.batch, *port.shape])


def _line(error: Exception) -> str:
    """The first line of what another library says."""
    return str(error).strip().splitlines()[0]
