"""Models in ONNX Runtime: the only place that imports `onnxruntime`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pareq.backends.base import Program
from pareq.backends.onnx.edge import recovered, representative
from pareq.errors import BackendError, GridError, MissingExtra
from pareq.ir.execute import dequantize_outputs
from pareq.ir.graph import Graph

__all__ = ["Session", "runner"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Whole = npt.NDArray[np.integer]
Array = npt.NDArray[np.generic]

_TYPES = {
    "tensor(float)": "f4",
    "tensor(double)": "f8",
    "tensor(int32)": "i4",
    "tensor(int64)": "i8",
}


class Session(Program):
    """A model that is loaded; threads: 0 for one a core; optimize: as ONNX Runtime does.

    Raises BackendError for a file that holds no model, or one with other inputs or outputs.
    """

    def __init__(
        self, graph: Graph, file: Path, *, threads: int = 0, optimize: bool = True
    ) -> None:
        super().__init__(graph)
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what fails is raised
        if not optimize:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._failures = _failures(runtime)
        failures: tuple[type[Exception], ...] = (OSError, *self._failures)
        try:
            session = runtime.InferenceSession(
                file.read_bytes(),
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # which prints, and loads the same again
            )
        except failures as error:
            raise BackendError(f"{file.name} cannot be loaded ({_line(error)})") from None
        self._session = session
        values = [each.value for each in graph.inputs], [graph.value(n) for n in graph.outputs]
        self._inputs, self._outputs = (
            self._ports(file.name, ports, [value.shape for value in side])
            for ports, side in zip(
                (session.get_inputs(), session.get_outputs()), values, strict=True
            )
        )

    def _ports(
        self, file: str, ports: Any, shapes: list[tuple[int, ...]]
    ) -> dict[str, np.dtype[Any]]:
        found = [tuple(port.shape[1:]) for port in ports]
        if found != shapes or any(port.type not in _TYPES for port in ports):
            raise BackendError(f"{file} has tensors {found}, the graph {shapes}; build it again")
        return {port.name: np.dtype(_TYPES[port.type]) for port in ports}

    def integers(self, arrays: Sequence[Whole]) -> tuple[Integers, ...]:
        """Outputs as integers; a model of reals is given a real for each integer."""
        given: list[Array] = []
        for each, n, dtype in zip(self.graph.inputs, arrays, self._inputs.values(), strict=True):
            real = dtype.kind == "f"
            whole = n.astype(np.int64)
            given.append((representative(each, whole) if real else whole).astype(dtype))
        return self._call(given)

    def reals(self, given: Sequence[npt.ArrayLike]) -> tuple[Reals, ...]:
        """Outputs as float64; what is no float32 becomes integers here, the rest in the model.

        Raises GridError for NaN.
        """
        arrays = self.shaped(given)
        kinds = list(self._inputs.values())
        if not kinds or any(a.dtype != kind for a, kind in zip(arrays, kinds, strict=True)):
            return super().reals(arrays)
        bad = sum(int(np.isnan(each).sum()) for each in arrays)
        if bad:
            raise GridError(f"{bad} of {sum(each.size for each in arrays)} values are NaN")
        return dequantize_outputs(self.graph, self._call(arrays))

    def _call(self, arrays: Sequence[Array]) -> tuple[Integers, ...]:
        try:
            found = self._session.run(None, dict(zip(self._inputs, arrays, strict=True)))
        except self._failures as error:
            raise BackendError(f"ONNX Runtime stopped ({_line(error)})") from None
        if not all(np.isfinite(each).all() for each in found):
            raise BackendError("the model gives numbers that are not finite; build it again")
        values = [self.graph.value(name) for name in self.graph.outputs]
        return tuple(
            recovered(value, each) if each.dtype.kind == "f" else each.astype(np.int64)
            for value, each in zip(values, found, strict=True)
        )


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("onnxruntime", "onnx") from None
    return onnxruntime


def _failures(runtime: Any) -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime, which share no class of their own."""
    state = runtime.capi.onnxruntime_pybind11_state
    own = [each for each in vars(state).values() if isinstance(each, type)]
    return (*(each for each in own if issubclass(each, Exception)), RuntimeError, ValueError)


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def runner(model: bytes) -> Callable[[Array], object]:
    """A call of a model of reals with one input, in one thread, such as a float network to measure.

    Raises BackendError for what is no model, MissingExtra.
    """
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except _failures(runtime) as error:
        raise BackendError(f"the model cannot be loaded ({_line(error)})") from None
    (port,) = session.get_inputs()
    return lambda x: session.run(None, {port.name: x})
