"""Learned bit widths on the embedded jets: accuracy, EBOPs, look-up tables, seconds.

For every seed: the shipped recipes `qap` (6 bits, 80 % pruned, free scales, with batch norm) and
`qap-fixed` (the same in steps of powers of two, without batch norm, so that hardware multiplies by
weights alone), and `learned-bits` at several budgets of EBOPs, the network 16-64-32-32-5 without
batch norm. Beside some budgets HGQ2 (extra `bench`, keras with torch behind it) is trained on the
same jets for as many epochs, with the same batches, by its own loop and its own controller
(benchmarks/hgq2.py). All train with one thread.

Accuracy is that of integers: of ours those of the lowered graph, of HGQ2's network those of a graph
that was made from it, and that gives the scores of keras for every jet of the test split. EBOPs are
counted from the graphs: the bits of each weight from its highest to its lowest set one, times the
bits of the input that it meets, with a sign where that can be negative. Seconds are of the
processor, for training alone. Look-up tables are counted by Yosys, where it is installed, of the
designs of our emitter, and of alkaid's (extra `fpga`) where that is installed.

What is measured is kept in --json at once, and not measured again by the same command.
"""

import shutil
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import hgq2
import torch
from measure import Kept, Record, accuracy, arguments
from rich.console import Console
from rich.table import Table

from pareq.backends import Verilog, build
from pareq.backends.verilog.area import area
from pareq.errors import MissingExtra
from pareq.ir.graph import Graph
from pareq.lower.lower import lower
from pareq.metrics.integers import graph_cost
from pareq.recipe.config import change_recipe
from pareq.recipe.presets import find_recipe
from pareq.studies.order_statistics import difference
from pareq.tasks import Jets
from pareq.train.loop import train
from pareq.train.trial import network

BUDGETS = (1000, 2500, 4000, 6800, 9000)
PEER_BUDGETS = (1000, 2500, 6800)
UNIFORM = ("qap", "qap-fixed")  # 6 bits everywhere, 80 % pruned
FEWER = 0.5  # look-up tables of those, for a network that is at least as accurate

Network = tuple[str, int | None]  # its recipe or library, and its budget
Pair = tuple[float, float]


def counted(graph: Graph, right: float) -> Record:
    """The accuracy of the integers on the test split, EBOPs, and tables by emitter."""
    found: Record = {"accuracy": right, "ebops": graph_cost(graph).totals()["ebops"]}
    return found | tables(graph)


def tables(graph: Graph) -> Record:
    """Look-up tables of our emitter's design and of alkaid's, as far as they can be counted."""
    if not shutil.which("yosys"):
        return {}
    emitters = {"luts": Verilog(emitter="native"), "luts_alkaid": Verilog(emitter="alkaid")}
    found: Record = {}
    with tempfile.TemporaryDirectory(prefix="bits-") as folder:
        for name, emitter in emitters.items():
            try:
                found[name] = float(area(build(graph, emitter, Path(folder) / name)).luts)
            except MissingExtra:
                continue
    return found


def ours(name: str, seed: int, epochs: int, budget: int | None) -> Record:
    """One of our recipes, lowered."""
    task = Jets(batch_norm=name == "qap")
    changes = [f"training.seed={seed}", f"training.epochs={epochs}"]
    changes += [f"rule.4.op.budget={float(budget)}"] if budget else []
    net = network(task, change_recipe(find_recipe(name), changes))
    begin = time.process_time()
    train(net, task)
    seconds = time.process_time() - begin
    graph = lower(net, task.example)
    return counted(graph, accuracy(graph, task)) | {"seconds": seconds}


def peer(seed: int, epochs: int, budget: int) -> Record | None:
    """HGQ2, as integers that are those of keras; None where it is not installed."""
    if not hgq2.available():
        return None
    model, seconds = hgq2.trained(seed, epochs, budget)
    graph = hgq2.converted(model)
    test = Jets().load().test
    scores = hgq2.prove(graph, model, test.x.numpy())
    right = float((scores.argmax(axis=1) == test.y.numpy()).mean())
    return counted(graph, right) | {"seconds": seconds}


def measure(record: Record) -> Record | None:
    """The figures of one network."""
    name, seed, epochs, budget = (record[k] for k in ("network", "seed", "epochs", "budget"))
    if name == "HGQ2":
        return peer(int(str(seed)), int(str(epochs)), int(str(budget)))
    return ours(str(name), int(str(seed)), int(str(epochs)), int(str(budget or 0)) or None)


def paired(records: Sequence[Record], which: Network, beside: Network, figure: str) -> list[Pair]:
    """A figure of two networks for each seed that has both."""

    def of(network: Network) -> dict[object, float]:
        same = [r for r in records if (r["network"], r["budget"]) == network and figure in r]
        return {r["seed"]: float(str(r[figure])) for r in same}

    a, b = of(which), of(beside)
    return [(a[seed], b[seed]) for seed in a if seed in b]


def verdicts(records: Sequence[Record]) -> Table:
    """Each bar, whether the means meet it, and the difference by seed with its interval of 95 %."""
    table = Table("budget", "bar", "ours", "beside", "difference", "holds")

    def add(budget: int, bar: str, figure: str, beside: Network, factor: float = 1) -> None:
        pairs = paired(records, ("learned-bits", budget), beside, figure)
        if not pairs:
            return
        mine, other = (sum(each) / len(pairs) for each in zip(*pairs, strict=True))
        holds = mine >= other if figure == "accuracy" else mine <= factor * other
        apart = difference([a - b for a, b in pairs])
        cells = (f"{mine:.5g}", f"{other:.5g}", f"{apart.mean:+.3g}")
        between = f"{cells[2]} ({apart.low:+.3g} to {apart.high:+.3g})"
        table.add_row(str(budget), bar, *cells[:2], between, "yes" if holds else "NO")

    for budget in BUDGETS:
        for figure in ("accuracy", "seconds", "luts"):
            least = "at least" if figure == "accuracy" else "at most"
            add(budget, f"{figure}, {least} HGQ2's", figure, ("HGQ2", budget))
        for name in UNIFORM:
            add(budget, f"accuracy, at least that of {name}", "accuracy", (name, None))
            add(budget, f"luts, at most half of those of {name}", "luts", (name, None), FEWER)
    return table


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--budget", type=int, action="append", help="instead of all; repeatable")
    names = ("learned-bits", "HGQ2", *UNIFORM)
    parser.add_argument("--only", choices=names, help="one network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = Kept(options.json)
    kinds: list[Network] = [("learned-bits", each) for each in options.budget or BUDGETS]
    kinds += [("HGQ2", each) for each in options.budget or PEER_BUDGETS]
    kinds = [
        kind for kind in (*kinds, *product(UNIFORM, (None,))) if options.only in (None, kind[0])
    ]
    for seed, (name, budget) in product(range(options.seeds), kinds):
        key: Record = {"network": name, "budget": budget, "seed": seed, "epochs": options.epochs}
        if kept.like(key):
            continue
        found = measure(key)
        if found is None:
            continue
        kept.add(key, found)
        Console(stderr=True).log(key | found)
    Console().print(verdicts(kept.like({"epochs": options.epochs})))


if __name__ == "__main__":
    main()
