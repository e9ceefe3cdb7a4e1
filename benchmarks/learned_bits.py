"""Learned bit widths on the embedded jets: accuracy, EBOPs, look-up tables, seconds.

For every seed: the shipped recipe `qap` (6 bits, 80 % pruned), and `learned-bits` at three budgets
of EBOPs, the network 16-64-32-32-5 without batch norm for the latter. Beside each budget HGQ2 is
trained on the same jets for as many epochs by its own loop and its own controller, where it is
installed (extra `bench`, keras with torch behind it). EBOPs of ours are those of the lowered graph,
those of HGQ2 as it counts them without biases; tables are counted by Yosys where it is installed,
for our designs. Rows show means over seeds.
"""

import os
import shutil
import statistics
import tempfile
import time
from itertools import product
from pathlib import Path

import torch
from measure import Row, arguments, report

from pareq.backends import Verilog, build
from pareq.backends.verilog.area import area
from pareq.ir.execute import evaluate
from pareq.ir.graph import Graph
from pareq.lower.lower import lower
from pareq.metrics.integers import graph_cost
from pareq.recipe.config import change_recipe
from pareq.recipe.presets import find_recipe
from pareq.tasks import Jets
from pareq.train.loop import train
from pareq.train.trial import network

BUDGETS = (1000, 2500, 6800)
FEWER_TABLES = 0.5  # of qap's, for a network of the same accuracy

Figures = dict[str, float]


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


def ours(name: str, seed: int, epochs: int | None, budget: int | None) -> Figures:
    """One of our recipes, lowered."""
    torch.set_num_threads(1)
    task = Jets(batch_norm=budget is None)
    changes = [f"training.seed={seed}", *([f"training.epochs={epochs}"] if epochs else [])]
    changes += [f"rule.4.op.budget={float(budget)}"] if budget else []
    recipe = change_recipe(find_recipe(name), changes)
    net = network(task, recipe)
    run = train(net, task)
    found = counted(lower(net, task.example), task) | {"seconds": run.result.seconds}
    print(f"{name} {budget or ''} seed {seed}: {found}", flush=True)
    return found


def hgq(seed: int, epochs: int | None, budget: int) -> Figures | None:
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
    training = find_recipe("learned-bits").training
    epochs = epochs or training.epochs
    keras.utils.set_random_seed(seed)
    torch.set_num_threads(1)
    data = Jets().load()
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP"),
        LayerConfigScope(enable_ebops=True, beta0=1e-6),
    ):
        layers = [QDense(n, activation="relu") for n in (64, 32, 32)]
        model = keras.Sequential([keras.layers.Input((16,)), *layers, QDense(5)])
    x, y = data.train.x.numpy(), data.train.y.numpy()
    steps = epochs * -(-len(y) // training.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(training.learning_rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    # its own integral gain, 2e-3 an epoch, is for runs of thousands of epochs
    pid = BetaPID(budget, init_beta=1e-6, i=5.0 / epochs, warmup=max(epochs // 20, 1))
    begin = time.perf_counter()
    model.fit(x, y, training.batch_size, epochs, verbose=0, callbacks=[pid])
    seconds = time.perf_counter() - begin
    trace_minmax(model, x, verbose=0)
    _, accuracy = model.evaluate(data.test.x.numpy(), data.test.y.numpy(), 4096, verbose=0)
    ebops = sum(float(layer.ebops) for layer in model.layers if hasattr(layer, "ebops"))
    found = {"accuracy": float(accuracy), "ebops": ebops, "seconds": seconds}
    print(f"hgq2 {budget} seed {seed}: {found}", flush=True)
    return found


def mean(found: list[Figures], metric: str) -> float:
    """Over seeds."""
    return statistics.mean(each[metric] for each in found)


def rows(budget: int, made: list[Figures], qap: list[Figures], peer: list[Figures]) -> list[Row]:
    """A budget beside qap, and beside HGQ2."""
    case = f"learned bits, {budget} EBOPs"
    pairs = [("accuracy", None), ("ebops", None), ("seconds", None)]
    if "luts" in made[0]:
        pairs.append(("luts", FEWER_TABLES if budget == BUDGETS[-1] else None))
    result = []
    for metric, bar in pairs:
        a, b = mean(made, metric), mean(qap, metric)
        text = f"{metric}, {len(made)} seeds"
        result.append(Row(case, text, a, b, "qap, 6 bits, 80 %", a / b, bar))
    for metric in ("accuracy", "ebops", "seconds") if peer else ():
        a, b = mean(made, metric), mean(peer, metric)
        text, more = f"{metric}, {len(made)} seeds", metric == "accuracy"
        bar = 1.0 if metric != "ebops" else None
        result.append(Row(case, text, a, b, "HGQ2", a / b, bar, at_least=more))
    used = mean(made, "ebops")
    result.append(Row(case, "EBOPs of the budget", used, budget, "the budget", used / budget, 1.0))
    return result


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="else the recipes' own")
    parser.add_argument("--budget", type=int, action="append", help="instead of all; repeatable")
    parser.add_argument("--no-peer", action="store_true", help="leave HGQ2 out")
    options = parser.parse_args()
    seeds, epochs = range(options.seeds), options.epochs
    budgets = options.budget or BUDGETS
    qap = [ours("qap", seed, epochs, None) for seed in seeds]
    made = {b: [ours("learned-bits", seed, epochs, b) for seed in seeds] for b in budgets}
    peers: dict[int, list[Figures]] = {b: [] for b in budgets}
    for budget, seed in product(budgets if not options.no_peer else (), seeds):
        found = hgq(seed, epochs, budget)
        peers[budget] += [] if found is None else [found]
    whole = [row for b in budgets for row in rows(b, made[b], qap, peers[b])]
    report(whole, options.json)


if __name__ == "__main__":
    main()
