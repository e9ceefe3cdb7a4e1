"""The published uniform quantizer: its search, its time, its gradients."""

import math

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.errors import PareqError
from pareq.quantizers import Uniform
from pareq.quantizers.uniform import square_errors

PUBLISHED = {"rounding": "toward_zero", "gradient": "value", "least": 0, "most": 19,
             "recalibrate": False}  # fmt: skip


def fitted(x, **fields):
    op = Uniform(**fields)
    op.prepare(x)
    op.turn_to(0, 0, lambda: x)
    op.set_strength(1.0)
    return op


def frac(op):
    return int(-math.log2(float(op.step)))


@pytest.mark.parametrize(("bits", "expected"), [(2, 0), (3, 1), (4, 2), (8, 5)])
def test_the_published_decimals_of_a_normal_tensor(bits, expected):
    """N(0, 1): d* = 0, 1, 2, 5 for 2, 3, 4, 8 bits, with the truncating quantizer."""
    torch.manual_seed(0)
    assert frac(fitted(torch.randn(60_000), bits=bits, **PUBLISHED)) == expected


def test_the_search_is_exhaustive():
    """Against a plain loop over all candidates, with the truncation that it was published with."""
    torch.manual_seed(1)
    x = torch.randn(500) * 3

    def error(d, bits=5):
        whole = (x.double() * 2**d).trunc().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return float((whole / 2**d - x.double()).square().sum())

    best = min(range(20), key=error)
    assert frac(fitted(x, bits=5, **PUBLISHED)) == best


def test_truncation_has_four_times_the_noise_of_rounding():
    """Published: .00129 against .00032 for eight bits and d = 4, which is step^2 / 12."""
    torch.manual_seed(0)
    x = torch.randn(1, 200_000)
    noise = {r: float(square_errors(x, (-128, 127), [4], r)) / x.numel()
             for r in ("toward_zero", "half_even")}  # fmt: skip
    assert noise["half_even"] == pytest.approx(2**-8 / 12, rel=0.02)
    assert noise["toward_zero"] == pytest.approx(4 * noise["half_even"], rel=0.03)


def test_values_beyond_the_range_saturate():
    """Their newest release lets 100 through at 4 bits and scale .1."""
    torch.manual_seed(0)
    op = fitted(torch.rand(100), bits=4)
    low, high = op.grid().limits
    y = op(torch.tensor([100.0, -100.0, 0.0]))
    assert y.tolist() == [high, low, 0.0]


def test_a_scale_above_one_is_found():
    """Theirs stops at 127 for eight bits."""
    op = fitted(torch.linspace(-1000, 1000, 101), bits=8)
    assert float(op.step) == 8.0
    assert float(op(torch.tensor([999.0]))) == 1000.0


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_of_equal_steps_the_one_nearest_to_one(value):
    op = fitted(torch.full((9,), value), bits=8)
    assert float(op.step) == 1.0
    assert float(op(torch.tensor(value))) == value


def test_quantiles_keep_outliers_out_of_the_search():
    torch.manual_seed(0)
    x = torch.randn(10_000)
    x[0] = 1e4
    plain, saturated = fitted(x, bits=8), fitted(x, bits=8, low=1e-4, high=1 - 1e-4)
    assert float(saturated.step) < float(plain.step)
    assert frac(saturated) == 5


def test_each_channel_has_its_own_step():
    x = torch.stack([torch.linspace(-1, 1, 99), torch.linspace(-16, 16, 99)])
    op = fitted(x, bits=6, per_channel=True)
    assert op.step.shape == (2, 1)
    assert float(op.step[1] / op.step[0]) == 16


GRADIENTS = [
    ("pass", [1.0, 1.0, 10.0]),
    ("clip", [0.0, 1.0, 10.0]),
    ("value", [1.0, 1.0, 3.96875]),
]


