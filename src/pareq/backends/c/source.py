"""The two files of a model: interface and program."""

from pareq.backends.c.chain import chain
from pareq.backends.c.interface import Interface, Port, interface
from pareq.backends.c.lanes import lanes
from pareq.backends.c.loops import body
from pareq.backends.c.products import tops
from pareq.backends.c.quads_prelude import prelude
from pareq.backends.c.real import SOURCES, has_real, prototype, real
from pareq.backends.c.scene import Array, Scene
from pareq.backends.c.selftest import selftest
from pareq.backends.c.text import Text, whole
from pareq.ir.graph import Graph

__all__ = ["sources"]

_FEW = 3  # a part in so many of a block takes as long alone as a whole block


def sources(graph: Graph, name: str) -> tuple[str, str]:
    """The text of NAME.h and of NAME.c. Raises BackendError."""
    ports = interface(graph)
    return _header(graph, name, ports), _program(graph, name, ports)


def _header(graph: Graph, name: str, ports: Interface) -> str:
    text, guard = Text(), f"{name.upper()}_H"
    text.add(_about(graph, name, ports))
    text.add([f"#ifndef {guard}", f"#define {guard}", "", "#include <stddef.h>"])
    text.add(["#include <stdint.h>", "", "#ifdef __cplusplus", 'extern "C" {', "#endif", ""])
    text.add([f"void {name}_run({ports.arguments}, size_t n);"])
    text.line(
        "/* Whether an integer lies outside lo..hi of its input: `run` is not defined for it. */"
    )
    text.line(f"int {name}_check({ports.given}, size_t n);")
    if has_real(graph, ports):
        text.line(f"#ifdef {name.upper()}_REAL /* reals in and out; returns how many are NaN */")
        text.add(f"{prototype(name, ports, kind)};" for kind in SOURCES)
        text.line("#endif")
    text.line()
    text.add(["#ifdef __cplusplus", "}", "#endif", "", f"#endif /* {guard} */"])
    return str(text)


def _about(graph: Graph, name: str, ports: Interface) -> list[str]:
    lines = [
        f"/* {name}: an integer network; {name}_run computes n samples, one after the other.",
        " *",
    ]
    for port in (*ports.inputs, *ports.outputs):
        grid = port.value.grid
        shape = " x ".join(map(str, port.value.shape)) or "1"
        label = port.value.name.replace("*/", "* /")
        lines.append(
            f" * {port.name}: {label}, {shape} {port.type.name} a sample in {grid.lo}..{grid.hi};"
        )
        if isinstance(grid.scale, float):
            lines.append(f" *    n stands for {grid.scale!r} * (n - {grid.zero})")
        else:
            lines.append(" *    each channel has its own step, see the graph")
    for key, text in graph.metadata.items():
        lines.append(f" * {key}: {text}".replace("*/", "* /").replace("\n", " "))
    return [*lines, " */"]


def _check(text: Text, name: str, ports: Interface) -> None:
    text.line()
    with text.block(f"int {name}_check({ports.given}, size_t n)"):
        text.line("int outside = 0;")
        for port in ports.inputs:
            grid, (low, high) = port.value.grid, port.type.limits
            tests = [f"{port.name}[i] < {whole(grid.lo)}"] * (grid.lo > low)
            tests += [f"{port.name}[i] > {whole(grid.hi)}"] * (grid.hi < high)
            if tests:
                loop = f"for (size_t i = 0; i < n * {port.size}; i++)"
                text.line(f"{loop} outside |= {' | '.join(f'({each})' for each in tests)};")
            else:
                text.line(f"(void){port.name};")
        text.line("(void)n;")
        text.line("return outside;")


_THREAD = """\
/* Where large intermediate results live: once in each thread, not on its stack. */
#if defined(__cplusplus)
#define NAME_THREAD static thread_local
#elif __STDC_VERSION__ >= 201112L && !defined(__STDC_NO_THREADS__)
#define NAME_THREAD static _Thread_local
#else
#define NAME_THREAD static
#endif

"""
_QUIET = [
    "#if defined(__cplusplus) && defined(__GNUC__) && !defined(__clang__)",
    '#pragma GCC diagnostic ignored "-Wuninitialized" /* of immintrin.h in gcc 12 (PR 105593) */',
    '#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"',
    "#endif",
    "",
]


def _program(graph: Graph, name: str, ports: Interface) -> str:
    scene = Scene(graph, name)
    for port in ports.inputs:
        scene.arrays[port.value.name] = Array(port.name, port.type, port.value.shape)
    inside = body(scene, [Array(p.name, p.type, p.value.shape) for p in ports.outputs])
    text = Text()
    text.add([f'#include "{name}.h"', ""])
    text.add(["#include <string.h>", "", *_QUIET])
    if "thread" in scene.uses:
        text.add(_THREAD.replace("NAME", name.upper()).splitlines())
    if "quads" in scene.uses:
        pair, byte = tops(scene)
        scene.uses |= {"pairs"} if pair < 2**15 else set()
        scene.uses |= {"halves"} if byte < 2**7 else set()
        text.add([*prelude(name, scene.uses), ""])
    text.lines += scene.constants.lines
    text.line()
    with text.block(f"static void {name}_one({ports.arguments})"):
        text.add(f"(void){port.name};" for port in ports.inputs)
        text.lines += inside.lines
    found = chain(graph)
    if found is not None:
        text.lines += lanes(found, name, ports).lines
    text.line()
    moved = ", ".join(f"{p.name} + i * {p.size}" for p in (*ports.inputs, *ports.outputs))
    with text.block(f"void {name}_run({ports.arguments}, size_t n)"):
        text.line("size_t i = 0;")
        if found is not None:
            block = f"{name.upper()}_LANES"
            loop = f"for (; i + {block} <= n; i += {block})"
            text.add([f"#ifdef {block}", f"{loop} {name}_lanes({moved});"])
            _rest(text, name, ports)
            text.line("#endif")
        text.line(f"for (; i < n; i++) {name}_one({moved});")
    _check(text, name, ports)
    text.lines += real(graph, name, ports).lines
    text.lines += selftest(graph, name, ports).lines
    return str(text)


def _rest(text: Text, name: str, ports: Interface) -> None:
    """Run what does not fill a block as one, filled up with its first sample."""
    (given,), (made,), block = ports.inputs, ports.outputs, f"{name.upper()}_LANES"
    with text.block(f"if ((n - i) * {_FEW} >= {block})"):
        text.line(f"{given.type.name} all_{given.name}[{block} * {given.size}];")
        text.line(f"{made.type.name} all_{made.name}[{block} * {made.size}];")
        with text.block(f"for (size_t k = 0; k < {block}; k++)"):
            at = f"{given.name} + (i + k < n ? i + k : i) * {given.size}"
            text.line(f"memcpy(all_{given.name} + k * {given.size}, {at}, {_bytes(given)});")
        text.line(f"{name}_lanes(all_{given.name}, all_{made.name});")
        to = f"{made.name} + i * {made.size}"
        text.line(f"memcpy({to}, all_{made.name}, (n - i) * {_bytes(made)});")
        text.line("i = n;")


def _bytes(port: Port) -> int:
    """Those of one sample."""
    return port.size * port.type.bytes
