"""The price of bits: what is counted, and how a budget is held."""

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.lower.agreement import agreement
from pareq.lower.lower import lower
from pareq.metrics.integers import graph_cost
from tests.quantizers.priced import cost_of, fit, penalized, tagger


def test_a_budget_is_held_and_the_graph_costs_no_more():
    """The integers cost what training counted, or less: some ranges cannot be reached."""
    net, x, y = tagger(budget=500.0)
    fit(net, x, y)
    counted = cost_of(net)
    assert 300 < counted <= 500
    graph = lower(net, x[0])
    assert graph_cost(graph).totals()["ebops"] <= counted
    integers = pq.evaluate(graph, x[0].numpy())[0]
    with torch.no_grad():
        assert (integers == net.model(x[0]).numpy()).all()
    assert (integers.argmax(1) == y[0].numpy()).mean() > 0.6


@pytest.mark.parametrize("shared", ["element", "channel", "tensor"])
@pytest.mark.parametrize("budget", [900.0, 60.0, 0.5])
def test_a_run_of_few_steps_keeps_its_budget(shared, budget):
    """The price has no time to act, so all is cut, also weights that are powers of two."""
    net, x, y = tagger(steps=8, shared=shared, budget=budget)
    fit(net, x, y)
    assert cost_of(net) <= budget
    assert graph_cost(lower(net, x[0])).totals()["ebops"] <= budget


@pytest.mark.parametrize("at", [0.5, 0.63, 0.9])
def test_a_budget_is_held_where_other_schedules_end_later(at):
    """At `settled_at`, wherever that is between two turns of the controller."""
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    rules = [
        pq.Rule(":input", pq.LearnedBits(6, rounding="floor")),
        pq.Rule("*:output", pq.LearnedBits(6, signed=False)),
        pq.Rule("*:weight", pq.Prune(), pq.After(at, to=0.1)),
        pq.Rule("*:weight", pq.LearnedBits(6, "element")),
        pq.Rule("*:weight", pq.Ebops(budget=400.0), pq.Ramp(0.1, 0.5)),
        pq.Rule(":output", pq.FixedPoint(8), pq.After(0.2)),
    ]
    torch.manual_seed(0)
    net = pq.attach(model, pq.Recipe(*rules), steps=100, example=torch.zeros(2, 6))
    x = torch.randn(100, 32, 6)
    fit(net, x, x[..., :3].argmax(-1))
    assert 0 < cost_of(net) <= 400


def test_what_cannot_be_cut_is_told():
    """Weights of six fixed bits cost what they cost."""
    model = nn.Sequential(nn.Linear(2, 3))
    rules = [
        pq.Rule(":input", pq.LearnedBits(5)),
        pq.Rule("*:weight", pq.FixedPoint(6)),
        pq.Rule("*:weight", pq.Ebops(budget=50.0)),
    ]
    net = pq.attach(model, pq.Recipe(*rules), example=torch.zeros(2, 2))
    with torch.no_grad():
        model[0].weight.fill_(0.5)
    with pytest.warns(UserWarning, match="ebops") as told:
        net.set_step(0)
    assert str(told[0].message) == (
        "ebops: the layers cost 180 EBOPs and have no learned bits left to cut, expected 50 at "
        "most; put learned_bits on all their weights, or raise the budget"
    )


def test_words_that_are_only_half_there_are_not_cut():
    """Fewer bits would leave half of each weight as it is, so the budget waits for the quantizer."""
    model = nn.Sequential(nn.Linear(2, 3))
    rules = [
        pq.Rule(":input", pq.LearnedBits(5)),
        pq.Rule("*:weight", pq.LearnedBits(6, "element"), pq.Ramp(0, 20, every=10)),
        pq.Rule("*:weight", pq.Ebops(budget=5.0), pq.After(10)),
    ]
    net = pq.attach(model, pq.Recipe(*rules), example=torch.zeros(2, 2))
    net.set_step(0)
    net.model(torch.randn(8, 2))
    with pytest.warns(UserWarning, match="no learned bits left to cut"):
        net.set_step(10)
    net.set_step(20)
    assert cost_of(net) <= 5


