"""Small random integer graphs: perceptrons, convolutions, residual networks, and every kind of op.

`graphs()` is a hypothesis strategy; `random_graph(seed, family)` is one of them; `random_inputs`
gives integers for one, with the extremes first. Weights hold zeros, equal rows and dead channels on
purpose, so that passes find something to do.
"""

import numpy as np
from hypothesis import strategies as st

from pareq.ir.build import Builder
from pareq.ir.graph import Graph
from pareq.lower.emit import emit
from pareq.lower.transfer import Transfer
from pareq.numerics.grid import Grid, integer_range

FAMILIES = ("mlp", "conv1d", "conv2d", "residual", "mixed")
ROUNDINGS = ("half_even", "half_up", "floor", "toward_zero")


def graphs(families: tuple[str, ...] = FAMILIES) -> st.SearchStrategy[Graph]:
    """Checked graphs of the families."""
    return st.builds(random_graph, st.integers(0, 2**32 - 1), st.sampled_from(families))


def random_graph(seed: int, family: str) -> Graph:
    """One checked graph; the same for the same arguments."""
    return _FAMILIES[family](Net(seed))


def random_inputs(graph: Graph, count: int, seed: int = 0) -> list[np.ndarray]:
    """Integers `(count, *shape)` on each input's grid; the first two samples are all lo, all hi."""
    rng = np.random.default_rng(seed)
    arrays = []
    for each in graph.inputs:
        grid = each.value.grid
        n = rng.integers(grid.lo, grid.hi, size=(count, *each.value.shape), endpoint=True)
        n[:1], n[1:2] = grid.lo, grid.hi
        arrays.append(n)
    return arrays


