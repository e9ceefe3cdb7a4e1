"""A `main` that holds the compiled program to test vectors from the reference."""

import numpy as np

from pareq.backends.c.interface import Interface
from pareq.backends.c.text import Text, array
from pareq.backends.vectors import extremes, uniform
from pareq.ir.execute import execute
from pareq.ir.graph import Graph

__all__ = ["selftest"]

_INTEGERS = 8192  # about as many are written into the file
_MOST = 61  # with the two extremes, a block of lanes and some samples one by one


def selftest(graph: Graph, name: str, ports: Interface) -> Text:
    """The part of the .c file that -DNAME_TEST adds; its exit status is 1 at a difference."""
    each = sum(port.size for port in (*ports.inputs, *ports.outputs))
    rows = min(max(_INTEGERS // each, 1), _MOST)
    random = uniform(graph, rows, np.random.default_rng(0))
    given = [np.concatenate(pair) for pair in zip(extremes(graph), random, strict=True)]
    expected = execute(graph, *given).outputs
    count = len(given[0]) if given else 1
    text, flag = Text(), f"{name.upper()}_TEST"
    text.add(["", f"#ifdef {flag} /* cc -D{flag} {name}.c && ./a.out */", "#include <stdio.h>", ""])
    for port, data in zip(ports.inputs, given, strict=True):
        text.add(array(port.type.name, f"{name}_test_{port.name}", data))
    for port, data in zip(ports.outputs, expected, strict=True):
        text.add(array(port.type.name, f"{name}_test_{port.name}", data))
        text.line(f"static {port.type.name} {name}_test_found_{port.name}[{data.size}];")
    text.line()
    with text.block("int main(void)"):
        arguments = [f"{name}_test_{port.name}" for port in ports.inputs]
        arguments += [f"{name}_test_found_{port.name}" for port in ports.outputs]
        text.line(f"{name}_run({', '.join(arguments)}, {count});")
        for port in ports.outputs:
            _compare(text, name, port.name, (port.size, count))
        text.line(f'printf("{name}: {count} samples, no difference\\n");')
        text.line("return 0;")
    text.line(f"#endif /* {flag} */")
    return text


def _compare(text: Text, name: str, port: str, sizes: tuple[int, int]) -> None:
    size, count = sizes
    found, expected = f"{name}_test_found_{port}[i]", f"{name}_test_{port}[i]"
    with (
        text.block(f"for (int i = 0; i < {size * count}; i++)"),
        text.block(f"if ({found} != {expected})"),
    ):
        text.line(f'printf("{port}, sample %d, index %d: %lld, expected %lld\\n", i / {size},')
        text.line(f"       i % {size}, (long long){found}, (long long){expected});")
        text.line("return 1;")
