"""Integer networks of the firmware benchmarks: random ones, and one whose widths were learned."""

from collections.abc import Callable

import numpy as np

from pareq.ir.build import Builder
from pareq.ir.graph import Graph
from pareq.lower.lower import lower
from pareq.numerics.grid import Grid, integer_range
from pareq.recipe.config import change_recipe
from pareq.recipe.presets import find_recipe
from pareq.tasks import Jets
from pareq.train.loop import train
from pareq.train.trial import network

__all__ = ["NETWORKS", "tagger"]

WIDTHS = (16, 64, 32, 32, 5)


def tagger(bits: int = 6, density: float = 0.2) -> Graph:
    """16-64-32-32-5 with relu and random weights, the smallest of them zero."""
    top = 2 ** (bits - 1) - 1

    def weights(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        real = rng.normal(size=shape)
        real[np.abs(real) < np.quantile(np.abs(real), 1 - density)] = 0
        return np.round(real / np.abs(real).max() * top).astype(np.int64)

    return _perceptron(bits, weights)


def powers() -> Graph:
    """The same with weights that are powers of two, 80 % of them zero."""

    def weights(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        sizes = rng.choice([-1, 1], shape) * 2 ** rng.integers(0, 5, shape)
        return sizes * (rng.random(shape) < 0.2)

    return _perceptron(6, weights)


def small_bits() -> Graph:
    """Ten inputs of 2 bits, neurons of three inputs: functions that fit tables."""

    def weights(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        found = np.zeros(shape, dtype=np.int64)
        for row in found:
            row[rng.choice(shape[1], 3, replace=False)] = rng.integers(1, 8, 3) * rng.choice(
                [-1, 1], 3
            )
        return found

    return _perceptron(2, weights, (10, 32, 32, 5))


def convolution() -> Graph:
    """A convolution of 8 channels on 8 x 8, a pool and a dense layer, 5 bits, 60 % zero."""
    rng, b = np.random.default_rng(0), Builder()
    x = b.input("x", (1, 8, 8), Grid(0, 31, 0.125))
    how = {"stride": (2, 2), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1, "fill": 0}
    weight = rng.integers(-15, 16, (8, 1, 3, 3)) * (rng.random((8, 1, 3, 3)) < 0.4)
    names = (b.constant("conv.weight", weight, 0.0625), b.constant("conv.bias", np.zeros(8, int)))
    x = _relu(b, b.op("conv", (x, *names), how, name="conv"), 5, "conv")
    window = {"kernel": (2, 2), "stride": (2, 2), "padding": (0,) * 4, "dilation": (1, 1)}
    x = b.op("max_pool", (x,), window, name="pool")
    x = b.op("reshape", (x,), {"shape": (32,)}, name="flat")
    weight = rng.integers(-15, 16, (10, 32)) * (rng.random((10, 32)) < 0.4)
    names = (b.constant("fc.weight", weight, 0.0625), b.constant("fc.bias", np.zeros(10, int)))
    return b.graph((b.op("dense", (x, *names), name="fc"),))


def learned() -> Graph:
    """The tagger with learned bit widths, trained for ten epochs on the embedded jets."""
    task, changes = Jets(batch_norm=False), ["training.seed=0", "training.epochs=10"]
    net = network(task, change_recipe(find_recipe("learned-bits"), changes))
    train(net, task)
    return lower(net, task.example)


NETWORKS: dict[str, Callable[[], Graph]] = {
    "tagger, 6 bits, 80 % zero": tagger,
    "tagger, 8 bits, dense": lambda: tagger(8, 1.0),
    "tagger, powers of two, 80 % zero": powers,
    "tagger, learned bits": learned,
    "convolution, 5 bits, 60 % zero": convolution,
    "three inputs of 2 bits a neuron": small_bits,
}


def _perceptron(
    bits: int,
    weights: Callable[[np.random.Generator, tuple[int, int]], np.ndarray],
    widths: tuple[int, ...] = WIDTHS,
) -> Graph:
    rng, b = np.random.default_rng(0), Builder()
    x = b.input("x", (widths[0],), Grid(*integer_range(bits), 0.125))
    for i, shape in enumerate(zip(widths[1:], widths, strict=False), 1):
        weight = weights(rng, shape)
        most = 200 if bits > 2 else 8
        bias = b.constant(f"fc{i}.bias", rng.integers(-most, most, len(weight)))
        x = b.op("dense", (x, b.constant(f"fc{i}.weight", weight, 0.0625), bias), name=f"fc{i}")
        if i < len(widths) - 1:
            x = _relu(b, x, bits, f"fc{i}")
    return b.graph((x,))


def _relu(b: Builder, x: str, bits: int, name: str) -> str:
    """Requantize to so many bits, a quarter of the range being used, rounding half up."""
    shift = max(int(np.round(np.log2(b.range(x).limits[1] / 4 / 2**bits))), 1)
    ones = (1,) * len(b.value(x).shape)
    names = [
        b.constant(f"{name}.{part}", np.full(ones, n))
        for part, n in (("multiplier", 1), ("offset", 1 << (shift - 1)), ("shift", shift))
    ]
    how = {"lo": 0, "hi": 2**bits - 1, "even": 0}
    return b.op("requantize", (x, *names), how, name=f"{name}.relu", scale=0.125)
