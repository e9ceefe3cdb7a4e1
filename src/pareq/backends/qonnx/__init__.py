"""A graph as a QONNX model."""

from pareq.backends.base import BACKENDS
from pareq.backends.qonnx.backend import Qonnx

__all__ = ["Qonnx"]

BACKENDS.add(Qonnx.name, Qonnx())
