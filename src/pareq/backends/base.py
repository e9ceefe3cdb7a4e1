"""What a back end is: it writes a graph into a folder as files, and runs what it has written.

An artefact is a folder: the files of the back end, the graph they were made from (`graph/`), and
`artefact.json`. `build` makes the folder beside its place and moves it there in one step, so that
it is whole or not there.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from pareq.backends.folder import replacing
from pareq.errors import BackendError, PareqError, at
from pareq.ir.attributes import Frozen
from pareq.ir.execute import dequantize_outputs, quantize_inputs
from pareq.ir.graph import Graph
from pareq.ir.store import load_graph, save_graph
from pareq.registry import Registry

__all__ = ["BACKENDS", "Artefact", "Backend", "Bound", "Program", "build", "load"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Whole = npt.NDArray[np.integer]

_CARD = "artefact.json"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Bound:
    """Arrays that stay where they are, and a call that reads `x` and fills `y`.

    The shortest way through Python, for one event after the other: nothing is checked or made. The
    integers put into `x` must lie on the grids of the inputs.
    """

    x: tuple[Whole, ...]
    y: tuple[Whole, ...]
    call: Callable[[], object]

    def __call__(self) -> None:
        """Compute y from x."""
        self.call()


class Program(ABC):
    """A built graph that is loaded and can run."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @abstractmethod
    def integers(self, arrays: Sequence[Whole]) -> tuple[Integers, ...]:
        """Outputs `(N, *shape)` for inputs that are checked."""

    def run(self, given: Sequence[npt.ArrayLike]) -> tuple[Integers, ...]:
        """Outputs for integers. Raises BackendError for inputs that the graph does not have."""
        arrays = self.whole(given)
        self.within(arrays)
        return self.integers(arrays)

    def reals(self, given: Sequence[npt.ArrayLike]) -> tuple[Reals, ...]:
        """Outputs as reals for real inputs."""
        whole = quantize_inputs(self.graph, *self.shaped(given))
        return dequantize_outputs(self.graph, self.integers(whole))

    def bind(self, rows: int) -> Bound:
        """Arrays for so many samples and the call that computes them."""
        values = [self.graph.value(name) for name in self.graph.outputs]
        x = tuple(np.zeros((rows, *i.value.shape), dtype=np.int64) for i in self.graph.inputs)
        y = tuple(np.zeros((rows, *value.shape), dtype=np.int64) for value in values)

        def call() -> None:
            for to, found in zip(y, self.integers(x), strict=True):
                to[...] = found

        return Bound(x, y, call)

    def whole(self, given: Sequence[npt.ArrayLike]) -> list[Whole]:
        """Inputs as arrays of integers. Raises BackendError for other numbers or shapes."""
        arrays: list[Whole] = []
        for each, array in zip(self.graph.inputs, self.shaped(given), strict=True):
            if array.dtype.kind not in "iu":
                where = f"input {each.name!r}"
                raise BackendError(f"numbers are {array.dtype}, expected integers", where=where)
            arrays.append(cast(Whole, array))
        return arrays

    def shaped(self, given: Sequence[npt.ArrayLike]) -> list[npt.NDArray[np.number]]:
        """Inputs as arrays of numbers. Raises BackendError unless all are `(N, *shape)`, one N."""
        inputs = self.graph.inputs
        if len(given) != len(inputs):
            raise BackendError(f"got {len(given)} inputs, expected {len(inputs)}")
        arrays = [np.asarray(each) for each in given]
        for each, array in zip(inputs, arrays, strict=True):
            if array.dtype.kind not in "iuf":
                where = f"input {each.name!r}"
                raise BackendError(f"holds {array.dtype}, expected numbers", where=where)
            if array.ndim == 0 or array.shape[1:] != each.value.shape:
                wanted = ", ".join(("N", *map(str, each.value.shape)))
                where = f"input {each.name!r}"
                raise BackendError(f"shape is {array.shape}, expected ({wanted})", where=where)
        if len(arrays) > 1 and len({len(array) for array in arrays}) > 1:
            raise BackendError(f"inputs have {[len(a) for a in arrays]} samples, expected as many")
        return arrays

    def within(self, arrays: Sequence[Whole]) -> None:
        """Raise BackendError unless the integers lie on the grids of the inputs."""
        for each, array in zip(self.graph.inputs, arrays, strict=True):
            lo, hi = each.value.grid.lo, each.value.grid.hi
            if array.size and not (int(array.min()) >= lo and int(array.max()) <= hi):
                found = f"{array.min()}..{array.max()}"
                where = f"input {each.name!r}"
                raise BackendError(f"integers are {found}, expected {lo}..{hi}", where=where)


