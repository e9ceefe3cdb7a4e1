"""The ONNX back end: one .onnx file, and ONNX Runtime to run it."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np

from pareq.backends.base import Artefact, Program
from pareq.backends.onnx import exact, real
from pareq.backends.onnx.edge import EDGES, inputs, outputs
from pareq.backends.onnx.proto import model_bytes
from pareq.backends.onnx.qdq import Linear
from pareq.backends.onnx.session import Session
from pareq.backends.onnx.sheet import Sheet
from pareq.backends.onnx.stage import Stage
from pareq.backends.onnx.whole import Scene
from pareq.errors import BackendError
from pareq.ir.graph import Graph, Value
from pareq.registry import suggest

__all__ = ["VARIANTS", "Onnx", "linear", "metadata"]

VARIANTS = ("exact", "qdq")


@dataclass(frozen=True)
class Onnx:
    """NAME.onnx, in one of two forms.

    variant: "exact", integer ops alone between its edges, the same in every runtime; or "qdq",
    QuantizeLinear and DequantizeLinear around reals, where float32 may differ (`differences`).
    edge: of the exact one, "real" (float32 in and out, float64 where that is too coarse) or
    "integer" (int32, int64).
    packed: of the second, store weights of 4 bits in 4 bits, which fewer runtimes read.
    threads: of ONNX Runtime, 0: one a core. optimize: let ONNX Runtime rewrite the model.
    """

    name: ClassVar[str] = "onnx"
    variant: str = "exact"
    edge: str = "real"
    packed: bool = False
    threads: int = 0
    optimize: bool = True

    def __post_init__(self) -> None:
        for what, known in (("variant", VARIANTS), ("edge", EDGES)):
            given = getattr(self, what)
            if given not in known:
                raise BackendError(f"unknown {what} {given!r}{suggest(given, known)}")
        if (self.variant, self.edge) == ("qdq", "integer"):
            raise BackendError("edge is 'integer', which the variant 'qdq' does not have; leave it")

    def write(self, graph: Graph, folder: Path, name: str) -> dict[str, float]:
        """Write and check the model. Raises BackendError, MissingExtra."""
        sheet = (
            _exact(graph, self.edge)
            if self.variant == "exact"
            else linear(graph, self.packed)[0].sheet
        )
        data = model_bytes(sheet, name, metadata(graph, self.variant, self.edge))
        (folder / f"{name}.onnx").write_bytes(data)
        return {"nodes": len(sheet.nodes)}

    def load(self, artefact: Artefact) -> Program:
        """Open the model in ONNX Runtime. Raises BackendError, MissingExtra."""
        file = artefact.folder / f"{artefact.name}.onnx"
        return Session(artefact.graph, file, threads=self.threads, optimize=self.optimize)


def _exact(graph: Graph, edge: str) -> Sheet:
    sheet = Sheet(opsets={"": 18})
    scene = Scene(graph, sheet)
    inputs(scene, edge)
    exact.emit(scene, graph)
    outputs(scene, edge)
    return sheet


def linear(graph: Graph, packed: bool = False) -> tuple[Stage, Linear]:
    """The QDQ form of a graph, on the sheet of the stage. Raises BackendError."""
    opset = 19
    while True:
        stage, style = Stage(graph, Sheet(opsets={"": opset}), strict=False), Linear(packed)
        real.inputs(stage, graph, style, "N")
        real.emit(stage, graph, style)
        real.outputs(stage, graph)
        if opset == stage.sheet.opsets[""]:
            return stage, style
        opset = stage.sheet.opsets[""]  # what was written before it rose is written again


def metadata(graph: Graph, variant: str, edge: str) -> dict[str, str]:
    """What a model says of itself: versions, recipe, variant, and the grid of each port."""
    found = {f"graph.{name}": text for name, text in graph.metadata.items()}
    found |= {"pareq.version": version("pareq"), "pareq.variant": variant, "pareq.edge": edge}
    for each in graph.inputs:
        how = {"rounding": each.rounding, "overflow": each.overflow}
        found[f"input.{each.name}"] = json.dumps({**_grid(each.value), **how})
    for name in graph.outputs:
        found[f"output.{name}"] = json.dumps(_grid(graph.value(name)))
    return found


def _grid(value: Value) -> dict[str, object]:
    grid = value.grid
    scale = np.asarray(grid.scale).tolist()
    return {"lo": grid.lo, "hi": grid.hi, "scale": scale, "zero": grid.zero}
