"""Graphs that the tests of back ends share."""

from itertools import pairwise

import numpy as np

from pareq.ir.build import Builder
from pareq.ir.graph import Graph
from pareq.lower.emit import emit
from pareq.lower.transfer import Transfer
from pareq.numerics.grid import Grid, integer_range

__all__ = ["convolutions", "perceptron", "sparse", "tagger"]


def sparse(rng: np.random.Generator, shape: tuple[int, ...], bits: int, density: float):
    """Normal weights of which the smallest are removed, rounded to `bits` bits."""
    real = rng.normal(size=shape)
    real[np.abs(real) < np.quantile(np.abs(real), 1 - density)] = 0
    top = 2 ** (bits - 1) - 1
    return np.clip(np.round(real / np.abs(real).max() * top), -top, top).astype(np.int64)


def tagger(*, bits: int = 6, density: float = 0.2, seed: int = 0, free: bool = False) -> Graph:
    """16-64-32-32-5 with relu, the network of the jets; free: scales that are no powers of two."""
    return perceptron((16, 64, 32, 32, 5), bits=bits, density=density, seed=seed, free=free)


def perceptron(
    widths: tuple[int, ...],
    *,
    bits: int = 6,
    density: float = 0.2,
    seed: int = 0,
    free: bool = False,
    rounding: str = "half_up",
    signed: bool = False,
    quantized: bool = False,
) -> Graph:
    """Dense layers with requantizations between them; quantized: behind the last one as well."""
    rng, build = np.random.default_rng(seed), Builder()
    x = build.input("x", (widths[0],), Grid(*integer_range(bits), 0.125))
    for i, shape in enumerate(zip(widths[1:], widths, strict=False), 1):
        x = _weighted(build, "dense", x, sparse(rng, shape, bits, density), rng, f"fc{i}")
        if i < len(widths) - 1 or quantized:
            x = _settled(build, x, rng, (bits, free, rounding, signed), f"fc{i}")
    return build.graph((x,))


def convolutions(
    channels: tuple[int, ...] = (3, 8, 16, 20),
    *,
    size: tuple[int, ...] = (9, 10),
    bits: int = 6,
    seed: int = 0,
    free: bool = False,
) -> Graph:
    """Convolutions with strides, padding and dilation, one residual, a pool and a dense layer."""
    rng, build = np.random.default_rng(seed), Builder()
    rank = len(size)
    x = build.input("x", (channels[0], *size), Grid(*integer_range(bits), 0.125))
    for i, (inside, out) in enumerate(pairwise(channels), 1):
        wide = tuple(int(n) for n in rng.integers(1, 4, rank))
        how = {
            "stride": tuple(int(n) for n in rng.integers(1, 3, rank)),
            "padding": tuple(int(n) for n in rng.integers(0, 3, 2 * rank)),
            "dilation": tuple(int(n) for n in rng.integers(1, 3, rank)),
            "groups": 1,
            "fill": 0,
        }
        weight = sparse(rng, (out, inside, *wide), bits, 0.7)
        x = _weighted(build, "conv", x, weight, rng, f"conv{i}", how)
        x = _settled(build, x, rng, (bits, free, "half_even", False), f"conv{i}")
        same = {
            "stride": (1,) * rank,
            "padding": (1,) * 2 * rank,
            "dilation": (1,) * rank,
            "groups": out,
            "fill": 0,
        }
        y = _weighted(
            build, "conv", x, sparse(rng, (out, 1, *(3,) * rank), bits, 0.9), rng, "d", same
        )
        y = _settled(build, y, rng, (bits, False, "half_up", False), "deep")
        x = build.op("add", (x, y), {"shift_a": 0, "shift_b": 0}, name=f"add{i}")
        x = _settled(build, x, rng, (bits, False, "half_up", False), f"sum{i}")
        window = {"kernel": (2,) * rank, "stride": (1,) * rank, "padding": (1, 0) * rank}
        ones = {"dilation": (1,) * rank}
        x = build.op("max_pool", (x,), {**window, **ones}, name=f"max{i}")
        if i == 1:
            x = build.op("sum_pool", (x,), {**window, "fill": 0}, name="pool", scale=0.125)
            x = _settled(build, x, rng, (bits, free, "floor", False), "pool")
    x = build.op("sum", (x,), {"axes": tuple(range(1, rank + 1))}, name="mean", scale=0.125)
    x = _settled(build, x, rng, (bits, free, "half_up", False), "mean")
    x = build.op("reshape", (x,), {"shape": (channels[-1],)}, name="flat")
    x = _weighted(build, "dense", x, sparse(rng, (6, channels[-1]), bits, 0.8), rng, "fc")
    return build.graph((x,))


def _weighted(build, kind, x, weight, rng, name, how=None) -> str:
    w = build.constant(f"{name}.weight", weight, 0.0625)
    scale = build.value(x).grid.scale * 0.0625
    b = build.constant(f"{name}.bias", rng.integers(-200, 200, len(weight)), scale)
    return build.op(kind, (x, w, b), how, name=name, origin=f"net.{name}")


def _settled(build, x, rng, how, name) -> str:
    """Requantize so that about a quarter of the range is used."""
    bits, free, rounding, signed = how
    grid = Grid(*integer_range(bits, signed=signed), 0.125)
    channels = build.value(x).shape[0]
    reach = max(map(abs, build.range(x).limits))
    gain = 4 * (grid.hi - grid.lo) * 0.125 / reach
    gain = np.full(channels, 2.0 ** np.round(np.log2(gain)))
    if free:
        gain = gain * rng.uniform(0.7, 1.4, channels) * rng.choice([-1, 1, 1, 1], channels)
    offset = rng.normal(size=channels) * 0.3 if free else np.zeros(channels)
    transfer = Transfer(gain, offset, grid, rounding)
    return emit(build, x, transfer, name=f"{name}.out", origin=f"net.{name}")
