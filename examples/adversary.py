"""pix2pix with its adversary, in a loop of its own: only the generator is pruned and quantized.

Photographs of houses from maps of their parts (Isola et al. 2017): two networks, two optimizers,
two losses, so no single recipe could train them. The U-Net is pruned to a half at 0.35 to 0.55 of
the run and quantized to 8 bits behind that; with `--order qp` it is quantized first. Then it is
lowered, and its integers are those of the network in float64.

    python examples/adversary.py                       houses that are drawn, half a minute
    python examples/adversary.py --data FOLDER --size 64 --epochs 100
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

import pareq as pq
from pareq.lower.agreement import agreement
from pareq.pruners import PruneActivation
from pareq.quantizers import Uniform
from pareq.tasks import Facades

L1, RATE, BATCH = 100.0, 2e-4, 8  # weight of the distance, Adam's rate; published batch: 1
WHEN = {"pq": ((0.35, 0.55), 0.6), "qp": ((0.45, 0.65), 0.35)}  # pruning, quantization


class Patches(nn.Module):
    """Says of each patch of a photograph whether it is real, seeing the map as well."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(6, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 4, 1, 1),
        )

    def forward(self, x: Tensor, photograph: Tensor) -> Tensor:
        """(N, 3, H, W) twice -> (N, 1, H / 4 - 1, W / 4 - 1) logits."""
        return self.layers(torch.cat([x, photograph], 1))


def recipe(order: str) -> pq.Recipe:
    """Half of the inner weights and feature maps, 8 bits; activations lose their rare extremes."""
    (start, stop), begin = WHEN[order]
    masks, late = pq.Ramp(start, stop, to=0.5, every=10), pq.After(begin)
    edges = ("down.0.0:weight", "last:weight")
    features = Uniform(8, low=1e-4, high=0.9999)
    return pq.Recipe(
        pq.Rule("*:weight", pq.Prune(scope="layer"), masks, exclude=edges),
        pq.Rule("*:weight", Uniform(8), late),
        pq.Rule("*@LeakyReLU|ReLU:output", PruneActivation(), masks, exclude=("down.0.*:output",)),
        pq.Rule("*@LeakyReLU|ReLU|Tanh:output", features, late),
        pq.Rule(":input", Uniform(8), late),
    )


def steps(task: Facades, net: pq.Attached, epochs: int, width: int) -> None:
    """Both networks in turn: first who tells real from made, then who makes."""
    train = task.load().train
    model, judge = net.model.train(), Patches(width)
    makes, judges = (
        torch.optim.Adam(m.parameters(), RATE, betas=(0.5, 0.999)) for m in (model, judge)
    )
    each = len(train) // BATCH
    for step in range(epochs * each):
        if step % each == 0:
            order = torch.randperm(len(train))
        rows = order[step % each * BATCH :][:BATCH]
        x, y = train.x[rows], train.y[rows]
        net.set_step(step)
        made = model(x)
        real, false = judge(x, y), judge(x, made.detach())
        judges.zero_grad()
        (telling(real, 1.0) + telling(false, 0.0)).div(2).backward()
        judges.step()
        makes.zero_grad()
        (telling(judge(x, made), 1.0) + L1 * l1_loss(made, y)).backward()
        makes.step()


def telling(logits: Tensor, truth: float) -> Tensor:
    """Cross-entropy of a judgement."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def main(words: list[str] | None = None) -> dict[str, float]:
    """Train, lower, compare; what the test split says of the generator."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--order", choices=WHEN, default="pq")
    parser.add_argument("--data", default="sample", help="the folder of the facades")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(words)
    torch.manual_seed(given.seed)
    task = Facades(data=given.data, size=given.size, width=given.width)
    total = given.epochs * (len(task.load().train) // BATCH)
    net = pq.attach(task.model(), recipe(given.order), example=task.example, steps=total)
    steps(task, net, given.epochs, given.width)
    net.set_step(total)
    net.model.eval()
    test = task.load().test
    figures = {key: float(value) for key, value in task.evaluate(net.model, test).items()}
    found = agreement(net, pq.lower(net, task.example), test.x[:4])
    return figures | {"integers": found.outputs, "differ": found.float64_differ}


if __name__ == "__main__":
    print(", ".join(f"{key} {value:.4g}" for key, value in main().items()))
