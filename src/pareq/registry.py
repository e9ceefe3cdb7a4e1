"""Name -> thing, with the nearest name suggested when it is misspelt."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TypeVar

from pareq.errors import PareqError, UnknownName

__all__ = ["Registry", "suggest"]

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """A mapping that grows by `add` and names its content in errors.

    `kind` is the noun for messages, such as "operator".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> T:
        """Register `thing` under `name` and return it; a name taken twice is an error."""
        if self._things.setdefault(name, thing) is not thing:
            raise PareqError(f"{self.kind} {name!r} is registered twice")
        return thing

    def __getitem__(self, name: str) -> T:
        try:
            return self._things[name]
        except KeyError:
            raise UnknownName(
                f"unknown {self.kind} {name!r}{suggest(name, self._things)}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of an error line: the nearest known name, or all of them when none is near."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.55)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; expected one of {', '.join(names)}" if names else ""
