"""The trace shows sites, constants and module paths, and says why a network cannot be followed."""

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.errors import LoweringError
from pareq.lower.trace import Ref, trace
from tests.lower.trained import attached

RULES = [pq.Rule("fc:weight", pq.FixedPoint(4)), pq.Rule("act:output", pq.FixedPoint(4, frac=2))]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.act = nn.Linear(3, 2), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(self.fc(x))


def test_sites_are_single_calls_with_their_place():
    plan = trace(attached(Net(), RULES, (3,)), torch.zeros(1, 3))
    assert [(c.op, c.path) for c in plan.calls] == [
        ("site", "fc"), ("linear", "fc"), ("relu", "act"), ("site", "act"),
    ]  # fmt: skip
    assert [site.name for site in plan.sites] == ["fc:weight", "act:output"]
    linear = plan.calls[1]
    assert linear.arguments["weight"] == Ref(plan.calls[0].name)
    assert linear.shapes == ((plan.batch, 2),)
    assert set(plan.names.values()) >= {"fc.bias"}


@pytest.mark.parametrize(
    "quantizer",
    [
        pq.FixedPoint(4),
        pq.MaxAbs(4),
        pq.MaxAbs(4, per_channel=True),
        pq.LearnedScale(4, signed=True, initial=0.7),
        pq.LearnedScale(4, signed=True, per_channel=True, domain="linear", initial=0.7),
    ],
    ids=repr,
)
def test_values_are_those_of_the_float64_network(quantizer):
    """They lie on the grid of the float64 copy to the last bit, and near those of float32."""
    net = attached(Net(), [pq.Rule("fc:weight", quantizer)], (3,))
    plan = trace(net, torch.zeros(1, 3))
    value = plan.values[0]
    assert value.dtype == torch.float64
    assert plan.sites[0].quantizer.grid().holds(value.numpy())
    torch.testing.assert_close(value.float(), net.sites[0].value(), rtol=2e-7, atol=0)


def test_an_operator_that_is_off_is_not_there():
    net = pq.attach(Net(), pq.Recipe(pq.Rule("act:output", pq.FixedPoint(4, frac=2), pq.After(5))))
    net.set_step(0)
    assert all(call.op != "site" for call in trace(net, torch.zeros(1, 3)).calls)


def test_a_network_that_changes_its_buffers_is_refused():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen.add_(1)
            return self.fc(x)

    net = attached(Counting(), RULES[:1], (3,))
    with pytest.raises(LoweringError, match="changes a buffer"):
        trace(net, torch.zeros(1, 3))


def test_an_example_without_a_sample_is_refused():
    with pytest.raises(LoweringError, match=r"expected \(N, ...\)"):
        trace(attached(Net(), RULES, (3,)), torch.zeros(0, 3))
