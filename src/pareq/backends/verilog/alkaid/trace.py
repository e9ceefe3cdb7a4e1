"""A graph traced by alkaid: every element of every value is one of its variables.

alkaid (Sun 2025) searches adder graphs for products with constant matrices, and knows ranges by
affine arithmetic. All variables are whole numbers here: the steps of the grids stay outside.
The only place that imports `alkaid`, which is loaded at first use.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pareq.backends.vectors import extremes, uniform
from pareq.backends.verilog.estimate import reduction, tables
from pareq.errors import BackendError, MissingExtra
from pareq.ir.execute import execute
from pareq.ir.graph import Graph, Op

__all__ = [
    "AdderGraph",
    "Machine",
    "Scene",
    "Variable",
    "estimated",
    "machine",
    "opened",
    "refusing",
    "traced",
]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Variables = npt.NDArray[np.object_]
Layout = tuple[tuple[bool, int, int], ...]

_ROWS = 200  # random samples on which a traced design is held to the graph
_ADDS = (0, 1, 4)  # alkaid's codes: a + b, a - b, a + constant
_TABLE, _PRODUCT, _REDUCED = 8, 7, 9
_WIDE = (2, 6, 10)  # one table a bit: relu, selections, operations on bits
_WIDEST = 2**31  # alkaid keeps constants in 32 bits


class Variable(Protocol):
    """One number of alkaid: whole multiples of `step` in low..high."""

    low: float
    high: float
    step: float
    kif: tuple[bool, int, int]

    def __add__(self, other: "Variable | float") -> "Variable": ...
    def __sub__(self, other: "Variable | float") -> "Variable": ...
    def __mul__(self, other: "Variable | float") -> "Variable": ...
    def __ge__(self, other: float) -> "Variable": ...
    def __and__(self, other: "Variable") -> "Variable": ...
    def quantize(self, k: int, i: int, f: int, overflow: str, rounding: str) -> "Variable":
        """With i bits above the point and f below it, and a sign if k."""
        ...

    def unary_bit_op(self, kind: str) -> "Variable":
        """1 where "any" of its bits is set, or "all" are."""
        ...

    def max_of(self, other: "Variable | float") -> "Variable":
        """The larger of two."""
        ...

    def min_of(self, other: float) -> "Variable":
        """The smaller of two."""
        ...

    def is_negative(self) -> "Variable":
        """1 where it is negative."""
        ...

    def msb_mux(self, a: "Variable", b: "Variable") -> "Variable":
        """Its highest bit ? a : b."""
        ...

    def lookup(self, table: Reals) -> "Variable":
        """The entry for its position in low..high."""
        ...


class AdderGraph(Protocol):
    """What alkaid makes of variables."""

    cost: float
    ops: Sequence[Any]
    lookup_tables: Sequence[Any] | None

    def predict(self, data: Reals) -> Reals:
        """Outputs `(N, out)` for inputs `(N, in)`."""
        ...


@dataclass
class Scene:
    """The variables of a graph; values: arrays of the values' shapes that hold their numbers."""

    graph: Graph
    variables: list[Variable] = field(default_factory=list)
    values: dict[str, Integers] = field(default_factory=dict)
    known: dict[int, int] = field(default_factory=dict)

    def add(self, found: Iterable[Variable], shape: tuple[int, ...]) -> Integers:
        """Variables in C order as an array of their numbers."""
        first = len(self.variables)
        self.variables += found
        return np.arange(first, len(self.variables), dtype=np.int64).reshape(shape)

    def fixed(self, number: int) -> int:
        """The number of a constant."""
        if number not in self.known:
            self.known[number] = len(self.variables)
            self.variables += self.array(np.array([number]), plain=True).tolist()
        return self.known[number]

    def value(self, name: str) -> Integers:
        """The numbers of the variables of a value."""
        data = self.graph.constant(name)
        if data is not None and name not in self.values:
            found = [self.fixed(each) for each in data.ravel().tolist()]
            self.values[name] = np.array(found, dtype=np.int64).reshape(data.shape)
        return self.values[name]

    def constants(self, op: Op) -> list[Integers]:
        """The constants behind the first operand."""
        found = (self.graph.constant(name) for name in op.inputs[1:])
        return [each for each in found if each is not None]

    def elements(self, numbers: Integers) -> list[Variable]:
        """The variables of an array in C order."""
        return [self.variables[each] for each in numbers.ravel().tolist()]

    def array(self, numbers: Integers, *, plain: bool = False) -> Variables:
        """An array of alkaid; plain: the numbers are constants themselves."""
        from alkaid.trace import FVArray, HWConfig

        found = numbers.ravel().tolist() if plain else self.elements(numbers)
        filled = np.empty(len(found), dtype=object)
        filled[:] = found
        made: Variables = FVArray(filled.reshape(numbers.shape), hwconf=HWConfig(1, 1, -1))
        return made


def opened(graph: Graph) -> Scene:
    """A scene with the inputs of a graph.

    Raises MissingExtra, and BackendError for integers too wide for alkaid.
    """
    try:
        from alkaid.trace import FVArray
    except ImportError:
        raise MissingExtra("alkaid", "fpga") from None
    ranges = graph.ranges()
    for what, name in [
        *(("input", each.name) for each in graph.inputs),
        *(("op", each.name) for each in graph.ops),
    ]:
        most = max(map(abs, ranges[name].limits))
        if most >= _WIDEST:
            raise BackendError(
                f"{what} {name!r}: integers reach {most}, alkaid takes those below {_WIDEST}; use"
                " the back end verilog"
            )
    scene = Scene(graph)
    for each in graph.inputs:
        shape, grid = each.value.shape, each.value.grid
        bits = max((-grid.lo - 1).bit_length() if grid.lo < 0 else 0, grid.hi.bit_length())
        low, high = (2.0**bits * -(grid.lo < 0), 2.0**bits - 1)  # alkaid takes whole bits
        made = FVArray.from_lhs(np.full(shape, low), np.full(shape, high), np.ones(shape))
        scene.values[each.name] = scene.add(np.asarray(made).ravel().tolist(), shape)
    return scene


