"""Attributes of an op: named integers and tuples of integers, frozen."""

from collections.abc import Iterator, Mapping
from operator import index
from typing import TypeVar

from pareq.errors import GraphError

__all__ = ["Attribute", "Attributes", "Frozen"]

T = TypeVar("T")
Attribute = int | tuple[int, ...]

_LARGEST = 2**62  # so that a sum of two stays in int64


class Frozen(Mapping[str, T]):
    """A mapping that cannot change; it can be hashed, compared, copied and pickled."""

    def __init__(self, items: Mapping[str, T] | None = None) -> None:
        self._items = dict(sorted((items or {}).items()))

    def __getitem__(self, name: str) -> T:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


class Attributes(Frozen[Attribute]):
    """What an op needs beside its inputs.

    Lists become tuples and numpy integers plain ones. Raises GraphError for anything but integers
    and sequences of integers.
    """

    def __init__(self, items: Mapping[str, Attribute] | None = None) -> None:
        super().__init__({name: _plain(name, value) for name, value in (items or {}).items()})

    def whole(self, name: str) -> int:
        """The attribute that is one integer. Raises GraphError when it is absent or a tuple."""
        value = self._items.get(name)
        if not isinstance(value, int):
            raise GraphError(f"attribute {name!r} is {value}, expected an integer")
        return value

    def wholes(self, name: str) -> tuple[int, ...]:
        """The attribute that is a tuple of integers. Raises GraphError when it is not."""
        value = self._items.get(name)
        if not isinstance(value, tuple):
            raise GraphError(f"attribute {name!r} is {value}, expected a tuple of integers")
        return value


def _plain(name: str, value: object) -> Attribute:
    many = isinstance(value, tuple | list)
    whole = []
    for one in value if isinstance(value, tuple | list) else (value,):
        if isinstance(one, bool) or not hasattr(one, "__index__"):
            raise GraphError(f"attribute {name!r} is {value!r}, expected integers")
        whole.append(index(one))
        if abs(whole[-1]) > _LARGEST:
            raise GraphError(f"attribute {name!r} is {whole[-1]}, beyond 2^62")
    return tuple(whole) if many else whole[0]
