"""The edge between reals and integers in C: an optional part of the .c file, and the only floats.

The results are those of `Grid.quantize`, which in float64 divides by the scale, rounds, adds the
zero and saturates. Here numbers saturate before they are rounded, which changes no result and makes
every conversion exact.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from pareq.backends.c.interface import Interface, Port
from pareq.backends.c.real_vectors import fits, include, vectors
from pareq.backends.c.text import Text
from pareq.ir.graph import Graph, Input

__all__ = ["SOURCES", "has_real", "prototype", "real"]

_BLOCK = 192  # samples between the conversions
_LARGEST = 2**15  # integers of a sample; they wait on the stack
SOURCES = ("float", "double")


def has_real(graph: Graph, ports: Interface) -> bool:
    """Whether the edge is written: inputs saturate and round without dice, samples are small."""
    fine = ("half_even", "half_up", "floor", "toward_zero")
    small = all(
        port.size <= _LARGEST and port.type.bits <= 32 for port in (*ports.inputs, *ports.outputs)
    )
    return small and all(
        each.overflow == "saturate" and each.rounding in fine for each in graph.inputs
    )


def real(graph: Graph, name: str, ports: Interface) -> Text:
    """The part that -DNAME_REAL adds: NAME_float and NAME_double, reals in and out.

    They return how many inputs were NaN; where there are some, the results mean nothing.
    """
    text, flag = Text(), f"{name.upper()}_REAL"
    if not has_real(graph, ports):
        return text
    text.add(["", f"#ifdef {flag} /* reals: the only part with floats */"])
    text.add(include(name))
    for port in (*ports.inputs, *ports.outputs):
        _scales(text, name, port)
    for kind in SOURCES:
        for given, port in zip(graph.inputs, ports.inputs, strict=True):
            _quantize(text, f"{name}_{kind}", name, (given, port, kind))
        _call(text, name, ports, kind)
    text.line(f"#endif /* {flag} */")
    return text


def prototype(name: str, ports: Interface, kind: str) -> str:
    """The head of NAME_float or NAME_double."""
    given = [f"const {kind} *{port.name}" for port in ports.inputs]
    made = [f"double *{port.name}" for port in ports.outputs]
    return f"size_t {name}_{kind}({', '.join([*given, *made])}, size_t n)"


def _scales(text: Text, name: str, port: Port) -> None:
    """The scale of each element, where it is not the same for all."""
    scale = port.value.grid.scale
    if not isinstance(scale, float):
        whole = np.broadcast_to(scale, port.value.shape).ravel().tolist()
        text.line(f"static const double {name}_scale_{port.name}[{len(whole)}] = {{")
        text.add(f"    {each!r}," for each in whole)
        text.line("};")


def _scale(name: str, port: Port) -> str:
    scale = port.value.grid.scale
    return repr(scale) if isinstance(scale, float) else f"{name}_scale_{port.name}[i]"


@dataclass(frozen=True)
class _Float:
    """The arithmetic of one conversion: a type, the end of its literals, and 1.5 * 2^fraction bits.

    Adding that number and subtracting it again rounds to nearest even.
    """

    name: str
    suffix: str
    nearest: str

    def literal(self, number: float) -> str:
        """A literal of the type."""
        return f"{number!r}{self.suffix}"


_FLOAT = _Float("float", "f", "12582912.0f")
_DOUBLE = _Float("double", "", "6755399441055744.0")


def _arithmetic(port: Port, kind: str) -> _Float:
    """float32 where that gives the same: a product with a whole power of two, and a small grid."""
    grid = port.value.grid
    small = max(abs(grid.lo - grid.zero), abs(grid.hi - grid.zero)) < 2**22
    exact = grid.frac is not None and 0 <= grid.frac < 100
    return _FLOAT if kind == "float" and small and exact else _DOUBLE


def _quantize(text: Text, prefix: str, name: str, what: tuple[Input, Port, str]) -> None:
    """The function that converts n samples of one input and says how many numbers are NaN."""
    given, port, kind = what
    grid, real = port.value.grid, _arithmetic(port, kind)
    head = f"static size_t {prefix}_{port.name}(const {kind} *x, {port.type.name} *y, size_t n)"
    text.line()
    with text.block(head):
        text.line("int bad = 0;")
        begin = "0"
        if real == _FLOAT and fits(port):
            begin = "begin"
            vectors(text, name, given, port, real.literal(2.0 ** (grid.frac or 0)))
        text.line(f"for (size_t j = {begin}; j < n * {port.size}; j++) bad += x[j] != x[j];")
        with _elements(text, port, "n", begin) as at:
            over = f"/ {_scale(name, port)}"
            if grid.frac is not None and abs(grid.frac) < 1000:
                over = f"* {real.literal(2.0**grid.frac)}"  # the same, for the product is exact
            low, high = (real.literal(float(n - grid.zero)) for n in (grid.lo, grid.hi))
            text.line(f"{real.name} v = ({real.name})x[{at}] {over};")
            text.line(f"v = v > {low} ? v : {low};")
            text.line(f"v = v < {high} ? v : {high};")
            _round(text, given.rounding, real)
            zero = f" + {grid.zero}" if grid.zero else ""
            whole = (
                "int32_t" if max(abs(grid.lo), abs(grid.hi), abs(grid.zero)) < 2**30 else "int64_t"
            )
            text.line(f"y[{at}] = ({port.type.name})(({whole})v{zero});")
        text.line("return (size_t)bad;")


def _round(text: Text, rounding: str, real: _Float) -> None:
    """Round v, as `pareq.numerics.rounding.round_real`; saturated before, which changes nothing."""
    if rounding == "toward_zero":
        text.line(f"const {real.name} size = v < 0 ? -v : v;")
        text.line(f"{real.name} near = (size + {real.nearest}) - {real.nearest};")
        text.line("near -= near > size;")
        text.line("v = v < 0 ? -near : near;")
        return
    text.line(f"{real.name} near = (v + {real.nearest}) - {real.nearest};")
    if rounding != "half_even":
        text.line("near -= near > v;")
    if rounding == "half_up":
        text.line(f"near += v - near >= {real.literal(0.5)};")
    text.line("v = near;")


def _call(text: Text, name: str, ports: Interface, kind: str) -> None:
    text.line()
    with text.block(prototype(name, ports, kind)):
        for port in (*ports.inputs, *ports.outputs):
            text.line(f"{port.type.name} q{port.name}[{_block(ports) * port.size}];")
        text.line("size_t bad = 0;")
        with text.block(f"for (size_t k = 0; k < n; k += {_block(ports)})"):
            text.line(f"const size_t m = n - k < {_block(ports)} ? n - k : {_block(ports)};")
            for port in ports.inputs:
                at = f"{port.name} + k * {port.size}"
                text.line(f"bad += {name}_{kind}_{port.name}({at}, q{port.name}, m);")
            names = [f"q{port.name}" for port in (*ports.inputs, *ports.outputs)]
            text.line(f"{name}_run({', '.join(names)}, m);")
            for port in ports.outputs:
                _dequantize(text, name, port)
        text.line("return bad;")


def _dequantize(text: Text, name: str, port: Port) -> None:
    zero = port.value.grid.zero
    with _elements(text, port, "m") as at:
        whole = f"((double)q{port.name}[{at}] - {zero})".replace("- -", "+ ")
        text.line(f"{port.name}[k * {port.size} + {at}] = {_scale(name, port)} * {whole};")


@contextmanager
def _elements(text: Text, port: Port, count: str, begin: str = "0") -> Iterator[str]:
    """Loops over all elements of `count` samples; the index into them. i: the one in a sample.

    begin: the first element; only where all have one step.
    """
    if isinstance(port.value.grid.scale, float):
        with text.block(f"for (size_t j = {begin}; j < {count} * {port.size}; j++)"):
            yield "j"
    else:
        with (
            text.block(f"for (size_t j = 0; j < {count}; j++)"),
            text.block(f"for (size_t i = 0; i < {port.size}; i++)"),
        ):
            yield f"j * {port.size} + i"


def _block(ports: Interface) -> int:
    """Samples at a time: fewer where they are large, for they wait on the stack."""
    most = max(port.size for port in (*ports.inputs, *ports.outputs))
    return max(min(_BLOCK, _LARGEST // most), 1)
