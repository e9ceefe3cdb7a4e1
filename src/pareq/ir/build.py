"""Make a graph op by op: shapes, ranges and grids follow from the operands."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pareq.errors import GraphError, at
from pareq.ir.attributes import Attribute, Attributes
from pareq.ir.graph import Constant, Graph, Input, Op, Value, kind_of, whole_range
from pareq.ir.meaning import Meaning, meaning_of
from pareq.ir.reach import Range
from pareq.numerics.grid import Grid
from pareq.numerics.rounding import Overflow, Rounding
from pareq.registry import suggest

__all__ = ["Builder"]

Integers = npt.NDArray[np.int64]
Scale = float | npt.NDArray[np.float64]


class Builder:
    """Inputs, constants and ops in the order of their making; `graph` gives the checked graph.

    Every method returns the name of a value, which the next ops read. A name that is taken gets a
    number: "fc1", "fc1.2", ...
    """

    def __init__(self) -> None:
        self._inputs: list[Input] = []
        self._constants: dict[str, Constant] = {}
        self._ops: list[Op] = []
        self._values: dict[str, Value] = {}
        self._ranges: dict[str, Range] = {}

    def value(self, name: str) -> Value:
        """A value made before. Raises GraphError."""
        try:
            return self._values[name]
        except KeyError:
            raise GraphError(f"no value {name!r}{suggest(name, self._values)}") from None

    def range(self, name: str) -> Range:
        """Which integers each element of a value can take. Raises GraphError."""
        return self._ranges[self.value(name).name]

    def input(
        self,
        name: str,
        shape: Sequence[int],
        grid: Grid,
        *,
        rounding: Rounding = "half_even",
        overflow: Overflow = "saturate",
    ) -> str:
        """A tensor of reals that enters on `grid`; shape without the batch axis."""
        given = Input(Value(self._free(name), tuple(shape), grid), rounding, overflow)
        self._inputs.append(given)
        return self._keep(given.value, whole_range(given.value))

    def constant(self, name: str, data: npt.ArrayLike, grid: Grid | Scale = 1.0) -> str:
        """Integers that do not change; a scale instead of a grid takes lo..hi from the data."""
        array = np.asarray(data)
        if not isinstance(grid, Grid):
            grid = Grid(int(array.min()), int(array.max()), grid)
        made = Constant(self._free(name), array, grid)
        self._constants[made.name] = made
        return self._keep(made.value, Range(made.data, made.data))

    def op(  # noqa: PLR0913 - one keyword for each field of an op
        self,
        kind: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        name: str = "",
        origin: str = "",
        grid: Grid | None = None,
        scale: Scale | None = None,
        zero: int = 0,
    ) -> str:
        """One step.

        grid: of the result; without it lo..hi are the integers that can be reached, and scale and
        zero follow from the operands, or are given where the kind leaves them free. Raises
        GraphError, with the op.
        """
        label = self._free(name or kind)
        with at(f"op {label!r}"):
            given = Attributes(attributes)
            values = [self.value(each) for each in inputs]
            entry = kind_of(kind, [each in self._constants for each in inputs], given)
            shape = entry.shape(given, [each.shape for each in values])
            reach = entry.reach(given, [self._ranges[each] for each in inputs])
            if grid is None:
                means = entry.meaning(given, [meaning_of(each.shape, each.grid) for each in values])
                grid = _grid(reach, means, scale, zero)
            output = Value(label, shape, grid)
        self._ops.append(Op(kind, tuple(inputs), output, given, origin))
        return self._keep(output, reach)

    def graph(self, outputs: Sequence[str], metadata: Mapping[str, str] | None = None) -> Graph:
        """All of it as a checked graph. Raises GraphError."""
        constants = tuple(self._constants.values())
        made = Graph(
            tuple(self._inputs), constants, tuple(self._ops), tuple(outputs), metadata or {}
        )
        return made.check()

    def _free(self, name: str) -> str:
        label, number = name, 1
        while label in self._values:
            number += 1
            label = f"{name}.{number}"
        return label

    def _keep(self, value: Value, reach: Range) -> str:
        self._values[value.name] = value
        self._ranges[value.name] = reach
        return value.name


def _grid(reach: Range, means: Meaning | None, scale: Scale | None, zero: int) -> Grid:
    """The grid of a result from what it can reach and what it stands for."""
    if means is None:
        if scale is None:
            raise GraphError("the scale of this kind does not follow; give grid or scale")
        return Grid(*reach.limits, scale, zero)
    if scale is not None:
        raise GraphError("the scale of this kind follows from its operands; give none")
    return Grid(*reach.limits, means.narrowest, means.zero)
