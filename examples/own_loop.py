"""Your own model in your own loop: three lines more than without pareq.

A small convolutional network learns to tell two kinds of synthetic pictures apart. While it trains,
75 % of its weights are pruned and what is left is quantized to 4 bits. Runs in seconds:

    python examples/own_loop.py
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

import pareq as pq

EPOCHS, BATCH = 8, 64


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Stripes that lie or stand, in noise: (count, 1, 12, 12), and labels 0 or 1."""
    labels = torch.arange(count) % 2
    waves = torch.sin(torch.arange(12.0) + 6.3 * torch.rand(count, 1))
    lying = waves[:, None, :, None].expand(-1, 1, 12, 12)
    stripes = torch.where(labels[:, None, None, None] == 0, lying, lying.transpose(2, 3))
    return stripes + torch.randn(count, 1, 12, 12), labels


def network() -> nn.Module:
    """Any module will do; pareq does not need to know it."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 2),
    )


def main() -> dict[str, float]:
    """Train; return the test accuracy, the share of weights that are zero, and their levels."""
    torch.manual_seed(0)
    x, y = pictures(1024)
    model = network()
    recipe = pq.Recipe(
        pq.Rule("*:weight", pq.Prune(), pq.Ramp(0.1, 0.5, to=0.75)),
        pq.Rule("*:weight", pq.FixedPoint(bits=4), pq.After(0.5)),
        pq.Rule("*:output", pq.FixedPoint(bits=4, signed=False), pq.After(0.5)),
    )
    steps = EPOCHS * len(x) // BATCH
    net = pq.attach(model, recipe, steps=steps)  # 1: once
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)

    for step in range(steps):
        rows = torch.randint(len(x), (BATCH,))
        net.set_step(step)  # 2: before each step
        loss = functional.cross_entropy(model(x[rows]), y[rows])
        loss = loss + net.penalty()  # 3: where the recipe has penalties
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    model.eval()
    with torch.no_grad():
        x, y = pictures(1024)
        accuracy = (model(x).argmax(1) == y).float().mean().item()
    weights = {site.name: site.value() for site in net.sites if site.kind == "weight"}
    zeros = torch.cat([w.flatten() for w in weights.values()]) == 0
    levels = max(len(w.unique()) for w in weights.values())
    net.detach()  # the plain model again, with the pruned and quantized weights
    return {"accuracy": accuracy, "zeros": zeros.float().mean().item(), "levels": levels}


if __name__ == "__main__":
    found = main()
    print(
        f"test accuracy {found['accuracy']:.1%}; {found['zeros']:.0%} of the weights are zero,"
        f" the others have at most {found['levels']} values"
    )
