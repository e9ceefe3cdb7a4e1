"""Member-steps a second: the study's way of working, populations, Brevitas and plain float PyTorch.

The network is the jet tagger 16-64-32-32-5 with batch norm, 1,024 rows a step. A step gathers its
rows, computes the loss, goes back and moves Adam (the fused one, for every contender of one
network). Contenders:

    one alone    the loop of one network: the recipe of `pareq study qap` at 6 bits, masks, L1
    population   K of these networks in one computation (train_population); the study trains 8
    Brevitas     the same with Brevitas' layers, torch.nn.utils.prune and the L1 by hand
    float        no operators, no penalty, no pareq

On the CPU there is a process for each core, each with one thread; all work on the same contender at
the same time. Blocks of contenders alternate; a ratio is the median over the blocks. On a GPU 256
members are compared with the loop of one; the share of the limit counts the passes over hidden
activations that a step cannot do without against the bandwidth of a copy.
"""

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import torch
from measure import Row, arguments, report
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import pareq as pq
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.studies.matrix import PROTOCOLS, Setting
from pareq.studies.qap import recipe
from pareq.tasks.base import Data, Split, Task
from pareq.tasks.networks import mlp
from pareq.train.job import Job
from pareq.train.loop import Keep
from pareq.train.population.epoch import Population
from pareq.train.population.members import prepared
from pareq.train.trial import Trial, network

BITS, SIZES, ROWS, STEPS = 6, (16, 64, 32, 32, 5), 1024, 8
ALONE = "one alone"
TOGETHER = (8, 32)  # members a core
ON_GPU = 256
PASSES = 13  # over each hidden activation: 5 forward, 8 back, with all elementwise work fused
BARS = {"Brevitas": 3.0, "float": 0.65}
GPU_BAR = 50.0

Epoch = Callable[[], None]


@dataclass(frozen=True)
class Jets(Task, name="bench-jets"):
    """Random rows of the shape of jets."""

    classes = tuple("gqtwz")
    example = torch.zeros(2, SIZES[0])

    def load(self) -> Data:
        """The same rows in all splits."""
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(STEPS * ROWS, SIZES[0], generator=draw)
        split = Split(x, torch.randint(len(self.classes), (len(x),), generator=draw))
        return Data(split, split, split, "random")

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        """The jet tagger."""
        return mlp(SIZES, {})


def trial(seed: int, keep: Callable[[pq.Rule], bool] = lambda rule: True) -> Trial:
    """A training of the study, 80 % pruned."""
    protocol = replace(PROTOCOLS["published"], epochs=1000, patience=None)
    made = recipe(Setting(BITS), protocol, seed)
    pruned = pq.After(0, to=0.8)
    rules = [replace(r, when=pruned) if r.op.name == "prune" else r for r in made.rules]
    kept = pq.Recipe(*filter(keep, rules), training=made.training)
    return Trial(Jets.name, dump_recipe(kept))


def alone(device: str = "cpu", keep: Callable[[pq.Rule], bool] = lambda rule: True) -> Epoch:
    """The lines of `pareq.train.loop`, an epoch a call."""
    task = Jets()
    net = network(task, parse_recipe(trial(0, keep).recipe))
    net.model.to(device)
    job = Job(net, task, net.recipe)
    state, optimizer = job.state, job.state.optimizer
    net.model.train()

    def run() -> None:
        for x, y in job.batches_left():
            net.set_step(state.step)
            state.rate.set(optimizer, state.step)
            optimizer.zero_grad(set_to_none=True)
            loss, penalty = task.loss(net.model(x), y), net.penalty()
            torch.autograd.backward(loss + penalty)
            optimizer.step()
            state.count(loss, penalty, len(y))
        state.next_epoch()

    return run


def plain(model: nn.Module, penalized: Iterable[Tensor] = (), device: str = "cpu") -> Epoch:
    """Anyone's loop over a model, an epoch a call."""
    data = Jets().load().train
    x, y = data.x.to(device), data.y.to(device)
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    weights, factor = tuple(penalized), PROTOCOLS["published"].l1

    def run() -> None:
        for rows in torch.randperm(len(y)).to(device).split(ROWS):
            optimizer.zero_grad(set_to_none=True)
            loss = cross_entropy(model(x[rows]), y[rows])
            for weight in weights:
                loss = loss + factor * weight.abs().sum()
            loss.backward()
            optimizer.step()

    return run


def brevitas() -> Epoch | None:
    """The peer of benchmarks/peers.py; None where it is not installed."""
    from peers import PEERS

    if "Brevitas" not in PEERS:
        return None
    model = PEERS["Brevitas"](mlp(SIZES, {}), torch.randn(ROWS, SIZES[0]))
    if model is None:
        return None
    names = ("weight", "weight_orig")
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.BatchNorm1d)]
    return plain(model, [p for m in layers for n, p in m._parameters.items() if n in names])


def population(members: int, device: str = "cpu") -> Epoch:
    """So many trainings of the study in one, an epoch a call."""
    with ExitStack() as held:
        found = prepared([trial(seed) for seed in range(members)], None, device, Keep(), held)
    together = Population(found)

    def run() -> None:
        together.epoch()
        for member in found:
            member.job.state.next_epoch()

    return run