@contextmanager
def refusing() -> Iterator[None]:
    """What alkaid refuses becomes a BackendError."""
    try:
        yield
    except (AssertionError, ValueError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BackendError(f"alkaid cannot take it ({reason}); use the back end verilog") from None


def traced(scene: Scene) -> AdderGraph:
    """The adder graph of a scene, held to the graph on extremes and random samples.

    Raises BackendError where alkaid fails, or gives other integers.
    """
    from alkaid.trace import trace

    graph = scene.graph
    inputs = [n for each in graph.inputs for n in scene.elements(scene.values[each.name])]
    outputs = [n for name in graph.outputs for n in scene.elements(scene.value(name))]
    with refusing():
        design: AdderGraph = trace(inputs, outputs, keep_dead_inputs=True)
    random = uniform(graph, _ROWS, np.random.default_rng(0))
    x = [np.concatenate(pair) for pair in zip(extremes(graph), random, strict=True)]
    flat = np.concatenate([n.reshape(len(n), -1) for n in x], axis=1).astype(np.float64)
    expected = [n.reshape(len(n), -1) for n in execute(graph, *x).outputs]
    if not np.array_equal(design.predict(flat), np.concatenate(expected, axis=1)):
        raise BackendError(
            "alkaid's design gives other integers than the graph; use the back end verilog"
        )
    return design


@dataclass(frozen=True)
class Machine:
    """A design as text: its modules, the layout of its ports, and what alkaid says of it.

    sources: file names and texts, the top module last; inputs, outputs: (signed, bits above the
    point, bits below it) of each element; latency: registers between input and output;
    adders: two operands each.
    """

    sources: dict[str, str]
    inputs: Layout
    outputs: Layout
    latency: int
    adders: int
    register_bits: int


def machine(design: AdderGraph, name: str, folder: Path, *, stage: float, language: str) -> Machine:
    """Write a design with registers every `stage` nanoseconds of alkaid's delay model; 0: none.

    language: "verilog" or "vhdl". The files of alkaid go into `folder`.
    """
    from alkaid.codegen import RTLModel
    from alkaid.trace.pipeline import to_pipeline

    how = {"latency_cutoff": stage} if stage else {"n_stages": 1}
    fsm = to_pipeline(design, **how, verbose=False, reg_inp=False, reg_out=bool(stage))
    model = RTLModel(fsm, folder, prj_name=name, flavor=language, ternary_fuse=False)
    model.write()
    ends = [
        tuple((bool(p[0]), int(p[1]), int(p[2])) for p in ports[0].precisions)
        for ports in (fsm.inp_signals, fsm.out_signals)
    ]
    suffix = "v" if language == "verilog" else "vhd"
    files = sorted((folder / "src").rglob(f"*.{suffix}"), key=lambda each: each.stem == name)
    return Machine(
        sources={each.name: each.read_text() for each in files if each.stem != f"{name}_wrapper"},
        inputs=ends[0],
        outputs=ends[1],
        latency=int(fsm.out_signals[0].schedule.bias),
        adders=sum(op.opcode in _ADDS for op in design.ops),
        register_bits=int(model.reg_bits),
    )


def estimated(design: AdderGraph) -> float:
    """Look-up tables, counted as for a circuit of our own."""
    return float(sum(_cost(design, op) for op in design.ops))


def _cost(design: AdderGraph, op: Any) -> int:
    """Look-up tables of an operation, as `pareq.backends.verilog.estimate` counts them."""
    wide = int(sum(op.qint.kif))
    operands = [design.ops[each] for each in op.addr]
    kifs = [each.qint.kif for each in operands]
    if op.opcode in _ADDS[:2]:
        return _adder(op, kifs[0], kifs[1])
    if op.opcode == _ADDS[2]:
        return wide - min(max(int(op.qint.kif[2] - op.data[1]), 0), wide)
    if op.opcode == _TABLE and design.lookup_tables is not None:
        entries = design.lookup_tables[op.data[0]].padded_table(operands[0].qint)
        return tables(np.nan_to_num(entries).astype(np.int64).tolist(), int(sum(kifs[0])))
    if op.opcode == _PRODUCT:
        return int(sum(kifs[0]) * sum(kifs[1]))
    if op.opcode == _REDUCED:
        return reduction(int(sum(kifs[0])))
    return wide if op.opcode in _WIDE else 0


def _adder(op: Any, a: tuple[bool, int, int], b: tuple[bool, int, int]) -> int:
    """Bits of the carry chain: low bits that one operand has alone are wires, if not negated."""
    low = -a[2], op.data[0] - b[2]  # the lowest bit of each operand
    apart, first = int(abs(low[0] - low[1])), a if low[0] <= low[1] else b
    plus = op.opcode == _ADDS[0]
    if plus and not first[0] and sum(first) <= apart:
        return 0
    return max(int(sum(op.qint.kif)) - (apart if plus or low[0] <= low[1] else 0), 0)
