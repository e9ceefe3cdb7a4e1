"""The price of adders: what is counted, beside what the back end builds."""

from itertools import pairwise

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.backends import Verilog, build
from pareq.lower.lower import lower


def network(*widths, **price):
    torch.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
    model = nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU())))[:-1]
    rules = [
        pq.Rule(":input", pq.LearnedBits(6, rounding="floor")),
        pq.Rule("*:output", pq.LearnedBits(6, signed=False)),
        pq.Rule("*:weight", pq.LearnedBits(6, "element")),
        pq.Rule("*:weight", pq.Luts(**price), pq.Ramp(0.1, 0.5, power=1.0, every=1)),
        pq.Rule(":output", pq.FixedPoint(8)),
    ]
    return pq.attach(model, pq.Recipe(*rules), steps=80, example=torch.zeros(2, widths[0]))


def fit(net, width):
    x = torch.randn(80, 32, width)
    optimizer = torch.optim.Adam(net.model.parameters(), 0.01)
    net.model.train()
    for step in range(len(x)):
        net.set_step(step)
        optimizer.zero_grad()
        y = x[step, :, :3].argmax(-1)
        loss = nn.functional.cross_entropy(net.model(x[step]), y) + net.penalty()
        loss.backward()
        optimizer.step()
    net.set_step(net.settled_at)
    net.model.eval()
    return x


def counted(net):
    return sum(
        float(o.count(s.value()).detach())
        for s in net.sites
        for o in s.operators
        if isinstance(o, pq.Luts)
    )


@pytest.mark.parametrize("budget", [600.0, 90.0])
def test_a_budget_is_held(budget, tmp_path):
    """Digits times bits; each digit is an adder at most, and none has fewer than a bit."""
    net = network(6, 16, 3, budget=budget)
    x = fit(net, 6)
    found = counted(net)
    assert 0 < found <= budget
    figures = build(lower(net, x[0]), Verilog(emitter="native"), tmp_path / "made").figures
    assert figures["adders"] <= found


def test_penalty_by_hand():
    """0.875 = 1 - 0.125 has two digits and 0.5 one; inputs of 3 and 2 bits, all reached."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.875, 0.5]]))
    rules = [
        pq.Rule("0:input", pq.LearnedBits(3)),
        pq.Rule("0:weight", pq.LearnedBits(6, "element")),
        pq.Rule("0:weight", pq.Luts(price=1.0, first=1.0)),
    ]
    net = pq.attach(model, pq.Recipe(*rules), example=torch.zeros(1, 2))
    net.set_step(0)
    model(torch.tensor([[1.0, 1.0]]))
    found = {site.kind: site.quantizer for site in net.sites}
    with torch.no_grad():
        found["input"].frac[0, 1] -= 1 / found["input"].speed
    net.penalty().backward()
    assert net.penalty().item() == 2 * 3 + 1 * 2
    # of three bits two digits, each at 3 bits; four bits a unit of the parameter
    assert found["weight"].frac.grad[0].tolist() == pytest.approx([4 * 3 * 2 / 3, 4 * 2])
    assert found["input"].frac.grad.tolist() == [[8.0, 4.0]]


def test_fixed_weights_cost_a_third_of_their_bits():
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.5, 0.0], [0.75, 0.25]]))
    rules = [
        pq.Rule("0:input", pq.LearnedBits(5)),
        pq.Rule("0:weight", pq.FixedPoint(8)),
        pq.Rule("0:weight", pq.Luts(price=1.0, first=1.0)),
    ]
    net = pq.attach(model, pq.Recipe(*rules), example=torch.zeros(1, 2))
    net.set_step(0)
    model(torch.tensor([[1.0, 1.0]]))
    assert net.penalty().item() == pytest.approx(3 * 3 * 5)


def test_it_is_named_in_its_errors():
    with pytest.raises(pq.PareqError) as error:
        pq.Luts()
    assert str(error.value) == "luts takes either a price or a budget; give one of them"
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.raises(pq.PareqError, match="luts works on the weights of layers"):
        pq.attach(model, pq.Recipe(pq.Rule("*:output", pq.Luts(price=1.0))))
