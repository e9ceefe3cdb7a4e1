"""Accuracy and AUC on the embedded jets: float, QAP, and a plain torch script of the same budget.

For every seed the shipped recipes `float` and `qap` are trained, and a loop of plain torch that
knows nothing of this library, with the same data, network, optimizer, epochs and choice of the best
epoch. Rows show means over seeds; the spread (standard deviation) is in the metric's text.
"""

import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise, product
from multiprocessing import get_context

import torch
from measure import Row, arguments, report
from torch import nn
from torch.nn.functional import cross_entropy

from pareq.metrics.quality import quality
from pareq.recipe.config import change_recipe, dump_recipe
from pareq.recipe.presets import find_recipe
from pareq.tasks import Jets
from pareq.train.trial import Trial

LOSS_OF_ACCURACY = {"plain torch": 0.5, "qap": 0.7}  # points below float that are allowed
LOSS_OF_AUC = 0.004


def plain_torch(seed: int, epochs: int, rate: float, batch: int) -> dict[str, float]:
    """The float network in a loop that anyone would write: Adam, cosine decay, best epoch kept."""
    data, task = Jets().load(), Jets()
    torch.manual_seed(seed)
    sizes = (16, 64, 32, 32)
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(32, 5))
    optimizer = torch.optim.Adam(model.parameters(), rate)
    steps = -(-len(data.train.y) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    best, kept = float("inf"), model.state_dict()
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(data.train.y)).split(batch):
            optimizer.zero_grad()
            cross_entropy(model(data.train.x[rows]), data.train.y[rows]).backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            loss = cross_entropy(model(data.val.x), data.val.y).item()
        if loss < best:
            best, kept = loss, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(kept)
    with torch.no_grad():
        found = quality(model(data.test.x).numpy(), data.test.y.numpy(), task.classes).as_dict()
    return {"accuracy": found["accuracy"], "auc": found["auc_macro"]}


def train(job: tuple[str, int], epochs: int | None) -> dict[str, float]:
    """Accuracy and macro AUC of one variant and seed on the test split."""
    torch.set_num_threads(1)
    variant, seed = job
    recipe = find_recipe("float" if variant == "plain torch" else variant)
    changes = [f"training.seed={seed}", *([f"training.epochs={epochs}"] if epochs else [])]
    recipe = change_recipe(recipe, changes)
    t = recipe.training
    if variant == "plain torch":
        return plain_torch(seed, t.epochs, t.learning_rate, t.batch_size)
    test = Trial("jets", dump_recipe(recipe)).run().result.test
    return {"accuracy": test["accuracy"], "auc": test["auc_macro"]}


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="else the recipes' own")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--recipe", action="append", help="beside qap; repeatable")
    options = parser.parse_args()
    variants = ["float", "plain torch", "qap", *(options.recipe or [])]
    jobs = list(product(variants, range(options.seeds)))
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        results = dict(
            zip(jobs, pool.map(partial(train, epochs=options.epochs), jobs), strict=True)
        )
    found = {
        (v, m): [results[v, s][m] for s in range(options.seeds)]
        for v in variants
        for m in ("accuracy", "auc")
    }
    report([row(found, v, m) for v in variants[1:] for m in ("accuracy", "auc")], options.json)


def row(found: dict[tuple[str, str], list[float]], variant: str, metric: str) -> Row:
    """One variant beside float: how much it may lose is the bar."""
    ours, base = found[variant, metric], found["float", metric]
    a, b = statistics.mean(ours), statistics.mean(base)
    spread = [statistics.stdev(x) if len(x) > 1 else 0.0 for x in (ours, base)]
    loss = LOSS_OF_ACCURACY.get(variant, 0.7) / 100 if metric == "accuracy" else LOSS_OF_AUC
    text = f"{metric}, {len(ours)} seeds, sd {spread[0]:.4f} and {spread[1]:.4f}"
    text += f", at most {loss:g} below"
    if variant == "plain torch":  # float may not fall behind it: the other way round
        return Row(
            f"float beside {variant}", text, b, a, variant, b / a, (a - loss) / a, at_least=True
        )
    return Row(f"{variant} beside float", text, a, b, "float", a / b, (b - loss) / b, at_least=True)


if __name__ == "__main__":
    main()