def by_hand():
    """Two layers of given weights, every word of which can occur; and inputs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.75, 0.5], [0.5, -0.75], [0.25, 0.625]]))
        model[2].weight.copy_(torch.tensor([[0.75, 0.5, -0.3], [0.5, -0.25, 0.9]]))
        model[0].bias.zero_()
    rules = [
        pq.Rule(":input", pq.LearnedBits(5, rounding="floor")),
        pq.Rule("*:output", pq.LearnedBits(4, signed=False)),
        pq.Rule("*:weight", pq.LearnedBits(6, "element")),
        pq.Rule("*:weight", pq.Ebops(price=1.0)),
        pq.Rule(":output", pq.FixedPoint(8)),
    ]
    x = torch.rand(256, 2) * 2 - 1
    net = pq.attach(model, pq.Recipe(*rules), example=x)
    net.set_step(0)
    model.train()
    model(x)
    model.eval()
    return net, x


def test_the_graph_costs_what_training_counted():
    """Equal, layer by layer, where all integers of the words can occur."""
    net, x = by_hand()
    graph = lower(net, x)
    counted = [
        float(o.count(s.value()).detach())
        for s in net.sites
        for o in s.operators
        if isinstance(o, pq.Ebops)
    ]
    assert [row.products for row in graph_cost(graph).rows] == counted == [50, 44]
    assert agreement(net, graph, x).float64_differ == 0


def test_no_bits_are_no_hardware():
    """A weight without bits is no product; a channel without bits is gone, and its neuron too."""
    net, x = by_hand()
    second = [o for s in net.sites for o in s.operators if isinstance(o, pq.Ebops)][1].layer
    with torch.no_grad():
        second.weight.frac[0, 0] = -9.0
        second.feed.frac[0, 2] = -9.0
    graph = lower(net, x)
    rows = graph_cost(graph).rows
    assert [(row.inputs, row.nonzero, row.products) for row in rows] == [(2, 4, 30), (2, 3, 12)]
    assert agreement(net, graph, x).float64_differ == 0


def test_a_higher_price_leaves_fewer():
    counts = []
    for price in (1e-6, 1e-4):
        net, x, y = tagger(price=price)
        fit(net, x, y)
        counts.append(cost_of(net))
    assert counts[1] < 0.8 * counts[0]


def test_the_price_rises_along_logarithms():
    net, x, _ = tagger(price=1e-3, first=1e-5)
    operator = next(o for s in net.sites for o in s.operators if isinstance(o, pq.Ebops))
    rates = []
    for step in (12, 36, 60, 90):
        net.set_step(step)
        net.model.train()
        net.model(x[0])
        rates.append(operator.rate)
    assert rates == pytest.approx([1e-5, 1e-4, 1e-3, 1e-3])


def test_penalty_by_hand():
    """(2, 1) bits of weight times (3, 2) bits of input; the gradient reaches both."""
    cost, weight, inputs = penalized(pq.Ebops, [0.75, 0.5])
    assert cost == 2 * 3 + 1 * 2
    assert weight == [12.0, 8.0]  # four bits a unit of the parameter
    assert inputs == [8.0, 4.0]


def test_convolutions_pay_for_every_position():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    )
    rules = [
        pq.Rule(":input", pq.LearnedBits(4, "tensor")),
        pq.Rule("*:output", pq.LearnedBits(4, signed=False)),
        pq.Rule("*:weight", pq.LearnedBits(4, "element")),
        pq.Rule("*:weight", pq.Ebops(price=1.0)),
        pq.Rule(":output", pq.FixedPoint(8)),
    ]
    x = torch.rand(8, 1, 4, 4)
    net = pq.attach(model, pq.Recipe(*rules), example=x)
    net.set_step(0)
    model.train()
    model(x)
    model.eval()
    conv, linear = (o for s in net.sites for o in s.operators if isinstance(o, pq.Ebops))
    assert conv.layer.positions == 16
    assert linear.layer.feed.magnitude == 4  # through pooling and flattening
    assert graph_cost(lower(net, x)).totals()["ebops"] <= cost_of(net)


def test_the_controller_resumes_where_it_was():
    net, x, y = tagger(budget=500.0)
    fit(net, x[:60], y[:60])
    twin, _, _ = tagger(budget=500.0)
    twin.model.load_state_dict(net.model.state_dict())
    for each in (net, twin):
        each.model.train()
        each.set_step(61)
        each.set_step(72)
    pair = [
        next(o for s in n.sites for o in s.operators if isinstance(o, pq.Ebops))
        for n in (net, twin)
    ]
    assert pair[0].rate == pair[1].rate
    assert pair[0].origin == pair[1].origin > 0


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({}, "ebops takes either a price or a budget; give one of them"),
        ({"price": 1.0, "budget": 2.0}, "ebops takes either a price or a budget; give one of them"),
        ({"price": -1.0}, "price must be a positive number, got -1.0"),
        ({"budget": 0.0}, "budget must be a positive number, got 0.0"),
        ({"price": 1.0, "every": 0}, "every must be 1 step or more, got 0"),
    ],
)
def test_what_has_no_meaning(fields, fact):
    with pytest.raises(pq.PareqError) as error:
        pq.Ebops(**fields)
    assert str(error.value) == fact


def test_nothing_to_learn_is_refused():
    model = nn.Sequential(nn.Linear(2, 2))
    rules = [pq.Rule("*:weight", pq.FixedPoint(4)), pq.Rule("*:weight", pq.Ebops(price=1.0))]
    with pytest.raises(pq.PareqError) as error:
        pq.attach(model, pq.Recipe(*rules))
    assert str(error.value).startswith("rule 2 (0:weight): neither the weight of the layer nor")


def test_on_an_activation_it_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.raises(pq.PareqError, match="ebops works on the weights of layers"):
        pq.attach(model, pq.Recipe(pq.Rule("*:output", pq.Ebops(price=1.0))))
