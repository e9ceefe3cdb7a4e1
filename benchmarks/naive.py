"""The design that a first attempt gives: a multiplier a weight, one sum an output, no sharing.

Made from the graph alone, so that what the emitter shares with it is the graph.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from pareq.ir.attributes import Attributes
from pareq.ir.graph import Graph
from pareq.numerics.grid import Grid


def naive(graph: Graph, name: str) -> str:
    """Verilog of a perceptron of dense and requantize: signed arithmetic in wide registers."""
    wide, width = 32, _bits(graph.inputs[0].value.grid)
    count, rows = prod(graph.inputs[0].value.shape), graph.ops[-1].output.shape[0]
    ranges = graph.ranges()
    last = _width(*ranges[graph.outputs[0]].limits)
    lines = [
        f"module {name} (input wire clk, input wire [{count * width - 1}:0] x,",
        f"    output wire [{rows * last - 1}:0] y);",
    ]
    lines += [
        f"    wire signed [{width - 1}:0] x_{i} = x[{i * width + width - 1}:{i * width}];"
        for i in range(count)
    ]
    label = "x"
    for number, op in enumerate(graph.ops):
        params = [graph.constant(each) for each in op.inputs[1:]]
        make = {"dense": _dense, "requantize": _requantize}[op.kind]
        reach = ranges[op.name]
        for row in range(len(reach.lo)):
            size = _width(int(reach.lo[row]), int(reach.hi[row]))
            text = make(label, row, params, op.attributes)
            lines.append(f"    wire signed [{wide - 1}:0] w{number}_{row} = {text};")
            lines.append(f"    reg signed [{size - 1}:0] r{number}_{row};")
            lines.append(f"    always @(posedge clk) r{number}_{row} <= w{number}_{row};")
        label = f"r{number}"
    lines += [
        f"    assign y[{row * last + last - 1}:{row * last}] = {label}_{row};"
        for row in range(rows)
    ]
    return "\n".join([*lines, "endmodule", ""])


def _dense(label: str, row: int, params: Sequence[np.ndarray], _: Attributes) -> str:
    weight, bias = params
    terms = [f"{label}_{i} * ({number})" for i, number in enumerate(weight[row]) if number]
    return " + ".join([*terms, f"({bias[row]})"])


def _requantize(label: str, row: int, params: Sequence[np.ndarray], attributes: Attributes) -> str:
    m, b, s = (each[row % len(each)] for each in params)  # one a channel, or one for all
    if attributes.whole("even"):
        raise SystemExit("the naive design rounds half up or down")
    lo, hi = attributes.whole("lo"), attributes.whole("hi")
    moved = f"(({label}_{row} * ({m}) + ({b})) >>> {s})"
    return f"({moved} < ({lo})) ? ({lo}) : ({moved} > ({hi})) ? ({hi}) : {moved}"


def _bits(grid: Grid) -> int:
    return _width(grid.lo, grid.hi)


def _width(lo: int, hi: int) -> int:
    """Bits in two's complement, as the native design counts them."""
    return max((-lo - 1).bit_length() if lo < 0 else 0, max(hi, 0).bit_length()) + 1
