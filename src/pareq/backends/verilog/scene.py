"""What the parts of the emitter share while a graph becomes a circuit."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pareq.backends.verilog.circuit import Circuit, Term
from pareq.backends.verilog.digits import signed_digits
from pareq.ir.graph import Graph, Op

__all__ = ["Scene"]

Integers = npt.NDArray[np.int64]


@dataclass
class Scene:
    """A circuit, and for each value of the graph the terms that are its elements.

    values: arrays of the values' shapes that hold numbers of terms, so that moving them about is
    what the ops that move integers do. deeper: adder levels that sharing may cost; share: whether
    sums are shared at all; tables: bits up to which a neuron may be a table.
    """

    graph: Graph
    share: bool = True
    deeper: int | None = None
    tables: int = 0
    circuit: Circuit = field(default_factory=Circuit)
    terms: list[Term] = field(default_factory=list)
    values: dict[str, Integers] = field(default_factory=dict)
    numbers: dict[Term, int] = field(default_factory=dict)

    def number(self, term: Term) -> int:
        """The number of a term."""
        if term not in self.numbers:
            self.numbers[term] = len(self.terms)
            self.terms.append(term)
        return self.numbers[term]

    def fixed(self, number: int) -> int:
        """The number of the term that is a constant."""
        return self.number(Term((), int(number)))

    def array(self, terms: Iterable[Term], shape: tuple[int, ...]) -> Integers:
        """Terms in C order as an array of their numbers."""
        return np.array([self.number(each) for each in terms], dtype=np.int64).reshape(shape)

    def nodes(self, nodes: Iterable[int], shape: tuple[int, ...]) -> Integers:
        """Nodes of the circuit in C order as an array of numbers of terms."""
        return self.array((self.circuit.term(each) for each in nodes), shape)

    def value(self, name: str) -> Integers:
        """The numbers of the terms of a value."""
        data = self.graph.constant(name)
        if data is not None and name not in self.values:
            found = [self.fixed(each) for each in data.ravel().tolist()]
            self.values[name] = np.array(found, dtype=np.int64).reshape(data.shape)
        return self.values[name]

    def x(self, op: Op) -> Integers:
        """The numbers of the terms of the first operand."""
        return self.value(op.inputs[0])

    def constants(self, op: Op) -> list[Integers]:
        """The constants behind the first operand."""
        found = (self.graph.constant(name) for name in op.inputs[1:])
        return [each for each in found if each is not None]

    def elements(self, numbers: Integers) -> list[Term]:
        """The terms of an array in C order."""
        return [self.terms[each] for each in numbers.ravel().tolist()]

    def node(self, number: int) -> int:
        """The node that holds a term."""
        return self.circuit.node(self.terms[number])

    def scaled(self, term: Term, factor: int) -> Term:
        """A term times a constant."""
        digits = signed_digits(factor)
        if len(digits) < 2 or not term.digits:
            found = [term.times(*each) for each in digits]
            return found[0] if found else Term(())
        part = self.circuit.settle(Term(term.digits))
        return Term(tuple(part.times(*each) for each in digits), term.offset * factor)
