"""Where registers stand: every node gets a stage, and stages take about as long as one another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pareq.backends.verilog.circuit import Circuit

__all__ = ["Schedule", "schedule"]


@dataclass(frozen=True)
class Schedule:
    """stages: of each node that an output needs, in order; last: the last stage that reads it.

    latency: clock cycles from an input to its output, which is the number of stages; levels: the
    adder levels of the longest stage.
    """

    stages: Mapping[int, int]
    last: Mapping[int, int]
    latency: int
    levels: float

    def registers(self, node: int) -> int:
        """How many registers follow one another behind a node."""
        return self.last[node] - self.stages[node]


def schedule(circuit: Circuit, outputs: Iterable[int], levels: int) -> Schedule:
    """Registers behind at most `levels` adder levels; 0: none at all.

    The number of stages is the smallest one, and the longest stage the shortest that this number
    allows.
    """
    ends = list(outputs)
    live = _live(circuit, ends)
    most = max((circuit.ready[node] for node in ends), default=0)
    if levels == 0:
        return _schedule(circuit, ends, dict.fromkeys(live, 0), (0, most))
    slowest = max((circuit.delay(node) for node in live), default=1)
    budget = max(2 * levels, slowest)
    count = max(_stages(circuit, live, budget).values(), default=0)
    low, high = slowest - 1, budget
    while high - low > 1:
        middle = (low + high) // 2
        fits = max(_stages(circuit, live, middle).values(), default=0) <= count
        low, high = (low, middle) if fits else (middle, high)
    return _schedule(circuit, ends, _stages(circuit, live, high), (count + 1, min(high, most)))


def _live(circuit: Circuit, ends: list[int]) -> list[int]:
    """The nodes that outputs need, constants apart, in order."""
    wanted = set(ends)
    for node in range(len(circuit.nodes) - 1, -1, -1):
        if node in wanted:
            wanted.update(circuit.nodes[node].operands)
    return [node for node in sorted(wanted) if circuit.nodes[node].kind != "constant"]


def _stages(circuit: Circuit, live: list[int], budget: int) -> dict[int, int]:
    """As early as possible, with `budget` halves of an adder level a stage."""
    stages: dict[int, int] = {}
    times: dict[int, int] = {}
    for node in live:
        operands = [each for each in circuit.nodes[node].operands if each in stages]
        stage = max((stages[each] for each in operands), default=0)
        begin = max((times[each] for each in operands if stages[each] == stage), default=0)
        end = begin + circuit.delay(node)
        late = end > budget
        stages[node] = stage + late
        times[node] = circuit.delay(node) if late else end
    return stages


def _schedule(
    circuit: Circuit, ends: list[int], stages: dict[int, int], size: tuple[int, int]
) -> Schedule:
    latency, halves = size
    _sink(circuit, stages, set(ends))
    last = dict(stages)
    for node, stage in stages.items():
        for each in circuit.nodes[node].operands:
            if each in last:
                last[each] = max(last[each], stage)
    for node in ends:
        if node in last:
            last[node] = latency
    return Schedule(stages, last, latency, halves / 2)


def _sink(circuit: Circuit, stages: dict[int, int], ends: set[int]) -> None:
    """Move inverters to where they are read: behind a register, other logic takes them in."""
    first: dict[int, int] = {}
    for node in sorted(stages, reverse=True):
        at = circuit.nodes[node]
        if at.kind == "invert" and node not in ends:
            stages[node] = first[node]
        for each in at.operands:
            first[each] = min(first.get(each, stages[node]), stages[node])
