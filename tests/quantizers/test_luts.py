"""The price of adders: what is counted, beside what the back end builds."""

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.backends import Verilog, build
from pareq.lower.lower import lower
from tests.quantizers.priced import cost_of, fit, penalized, tagger


@pytest.mark.parametrize("budget", [600.0, 90.0])
def test_a_budget_is_held(budget, tmp_path):
    """Digits times bits; each digit is an adder at most, and none has fewer than a bit."""
    net, x, y = tagger(pq.Luts, steps=80, budget=budget)
    fit(net, x, y)
    found = cost_of(net)
    assert 0 < found <= budget
    figures = build(lower(net, x[0]), Verilog(emitter="native"), tmp_path / "made").figures
    assert figures["adders"] <= found


def test_penalty_by_hand():
    """0.875 = 1 - 0.125 has two digits and 0.5 one; inputs of 3 and 2 bits, all reached."""
    cost, weight, inputs = penalized(pq.Luts, [0.875, 0.5])
    assert cost == 2 * 3 + 1 * 2
    # of three bits two digits, each at 3 bits; four bits a unit of the parameter
    assert weight == pytest.approx([4 * 3 * 2 / 3, 4 * 2])
    assert inputs == [8.0, 4.0]


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
