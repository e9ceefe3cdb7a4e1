"""The time and memory of one training step with operators, beside float and beside other libraries.

One step is zero_grad, forward, cross-entropy, backward, Adam; ours calls set_step before it. No
recipe here has a penalty, so the loop has none either. Float, ours and the peers alternate in
blocks inside one process; the ratio of each block pair is taken, and the median of those is shown.
Ours is 6-bit weights and activations with an 80 % mask:

    fixed     FixedPoint on weights, inputs and activations, Prune
    learned   LearnedScale on weights and activations, Prune
    published MaxAbs weights, LearnedScale activations, Prune (Hawks et al. 2021)
    inactive  all of `fixed` attached, none of it begun

Of the case `cnn`, weights and activations are half pruned and 8 bits wide (Zhang et al. 2021):

    refreshed   masks change every 10 steps, and with them all ranges
    frozen      masks and ranges stay

Peers that are installed (extra `bench`) run beside us; see benchmarks/peers.py for what each does.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from measure import Row, arguments, compare, interleave, report
from peers import PEERS
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import pareq as pq
from pareq.pruners import PruneActivation
from pareq.quantizers import Uniform

FAR = 10**9


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a residual add (He et al. 2016)."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu2 = nn.ReLU()
        self.down = nn.Sequential()
        if stride != 1:
            self.down = nn.Sequential(
                nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, into, H, W) -> (N, out, H / stride, W / stride)."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.down(x))


def resnet20() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    width = 16
    for out in (16, 32, 64):
        for k in range(3):
            layers.append(Block(width, out, 2 if k == 0 and out != 16 else 1))
            width = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mlp(*, batch_norm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for a, b in ((16, 64), (64, 32), (32, 32)):
        layers += [nn.Linear(a, b), *([nn.BatchNorm1d(b)] if batch_norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(32, 5))


def cnn() -> nn.Module:
    """Three convolutions and a linear layer."""
    layers: list[nn.Module] = []
    for a, b in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 10))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mlp": (lambda: mlp(batch_norm=False), (1024, 16), 5),
    "mlp+bn": (lambda: mlp(batch_norm=True), (1024, 16), 5),
    "resnet20": (resnet20, (64, 3, 32, 32), 10),
    "cnn": (cnn, (64, 3, 32, 32), 10),
}
PLAIN = ("mlp", "mlp+bn", "resnet20")
BARS = {
    "fixed": {"mlp": 1.5, "mlp+bn": 1.35, "resnet20": 1.2},
    "learned": dict.fromkeys(PLAIN, 2.0),
    "published": dict.fromkeys(PLAIN, 2.0),
    "inactive": dict.fromkeys(PLAIN, 1.05),
    "refreshed": {"cnn": 1.5},
    "frozen": {"cnn": 1.3},
}
EFFORT = {
    "mlp": (24, 25),
    "mlp+bn": (24, 20),
    "resnet20": (8, 2),
    "cnn": (10, 10),
}  # blocks, steps in each
MEMORY_BAR = 1.2
JOINT = "qsparse"  # the peer that prunes and quantizes activations as well


def recipe(variant: str) -> pq.Recipe:
    start = FAR if variant == "inactive" else 8
    weight: pq.Operator = pq.FixedPoint(6)
    activation: pq.Operator = pq.FixedPoint(6, signed=False)
    if variant == "learned":
        weight = pq.LearnedScale(6, signed=True, initial=1.0)
    if variant == "published":
        weight = pq.MaxAbs(6)
    if variant in ("learned", "published"):
        activation = pq.LearnedScale(6)
    return pq.Recipe(
        pq.Rule("*:weight", pq.Prune(), pq.After(start, to=0.8)),
        pq.Rule("*:weight", weight, pq.After(start)),
        pq.Rule("*:output", activation, pq.After(start)),
        pq.Rule(":input", pq.FixedPoint(6), pq.After(start)),
    )


def joint(variant: str) -> pq.Recipe:
    masks = pq.Ramp(2, FAR, to=0.5) if variant == "refreshed" else pq.Ramp(2, 8, to=0.5, every=2)
    late = pq.After(10)
    return pq.Recipe(
        pq.Rule("*:weight", pq.Prune(scope="layer"), masks),
        pq.Rule("*:weight", Uniform(8), late),
        pq.Rule("*:output", PruneActivation(), masks),
        pq.Rule("*:output", Uniform(8), late),
        pq.Rule(":input", Uniform(8), late),
    )


def batch(case: str) -> tuple[Tensor, Tensor]:
    _, shape, classes = CASES[case]
    torch.manual_seed(1)
    return torch.randn(shape), torch.randint(0, classes, shape[:1])


def stepper(model: nn.Module, case: str, net: pq.Attached | None = None) -> Callable[[], None]:
    """One training step of a model; with `net` the line of the user's own loop is in it."""
    x, y = batch(case)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    step = 0

    def run() -> None:
        nonlocal step
        if net is not None:
            net.set_step(step)
            step += 1
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()

    return run


