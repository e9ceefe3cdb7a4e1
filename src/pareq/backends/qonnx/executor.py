"""Models in the executor of QONNX: the only place that imports `qonnx`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pareq.backends.base import Program
from pareq.backends.onnx.edge import recovered, representative
from pareq.errors import MissingExtra
from pareq.ir.graph import Graph

__all__ = ["Executor"]

Integers = npt.NDArray[np.int64]
Whole = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float32]


class Executor(Program):
    """A model that runs node by node."""

    def __init__(self, graph: Graph, data: bytes) -> None:
        super().__init__(graph)
        self._tools = _qonnx()
        self._model = self._tools.wrapper(data)
        self._rows = 0

    def integers(self, arrays: Sequence[Whole]) -> tuple[Integers, ...]:
        """Outputs as integers, from a real for each integer of the inputs."""
        values = [self.graph.value(name) for name in self.graph.outputs]
        given = [
            representative(each, n.astype(np.int64)).astype(np.float32)
            for each, n in zip(self.graph.inputs, arrays, strict=True)
        ]
        found = self.of_reals(*given)
        return tuple(recovered(value, each) for value, each in zip(values, found, strict=True))

    def of_reals(self, *x: Floats) -> tuple[Floats, ...]:
        """The outputs of the model for float32 numbers, one array `(N, *shape)` an input."""
        rows = len(x[0]) if x else 1
        if rows == 0:
            shapes = [self.graph.value(name).shape for name in self.graph.outputs]
            return tuple(np.zeros((0, *shape), dtype=np.float32) for shape in shapes)
        self._resize(rows)
        ports = self._model.graph
        given = {port.name: each for port, each in zip(ports.input, x, strict=True)}
        found = self._tools.execute(self._model, given)
        return tuple(found[port.name] for port in ports.output)

    def _resize(self, rows: int) -> None:
        """Give the model a batch of so many rows."""
        if rows == self._rows:
            return
        graph = self._model.graph
        for port in (*graph.input, *graph.output):
            port.type.tensor_type.shape.dim[0].dim_value = rows
        del graph.value_info[:]
        self._model = self._model.transform(self._tools.shapes())
        self._rows = rows


@dataclass(frozen=True)
class _Tools:
    wrapper: Any
    shapes: Any
    execute: Any


def _qonnx() -> _Tools:
    try:
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes
    except ImportError:
        raise MissingExtra("qonnx", "qonnx") from None
    return _Tools(ModelWrapper, InferShapes, execute_onnx)
