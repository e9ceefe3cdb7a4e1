"""A compiled model in this process, through ctypes."""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from pareq.backends.base import Bound, Program
from pareq.backends.c.interface import Interface, interface
from pareq.backends.c.real import has_real
from pareq.errors import BackendError, GridError
from pareq.ir.graph import Graph

__all__ = ["Library", "processors"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Whole = npt.NDArray[np.integer]
Array = npt.NDArray[np.generic]
Call = Callable[..., int | None]

_GRAIN = 4096  # samples below which a thread costs more than it saves


class Library(Program):
    """The shared library of one model; calls release the interpreter lock.

    threads: how many chunks of a batch run at once.
    """

    def __init__(self, graph: Graph, path: Path, name: str, threads: int) -> None:
        super().__init__(graph)
        self.threads = threads
        self.ports: Interface = interface(graph)
        self._results = [port.value.shape for port in self.ports.outputs]
        try:
            library = ctypes.CDLL(str(path.resolve()))
            given, made = len(self.ports.inputs), len(self.ports.outputs)
            self._run = _function(library, f"{name}_run", given + made, None)
            self._check = _function(library, f"{name}_check", given, ctypes.c_int)
            self._reals = {
                np.dtype(kind): _function(library, f"{name}_{word}", given + made, ctypes.c_size_t)
                for kind, word in (("f4", "float"), ("f8", "double"))
                if has_real(graph, self.ports)
            }
        except (OSError, AttributeError) as error:
            raise BackendError(f"{path.name} cannot be loaded ({error}); build it again") from None

    def run(self, given: Sequence[npt.ArrayLike]) -> tuple[Integers, ...]:
        """Outputs for integers; the grids are checked in C. Raises BackendError."""
        return self.integers(self.whole(given))

    def integers(self, arrays: Sequence[Whole]) -> tuple[Integers, ...]:
        """Outputs as int64."""
        return tuple(each.astype(np.int64) for each in self.narrow(arrays))

    def narrow(self, arrays: Sequence[Whole]) -> tuple[Whole, ...]:
        """Outputs in the types of the C function.

        Raises BackendError for integers outside the grids of the inputs.
        """
        ports = self.ports
        if any(each.dtype != port.dtype for port, each in zip(ports.inputs, arrays, strict=True)):
            self.within(arrays)  # before a cast, which would wrap
        given = [
            np.ascontiguousarray(each, dtype=port.dtype)
            for port, each in zip(ports.inputs, arrays, strict=True)
        ]
        count = len(given[0]) if given else 1
        if self._check(*_addresses(given, 0), count):
            self.within(given)
        made = [np.empty((count, *p.value.shape), dtype=p.dtype) for p in ports.outputs]
        self._chunks(self._run, [*given, *made], count)
        return tuple(made)

    def bind(self, rows: int) -> Bound:
        """Arrays in the types of the C function, and its call on them."""
        x = tuple(np.zeros((rows, *p.value.shape), dtype=p.dtype) for p in self.ports.inputs)
        y = tuple(np.zeros((rows, *p.value.shape), dtype=p.dtype) for p in self.ports.outputs)
        # ctypes objects made once: converting numbers takes longer than a small network
        places = [ctypes.c_void_p(address) for address in _addresses([*x, *y], 0)]
        return Bound(x, y, partial(self._run, *places, ctypes.c_size_t(rows)))

    def reals(self, given: Sequence[npt.ArrayLike]) -> tuple[Reals, ...]:
        """Outputs as reals for real inputs; float32 and float64 are converted in C.

        Raises GridError for NaN.
        """
        arrays = [np.ascontiguousarray(each) for each in self.shaped(given)]
        kind = arrays[0].dtype
        call = self._reals.get(kind)
        if call is None or any(each.dtype != kind for each in arrays):
            return super().reals(arrays)
        count = len(arrays[0])
        made = [np.empty((count, *shape)) for shape in self._results]
        bad = self._chunks(call, [*arrays, *made], count)
        if bad:
            total = sum(each.size for each in arrays)
            raise GridError(f"{bad} of {total} values are NaN")
        return tuple(made)

    def _chunks(self, call: Call, arrays: Sequence[Array], count: int) -> int:
        """Run all samples, in as many threads as are worth it, and add up what calls return."""
        workers = min(self.threads, count // _GRAIN)
        if workers <= 1:
            return call(*_addresses(arrays, 0), count) or 0
        size = -(-count // workers)
        with ThreadPoolExecutor(workers) as pool:
            parts = [
                pool.submit(call, *[*_addresses(arrays, begin), min(size, count - begin)])
                for begin in range(0, count, size)
            ]
            return sum(part.result() or 0 for part in parts)


def _function(
    library: ctypes.CDLL,
    name: str,
    arrays: int,
    result: type[ctypes.c_int | ctypes.c_size_t] | None,
) -> Call:
    """A function of pointers and a number of samples."""
    found = getattr(library, name)
    found.argtypes = [ctypes.c_void_p] * arrays + [ctypes.c_size_t]
    found.restype = result
    call: Call = found
    return call


def _addresses(arrays: Sequence[Array], begin: int) -> list[int]:
    """Where sample number `begin` of each array lies in memory."""
    return [_address(each) + (begin * each.strides[0] if begin else 0) for each in arrays]


def _address(array: Array) -> int:
    """Where an array begins. Four times as fast as `array.ctypes.data`, where it can be had."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(cast(memoryview, array)))
    except (TypeError, ValueError):  # arrays that are read-only or empty
        return array.ctypes.data


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
