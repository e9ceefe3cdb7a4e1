"""What each ATen op means on integers: one rule an op, found by its name.

A rule reads its operands through a `Scope`, adds ops to the builder and returns the result. The
rules live by topic in `rules_layers`, `rules_steps`, `rules_pools` and `rules_moves`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.errors import LoweringError
from pareq.ir.attributes import Attribute
from pareq.ir.build import Builder
from pareq.ir.graph import Value
from pareq.lower.curve import Known, Step, Term
from pareq.lower.settle import settle
from pareq.lower.trace import Call, Ref
from pareq.registry import Registry

__all__ = ["MOVES", "RULES", "Entry", "Raw", "Scope", "rule"]

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Raw:
    """An input that is not on a grid yet, and how it was moved on the way."""

    name: str
    moves: tuple[Call, ...] = ()


Entry = Known | Term | Raw | tuple["Known | Term | Raw | None", ...]


@dataclass(frozen=True, eq=False)
class Scope:
    """What a rule sees: the call, what was computed before it, and the graph being built."""

    builder: Builder
    call: Call
    values: Mapping[str, Entry]
    batch: int

    def entry(self, name: str) -> Entry | object:
        """An operand: what a reference stands for, or the argument itself."""
        given = self.call.arguments[name]
        return self.values[given.name] if isinstance(given, Ref) else given

    def term(self, name: str) -> Term:
        """An operand that depends on the input, with steps that may be open."""
        found = self.entry(name)
        if not isinstance(found, Term):
            raise LoweringError(f"{name} does not depend on the input, which this op needs")
        return found

    def exact(self, name: str) -> str:
        """An operand that depends on the input, as integers."""
        return settle(self.builder, self.term(name))

    def known(self, name: str) -> Known | None:
        """An operand that does not depend on the input, or None where it is left out."""
        found = self.entry(name)
        if found is None or isinstance(found, Known):
            return found
        if isinstance(found, bool | int | float):
            return Known(name, np.asarray(float(found)))
        raise LoweringError(f"{name} depends on the input, expected a constant")

    def whole(self, name: str) -> int:
        """An integer argument."""
        found = self.call.arguments[name]
        if not isinstance(found, int):
            raise LoweringError(f"{name} is {found!r}, expected an integer")
        return int(found)

    def real(self, name: str, missing: float) -> float:
        """A number, or what stands for a missing one."""
        found = self.call.arguments[name]
        if found is None:
            return missing
        if not isinstance(found, int | float):
            raise LoweringError(f"{name} is {found!r}, expected a number")
        return float(found)

    def wholes(self, name: str, count: int) -> tuple[int, ...]:
        """As many integers as asked for; a single one stands for all."""
        found = self.call.arguments[name]
        each = (found,) if isinstance(found, int) else found
        if not isinstance(each, tuple) or not all(isinstance(n, int) for n in each):
            raise LoweringError(f"{name} is {found!r}, expected integers")
        whole = tuple(int(n) for n in each)
        return whole * count if len(whole) == 1 else whole

    def axis(self, name: str, rank: int | None = None) -> int:
        """A dimension of the first operand as an axis without the batch."""
        return self.axis_of(self.whole(name), rank)

    def axis_of(self, dim: int, rank: int | None = None) -> int:
        """The same for a number; rank: without the batch."""
        known = len(self.value(self.term("self").name).shape) if rank is None else rank
        axis = dim % (known + 1) - 1
        if axis < 0:
            raise LoweringError("mixes the samples of a batch; let axis 0 stay the batch")
        return axis

    def value(self, name: str) -> Value:
        """A value of the builder."""
        return self.builder.value(name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first result, without the batch axis."""
        return self.call.shapes[0][1:]

    def op(
        self,
        kind: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Attribute] | None = None,
        scale: float | Reals | None = None,
    ) -> str:
        """Add an op, named by its module."""
        return self.builder.op(
            kind, inputs, attributes, name=self.label, origin=self.call.path, scale=scale
        )

    def step(self, kind: str, *numbers: npt.ArrayLike) -> Step:
        """A real step of this call."""
        reals = tuple(np.asarray(each, dtype=np.float64) for each in numbers)
        return Step(kind, reals, self.call.path)

    @property
    def label(self) -> str:
        """The name of the module, or of the op where it is the model's own."""
        return self.call.path or self.call.name


Rule = Callable[[Scope], Entry]

RULES: Registry[Rule] = Registry("rule")
MOVES: set[str] = set()  # ops that only move elements, which an input may pass before its grid


def rule(*names: str, moves: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule for some ops."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES.add(name, function)
            if moves:
                MOVES.add(name)
        return function

    return register
