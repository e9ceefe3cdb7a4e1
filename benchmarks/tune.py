"""`pareq tune` beside the best fixed arm of the order study, on seeds that chose neither.

The arm, *P early, Q late*, is the best of the ten on digits at 3 bits and 80 % pruned by seeds 0 to
7 (docs/how-to/study-the-order.md); the rules of the search were made on seeds 0 to 4. Here each
tunes and trains with seeds from --first on, same network, epochs and training. The score is
accuracy on the test split after the last step, the difference is paired by seed, with an interval
of 95 % (Student's t). What has ended is kept in --out, and is not repeated by the same command.
"""

import statistics
from pathlib import Path

import torch
from measure import Row, arguments, report

from pareq.recipe.config import dump_recipe
from pareq.recipe.order import Places
from pareq.search.arms import arms, read_last
from pareq.search.pool import Pool
from pareq.search.schedules import Target
from pareq.search.tune import Tune
from pareq.studies.order import Protocol
from pareq.studies.order_arms import ARMS, Strength, recipe
from pareq.studies.order_statistics import difference
from pareq.train.trial import Trial

OPTIONS = {"digits": {"network": "cnn", "widths": [16, 32, 64]}, "jets": {}}
MOST = 3.0  # trainings


def fixed(task: str, arm: str, protocol: Protocol, seed: int, out: Path) -> float:
    """The score of an arm of the order study."""
    how = Strength(protocol.bits[0], protocol.sparsity[0])
    made = recipe(ARMS[arm], how, Places(), protocol.training(seed))
    trial = Trial(task, dump_recipe(made), OPTIONS[task])
    arms(out, {arm: trial})[arm].run()
    return 100 * read_last(out / arm)[1].score


def tuned(task: str, protocol: Protocol, seed: int, out: Path) -> tuple[float, float]:
    """The score of the schedule that is found, and the search's cost in trainings."""
    bits, sparsity = protocol.bits[0], protocol.sparsity[0]
    target = Target((bits, bits), (sparsity, sparsity))
    found = Tune(task, target, protocol.training(seed), OPTIONS[task], budget=MOST).run(
        out, Pool(1)
    )
    return 100 * found.last.score, found.trainings


def main() -> None:
    """Compare on each seed, then over all."""
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--task", choices=OPTIONS, default="digits")
    parser.add_argument("--arm", choices=ARMS, default="p-early-q-late")
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--first", type=int, default=8, help="the first seed")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/tune"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    protocol = Protocol(bits=(given.bits,), sparsity=(given.sparsity,), epochs=given.epochs)
    seeds = range(given.first, given.first + given.seeds)
    name = f"{given.task}, {given.bits} bits, {100 * given.sparsity:g} %"
    ours, peer, costs = [], [], []
    for seed in seeds:
        folder = given.out / name.replace(" ", "").replace(",", "-") / f"seed-{seed}"
        score, cost = tuned(given.task, protocol, seed, folder / "tune")
        ours.append(score)
        costs.append(cost)
        peer.append(fixed(given.task, given.arm, protocol, seed, folder))
        print(f"seed {seed}: {score:.2f} beside {peer[-1]:.2f}", flush=True)
    apart = difference([a - b for a, b in zip(ours, peer, strict=True)])
    means = [round(statistics.fmean(each), 2) for each in (ours, peer)]
    text = (
        f"accuracy in %, seeds {seeds[0]} to {seeds[-1]}; difference {apart.mean:+.2f}"
        f" ({apart.low:+.2f} to {apart.high:+.2f}); sd {statistics.stdev(ours):.2f} and"
        f" {statistics.stdev(peer):.2f}"
    )
    label, ratio = ARMS[given.arm].label, round(means[0] / means[1], 4)
    cost = round(max(costs), 2)
    rows = [
        Row(name, text, *means, label, ratio, 1.0, at_least=True),
        Row(name, "trainings at most", cost, 1.0, "one training", cost, MOST),
    ]
    report(rows, given.json)


if __name__ == "__main__":
    main()