class Net:
    """A builder with dice."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder()

    def dice(self, low: int, high: int) -> int:
        """An integer in low..high."""
        return int(self.rng.integers(low, high, endpoint=True))

    def grid(self, zero: bool = True) -> Grid:
        """Two to six bits, signed or not, any scale."""
        lo, hi = integer_range(self.dice(2, 6), signed=bool(self.dice(0, 1)))
        scale = 2.0 ** -self.dice(0, 4) if self.dice(0, 1) else float(self.rng.uniform(0.05, 2))
        return Grid(lo, hi, scale, self.dice(-2, 2) if zero and self.dice(0, 3) == 0 else 0)

    def weights(self, shape: tuple[int, ...]) -> np.ndarray:
        """Small integers with many zeros; sometimes a dead row or two equal ones."""
        w = self.rng.integers(-7, 7, size=shape, endpoint=True)
        w *= self.rng.random(shape) < 0.6
        if self.dice(0, 1):
            w[self.dice(0, shape[0] - 1)] = 0
        if shape[0] > 1 and self.dice(0, 1):
            w[0] = w[-1]
        return w

    def input(self, shape: tuple[int, ...]) -> str:
        return self.b.input("x", shape, self.grid(), rounding=ROUNDINGS[self.dice(0, 3)])

    def sums(self, kind: str, x: str, weight: np.ndarray, attributes: dict | None = None) -> str:
        """A dense or convolution with a random bias, scales per channel half of the time."""
        outputs = weight.shape[0]
        if kind == "conv_transpose":
            outputs = weight.shape[1] * attributes["groups"]
        scale = 2.0 ** -self.dice(0, 5)
        if kind != "conv_transpose" and self.dice(0, 1):
            scale = self.rng.uniform(0.01, 0.2, (outputs, *(1,) * (weight.ndim - 1)))
        bias = self.rng.integers(-20, 20, outputs, endpoint=True)
        if self.dice(0, 1):
            bias[0] = bias[-1]
        w = self.b.constant(f"{kind}.weight", weight, scale)
        c = self.b.constant(f"{kind}.bias", bias)
        return self.b.op(kind, (x, w, c), attributes, name=kind, origin=f"net.{kind}")

    def requantize(self, x: str, grid: Grid | None = None, axis: int = 0) -> str:
        """To a random grid, with bias and slope, per channel."""
        value = self.b.value(x)
        reach = self.b.range(x)
        count = value.shape[axis] if self.dice(0, 2) else 1
        to = grid or self.grid()
        widest = max(abs(reach.limits[0]), abs(reach.limits[1]), 1)
        gain = self.rng.choice([-1, 1, 1], count) * (to.hi - to.lo) * to.scale / widest
        if self.dice(0, 1):
            gain = np.sign(gain) * 2.0 ** np.round(np.log2(np.abs(gain)))
        offset = np.round(self.rng.normal(0, 2, count) * 8) / 8 * to.scale
        rounding, slope = ROUNDINGS[self.dice(0, 3)], (1.0, 0.0, 0.125)[self.dice(0, 2)]
        transfer = Transfer(gain * self.rng.uniform(0.5, 3), offset, to, rounding, slope)
        return emit(self.b, x, transfer, axis=axis, name="quant", origin="net.quant")

    def dense(self, x: str, outputs: int) -> str:
        return self.sums("dense", x, self.weights((outputs, self.b.value(x).shape[-1])))

    def conv(self, x: str, outputs: int, *, same: bool = False) -> str:
        """A convolution over all spatial axes, of random geometry or one that keeps the size."""
        inputs, *sizes = self.b.value(x).shape
        rank = len(sizes)
        groups = inputs if self.dice(0, 2) == 0 and outputs % inputs == 0 else 1
        kernel = (3,) * rank if same else tuple(self.dice(1, min(3, n)) for n in sizes)
        padding = (1,) * 2 * rank if same else tuple(self.dice(0, 1) for _ in range(2 * rank))
        attributes = {
            "stride": (1,) * rank if same else tuple(self.dice(1, 2) for _ in sizes),
            "padding": padding,
            "dilation": (1,) * rank,
            "groups": groups,
            "fill": self.b.value(x).grid.zero,
        }
        return self.sums("conv", x, self.weights((outputs, inputs // groups, *kernel)), attributes)

    def pool(self, x: str) -> str:
        """A max pool, or a sum pool and its requantization."""
        _, *sizes = self.b.value(x).shape
        kernel = tuple(self.dice(1, min(2, n)) for n in sizes)
        attributes = {"kernel": kernel, "stride": kernel, "padding": (0,) * 2 * len(sizes)}
        if self.dice(0, 1):
            ones = (1,) * len(sizes)
            return self.b.op("max_pool", (x,), {**attributes, "dilation": ones}, name="max_pool")
        scale = 0.5 if np.ndim(self.b.value(x).grid.scale) == 0 else 1.0
        pooled = self.b.op("sum_pool", (x,), {**attributes, "fill": 0}, name="pool", scale=scale)
        return self.requantize(pooled)

    def flat(self, x: str) -> str:
        return self.b.op("reshape", (x,), {"shape": (int(np.prod(self.b.value(x).shape)),)})

    def head(self, x: str) -> Graph:
        """A last dense layer, its accumulators and the best class as outputs."""
        logits = self.dense(x, self.dice(2, 4))
        quantized = self.requantize(logits, grid=Grid(-128, 127, 0.1))
        best = self.b.op("top_k", (quantized,), {"axis": 0, "k": 1}, name="best", scale=1.0)
        return self.b.graph((logits, best), {"made": "at random"})


def _mlp(net: Net) -> Graph:
    x = net.input((net.dice(1, 6),))
    for _ in range(net.dice(1, 3)):
        x = net.requantize(net.dense(x, net.dice(1, 6)))
    return net.head(x)


def _conv(net: Net, sizes: tuple[int, ...]) -> Graph:
    x = net.input((net.dice(1, 3), *sizes))
    for _ in range(net.dice(1, 2)):
        x = net.requantize(net.conv(x, net.dice(1, 4)))
    return net.head(net.flat(net.pool(x)))


def _residual(net: Net) -> Graph:
    channels, shared = net.dice(1, 3), net.grid(zero=False)
    x = net.requantize(net.conv(net.input((2, 4, 4)), channels), grid=shared)
    for _ in range(net.dice(1, 2)):
        other = net.requantize(net.conv(x, channels, same=True), grid=shared)
        kind = "add" if net.dice(0, 2) else "subtract"
        both = net.b.op(kind, (other, x), {"shift_a": 0, "shift_b": 0}, name=kind)
        x = net.requantize(both, grid=shared)
    pooled = net.b.op("sum", (x,), {"axes": (1, 2)}, name="mean", scale=0.1)
    return net.head(net.flat(net.requantize(pooled)))


def _mixed(net: Net) -> Graph:
    """Every kind that the other families do not have."""
    b, rng = net.b, net.rng
    x = net.requantize(net.input((2, 3, 4)), grid=Grid(-8, 7, 0.25), axis=0)
    parts = [x]
    entries = rng.integers(-9, 9, (1, 1, 1, 16), endpoint=True)
    parts.append(b.op("table", (x, b.constant("table", entries)), {"first": -8}, scale=0.25))
    keep = b.constant("keep", rng.integers(0, 2, (2, 1, 4)))
    parts.append(b.op("mask", (x, keep), {"fill": 0}, name="mask"))
    steep = b.op("leaky", (x,), {"shift": 2}, name="leaky")
    shifts = {"shift_a": 0, "shift_b": 2}
    finer = b.op("add", (steep, parts[1]), shifts, name="finer")
    parts.append(net.requantize(finer, grid=Grid(-8, 7, 0.25)))
    factor = b.constant("factor", rng.integers(-3, 3, (2, 1, 1), endpoint=True), 0.5)
    parts.append(net.requantize(b.op("multiply", (x, factor)), grid=Grid(-4, 3, 0.25)))
    spread = b.op("pad", (x,), {"before": (0, 1, 0), "after": (0, 0, 1), "fill": 0})
    less = {"start": (0, 1, 0), "stop": (2, 4, 4), "step": (1, 1, 1)}
    parts.append(b.op("slice", (spread,), less, name="slice"))
    parts.append(b.op("clamp", (x,), {"lo": 0, "hi": net.dice(0, 7)}, name="relu"))
    wide = b.op("concat", tuple(parts), {"axis": 0}, name="concat")
    turned = b.op("permute", (wide,), {"axes": (0, 2, 1)}, name="turned")
    geometry = {
        "stride": (2, 1),
        "padding": (1, 0, net.dice(0, 1), 0),
        "dilation": (1, net.dice(1, 2)),
        "groups": 2,
        "fill": 0,
    }
    grown = net.sums("conv_transpose", turned, net.weights((14, 2, 3, 2)), geometry)
    return net.head(net.flat(net.pool(net.requantize(grown))))


_FAMILIES = {
    "mlp": _mlp,
    "conv1d": lambda net: _conv(net, (net.dice(3, 6),)),
    "conv2d": lambda net: _conv(net, (net.dice(3, 5), net.dice(3, 5))),
    "residual": _residual,
    "mixed": _mixed,
}
