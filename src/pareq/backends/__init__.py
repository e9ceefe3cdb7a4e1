"""Graphs as programs: build, run and verify, one back end a folder or file."""

from pareq.backends.base import BACKENDS, Artefact, Backend, build, load
from pareq.backends.c import C
from pareq.backends.onnx import Onnx
from pareq.backends.qonnx import Finn, Qonnx
from pareq.backends.timing import measure
from pareq.backends.verify import verify
from pareq.backends.verilog import Alkaid, Verilog
from pareq.backends.verilog.area import area

__all__ = [
    "BACKENDS",
    "Alkaid",
    "Artefact",
    "Backend",
    "C",
    "Finn",
    "Onnx",
    "Qonnx",
    "Verilog",
    "area",
    "build",
    "load",
    "measure",
    "verify",
]
