"""Learned bit widths on the embedded jets: accuracy, EBOPs, look-up tables, seconds.

For every seed: the shipped recipe `qap` (6 bits, 80 % pruned, with batch norm), and `learned-bits`
at three budgets of EBOPs, the network 16-64-32-32-5 without batch norm. Beside each budget HGQ2
(extra `bench`, keras with torch behind it) is trained on the same jets for as many epochs, with the
same batches, by its own loop and its own controller. All train with one thread.

EBOPs are those of the products in the finished networks, counted alike for both: the bits of each
weight from its highest to its lowest set one, times the bits of the input that it meets, with a
sign where that can be negative (of ours, those of the lowered graph). HGQ2's own count adds biases
and leading zeros; its controller is given the count above. Seconds are of the processor, for
training alone. Tables are counted by Yosys, where it is installed, for our designs.

What is measured is kept in --json at once, and not measured again by the same command.
"""

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from measure import arguments
from rich.console import Console
from rich.table import Table

from pareq.backends import Verilog, build
from pareq.backends.verilog.area import area
from pareq.ir.execute import evaluate
from pareq.ir.graph import Graph
from pareq.lower.lower import lower
from pareq.metrics.bops import effective_bits
from pareq.metrics.integers import graph_cost
from pareq.recipe.config import change_recipe
from pareq.recipe.presets import find_recipe
from pareq.tasks import Jets
from pareq.train.loop import train
from pareq.train.trial import network

BUDGETS = (1000, 2500, 6800)
FEWER_TABLES = 0.5  # of qap's, for a network that is at least as accurate
FINEST = 2.0**24  # steps of HGQ2's weights in 1
TRACED = 8192  # jets from which its controller knows the ranges, after each epoch
PEER_RATE, PEER_GAIN = 0.015, 0.3  # the best that we found for it in short runs, see the guide

Figures = dict[str, float]
Record = dict[str, object]
Network = tuple[str, int | None]  # its recipe or library, and its budget


def counted(graph: Graph, task: Jets) -> Figures:
    """Accuracy of the integers on the test split, EBOPs, and tables."""
    test = task.load().test
    scores = evaluate(graph, test.x.numpy())[0]
    found = {
        "accuracy": float((scores.argmax(axis=1) == test.y.numpy()).mean()),
        "ebops": graph_cost(graph).totals()["ebops"],
    }
    if shutil.which("yosys"):
        with tempfile.TemporaryDirectory(prefix="bits-") as folder:
            found["luts"] = area(build(graph, Verilog(), Path(folder) / "made")).luts
    return found


def ours(name: str, seed: int, epochs: int, budget: int | None) -> Figures:
    """One of our recipes, lowered."""
    task = Jets(batch_norm=budget is None)
    changes = [f"training.seed={seed}", f"training.epochs={epochs}"]
    changes += [f"rule.4.op.budget={float(budget)}"] if budget else []
    net = network(task, change_recipe(find_recipe(name), changes))
    begin = time.process_time()
    train(net, task)
    seconds = time.process_time() - begin
    return counted(lower(net, task.example), task) | {"seconds": seconds}


def products(model: object) -> float:
    """The EBOPs of a network of HGQ2's dense layers, as ours are counted."""
    from keras import ops

    total = 0.0
    for layer in model.layers:  # type: ignore[attr-defined]
        sign, front, behind = (ops.convert_to_numpy(each) for each in layer.iq.quantizer.kif)
        size = np.maximum(front + behind, 0).ravel()
        words = size + sign.ravel() * (size > 0)
        weight = ops.convert_to_numpy(layer.qkernel).astype(np.float64)
        spans = effective_bits(np.rint(weight * FINEST).astype(np.int64))
        total += float(words @ spans.sum(axis=1))
    return total


def hgq(seed: int, epochs: int, budget: int) -> Figures | None:
    """HGQ2 with its own layers, loop and controller; None where it is not installed."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
        from hgq.config import LayerConfigScope, QuantizerConfigScope
        from hgq.layers import QDense
        from hgq.utils import trace_minmax
        from hgq.utils.sugar import BetaPID
    except ImportError:
        return None

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
    rate = keras.optimizers.schedules.CosineDecay(PEER_RATE, epochs * -(-len(y) // batch))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    # its own integral gain, 2e-3 an epoch, is for runs of thousands of epochs
    pid = Products(budget, init_beta=1e-6, i=PEER_GAIN, warmup=max(epochs // 20, 1))
    begin = time.process_time()
    model.fit(x, y, batch, epochs, verbose=0, callbacks=[pid])
    seconds = time.process_time() - begin - pid.spent
    trace_minmax(model, x, verbose=0)
    _, accuracy = model.evaluate(data.test.x.numpy(), data.test.y.numpy(), 4096, verbose=0)
    return {"accuracy": float(accuracy), "ebops": products(model), "seconds": seconds}


def kept(file: Path | None) -> list[Record]:
    """What was measured before, by another process in the meantime too."""
    if file is None or not file.exists():
        return []
    records: list[Record] = json.loads(file.read_text())
    return records


def measure(record: Record) -> Figures | None:
    """The figures of one network."""
    name, seed, epochs, budget = (record[k] for k in ("network", "seed", "epochs", "budget"))
    if name == "HGQ2":
        return hgq(int(str(seed)), int(str(epochs)), int(str(budget)))
    return ours(str(name), int(str(seed)), int(str(epochs)), int(str(budget or 0)) or None)


def mean(records: Sequence[Record], which: Network, figure: str) -> float | None:
    """Over seeds; None where it was not measured."""
    same = [r for r in records if (r["network"], r["budget"]) == which]
    found = [float(str(r[figure])) for r in same if figure in r]
    return statistics.mean(found) if found else None


def verdicts(records: Sequence[Record]) -> Table:
    """Each bar, and whether it is met."""
    table = Table("budget", "bar", "ours", "beside", "holds")

    def add(budget: int, bar: str, figure: str, peer: Network, factor: float) -> None:
        a, b = mean(records, ("learned-bits", budget), figure), mean(records, peer, figure)
        if a is not None and b is not None:
            holds = a >= b if figure == "accuracy" else a <= factor * b
            table.add_row(str(budget), bar, f"{a:.5g}", f"{b:.5g}", "yes" if holds else "NO")

    for budget in BUDGETS:
        add(budget, "accuracy, at least HGQ2's", "accuracy", ("HGQ2", budget), 1)
        add(budget, "seconds, at most HGQ2's", "seconds", ("HGQ2", budget), 1)
        add(budget, "accuracy, at least qap's", "accuracy", ("qap", None), 1)
        add(budget, "look-up tables, at most half of qap's", "luts", ("qap", None), FEWER_TABLES)
    return table


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--budget", type=int, action="append", help="instead of all; repeatable")
    parser.add_argument("--only", choices=("learned-bits", "HGQ2", "qap"), help="one network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    file: Path | None = options.json
    done = kept(file)
    kinds: list[Network] = list(product(("learned-bits", "HGQ2"), options.budget or BUDGETS))
    kinds = [kind for kind in (*kinds, ("qap", None)) if options.only in (None, kind[0])]
    for seed, (name, budget) in product(range(options.seeds), kinds):
        key: Record = {"network": name, "budget": budget, "seed": seed, "epochs": options.epochs}
        if any(key.items() <= record.items() for record in done):
            continue
        found = measure(key)
        if found is None:
            continue
        done = [*(kept(file) or done), key | found]
        Console(stderr=True).log(done[-1])
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(done, indent=1) + "\n")
    Console().print(verdicts([r for r in done if r["epochs"] == options.epochs]))


if __name__ == "__main__":
    main()
