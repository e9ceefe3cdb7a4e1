"""Weights and activations pruned and quantized on real pictures: both orders, at a stated budget.

    superres  ESPCN x3 (Shi et al. 2016) on T91, judged on Set5 and Set14 by PSNR in dB
    cifar10   ResNet-20 (He et al. 2016), judged by accuracy in percent

The arms are the published schedules (Zhang et al. 2021, arXiv 2110.08271) in fractions of a run:

    float            nothing
    Q8               8 bits
    P50(w) > Q8      half of the weights, then 8 bits
    Q8 > P50(w)      8 bits, then half of the weights
    P50(w,f) > Q8    half of weights and activations, then 8 bits
    Q8 > P50(w,f)    8 bits, then half of both

Only the times differ between two orders, and with them the learning rate that is left: what is seen
here is a schedule, not the order alone. Memory is what an inference holds (`metrics.footprint`),
for ESPCN of a picture of 170 x 170 as published; performance density is PSNR / ln Mbit of the
published convention, accuracy / Mbit. `--data` names the folder of the sets (default PAREQ_DATA).
A finished run is kept in `--json` at once, and is not repeated by the same command.

Every quantized network is lowered, and its integers are compared with the network in float64 on
validation samples, and with the compiled C file on these, on random and on extreme ones.
"""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from measure import arguments
from rich.console import Console
from rich.table import Table

from pareq.attach.attach import Attached
from pareq.backends import C, build, verify
from pareq.lower.agreement import agreement
from pareq.lower.lower import lower
from pareq.metrics.footprint import Footprint, density, footprint
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.recipe.presets import find_recipe
from pareq.recipe.recipe import Recipe, Training
from pareq.tasks import Cifar10, SuperResolution
from pareq.tasks.base import Task
from pareq.train.loop import train
from pareq.train.trial import network

ARMS = {
    "float": ("q", 0),
    "Q8": ("q", 1),
    "P50(w) > Q8": ("pq", 2),
    "Q8 > P50(w)": ("qp", 2),
    "P50(w,f) > Q8": ("pq", 3),
    "Q8 > P50(w,f)": ("qp", 3),
}
SAMPLES = 20  # that are lowered and compared
PICTURE = 100  # tiles of 17 x 17 in the published picture of 170 x 170


@dataclass(frozen=True)
class Case:
    """A task, the family of presets, and what is measured on which tests."""

    task: Task
    presets: str
    training: Training
    tests: tuple[str, ...]
    figure: str
    density: str
    times: int = 1

    def recipe(self, arm: str, epochs: int, seed: int) -> Recipe:
        """The recipe of an arm, its schedule squeezed into so many epochs."""
        name, parts = ARMS[arm]
        text = dump_recipe(find_recipe(f"{self.presets}-{name}"))
        if isinstance(self.task, Cifar10):  # the same places in ResNet-20
            text = text.replace("InvertedResidual", "BasicBlock").replace('"bn2:output"', "")
        rules = parse_recipe(text).rules if parts else ()
        kept = tuple(r for r in rules if parts == 3 or r.op.name != "prune_activation")
        training = replace(self.training, epochs=epochs, seed=seed)
        if training.decay == "step":
            training = replace(training, decay_every=max(round(0.8 * epochs), 1))
        return Recipe(*kept, training=training)


def case(name: str, data: str, rows: int, batch: int = 0) -> Case:
    """The task of a name with its published way of training, but for the batch where one is given.

    The learning rate goes with the batch.
    """
    if name == "superres":
        published = find_recipe("espcn-pq").training
        task: Task = SuperResolution(data=data)
        return Case(task, "espcn", published, ("set5", "set14"), "psnr", "psnr", PICTURE)
    published = find_recipe("mobilenet-pq").training
    if batch:
        rate = published.learning_rate * batch / published.batch_size
        published = replace(published, batch_size=batch, learning_rate=rate)
    task = Cifar10(data=data, rows=rows)
    return Case(task, "mobilenet", published, ("test",), "accuracy", "accuracy")