@pytest.mark.parametrize(("kind", "expected"), GRADIENTS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_gradients_outside_inside_and_large(kind, expected, per_channel):
    """Range -4..3.96875: of the published gradient only the value 10 is clamped, not in place."""
    op = Uniform(8, gradient=kind, per_channel=per_channel)
    op.prepare(torch.zeros(1, 3))
    op.step.fill_(2.0**-5)
    op.set_strength(1.0)
    op.reload()
    op.value = 1.0
    x = torch.tensor([[100.0, 0.3, 0.3]], requires_grad=True)
    upstream = torch.tensor([[1.0, 1.0, 10.0]])
    op(x).backward(upstream)
    assert x.grad.tolist() == [expected]
    assert upstream.tolist() == [[1.0, 1.0, 10.0]]


def activation_net(**fields):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nn.init.eye_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    return pq.attach(model, pq.Recipe(pq.Rule("0:output", Uniform(4, **fields), pq.After(6))))


def run(net, inputs, start=0):
    op = net.sites[0].operators[0]
    net.model.train()
    steps = []
    for step, x in enumerate(inputs, start):
        net.set_step(step)
        net.model(x)
        steps.append(float(op.step))
    return steps


def test_the_window_adds_up_and_the_step_then_stays():
    """The errors of all batches of the window are those of their concatenation."""
    torch.manual_seed(2)
    inputs = [torch.randn(8, 4) * (1 + i) for i in range(12)]
    steps = run(activation_net(window=3), inputs)
    assert steps[:3] == [0.0, 0.0, 0.0]  # not looked at
    together = fitted(torch.cat(inputs[3:7]), bits=4)
    assert steps[6] == float(together.step)
    assert len(set(steps[6:])) == 1


def test_refresh_forgets_what_was_before():
    inputs = [torch.ones(8, 4)] * 8 + [torch.ones(8, 4) * 64] * 8
    steps = run(activation_net(window=2, refresh=4), inputs)
    assert steps[9] == 1.0
    assert steps[10] > 1.0  # 6 + 4


@pytest.mark.parametrize("split", [4, 6, 7, 9])
def test_a_resumed_run_has_the_same_steps(split):
    torch.manual_seed(2)
    inputs = [torch.randn(8, 4) * (1 + i % 5) for i in range(14)]
    straight = run(activation_net(window=3, refresh=4), inputs)
    first, second = (activation_net(window=3, refresh=4) for _ in range(2))
    run(first, inputs[:split])
    second.model.load_state_dict(first.model.state_dict())
    assert straight[split:] == run(second, inputs[split:], split)


def test_a_loaded_network_is_quantized_as_it_was():
    """Not measured anew when the step is set to where the schedule ends, as at its first step."""
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    recipe = pq.Recipe(pq.Rule(":weight", Uniform(4), pq.After(2)))
    net = pq.attach(model, recipe)
    for step in range(6):
        net.set_step(step)
    model.parametrizations.weight.original.data.mul_(100)
    before = float(net.sites[0].quantizer.step)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    for again in (net, pq.attach(nn.Linear(4, 4), recipe)):
        again.model.load_state_dict(state)
        again.set_step(2)
        assert float(again.sites[0].quantizer.step) == before


def test_a_gradual_blend():
    model = nn.Linear(4, 4)
    net = pq.attach(
        model, pq.Recipe(pq.Rule(":weight", Uniform(2), pq.Ramp(0, 4, power=1, every=1)))
    )
    latent = net.sites[0].latent().detach()
    for step, share in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        net.set_step(step)
        whole = net.sites[0].quantizer.project(latent) if step else latent
        torch.testing.assert_close(model.weight, latent.lerp(whole, share))


@pytest.mark.parametrize("recalibrate", [True, False])
def test_a_changed_mask_starts_a_new_search(recalibrate):
    """Q first, then P: the scale fitted to the whole tensor is not kept for what is left of it."""
    model = nn.Linear(8, 1, bias=False)
    model.weight.data = torch.tensor([[0.01, 0.02, 0.01, 0.02, 0.01, 3.0, 3.0, 3.0]]) / 3
    rules = (
        pq.Rule(":weight", pq.Prune(), pq.After(4, to=0.625)),
        pq.Rule(":weight", Uniform(3, recalibrate=recalibrate), pq.After(2)),
    )
    net = pq.attach(model, pq.Recipe(*rules))
    net.set_step(2)
    first = float(net.sites[0].quantizer.step)
    net.sites[0].latent().data[0, 5:] = 24.0
    net.set_step(4)
    assert (float(net.sites[0].quantizer.step) != first) is recalibrate
    net.set_step(9)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"low": 0.9, "high": 0.1},
            "low and high must be quantiles, 0 <= low < high <= 1, got 0.9, 0.1",
        ),
        ({"least": 4, "most": 3}, "least..most must lie in -64..64, got 4..3; 2^-d is the step"),
        ({"gradient": "ste"}, "gradient must be 'clip', 'pass' or 'value', got 'ste'"),
    ],
)
def test_fields_that_mean_nothing(fields, line):
    with pytest.raises(PareqError) as error:
        Uniform(4, **fields)
    assert str(error.value) == line


def test_values_that_are_not_finite():
    with pytest.raises(PareqError, match="not finite"):
        fitted(torch.tensor([1.0, math.nan]), bits=4)
