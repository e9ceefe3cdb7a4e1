"""Look-up tables of the jet tagger: what training counts beside synthesis, and what for to train.

`learned`: `learned-bits` on 16-64-32-32-5 without batch norm, with a budget of EBOPs and with one
of look-up tables (`Luts`). `pruned`: `qap-fixed` without batch norm (6 bits, 80 % pruned) with
several scores. For each network: accuracy of the integers on the test split, EBOPs, and tables: as
`Luts` counts them in training (`counted`), as our back end estimates them without any tool
(`estimate`), and as Yosys counts our own Verilog (`luts`). --no-yosys leaves that out; the same
command without it adds it, for which it trains again.

What is measured is kept in --json at once, and not measured again by the same command.
"""

import shutil
import statistics
import tempfile
from itertools import product
from pathlib import Path

import torch
from measure import Kept, Record, accuracy, arguments
from rich.console import Console
from rich.table import Table

from pareq.attach.attach import Attached
from pareq.backends import Verilog, build
from pareq.backends.verilog.area import area
from pareq.lower.lower import lower
from pareq.metrics.integers import graph_cost
from pareq.quantizers import Luts, Price
from pareq.recipe.config import change_recipe
from pareq.recipe.presets import find_recipe
from pareq.tasks import Jets
from pareq.train.loop import train
from pareq.train.trial import network

BUDGETS = (1000, 2500)
UNITS = ("ebops", "luts")
SCORES = ("magnitude", "digits6", "hardware")


def counted(net: Attached) -> float:
    """The look-up tables that `Luts` counts in a network with a price."""
    found = 0.0
    for site in net.sites:
        for operator in site.operators:
            if isinstance(operator, Price):
                meter = Luts(budget=1.0)
                meter.layer = operator.layer
                found += float(meter.count(site.value()).detach())
    return found


def trained(changes: list[str], recipe: str, *, yosys: bool) -> Record:
    """The figures of one network."""
    task = Jets(batch_norm=False)
    net = network(task, change_recipe(find_recipe(recipe), changes))
    train(net, task)
    graph = lower(net, task.example)
    found: Record = {
        "accuracy": accuracy(graph, task),
        "ebops": graph_cost(graph).totals()["ebops"],
        "counted": counted(net) or None,
    }
    with tempfile.TemporaryDirectory(prefix="luts-") as folder:
        artefact = build(graph, Verilog(emitter="native"), Path(folder) / "made")
        found["estimate"] = artefact.figures["lut_estimate"]
        found["luts"] = area(artefact).luts if yosys and shutil.which("yosys") else None
    return found


def asked(kind: str, seeds: int, epochs: int, budgets: list[int]) -> list[tuple[Record, list[str]]]:
    """Every network of a kind, and how its recipe is changed; the kinds take turns at each seed."""
    found: list[tuple[Record, list[str]]] = []
    variants = list(product(budgets, UNITS)) if kind == "learned" else [(0, s) for s in SCORES]
    for seed, (budget, what) in product(range(seeds), variants):
        changes = [f"training.seed={seed}", f"training.epochs={epochs}"]
        if kind == "learned":
            changes += [f"rule.4.op.name={what}", f"rule.4.op.budget={float(budget)}"]
        else:
            changes.append(f"rule.1.op.score={what}")
        key: Record = {"kind": kind, "what": what, "budget": budget, "seed": seed, "epochs": epochs}
        found.append((key, changes))
    return found


def shown(records: list[Record]) -> Table:
    """Means over the seeds, and the largest error of what is counted and estimated."""
    columns = ("accuracy, %", "EBOPs", "counted", "estimate", "Yosys", "counted / Yosys - 1, %")
    table = Table("network", "epochs", "seeds", *columns)
    groups: dict[tuple[object, ...], list[Record]] = {}
    for r in records:
        groups.setdefault((r["kind"], r["what"], r["budget"], r["epochs"]), []).append(r)
    for (kind, what, budget, epochs), same in sorted(groups.items(), key=str):
        figures = ("accuracy", "ebops", "counted", "estimate", "luts")
        found = [[float(str(r[f])) for r in same if r.get(f) is not None] for f in figures]
        means = [f"{statistics.fmean(each):,.0f}" if each else "" for each in found[1:]]
        score = [100 * each for each in found[0]]
        spread = f" ± {statistics.stdev(score):.2f}" if len(score) > 1 else ""
        both = zip(found[2], found[4], strict=True) if len(found[2]) == len(found[4]) else ()
        errors = [100 * (a / b - 1) for a, b in both]
        ends = f"{min(errors):+.1f} to {max(errors):+.1f}" if errors else ""
        name = f"{kind}, {what}" + (f", {budget:,}" if budget else "")
        accuracy = f"{statistics.fmean(score):.2f}{spread}"
        table.add_row(name, str(epochs), str(len(same)), accuracy, *means, ends)
    return table


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=("learned", "pruned"), action="append", help="repeatable")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--budget", type=int, action="append", help="instead of both; repeatable")
    parser.add_argument("--no-yosys", action="store_true", help="count no synthesis")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = Kept(options.json)
    wanted = [
        each
        for kind in options.kind or ("learned", "pruned")
        for each in asked(kind, options.seeds, options.epochs, options.budget or list(BUDGETS))
    ]
    for key, changes in wanted:
        same = kept.like(key)
        if same and (options.no_yosys or same[0]["luts"] is not None):
            continue
        recipe = "learned-bits" if key["kind"] == "learned" else "qap-fixed"
        found = trained(changes, recipe, yosys=not options.no_yosys)
        kept.add(key, found)
        Console(stderr=True).log(key | found)
    Console(width=150).print(shown(kept.all()))


if __name__ == "__main__":
    main()
