"""Nested loops over the elements of arrays, with the index into each array as C text."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from pareq.backends.c.text import Text

__all__ = ["index", "last", "loops", "steps"]

_LETTERS = "ijklmpqr"


def steps(shape: Sequence[int]) -> tuple[int, ...]:
    """How far apart neighbours along each axis lie in an array of that shape in C order."""
    found = [1]
    for size in reversed(shape[1:]):
        found.append(found[-1] * size)
    return tuple(reversed(found)) if shape else ()


def last(shape: Sequence[int], width: int) -> tuple[int, ...]:
    """Steps with the channels, axis 0, next to one another, `width` of them at each place."""
    return (1, *(width * step for step in steps(shape[1:])))


def index(terms: Sequence[tuple[str, int]], offset: int = 0) -> str:
    """A sum of variables times steps as C text, with nothing in it that is zero or one."""
    parts = [name if step == 1 else f"{name} * {step}" for name, step in terms if step]
    if offset or not parts:
        parts.append(str(offset))
    return " + ".join(parts).replace("+ -", "- ")


@contextmanager
def loops(
    text: Text, shape: Sequence[int], *arrays: Sequence[int], letters: str = _LETTERS
) -> Iterator[list[str]]:
    """Open loops over `shape` and give the index into each array.

    arrays: the steps of each array along the axes of `shape`. The loops follow the first array
    through memory. Axes that lie behind one another in all arrays become one loop, axes of size 1
    none.
    """
    axes = _merged(shape, arrays)
    with ExitStack() as stack:
        terms: list[list[tuple[str, int]]] = [[] for _ in arrays]
        for letter, (size, each) in zip(_names(len(axes), letters), axes, strict=True):
            stack.enter_context(
                text.block(f"for (int {letter} = 0; {letter} < {size}; {letter}++)")
            )
            for found, step in zip(terms, each, strict=True):
                found.append((letter, step))
        yield [index(found) for found in terms]


def _names(count: int, letters: str) -> list[str]:
    """Names of loop variables; numbered where letters run out."""
    return list(letters[:count]) if count <= len(letters) else [f"i{k}" for k in range(count)]


def _merged(
    shape: Sequence[int], arrays: Sequence[Sequence[int]]
) -> list[tuple[int, tuple[int, ...]]]:
    """(size, steps in each array) of the loops that are needed, outermost first."""
    axes: list[tuple[int, tuple[int, ...]]] = []
    for axis in sorted(range(len(shape)), key=lambda k: -arrays[0][k]):
        size = shape[axis]
        if size == 1:
            continue
        inner = tuple(each[axis] for each in arrays)
        if axes and all(a == b * size for a, b in zip(axes[-1][1], inner, strict=True)):
            axes[-1] = (axes[-1][0] * size, inner)
        else:
            axes.append((size, inner))
    return axes
