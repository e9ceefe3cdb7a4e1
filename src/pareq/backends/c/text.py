"""C text: lines with indentation, numbers, arrays and identifiers."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

__all__ = ["Names", "Text", "array", "whole"]

_WIDTH = 100
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """alignas alignof and asm auto bool break case catch char class const constexpr continue
        default delete do double else enum explicit export extern false float for friend goto if
        inline int long main mutable namespace new not operator or private protected public register
        restrict return short signed sizeof static struct switch template this throw true try
        typedef typeid typename union unsigned using virtual void volatile while xor""",
    )
)


class Text:
    """Lines of C, indented by the blocks that are open."""

    def __init__(self, depth: int = 0) -> None:
        self.lines: list[str] = []
        self._depth = depth

    def line(self, text: str = "") -> None:
        """Add one line."""
        self.lines.append("    " * self._depth + text if text else "")

    def comment(self, text: str) -> None:
        """Add a comment of one line; text that would end it is defused."""
        self.line(f"/* {text.replace('*/', '* /').replace('/*', '/ *')} */")

    def add(self, lines: Iterable[str]) -> None:
        """Add lines at the present depth."""
        for each in lines:
            self.line(each)

    @contextmanager
    def block(self, head: str = "") -> Iterator[None]:
        """`head {` ... `}` around what is added inside."""
        self.line(f"{head} {{" if head else "{")
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"


def whole(number: int) -> str:
    """An integer literal of any int64 value, with the suffix that its size needs."""
    if number == -(2**63):
        return "(-9223372036854775807LL - 1)"
    suffix = "" if -(2**31) < number < 2**31 else "LL"
    return f"{number}{suffix}"


def array(kind: str, name: str, data: npt.NDArray[np.int64]) -> list[str]:
    """Lines that define `static const kind name[]`."""
    found = [whole(each) for each in data.ravel().tolist()]
    lines = [f"static const {kind} {name}[{max(len(found), 1)}] = {{"]
    row = "   "
    for each in found or ["0"]:
        if len(row) + len(each) + 2 > _WIDTH:
            lines.append(row)
            row = "   "
        row += f" {each},"
    return [*lines, row, "};"]


class Names:
    """C identifiers for the names of a graph: readable, legal, and each taken once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def free(self, name: str) -> str:
        """An identifier that resembles `name`."""
        label = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
        label = re.sub(r"_{2,}", "_", label).strip("_") or "v"
        if label[0].isdigit() or label in _KEYWORDS or label.isupper() or label.endswith("_t"):
            label = f"v_{label}"
        found, number = label, 1
        while found in self._taken:
            number += 1
            found = f"{label}_{number}"
        self._taken.add(found)
        return found