def make(case: str, variant: str) -> Callable[[], None]:
    torch.manual_seed(0)
    model = CASES[case][0]()
    made = joint(variant) if variant in ("refreshed", "frozen") else recipe(variant)
    example = batch(case)[0]
    net = None if variant == "float" else pq.attach(model, made, example=example)
    return stepper(model, case, net)


def times(case: str, threads: int, quick: bool) -> list[Row]:
    """All rows of one case."""
    torch.set_num_threads(threads)
    variants = [v for v in BARS if case in BARS[v]]
    steps = {v: make(case, v) for v in ("float", *variants)}
    known = PEERS.items() if case in PLAIN else [(n, b) for n, b in PEERS.items() if n == JOINT]
    for name, build in known:
        torch.manual_seed(0)
        peer = build(CASES[case][0](), batch(case)[0])
        if peer is not None:
            steps[name] = stepper(peer, case)
    blocks, per_block = EFFORT[case]
    seen = interleave(
        steps, blocks // 3 if quick else blocks, per_block, 20 if case != "resnet20" else 12
    )
    metric = f"ms per step, {threads} thread{'s' if threads > 1 else ''}"
    rows = [
        compare(f"{case}, {v}", metric, seen[v], seen["float"], "float", BARS[v][case])
        for v in variants
    ]
    ours = "fixed" if case in PLAIN else "refreshed"
    peers = [n for n in seen if n in PEERS]
    bars = {
        n: None if n == "mask only" else 1.0 for n in peers
    }  # without quantization it is no peer
    return rows + [
        compare(f"{case}, {ours}", metric, seen[ours], seen[n], n, bars[n]) for n in peers
    ]


def peak_megabytes() -> float:
    """The largest resident size of this process since it began (Linux)."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return round(int(line.split()[1]) / 1024, 1)


def memory(case: str) -> Row:
    """Peak resident memory of a process that trains a few steps, ours against float."""
    peak = {}
    for variant in ("float", "fixed"):
        command = [sys.executable, __file__, "--peak", case, variant]
        peak[variant] = float(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
    ratio = round(peak["fixed"] / peak["float"], 3)
    return Row(
        f"{case}, fixed", "peak MB", peak["fixed"], peak["float"], "float", ratio, MEMORY_BAR
    )


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; repeatable")
    parser.add_argument("--threads", type=int, action="append", help="default: 1 and 2")
    parser.add_argument("--quick", action="store_true", help="a third of the blocks")
    parser.add_argument(
        "--peak", nargs=2, metavar=("CASE", "VARIANT"), help="print peak MB and end"
    )
    options = parser.parse_args()
    if options.peak:
        torch.set_num_threads(1)
        step = make(*options.peak)
        for _ in range(12):
            step()
        print(peak_megabytes())
        return
    cases = options.case or list(CASES)
    rows = [
        r
        for t in options.threads or (1, 2)
        for case in cases
        for r in times(case, t, options.quick)
    ]
    rows += [memory(case) for case in cases if case in PLAIN]
    report(rows, options.json)


if __name__ == "__main__":
    main()
