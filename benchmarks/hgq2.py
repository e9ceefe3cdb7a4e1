"""HGQ2 beside us: its network on the jets, trained by its own loop, and the integers that it is.

`converted` makes a graph of integers of a finished network of HGQ2's dense layers: fixed-point
weights and biases, and words of a width of their own for every activation, rounded half up. Their
overflow wraps, which takes no logic: of an input where it enters, of an activation by a table that
keeps the lowest bits. `prove` holds the graph to keras.

HGQ2's own count of EBOPs adds biases and leading zeros; its controller is given that of `products`,
which counts as ours does while it trains.
"""

import os
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.errors import LoweringError
from pareq.ir.build import Builder
from pareq.ir.execute import evaluate
from pareq.ir.graph import Graph
from pareq.lower.passes import simplify
from pareq.metrics.bops import effective_bits
from pareq.numerics.grid import Grid
from pareq.recipe.presets import find_recipe
from pareq.tasks import Jets

__all__ = ["available", "converted", "products", "prove", "trained"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

FINEST = 24  # bits behind the point, of weights and biases
TRACED = 8192  # jets from which its controller knows the ranges, after each epoch
RATE, GAIN = 0.015, 0.3  # the best that we found for it in short runs, see the guide


@dataclass(frozen=True)
class Words:
    """Fixed-point words, one an element `(n,)`: with a sign or not, bits before and behind."""

    sign: Integers
    front: Integers
    behind: Integers

    @classmethod
    def of(cls, layer: object) -> "Words":
        """Those of the input of a layer."""
        from keras import ops

        found = layer.iq.quantizer.kif  # type: ignore[attr-defined]
        parts = (np.rint(ops.convert_to_numpy(each)) for each in found)
        return cls(*(each.ravel().astype(np.int64) for each in parts))

    @property
    def size(self) -> Integers:
        """Bits of each word without its sign."""
        return np.maximum(self.front + self.behind, 0)

    @property
    def bits(self) -> Integers:
        """Bits of each word; 0 where it holds nothing."""
        return self.size + self.sign * (self.front + self.behind + self.sign > 0)

    @property
    def finest(self) -> int:
        """Bits behind the point that hold them all."""
        return int(self.behind[self.bits > 0].max())


def available() -> bool:
    """Whether HGQ2 is installed, with keras, for which torch is chosen."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import hgq  # noqa: F401
    except ImportError:
        return False
    return True


def trained(seed: int, epochs: int, budget: int) -> tuple[object, float]:
    """A network by HGQ2's own layers, loop and controller, and the seconds of its training."""
    import keras
    from hgq.config import LayerConfigScope, QuantizerConfigScope
    from hgq.layers import QDense
    from hgq.utils import trace_minmax
    from hgq.utils.sugar import BetaPID

    class Products(BetaPID):  # type: ignore[misc]
        spent = 0.0  # seconds of counting, which are none of its training

        def get_ebops(self) -> float:
            start = time.process_time()
            trace_minmax(self.model, x[:TRACED], verbose=0)
            found = max(products(self.model), 1.0)
            self.spent += time.process_time() - start
            return found

    keras.utils.set_random_seed(seed)
    data, batch = Jets().load(), find_recipe("learned-bits").training.batch_size
    x, y = data.train.x.numpy(), data.train.y.numpy()
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP"),
        LayerConfigScope(enable_ebops=True, beta0=1e-6),
    ):
        layers = [QDense(n, activation="relu") for n in (64, 32, 32)]
        model = keras.Sequential([keras.layers.Input((16,)), *layers, QDense(5)])
    rate = keras.optimizers.schedules.CosineDecay(RATE, epochs * -(-len(y) // batch))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    # its own integral gain, 2e-3 an epoch, is for runs of thousands of epochs
    pid = Products(budget, init_beta=1e-6, i=GAIN, warmup=max(epochs // 20, 1))
    begin = time.process_time()
    model.fit(x, y, batch, epochs, verbose=0, callbacks=[pid])
    seconds = time.process_time() - begin - pid.spent
    trace_minmax(model, x, verbose=0)
    return model, seconds


def products(model: object) -> float:
    """The EBOPs of HGQ2's dense layers: the bits of each weight times those of its word."""
    total = 0.0
    for layer in model.layers:  # type: ignore[attr-defined]
        spans = effective_bits(_whole(_real(layer.qkernel), FINEST))
        total += float(Words.of(layer).bits @ spans.sum(axis=1))
    return total


def converted(model: object) -> Graph:
    """The integers of a network of HGQ2's dense layers, with an input for every feature it reads.

    Raises LoweringError where it has no such integers.
    """
    made, x = Builder(), ""
    for number, layer in enumerate(model.layers, 1):  # type: ignore[attr-defined]
        words, name = Words.of(layer), f"fc{number}"
        x = _activated(made, x, words, f"act{number - 1}") if x else _entered(made, words)
        weight, bias = _real(layer.qkernel).T, _real(layer.qbias)
        if number == 1:
            weight = weight[:, words.bits > 0]
        behind = max(words.finest + _behind(weight), _behind(bias))
        scales = 2.0 ** (words.finest - behind), 2.0**-behind
        parts = (
            made.constant(f"{name}.weight", _whole(weight, behind - words.finest), scales[0]),
            made.constant(f"{name}.bias", _whole(bias, behind), scales[1]),
        )
        x = made.op("dense", (x, *parts), name=name)
    return simplify(made.graph((x,)))


def _columns(model: object, x: npt.NDArray[np.floating]) -> list[npt.NDArray[np.floating]]:
    """The inputs of the graph that `converted` makes, for jets `(N, features)`."""
    read = np.flatnonzero(Words.of(model.layers[0]).bits)  # type: ignore[attr-defined]
    return [x[:, [feature]] for feature in read]


def prove(graph: Graph, model: object, x: npt.NDArray[np.floating]) -> Reals:
    """The scores of a graph for jets `(N, features)`, which are those of keras to the last bit.

    Raises LoweringError with the first that is not.
    """
    found = evaluate(graph, *_columns(model, x))[0]
    expected = _real(model.predict(x, 4096, verbose=0))  # type: ignore[attr-defined]
    differ = np.argwhere(found != expected)
    if len(differ):
        jet, score = (int(each) for each in differ[0])
        raise LoweringError(
            f"HGQ2: {len(differ)} of {found.size} scores are not those of keras, the first of jet"
            f" {jet}, score {score}: {found[jet, score]!r}, expected {expected[jet, score]!r}"
        )
    return found


def _entered(made: Builder, words: Words) -> str:
    """An input of the graph for each feature that is read, all on one scale."""
    names = []
    read = np.flatnonzero(words.bits)
    for feature in read:
        size, sign = int(words.size[feature]), int(words.sign[feature])
        grid = Grid(-sign << size, (1 << size) - 1, 2.0 ** -int(words.behind[feature]))
        x = made.input(f"x{feature}", (1,), grid, rounding="half_up", overflow="wrap")
        names.append(x)
    x = made.op("concat", names, {"axis": 0}, name="x")
    return _requantized(made, x, Scaling(words.finest - words.behind[read]), 2.0**-words.finest)


def _activated(made: Builder, x: str, words: Words, name: str) -> str:
    """Behind a relu: rounded half up to the words of each element, whose highest bits are lost."""
    if (words.sign * words.bits).any():
        raise LoweringError(f"{name}: a word behind a relu has a sign, which none should have")
    used, scale = words.bits > 0, float(made.value(x).grid.scale)
    behind = np.where(used, words.behind, words.finest)
    left = behind + int(np.log2(scale))
    x = _requantized(made, x, Scaling(left, used), 2.0**-behind)
    lowest = np.arange(made.range(x).limits[1] + 1) % (1 << words.bits[:, None])
    table = made.constant(f"{name}.table", lowest)
    x = made.op("table", (x, table), {"first": 0}, name=name, scale=2.0**-behind)
    return _requantized(made, x, Scaling(words.finest - behind), 2.0**-words.finest)


@dataclass(frozen=True)
class Scaling:
    """x * 2^left of each element, rounded half up; with `used` 0 below 0 and where not used."""

    left: Integers
    used: npt.NDArray[np.bool_] | None = None


def _requantized(made: Builder, x: str, by: Scaling, scale: float | Reals) -> str:
    right = np.maximum(-by.left, 0)
    factor = np.ones_like(by.left) if by.used is None else by.used.astype(np.int64)
    offset = factor * ((1 << right) >> 1)
    factor = factor << np.maximum(by.left, 0)
    reach = made.range(x)
    ends = np.stack([reach.lo, reach.hi]) * factor + offset >> right
    bounds = {"lo": int(ends.min()) if by.used is None else 0, "hi": int(ends.max()), "even": 0}
    parts = {"multiplier": factor, "offset": offset, "shift": right}
    names = [made.constant(f"{x}.{part}", data) for part, data in parts.items()]
    return made.op("requantize", (x, *names), bounds, name=f"{x}.scaled", scale=scale)


def _real(tensor: object) -> Reals:
    """A tensor of keras."""
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor), dtype=np.float64)


def _behind(reals: Reals) -> int:
    """Bits behind the point that some reals need."""
    whole = _whole(reals, FINEST)
    lowest = int(np.bitwise_or.reduce(whole, axis=None))
    return FINEST - ((lowest & -lowest).bit_length() - 1) if lowest else 0


def _whole(reals: Reals, behind: int) -> Integers:
    """Reals as integers with so many bits behind the point. Raises LoweringError."""
    found = np.ldexp(reals, behind)
    if (found != np.rint(found)).any():
        raise LoweringError(f"HGQ2: a weight or bias has more than {behind} bits behind the point")
    return found.astype(np.int64)
