"""Table neurons on the embedded jets: accuracy and look-up tables by width and bits of the input.

The shipped recipe `table-neurons`, batch norm included, for some widths of the hidden layers and
words of the input. The seeds of a case train together, as a population, with one thread. Accuracy
is that of the integers on the test split. Look-up tables are counted by Yosys for our emitter's
design; what it would take without table neurons, of adders, is estimated. `learned-bits` at small
budgets, without batch norm, is trained and counted by benchmarks/learned_bits.py, which has the
larger ones.

What is measured is kept in --json at once, and not measured again by the same command.
"""

import statistics
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import learned_bits
import torch
from measure import Kept, Record, accuracy, arguments
from rich.console import Console
from rich.table import Table

from pareq.backends import Verilog, build
from pareq.backends.verilog.area import area
from pareq.lower.lower import lower
from pareq.recipe.config import change_recipe, dump_recipe
from pareq.recipe.presets import find_recipe
from pareq.train.population import train_population
from pareq.train.trial import Trial, reopen

BUDGETS = (250, 500)


@dataclass(frozen=True)
class Case:
    """Sizes of the hidden layers, and bits of the input in steps that reach as far."""

    widths: tuple[int, ...]
    bits: int = 4

    @property
    def key(self) -> Record:
        """What tells its records from others."""
        return {"network": "table-neurons", "widths": list(self.widths), "bits": self.bits}

    def trial(self, seed: int, epochs: int) -> Trial:
        """One training."""
        changes = [f"training.seed={seed}", f"training.epochs={epochs}"]
        changes += [f"rule.4.op.bits={self.bits}", f"rule.4.op.frac={self.bits - 2}"]
        recipe = dump_recipe(change_recipe(find_recipe("table-neurons"), changes))
        return Trial("jets", recipe, {"widths": list(self.widths)})


CASES = (
    Case((64, 32, 32)),
    Case((128, 64, 32)),
    Case((32, 32, 32)),
    Case((64, 32, 32), bits=3),
)


def measure(case: Case, seeds: int, epochs: int) -> list[Record]:
    """The figures of each seed."""
    with tempfile.TemporaryDirectory(prefix="tables-") as folder:
        runs = train_population([case.trial(n, epochs) for n in range(seeds)], folder)
        return [counted(Path(str(run.folder))) for run in runs]


def counted(folder: Path) -> Record:
    """Accuracy and designs of a run."""
    _, task, net = reopen(folder)
    graph = lower(net, task.example)
    found = {"accuracy": accuracy(graph, task)}
    adders, tables = (
        build(graph, Verilog(emitter="native", tables=bits), folder / f"tables-{bits}")
        for bits in (0, 8)
    )
    found |= {k: tables.figures[k] for k in ("table_neurons", "adders", "lut_estimate")}
    found["lut_estimate_adders"] = adders.figures["lut_estimate"]
    return found | {"luts": float(area(tables).luts)}


def shown(records: list[Record]) -> Table:
    """Means over the seeds."""
    table = Table("network", "widths", "bits", "budget", "seeds", "accuracy", "luts")
    groups: dict[tuple[str, ...], list[Record]] = {}
    for r in records:
        key = tuple(str(r.get(k, "")) for k in ("network", "widths", "bits", "budget"))
        groups.setdefault(key, []).append(r)
    for key, same in groups.items():
        means = [statistics.fmean(float(str(r[k])) for r in same) for k in ("accuracy", "luts")]
        table.add_row(*key, str(len(same)), f"{means[0]:.4f}", f"{means[1]:.0f}")
    return table


def main() -> None:
    """Measure what the file does not hold yet, and show all that it holds."""
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept, about = Kept(options.json), {"epochs": options.epochs}
    for case in CASES:
        keys: list[Record] = [case.key | about | {"seed": n} for n in range(options.seeds)]
        if not all(map(kept.like, keys)):
            for key, found in zip(keys, measure(case, options.seeds, options.epochs), strict=True):
                kept.add(key, found)
    for budget, seed in product(BUDGETS, range(options.seeds)):
        key: Record = {"network": "learned-bits", "budget": budget, "seed": seed} | about
        if not kept.like(key):
            kept.add(key, learned_bits.ours("learned-bits", seed, options.epochs, budget))
    Console().print(shown(kept.all()))


if __name__ == "__main__":
    main()
