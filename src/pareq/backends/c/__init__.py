"""A graph as one .c and one .h file."""

from pareq.backends.base import BACKENDS
from pareq.backends.c.backend import C

__all__ = ["C"]

BACKENDS.add(C.name, C())
