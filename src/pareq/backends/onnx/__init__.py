"""A graph as an ONNX model."""

from pareq.backends.base import BACKENDS
from pareq.backends.onnx.backend import Onnx
from pareq.backends.onnx.differences import Differences, differences

__all__ = ["Differences", "Onnx", "differences"]

BACKENDS.add(Onnx.name, Onnx())
