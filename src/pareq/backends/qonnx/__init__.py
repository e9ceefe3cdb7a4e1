"""A graph as a QONNX model."""

from pareq.backends.base import BACKENDS
from pareq.backends.qonnx.backend import Finn, Qonnx

__all__ = ["Finn", "Qonnx"]

for backend in (Qonnx(), Finn()):
    BACKENDS.add(backend.name, backend)
