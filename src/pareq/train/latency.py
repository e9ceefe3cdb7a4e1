"""How long the programs of a run take on this machine, beside ONNX Runtime with the float network.

All run in one thread and take turns, so that what disturbs one disturbs all; each figure is the
median over the rounds of the shortest time in a round. What is too slow for such batches, such as a
simulator, has one turn.
"""

import copy
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch

from pareq.attach.attach import Attached
from pareq.backends import Artefact, Backend, measure
from pareq.backends.base import Bound, Program
from pareq.backends.onnx.session import runner
from pareq.backends.timing import Timing
from pareq.errors import BackendError, RunError
from pareq.ir.graph import Graph
from pareq.train import durable

__all__ = ["PEER", "Latency", "float32_peer", "keep_latencies", "kept_latencies", "latencies"]

PEER = "ONNX Runtime, float32"

_ROUNDS = 9
_PATIENCE = 0.5  # seconds a batch may take
_OPSET = 17
Whole = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Latency:
    """sample_ns: nanoseconds a sample in batches of `rows`; call_us: microseconds of one call."""

    program: str
    rows: int
    sample_ns: float
    call_us: float


def latencies(
    programs: Mapping[str, Artefact],
    *,
    rows: int = 1024,
    seconds: float = 0.1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Latency, ...]:
    """Measure programs by turns; progress: is told how many of all measurements are done.

    rows: samples in a batch, fewer for a program that would take too long, such as a simulator.
    seconds: of each measurement. Raises BackendError.
    """
    alone = {name: _one_thread(each) for name, each in programs.items()}
    sizes = {name: min(rows, _bearable(each)) for name, each in alone.items()}
    found: dict[str, list[Timing]] = {name: [] for name in alone}
    for turn in range(_ROUNDS):
        for place, (name, artefact) in enumerate(alone.items()):
            if turn and sizes[name] < rows:
                continue  # once is enough for what is that slow
            found[name].append(measure(artefact, rows=sizes[name], seconds=seconds))
            if progress is not None:
                progress(turn * len(alone) + place + 1, _ROUNDS * len(alone))
    return tuple(
        Latency(
            name,
            sizes[name],
            statistics.median(each.sample_ns for each in times),
            statistics.median(each.call_us for each in times),
        )
        for name, times in found.items()
    )


def _bearable(artefact: Artefact) -> int:
    """How many samples a program computes in a time that one can wait."""
    one = artefact.bind(1)
    begin = time.perf_counter()
    one()
    return max(1, int(_PATIENCE / (time.perf_counter() - begin)))


def float32_peer(net: Attached, graph: Graph, example: torch.Tensor) -> Artefact:
    """The network without its quantizers, in float32, in ONNX Runtime: something to measure.

    Pruned weights are zeros that are multiplied. Raises MissingExtra without onnx and onnxruntime,
    BackendError for a network that torch cannot export.
    """
    model = copy.deepcopy(net).detach().float().eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says that a newer exporter exists, which is slow
        file = Path(folder) / "float32.onnx"
        try:
            torch.onnx.export(
                model,
                (example.float(),),
                file,
                dynamo=False,
                input_names=["x"],
                dynamic_axes={"x": {0: "N"}},
                opset_version=_OPSET,
            )
        except (RuntimeError, TypeError, ValueError, ImportError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BackendError(f"torch cannot export the float network ({line})") from None
        content = file.read_bytes()
    return Artefact(Path(), _Peer(runner(content)), "float32", graph)


@dataclass(frozen=True)
class _Peer:
    """A back end for one model that is there already."""

    name: ClassVar[str] = PEER
    call: Callable[[npt.NDArray[np.float32]], object]

    def write(self, graph: Graph, folder: Path, name: str) -> dict[str, float]:
        """It is not written."""
        raise BackendError("exists in memory only")

    def load(self, artefact: Artefact) -> Program:
        """The model as it is."""
        return _Float32(artefact.graph, self.call)


class _Float32(Program):
    """A float32 model that reads arrays of reals instead of integers."""

    def __init__(self, graph: Graph, call: Callable[[npt.NDArray[np.float32]], object]) -> None:
        super().__init__(graph)
        self._call = call

    def integers(self, arrays: Sequence[Whole]) -> tuple[npt.NDArray[np.int64], ...]:
        """Its numbers are no integers."""
        raise BackendError("is measured only")

    def bind(self, rows: int) -> Bound:
        """An array of float32, and the call that reads it."""
        x = np.zeros((rows, *self.graph.inputs[0].value.shape), dtype=np.float32)
        return Bound((cast(Whole, x),), (), partial(self._call, x))


def _one_thread(artefact: Artefact) -> Artefact:
    """The artefact with a back end that uses one thread, where it lets one choose."""
    held: object = artefact.backend
    if not is_dataclass(held) or isinstance(held, type):
        return artefact
    if "threads" not in {field.name for field in fields(held)}:
        return artefact
    return replace(artefact, backend=cast(Backend, replace(held, threads=1)))


def keep_latencies(folder: Path, found: Sequence[Latency]) -> None:
    """Note them in a run's folder, for its report."""
    text = json.dumps([asdict(each) for each in found], indent=1)
    durable.write(folder / "latency.json", (text + "\n").encode())


def kept_latencies(folder: Path) -> tuple[Latency, ...]:
    """Those noted in a run; none where none were. Raises RunError for a damaged file."""
    path = folder / "latency.json"
    if not path.exists():
        return ()
    try:
        entries = [Latency(**entry) for entry in json.loads(path.read_bytes())]
        if all(isinstance(e.program, str) and e.sample_ns > 0 and e.call_us > 0 for e in entries):
            return tuple(entries)
    except (OSError, ValueError, TypeError):
        pass
    raise RunError("is damaged; measure again: pareq bench", where=str(path))