def run(one: Case, arm: str, epochs: int, seed: int) -> dict[str, float]:
    """Train one arm with one seed; its figures."""
    start, processor = time.monotonic(), time.process_time()
    net = network(one.task, one.recipe(arm, epochs, seed))
    train(net, one.task)
    found = {"minutes": (time.process_time() - processor) / 60}
    for test in one.tests:
        task = replace(one.task, test=test) if isinstance(one.task, SuperResolution) else one.task
        value = task.evaluate(net.model, task.load().test)[one.figure]
        found[test] = float(value) * one.task.judged.factor  # type: ignore[arg-type]
    held = footprint(net, one.task.example)
    wide = Footprint(
        tuple(
            replace(r, outputs=r.outputs * one.times, alive=r.alive * one.times) for r in held.rows
        )
    )
    found |= {"Mbit": wide.inference(), "Mbit published": wide.published()}
    found["density"] = density(one.density, found[one.tests[0]], wide.published())
    if ARMS[arm][1]:
        found |= compared(net, one.task)
    Console(stderr=True).log(
        f"{arm}, seed {seed}: {found[one.tests[0]]:.2f} in {time.monotonic() - start:.0f} s"
    )
    return found


def compared(net: Attached, task: Task) -> dict[str, float]:
    """Integers that differ from float64, of how many; and how many the C file has given alike."""
    x = task.load().val.x[:SAMPLES]
    graph = lower(net, task.example)
    found = agreement(net, graph, x)
    with TemporaryDirectory() as folder:
        artefact = build(graph, C(flags=("-O1", "-march=native"), threads=1), Path(folder) / "net")
        proof = verify(artefact, graph, x.numpy(), rows=SAMPLES)  # an error where one differs
    return {"integers": found.outputs, "differ": found.float64_differ, "C": proof.integers}


def shown(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}"


def tabled(one: Case, rows: Sequence[dict[str, object]]) -> Table:
    """A row an arm, mean and spread over the seeds."""
    names = [*one.tests, "Mbit", "Mbit published", "density"]
    table = Table("arm", *names)
    for arm in ARMS:
        each = [row["figures"] for row in rows if row["arm"] == arm]
        if each:
            table.add_row(arm, *(shown([figures[n] for figures in each]) for n in names))
    return table


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--only", choices=("superres", "cifar10"), default="superres")
    parser.add_argument("--data", default="", help="the folder of the sets, instead of PAREQ_DATA")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=0, help="of CIFAR-10's training set, 0: all")
    parser.add_argument("--batch", type=int, default=0, help="of cifar10, 0: as published")
    options = parser.parse_args()
    torch.set_num_threads(1)
    one = case(options.only, options.data, options.rows, options.batch)
    file: Path | None = options.json
    rows = json.loads(file.read_text()) if file and file.exists() else []
    this = {name: getattr(options, name) for name in ("epochs", "rows", "batch")}
    this = {"task": options.only, **this}
    for seed in range(1, options.seeds + 1):
        for arm in ARMS:
            key = {**this, "arm": arm, "seed": seed}
            if any(row.items() >= key.items() for row in rows):
                continue
            rows.append(key | {"figures": run(one, arm, options.epochs, seed)})
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(rows, indent=1) + "\n")
    of_this = [row for row in rows if row.items() >= this.items()]
    held = [row["figures"] for row in of_this if "integers" in row["figures"]]
    count, bad = (int(sum(figures[key] for figures in held)) for key in ("integers", "differ"))
    minutes = sum(row["figures"]["minutes"] for row in of_this)
    console = Console()
    console.print(tabled(one, of_this))
    console.print(f"{bad} of {count} integers differ from float64, none of the C files")
    console.print(f"{one.task.load().name}; {options.epochs} epochs; {minutes:.0f} min of one core")


if __name__ == "__main__":
    main()
