"""Networks that pay for their bits."""

import torch
from torch import nn

import pareq as pq
from pareq.quantizers import Price


def tagger(kind=pq.Ebops, steps=120, shared="element", **price):
    """A small network, and batches of a task that it can learn."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    rules = [
        pq.Rule(":input", pq.LearnedBits(6, rounding="floor")),
        pq.Rule("*:output", pq.LearnedBits(6, signed=False)),
        pq.Rule("*:weight", pq.LearnedBits(6, shared)),
        pq.Rule("*:weight", kind(**price), pq.Ramp(0.1, 0.5, power=1.0, every=1)),
        pq.Rule(":output", pq.FixedPoint(8)),
    ]
    net = pq.attach(model, pq.Recipe(*rules), steps=steps, example=torch.zeros(2, 6))
    x = torch.randn(steps, 32, 6)
    return net, x, x[..., :3].argmax(-1)


def fit(net, x, y):
    """Train on the batches, and finish."""
    optimizer = torch.optim.Adam(net.model.parameters(), 0.01)
    net.model.train()
    for step in range(len(x)):
        net.set_step(step)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net.model(x[step]), y[step]) + net.penalty()
        loss.backward()
        optimizer.step()
    net.set_step(net.settled_at)
    net.model.eval()


def cost_of(net):
    """What all layers cost, as their operators count it."""
    return sum(
        float(o.count(s.value()).detach())
        for s in net.sites
        for o in s.operators
        if isinstance(o, Price)
    )


def penalized(kind, weights):
    """The cost of two weights whose inputs have 3 and 2 bits; gradients of the bits of both."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([weights]))
    rules = [
        pq.Rule("0:input", pq.LearnedBits(3)),
        pq.Rule("0:weight", pq.LearnedBits(6, "element")),
        pq.Rule("0:weight", kind(price=1.0, first=1.0)),
    ]
    net = pq.attach(model, pq.Recipe(*rules), example=torch.zeros(1, 2))
    net.set_step(0)
    model(torch.tensor([[1.0, 1.0]]))
    found = {site.kind: site.quantizer for site in net.sites}
    with torch.no_grad():
        found["input"].frac[0, 1] -= 1 / found["input"].speed
    net.penalty().backward()
    gradients = (found[kind].frac.grad[0].tolist() for kind in ("weight", "input"))
    return net.penalty().item(), *gradients
