"""The integer graph: constants and ops in the order of their execution, all immutable.

A tensor of a graph holds integers n, each standing for `scale * (n - zero)` of its grid. Shapes
have no batch axis. Real numbers occur only at the two edges: an `Input` says how they become
integers, and the grids of the outputs what the last integers stand for.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pareq.errors import GraphError, at
from pareq.ir.attributes import Attributes, Frozen
from pareq.ir.meaning import Meaning, meaning_of
from pareq.ir.ops import KINDS, Kind
from pareq.ir.reach import Range
from pareq.numerics.grid import Grid
from pareq.numerics.rounding import Overflow, Rounding, check_overflow, check_rounding
from pareq.registry import suggest

__all__ = ["Attributes", "Constant", "Graph", "Input", "Op", "Range", "Value"]

Integers = npt.NDArray[np.int64]

_MOST = 2**28  # elements of one tensor


@dataclass(frozen=True)
class Value:
    """A tensor: its name, its shape without the batch axis, and what its integers mean."""

    name: str
    shape: tuple[int, ...]
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))


@dataclass(frozen=True, eq=False)
class Constant:
    """Integers that are the same for every sample; no batch axis, data read-only.

    Raises GraphError for data that are no integers.
    """

    name: str
    data: Integers
    grid: Grid

    def __post_init__(self) -> None:
        array = np.asarray(self.data)
        if not np.can_cast(array.dtype, np.int64) or array.dtype == np.bool_:
            raise GraphError(f"constant {self.name!r} is {array.dtype}, expected integers")
        frozen = np.array(array, dtype=np.int64, order="C")
        frozen.setflags(write=False)
        object.__setattr__(self, "data", frozen)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the data."""
        return self.data.shape

    @property
    def value(self) -> Value:
        """The constant as a value of the graph."""
        return Value(self.name, self.shape, self.grid)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant):
            return NotImplemented
        same = (self.name, self.grid) == (other.name, other.grid)
        return same and np.array_equal(self.data, other.data)

    def __hash__(self) -> int:
        return hash((self.name, self.grid, self.data.tobytes()))


@dataclass(frozen=True)
class Input:
    """A tensor that enters: n = value.grid.quantize(x, rounding, overflow)."""

    value: Value
    rounding: Rounding = "half_even"
    overflow: Overflow = "saturate"

    @property
    def name(self) -> str:
        """The name of the value."""
        return self.value.name


@dataclass(frozen=True)
class Op:
    """One step: a kind of `pareq.ir.ops.KINDS`, names of its operands, and its result.

    origin: the path of the module that it comes from, for people.
    """

    kind: str
    inputs: tuple[str, ...]
    output: Value
    attributes: Attributes = field(default_factory=Attributes)
    origin: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))

    @property
    def name(self) -> str:
        """The name of the result, which is the name of the op."""
        return self.output.name


