"""The QONNX back end: one .onnx file for FINN, hls4ml and the other readers of QONNX."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pareq.backends.base import Artefact, Program
from pareq.backends.onnx import real
from pareq.backends.onnx.backend import metadata
from pareq.backends.onnx.proto import model_bytes
from pareq.backends.onnx.sheet import Sheet
from pareq.backends.onnx.stage import Stage
from pareq.backends.qonnx.executor import Executor
from pareq.backends.qonnx.style import DOMAIN, Nodes
from pareq.errors import BackendError
from pareq.ir.graph import Graph

__all__ = ["Finn", "Qonnx"]


@dataclass(frozen=True)
class Qonnx:
    """NAME.onnx with reals between Quant, BipolarQuant and MultiThreshold nodes, batch size 1.

    Every integer is that of the graph, which float32 must hold: sums of 2^24 and more are refused.
    """

    name: ClassVar[str] = "qonnx"
    style: ClassVar[Nodes] = Nodes()

    def write(self, graph: Graph, folder: Path, name: str) -> dict[str, float]:
        """Write the model. Raises BackendError, MissingExtra."""
        sheet, data = _model(graph, name, self.style)
        (folder / f"{name}.onnx").write_bytes(data)
        return {"nodes": len(sheet.nodes)}

    def load(self, artefact: Artefact) -> Program:
        """Open the model in the executor of QONNX, which trusts what it is given.

        Raises MissingExtra, and BackendError for a file that is not the one of the graph.
        """
        file = artefact.folder / f"{artefact.name}.onnx"
        data = _model(artefact.graph, artefact.name, self.style)[1]
        if file.read_bytes() != data:
            raise BackendError(f"{file.name} is not what its graph gives; build it again")
        return Executor(artefact.graph, data)


@dataclass(frozen=True)
class Finn(Qonnx):
    """NAME.onnx as of qonnx, with thresholds for all activations: FINN drops how a Quant rounds."""

    name: ClassVar[str] = "finn"
    style: ClassVar[Nodes] = Nodes(thresholds=True)


def _model(graph: Graph, name: str, style: Nodes) -> tuple[Sheet, bytes]:
    stage = Stage(graph, Sheet(opsets={"": 13, DOMAIN: 1}))
    real.inputs(stage, graph, style, 1)
    real.emit(stage, graph, style)
    real.outputs(stage, graph)
    return stage.sheet, model_bytes(stage.sheet, name, metadata(graph, "qonnx", "real"))