class Backend(Protocol):
    """Writes graphs as files, and loads them again; name: that in BACKENDS."""

    @property
    def name(self) -> str:
        """Under which BACKENDS knows it."""
        ...

    def write(self, graph: Graph, folder: Path, name: str) -> dict[str, float]:
        """Write files into an empty folder; return figures such as `bytes` or `seconds`.

        name: of the model, a C identifier. Raises BackendError for a graph that cannot be written.
        """
        ...

    def load(self, artefact: "Artefact") -> Program:
        """Load what `write` has written. Raises BackendError."""
        ...


BACKENDS: Registry[Backend] = Registry("back end")


@dataclass(frozen=True, eq=False)
class Artefact:
    """A graph as built by a back end.

    folder: where its `files` are; name: of the model; figures: what is known about it, such as
    `bytes`.
    """

    folder: Path
    backend: Backend
    name: str
    graph: Graph = field(repr=False)
    files: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=Frozen)

    @cached_property
    def program(self) -> Program:
        """The loaded program."""
        return self.backend.load(self)

    def run(self, *integers: npt.ArrayLike) -> tuple[Integers, ...]:
        """Integers in, integers out: one array `(N, *shape)` an input and an output.

        Raises BackendError for other shapes, other numbers than integers, and integers outside the
        grid of an input.
        """
        try:
            return self.program.run(integers)
        except PareqError:
            with at(f"artefact {self.name!r}"):
                raise

    def bind(self, rows: int = 1) -> Bound:
        """Fixed arrays for so many samples, for the shortest call. Raises BackendError."""
        if rows < 1:
            raise BackendError(f"rows is {rows}, expected 1 or more")
        return self.program.bind(rows)

    def __call__(self, *x: npt.ArrayLike) -> Reals | tuple[Reals, ...]:
        """Reals in, reals out; a tuple where the graph has several outputs.

        Infinities saturate. Raises BackendError or GraphError for other shapes, GridError for NaN.
        """
        try:
            found = self.program.reals(x)
        except PareqError:
            with at(f"artefact {self.name!r}"):
                raise
        return found[0] if len(found) == 1 else found


def build(
    graph: Graph, backend: str | Backend, folder: str | Path, *, name: str = "model"
) -> Artefact:
    """Write a graph with a back end into a folder.

    backend: a name in BACKENDS, or one with settings of its own, such as C(compiler="clang"). The
    folder appears when everything in it is written; one that holds an artefact is replaced,
    anything else is left alone. name: of the model, a C identifier. Raises BackendError,
    UnknownName.
    """
    if not _plain(name):
        raise BackendError(f"name is {name!r}, expected letters, digits and _, such as 'jets'")
    writer = BACKENDS[backend] if isinstance(backend, str) else backend
    place = Path(folder)
    with at(f"build {writer.name} {place}"), replacing(place, _CARD) as beside:
        graph.check()
        figures = writer.write(graph, beside, name)
        files = sorted(str(p.relative_to(beside)) for p in beside.rglob("*") if p.is_file())
        figures["bytes"] = float(sum((beside / each).stat().st_size for each in files))
        save_graph(graph, beside / "graph")
        card = {"version": _VERSION, "backend": writer.name, "name": name}
        text = json.dumps({**card, "files": files, "figures": figures}, indent=1)
        (beside / _CARD).write_text(text + "\n")
    return Artefact(place, writer, name, graph, tuple(files), Frozen(figures))


def load(folder: str | Path) -> Artefact:
    """The artefact in a folder. Raises BackendError and GraphError for one that is damaged."""
    place = Path(folder)
    with at(str(place)):
        card = _card(place / _CARD)
        graph = load_graph(place / "graph")
        if not _plain(card.name):
            raise BackendError(f"name is {card.name!r}, expected letters, digits and _")
        for name in card.files:
            if not (place / name).is_file():
                raise BackendError(f"{name} is missing; build the artefact again")
        backend = BACKENDS[card.backend]
    return Artefact(place, backend, card.name, graph, card.files, Frozen(card.figures))


def _plain(name: str) -> bool:
    """Whether a name is one in C as well."""
    return name.isidentifier() and name.isascii()


@dataclass(frozen=True)
class _Card:
    """What artefact.json says."""

    backend: str
    name: str
    files: tuple[str, ...]
    figures: dict[str, float]


def _card(path: Path) -> _Card:
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise BackendError(f"no {path.name}, expected an artefact; build one") from None
    except (OSError, ValueError) as error:
        raise BackendError(f"{path.name} cannot be read ({error}); build it again") from None
    if not isinstance(data, dict) or data.get("version") != _VERSION:
        raise BackendError(f"{path.name} is not of version {_VERSION}; build the artefact again")
    files, figures = data.get("files"), data.get("figures")
    words = [data.get("backend"), data.get("name"), *(files if isinstance(files, list) else [0])]
    numbers = figures.values() if isinstance(figures, dict) else ["none"]
    fits = all(isinstance(each, str) for each in words)
    if not fits or not all(isinstance(each, int | float) for each in numbers):
        raise BackendError(f"{path.name} is damaged; build the artefact again")
    return _Card(words[0], words[1], tuple(words[2:]), {**(figures or {})})