@dataclass(frozen=True)
class Graph:
    """Inputs, constants, ops in order, and names of the outputs; a pass returns a new one."""

    inputs: tuple[Input, ...]
    constants: tuple[Constant, ...]
    ops: tuple[Op, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str] = field(default_factory=Frozen)

    def __post_init__(self) -> None:
        for name in ("inputs", "constants", "ops", "outputs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "metadata", Frozen(self.metadata))

    @cached_property
    def _values(self) -> dict[str, Value]:
        values = [each.value for each in self.inputs]
        values += [each.value for each in self.constants]
        return {value.name: value for value in (*values, *(op.output for op in self.ops))}

    @cached_property
    def _constants(self) -> dict[str, Constant]:
        return {each.name: each for each in self.constants}

    @cached_property
    def _producers(self) -> dict[str, Op]:
        return {op.name: op for op in self.ops}

    @cached_property
    def _users(self) -> dict[str, tuple[Op, ...]]:
        users: dict[str, tuple[Op, ...]] = {}
        for op in self.ops:
            for name in dict.fromkeys(op.inputs):
                users[name] = (*users.get(name, ()), op)
        return users

    def value(self, name: str) -> Value:
        """The value of that name. Raises GraphError when there is none."""
        try:
            return self._values[name]
        except KeyError:
            raise GraphError(f"no value {name!r}{suggest(name, self._values)}") from None

    def constant(self, name: str) -> Integers | None:
        """The data of the constant of that name, else None."""
        found = self._constants.get(name)
        return None if found is None else found.data

    def producer(self, name: str) -> Op | None:
        """The op that makes a value; None for inputs and constants."""
        return self._producers.get(name)

    def users(self, name: str) -> tuple[Op, ...]:
        """The ops that read a value, in order."""
        return self._users.get(name, ())

    @cached_property
    def _ranges(self) -> dict[str, Range]:
        found = {each.name: Range(each.data, each.data) for each in self.constants}
        for each in self.inputs:
            found[each.name] = whole_range(each.value)
        for op in self.ops:
            with at(f"op {op.name!r}"):
                operands = [found[name] for name in op.inputs]
                found[op.name] = KINDS[op.kind].reach(op.attributes, operands)
        return found

    def ranges(self) -> dict[str, Range]:
        """Which integers each element of each value can take, for every possible input."""
        return dict(self._ranges)

    def check(self) -> "Graph":
        """Return the graph itself when it is whole.

        Each name is given once and before it is read; operands, attributes, shapes, scales and
        zeros are those of the kind; constants and all reachable integers lie on their grids.
        Raises GraphError with the op otherwise.
        """
        seen = _check_given(self)
        for op in self.ops:
            with at(f"op {op.name!r}"):
                _check_name(op.name, seen)
                _check_op(op, seen)
            seen[op.name] = op.output
        if not self.outputs:
            raise GraphError("graph: no outputs, expected at least one")
        for name in self.outputs:
            self.value(name)
        for name, text in self.metadata.items():
            if not isinstance(name, str) or not isinstance(text, str):
                raise GraphError(f"metadata {name!r} is {text!r}, expected a string")
        for name, reach in self._ranges.items():
            with at(f"value {name!r}"):
                _check_range(reach, self._values[name].grid)
        return self


def whole_range(value: Value) -> Range:
    """Every integer of the grid for every element."""
    grid = value.grid
    return Range(
        np.full(value.shape, grid.lo, dtype=np.int64), np.full(value.shape, grid.hi, dtype=np.int64)
    )


def kind_of(kind: str, constant: Iterable[bool], attributes: Attributes) -> Kind:
    """The entry of a kind, once operands and attributes are those it has.

    constant: for each operand whether it is a constant. Raises GraphError, UnknownName.
    """
    entry, given = KINDS[kind], list(constant)
    names = entry.operands
    if entry.many:
        names += names[-1:] * (len(given) - len(names))
    if len(given) != len(names):
        raise GraphError(f"{kind} has {len(given)} operands, expected {', '.join(names)}")
    for name, fixed in zip(names, given, strict=True):
        if name in entry.constants and not fixed:
            raise GraphError(f"{kind} needs a constant as {name}")
    known = (*entry.whole, *entry.wholes)
    for name in attributes:
        if name not in known:
            raise GraphError(f"{kind} has no attribute {name!r}{suggest(name, known)}")
    for name in entry.whole:
        attributes.whole(name)
    for name in entry.wholes:
        attributes.wholes(name)
    return entry


def _check_given(graph: Graph) -> dict[str, Value | Constant]:
    """Check inputs and constants; return them by name."""
    seen: dict[str, Value | Constant] = {}
    for each in graph.inputs:
        with at(f"input {each.name!r}"):
            _check_name(each.name, seen)
            _check_value(each.value)
            check_rounding(each.rounding)
            check_overflow(each.overflow)
        seen[each.name] = each.value
    for constant in graph.constants:
        with at(f"constant {constant.name!r}"):
            _check_name(constant.name, seen)
            _check_value(constant.value)
        seen[constant.name] = constant
    return seen


def _check_name(name: str, seen: Mapping[str, Value | Constant]) -> None:
    if not name or not isinstance(name, str) or not name.isprintable():
        raise GraphError(f"name is {name!r}, expected printable text")
    if name in seen:
        raise GraphError("the name is given twice, expected one value a name")


def _check_value(value: Value) -> Meaning:
    if any(size < 1 for size in value.shape):
        raise GraphError(f"shape is {value.shape}, expected sizes of 1 or more")
    if math.prod(value.shape) > _MOST:
        raise GraphError(f"shape {value.shape} has more than {_MOST} elements")
    grid = value.grid
    if grid.lo < -(2**63) or grid.hi >= 2**63 or abs(grid.zero) > 2**62:
        raise GraphError(f"grid {grid.lo}..{grid.hi} with zero {grid.zero} is wider than int64")
    return meaning_of(value.shape, grid)


def _check_op(op: Op, seen: Mapping[str, Value | Constant]) -> None:
    for name in op.inputs:
        if name not in seen:
            raise GraphError(f"reads {name!r}, which no earlier op gives{suggest(name, seen)}")
    operands = [seen[name] for name in op.inputs]
    kind = kind_of(op.kind, [isinstance(each, Constant) for each in operands], op.attributes)
    shape = kind.shape(op.attributes, [each.shape for each in operands])
    if shape != op.output.shape:
        raise GraphError(f"shape is {op.output.shape}, expected {shape}")
    found = _check_value(op.output)
    means = kind.meaning(op.attributes, [meaning_of(each.shape, each.grid) for each in operands])
    if means is None:
        return
    expected = Meaning(np.broadcast_to(means.scale, shape), means.zero)
    if not found.matches(expected):
        raise GraphError(
            f"a step is {_text(found)}, expected {_text(expected)} from the operands; requantize"
        )


def _text(meaning: Meaning) -> str:
    low, high = meaning.scale.min(), meaning.scale.max()
    scale = f"{low:.9g}" if low == high else f"{low:.9g}..{high:.9g}"
    return f"{scale} with zero {meaning.zero}"


def _check_range(reach: Range, grid: Grid) -> None:
    low, high = reach.limits
    if low < grid.lo or high > grid.hi:
        raise GraphError(
            f"can take {low}..{high}, expected {grid.lo}..{grid.hi}; widen the grid or clamp"
        )
