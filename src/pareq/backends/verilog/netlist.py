"""A netlist of look-up tables, as Yosys writes it in JSON: what it counts, and how deep it is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Cell", "Netlist"]

_REGISTERS = ("FD", "TRELLIS_FF", "SRL")
_LUTS = ("LUT", "INV")
_CHAINS = {"CARRY4": ("CI",), "CARRY8": ("CI", "CI_TOP"), "CCU2C": ("CIN",)}


@dataclass(frozen=True)
class Cell:
    """A primitive: its type, and the nets at its inputs and outputs by port."""

    kind: str
    inputs: Mapping[str, Sequence[int]]
    outputs: Sequence[int]

    @property
    def is_register(self) -> bool:
        """Whether it holds a bit from one clock to the next."""
        return self.kind.startswith(_REGISTERS)

    @property
    def is_lut(self) -> bool:
        """Whether it is a function of some bits."""
        return self.kind.startswith(_LUTS)

    @property
    def nets(self) -> frozenset[int]:
        """All nets that it reads."""
        return frozenset(net for nets in self.inputs.values() for net in nets)


@dataclass
class Netlist:
    """The cells of a flat design."""

    cells: Sequence[Cell]
    readers: dict[int, list[tuple[Cell, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for cell in self.cells:
            for port, nets in cell.inputs.items():
                for net in nets:
                    self.readers.setdefault(net, []).append((cell, port))

    @classmethod
    def of(cls, module: Mapping[str, Mapping[str, Mapping[str, object]]]) -> "Netlist":
        """From a module of the JSON of Yosys; constant bits are left out."""
        return cls([_cell(each) for each in module["cells"].values()])

    def count(self) -> Mapping[str, int]:
        """How many cells of each type there are."""
        return Counter(cell.kind for cell in self.cells)

    def luts(self) -> list[Cell]:
        """Cells that take a look-up table; an inverter in front of tables is part of them."""
        return [
            cell
            for cell in self.cells
            if cell.is_lut and not (cell.kind == "INV" and self._absorbed(cell))
        ]

    def packed(self) -> int:
        """How many tables remain when two share one that has two outputs.

        Two functions share a table when they have five inputs at most together, one of them in
        common, and neither leads into a carry chain or a wide multiplexer.
        """
        luts = self.luts()
        free = {
            number: cell.nets
            for number, cell in enumerate(luts)
            if len(cell.nets) <= 5 and not self._bound(cell)
        }
        users: dict[int, set[int]] = {}
        for number, nets in free.items():
            for net in nets:
                users.setdefault(net, set()).add(number)
        pairs, taken = 0, set[int]()
        for number in sorted(free, key=lambda each: -len(free[each])):
            if number in taken:
                continue
            near = {each for net in free[number] for each in users[net]} - taken - {number}
            fits = [each for each in near if len(free[each] | free[number]) <= 5]
            if fits:
                best = max(fits, key=lambda each: (len(free[each] & free[number]), -each))
                taken |= {number, best}
                pairs += 1
        return len(luts) - pairs

    def depth(self) -> int:
        """Look-up tables on the longest path between registers or ports; carries count nothing."""
        waiting = {id(cell): 0 for cell in self.cells if not cell.is_register}
        drivers = {net: cell for cell in self.cells for net in cell.outputs}
        for cell in self.cells:
            if id(cell) in waiting:
                read = [net for nets in cell.inputs.values() for net in nets]
                waiting[id(cell)] = sum(id(drivers.get(net)) in waiting for net in read)
        levels: dict[int, int] = {}
        ready = [cell for cell in self.cells if waiting.get(id(cell)) == 0]
        while ready:
            cell = ready.pop()
            level = _level(cell, levels)
            for net in cell.outputs:
                levels[net] = level
                for reader, _ in self.readers.get(net, ()):
                    if id(reader) in waiting:
                        waiting[id(reader)] -= 1
                        if waiting[id(reader)] == 0:
                            ready.append(reader)
        return max(levels.values(), default=0)

    def _absorbed(self, cell: Cell) -> bool:
        found = [reader for net in cell.outputs for reader, _ in self.readers.get(net, ())]
        return bool(found) and all(reader.is_lut for reader in found)

    def _bound(self, cell: Cell) -> bool:
        found = [reader for net in cell.outputs for reader, _ in self.readers.get(net, ())]
        return any(not reader.is_lut and not reader.is_register for reader in found)


def _level(cell: Cell, levels: Mapping[int, int]) -> int:
    """Tables up to the outputs of a cell. A chain on ECP5 has tables in front of it."""
    chained = _CHAINS.get(cell.kind, ())
    inside = int((cell.is_lut and cell.kind != "INV") or cell.kind == "CCU2C")
    return max(
        (
            levels.get(net, 0) + (0 if port in chained else inside)
            for port, nets in cell.inputs.items()
            for net in nets
        ),
        default=inside,
    )


def _cell(cell: Mapping[str, object]) -> Cell:
    kind, ways, ends = cell["type"], cell["port_directions"], cell["connections"]
    inputs: dict[str, list[int]] = {}
    outputs: list[int] = []
    if isinstance(kind, str) and isinstance(ways, dict) and isinstance(ends, dict):
        for port, bits in ends.items():
            nets = [bit for bit in bits if isinstance(bit, int)]
            if ways[port] == "output":
                outputs += nets
            else:
                inputs[port] = nets
    return Cell(str(kind), inputs, outputs)
