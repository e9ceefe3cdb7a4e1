"""Channels with words of different widths: the same integers as the float64 network."""

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.lower.agreement import agreement
from pareq.lower.lower import lower
from pareq.metrics.integers import graph_cost


def net_of(model, x, rules, drop):
    """The model with its quantizers engaged, its channels shortened by `drop` bits in turn."""
    net = pq.attach(model, pq.Recipe(*rules, pq.Rule(":output", pq.FixedPoint(8))), example=x)
    net.set_step(0)
    model.train()
    model(x)
    for site in net.sites:
        quantizer = site.quantizer
        if isinstance(quantizer, pq.LearnedBits):
            size = quantizer.frac.numel()
            less = torch.tensor([drop[i % len(drop)] for i in range(size)])
            quantizer.frac.data -= less.reshape(quantizer.frac.shape) / quantizer.speed
    model.eval()
    return net


def rules(bits, rounding="floor", granularity="channel"):
    return [
        pq.Rule(":input", pq.LearnedBits(bits, granularity, rounding=rounding)),
        pq.Rule("*:output", pq.LearnedBits(bits, granularity, signed=False)),
        pq.Rule("*:weight", pq.LearnedBits(bits, "element")),
    ]


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("drop", [(0,), (1, 3), (0, 2, 9), (4, 0, 1, 0, 2)])
def test_perceptron(drop):
    """Also with channels that have no bits left; shifts stay constants, no table is needed."""
    torch.manual_seed(0)
    x = torch.randn(500, 5)
    net = net_of(mlp(), x, rules(5), drop)
    graph = lower(net, x)
    found = agreement(net, graph, 3 * x)
    assert found.exact
    assert found.float32_differ == 0
    assert {op.kind for op in graph.ops} == {"requantize", "dense"}


def test_one_width_needs_one_step():
    """Words of one width are rounded at once, half up at the input too."""
    x = torch.randn(200, 5)
    net = net_of(mlp(), x, rules(5, "half_up", "tensor"), (1,))
    graph = lower(net, x)
    assert agreement(net, graph, x).exact
    assert [op.kind for op in graph.ops].count("requantize") == 3


def test_convolutions():
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    x = torch.randn(100, 2, 4, 4)
    net = net_of(model, x, rules(5), (0, 2, 1))
    graph = lower(net, x)
    assert agreement(net, graph, x).exact


def test_batch_norm_in_front():
    """Its factors are no powers of two; the constants are proved all the same."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.randn(300, 5)
    net = net_of(model, x, rules(5), (0, 2, 1))
    assert agreement(net, lower(net, x), x).exact


def test_narrow_words_reach_the_graph():
    """The range of each channel is what its bits hold, and EBOPs count it so."""
    x = torch.randn(500, 5).abs() + 0.1
    model = nn.Sequential(nn.Linear(5, 2))
    rule = pq.Rule(":input", pq.LearnedBits(4, rounding="floor", signed=False))
    weight = pq.Rule("*:weight", pq.LearnedBits(6, "element"))
    net = net_of(model, x, [rule, weight], (0, 1, 2, 3, 4))
    graph = lower(net, x)
    before = next(op for op in graph.ops if op.kind == "dense").inputs[0]
    dropped = graph.producer(before).inputs[0]
    assert graph.ranges()[dropped].hi.tolist() == [15, 7, 3, 1, 0]
    counted = graph_cost(graph).rows[0]
    assert counted.input_bits == 4
    assert counted.products == graph_cost(graph).totals()["ebops"]


def test_an_input_that_would_be_rounded_twice_is_refused():
    x = torch.randn(50, 5)
    net = net_of(mlp(), x, rules(5, "half_up"), (0, 1))
    with pytest.raises(pq.PareqError) as error:
        lower(net, x)
    assert "give its learned_bits rounding = 'floor'" in str(error.value)


@pytest.mark.parametrize("backend", ["c", "verilog"])
@pytest.mark.slow
def test_back_ends_agree(backend, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(200, 5)
    net = net_of(mlp(), x, rules(5), (3, 1, 9, 2))
    graph = lower(net, x)
    try:
        made = pq.build(graph, backend, tmp_path / "made")
        pq.verify(made, graph, x.numpy())
    except pq.PareqError as error:
        if "install" not in str(error):
            raise
        pytest.skip(str(error))