def contenders() -> dict[str, tuple[Epoch, int]]:
    """What runs on a core, and how many members it steps."""
    made: dict[str, tuple[Epoch | None, int]] = {
        ALONE: (alone(), 1),
        "float": (plain(mlp(SIZES, {})), 1),
        "Brevitas": (brevitas(), 1),
    }
    made |= {f"population of {k} a core": (population(k), k) for k in TOGETHER}
    return {name: (run, k) for name, (run, k) in made.items() if run is not None}


def parts() -> dict[str, tuple[Epoch, int]]:
    """What the step of one network costs beyond float: the rules of the study, one by one."""
    kinds = {"masks": "prune", "weights": "max_abs", "activations": "learned_scale", "L1": "l1"}
    made = {"float": plain(mlp(SIZES, {})), "no rule": alone(keep=lambda rule: False)}
    taken: tuple[str, ...] = ()
    for name, kind in kinds.items():
        taken += (kind,)
        made[f"and {name}"] = alone(keep=lambda rule, taken=taken: rule.op.name in taken)
    return {name: (run, 1) for name, run in made.items()}


def rates(
    made: dict[str, tuple[Epoch, int]],
    blocks: int,
    together: Barrier | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Member-steps a second of each contender, one number a block; the order turns."""
    for run, _ in made.values():
        run()
        run()
    found: dict[str, list[float]] = {name: [] for name in made}
    for block in range(blocks):
        for name in list(made)[:: -1 if block % 2 else 1]:
            run, members = made[name]
            epochs = max(1, 8 // members)
            if together is not None:
                together.wait()
            began = clock()
            for _ in range(epochs):
                run()
            done = epochs * STEPS * members
            found[name].append(done / (clock() - began))
    return found


def work(line: Connection, together: Barrier, blocks: int) -> None:
    """One worker process."""
    torch.set_num_threads(1)
    line.send(rates(contenders(), blocks, together))


def on_cores(workers: int, blocks: int) -> dict[str, list[float]]:
    """The sum over all cores, block by block."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(workers)
    os.environ["OMP_NUM_THREADS"] = "1"
    lines = []
    for _ in range(workers):
        line, end = context.Pipe()
        context.Process(target=work, args=(end, together, blocks), daemon=True).start()
        end.close()
        lines.append(line)
    seen = [line.recv() for line in lines]
    return {name: [sum(b) for b in zip(*(s[name] for s in seen), strict=True)] for name in seen[0]}


def compare(
    case: str,
    metric: str,
    ours: Sequence[float],
    peer: Sequence[float],
    name: str,
    bar: float | None,
) -> Row:
    """A row of rates, where more is better."""
    ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
    medians = (round(statistics.median(each), 1) for each in (ours, peer))
    return Row(case, metric, *medians, name, round(ratio, 3), bar, at_least=True)


def cpu_rows(workers: int, blocks: int) -> list[Row]:
    """Part (a)."""
    seen = on_cores(workers, blocks)
    metric = f"member-steps/s, {workers} cores"
    found = [
        compare(ALONE, metric, seen[ALONE], seen[peer], peer, None) for peer in BARS if peer in seen
    ]
    for k in TOGETHER:
        name = f"population of {k} a core"
        found += [
            compare(name, metric, seen[name], seen[peer], peer, BARS.get(peer))
            for peer in (ALONE, *BARS)
            if peer in seen
        ]
    return found


def part_rows(blocks: int) -> list[Row]:
    """What remains: the step of one network beside the float step, in seconds of a core."""
    torch.set_num_threads(1)
    seen = rates(parts(), blocks, clock=time.process_time)
    names = [name for name in seen if name != "float"]
    metric = "steps per CPU second"
    return [compare(f"step: {n}", metric, seen[n], seen["float"], "float", None) for n in names]


def gpu_rows(blocks: int) -> list[Row]:
    """Part (b)."""
    solo, many = alone("cuda"), population(ON_GPU, "cuda")

    def waited(run: Epoch) -> Epoch:
        def whole() -> None:
            run()
            torch.cuda.synchronize()

        return whole

    seen = rates({"solo": (waited(solo), 1), "many": (waited(many), ON_GPU)}, blocks)
    name = f"population of {ON_GPU}, GPU"
    bytes_a_step = PASSES * 4 * ROWS * sum(SIZES[1:-1])
    limit = [bandwidth() / bytes_a_step] * blocks
    metric = "member-steps/s"
    return [
        compare(name, metric, seen["many"], seen["solo"], "the loop of one", GPU_BAR),
        compare(name, metric, seen["many"], limit, "limit of the memory", None),
    ]


def bandwidth() -> float:
    """Bytes a second, read and written, of a large copy on the GPU."""
    one, other = (torch.empty(2**28, device="cuda") for _ in range(2))
    times = []
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        one.copy_(other)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 2 * one.numel() * one.element_size() / min(times)


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=2, help="processes on the CPU")
    parser.add_argument("--quick", action="store_true", help="a third of the blocks")
    parser.add_argument("--only", choices=("cpu", "parts", "gpu"), help="one part")
    options = parser.parse_args()
    blocks = 5 if options.quick else 15
    rows: list[Row] = []
    if options.only in (None, "cpu"):
        rows += cpu_rows(options.workers, blocks)
    if options.only in (None, "parts"):
        rows += part_rows(blocks)
    if torch.cuda.is_available() and options.only in (None, "gpu"):
        rows += gpu_rows(blocks)
    elif not torch.cuda.is_available():
        print("no GPU is at hand: no rows of part (b)", file=sys.stderr)
    report(rows, options.json)


if __name__ == "__main__":
    main()
