import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import pareq as pq
from pareq.attach.attach import attach
from pareq.metrics.cost import Rest
from pareq.metrics.probe import cost

WEIGHTS = pq.Rule("*:weight", pq.FixedPoint(6))


@pytest.fixture(autouse=True)
def seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def attached(model, *rules):
    net = attach(model, pq.Recipe(*rules), steps=10, steps_per_epoch=1)
    net.set_step(0)
    return net


def test_a_module_that_runs_twice_multiplies_twice_and_is_stored_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x):
            return self.fc(self.fc(x))

    for net in (Twice(), attached(Twice(), WEIGHTS)):
        totals = cost(net, torch.randn(1, 8)).totals()
        assert (totals["weights"], totals["biases"], totals["multiplies"]) == (64, 8, 128)


def test_tied_weights_are_stored_once():
    def tied():
        model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        model[2].weight = model[0].weight
        return model

    for net in (tied(), attached(tied(), WEIGHTS)):
        found = cost(net, torch.randn(1, 8))
        assert [(row.path, row.shares) for row in found.rows] == [("0", ""), ("2", "0")]
        totals = found.totals()
        assert (totals["weights"], totals["biases"], totals["multiplies"]) == (64, 16, 128)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.randn(6, 8))
        self.two = nn.Parameter(torch.randn(6, 6))

    def forward(self, x):
        h = F.linear(F.linear(x, weight=self.one), self.two)
        return F.linear(h, torch.ones(2, 6)) @ torch.ones(2, 2)


def test_weights_without_a_layer_are_known_by_their_names():
    found = cost(Functional(), torch.randn(1, 8))
    assert [row.path for row in found.rows] == [":one", ":two", ""]
    assert found.rest == (Rest("", "matmul"),)
    net = attached(
        Functional(),
        pq.Rule(":one", pq.FixedPoint(4)),
        pq.Rule(":two", pq.FixedPoint(3)),
    )
    assert [row.weight_bits for row in cost(net, torch.randn(1, 8)).rows] == [4, 3, 32]


def test_recurrent_and_unused_modules_are_listed():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 3, batch_first=True)
            self.head, self.unused = nn.Linear(3, 2), nn.Linear(5, 5)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    expected = [("lstm", "LSTM", 4 * 3 * (4 + 3 + 2)), ("unused", "Linear", 30)]
    for net in (Net(), attached(Net(), WEIGHTS)):
        found = cost(net, torch.randn(2, 6, 4))
        assert [row.path for row in found.rows] == ["head"]
        assert [(rest.path, rest.kind, rest.values) for rest in found.rest] == expected


def test_stochastic_rounding_is_known_by_its_module():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    net = attached(model, pq.Rule("*:weight", pq.FixedPoint(4, rounding="stochastic")))
    found = cost(net, torch.randn(1, 8))
    assert [(row.path, row.weight_bits) for row in found.rows] == [("0", 4), ("2", 4)]
    assert found.rest == ()


def test_equal_weights_of_two_layers_stay_two():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    for layer in model:
        nn.init.ones_(layer.weight)
    found = cost(attached(model, WEIGHTS), torch.randn(1, 4))
    assert [(row.path, row.shares) for row in found.rows] == [("0", ""), ("1", "")]


def test_weights_made_by_another_parametrization_are_counted_under_their_module():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    (row,) = cost(nn.Sequential(layer), torch.randn(1, 4)).rows
    assert (row.path, row.weights, row.biases) == ("0", 12, 3)


def test_embeddings_and_buffers_are_numbers_that_are_held():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(7, 4), nn.Linear(4, 2)
            self.register_buffer("position", torch.zeros(5, 4))

        def forward(self, x):
            return self.head(self.table(x) + self.position)

    found = cost(Net(), torch.zeros(2, 5, dtype=torch.int64))
    assert found.rest == (Rest("", "Net", 20), Rest("table", "Embedding", 28))
    assert found.totals()["bits_rest"] == 32 * 48
    assert found.rows[0].positions == 5
