"""What every registered operator must keep, read from the registry."""

import copy

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.operators.base import OPERATORS, Quantizer
from pareq.pruners import PruneActivation
from pareq.quantizers import Ebops, LearnedBits, Luts, Uniform

EXAMPLES = {
    "fixed_point": [pq.FixedPoint(4), pq.FixedPoint(5, per_channel=True), pq.FixedPoint(8, frac=3),
                    pq.FixedPoint(6, range="percentile", rounding="half_up"),
                    pq.FixedPoint(4, range="mse", gradient="pass", narrow=True),
                    pq.FixedPoint(3, frac=4, overflow="wrap"), pq.FixedPoint(1, signed=False)],
    "max_abs": [pq.MaxAbs(2), pq.MaxAbs(6, per_channel=True), pq.MaxAbs(4, gradient="frozen")],
    "learned_scale": [pq.LearnedScale(6), pq.LearnedScale(4, signed=True, initial=0.5),
                      pq.LearnedScale(4, signed=True, gradient="lsq", domain="linear", per_channel=True)],
    "prune": [pq.Prune(), pq.Prune(scope="layer"), pq.Prune(pattern="channel", regrow=True)],
    "fan_in": [pq.FanIn(inputs=3), pq.FanIn(inputs=1, regrow=True)],
    "l1": [pq.L1(0.1)],
    "uniform": [Uniform(4), Uniform(8, per_channel=True, low=0.01, high=0.99),
                Uniform(3, rounding="toward_zero", gradient="value", least=0, most=19, refresh=2)],
    "learned_bits": [LearnedBits(4), LearnedBits(5, "element"), LearnedBits(8, "tensor"),
                     LearnedBits(3, rounding="floor"), LearnedBits(24, "element", speed=1.0)],
    "ebops": [Ebops(price=1e-6), Ebops(budget=100.0)],
    "luts": [Luts(price=1e-6), Luts(budget=100.0)],
    "prune_activation": [PruneActivation(), PruneActivation(pattern="channel", scope="global"),
                         PruneActivation(pattern="tiled", tile=3, decay=0.9, regrow=True)],
}  # fmt: skip
EVERY = [(name, op) for name in OPERATORS for op in EXAMPLES.get(name, [None])]
TO = {"prune": 0.5, "prune_activation": 0.25}
PRICES = ("ebops", "luts")  # which need a quantizer before them
ALONE = [case for case in EVERY if case[0] not in PRICES]
CASES = [case for case in ALONE if case[0] != "prune_activation"]
ON_OUTPUTS = [
    case
    for case in ALONE
    if case[0] not in ("prune", "fan_in", "max_abs", "l1")
    and case[1].config().get("granularity") != "element"
]


def attached(op, at=0):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4))
    when = pq.After(at, to=TO.get(op.name, 1.0))
    return pq.attach(model, pq.Recipe(pq.Rule("*:weight", op, when)))


def on_outputs(op, at=1):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4))
    rule = pq.Rule("*@Linear:output", op, pq.After(at, to=TO.get(op.name, 1.0)))
    return pq.attach(model, pq.Recipe(rule), example=torch.randn(2, 6))


def walk(net, x, steps=3):
    net.model.train()
    for step in range(steps):
        net.set_step(step)
        y = net.model(x)
    return y


@pytest.mark.parametrize(("name", "op"), EVERY)
def test_every_operator_has_an_example(name, op):
    assert op is not None, f"add an example of {name} to this table"
    assert OPERATORS[name] is type(op)


@pytest.mark.parametrize(("name", "op"), EVERY)
def test_config_makes_the_same_operator(name, op):
    twin = type(op)(**op.config())
    assert twin.config() == op.config()
    assert pq.Rule("*:weight", twin) == pq.Rule("*:weight", op) if name not in TO else True


@pytest.mark.parametrize(("name", "op"), CASES)
def test_strength_zero_is_the_identity(name, op):
    net = attached(op, at=5)
    net.set_step(0)
    for site in net.sites:
        assert site.value() is site.latent()
    assert net.penalty() == 0


@pytest.mark.parametrize(("name", "op"), CASES)
def test_shape_type_keys_and_gradient(name, op):
    net = attached(op, at=1)
    keys = list(net.model.state_dict())
    x = torch.randn(5, 6)
    for step in range(3):
        net.set_step(step)
        y = net.model(x).square().sum() + net.penalty()
        y.backward()
    assert list(net.model.state_dict()) == keys
    for site in net.sites:
        assert site.value().shape == site.latent().shape
        assert site.value().dtype == site.latent().dtype
        assert torch.isfinite(site.latent().grad).all()
        assert site.latent().grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "op"), CASES)
def test_a_copy_and_a_loaded_state_give_the_same_tensor(name, op):
    net = attached(op)
    net.model.train()
    net.set_step(0)
    twin = copy.deepcopy(net)
    fresh = attached(op)
    fresh.model.load_state_dict(net.model.state_dict())
    for a, b, c in zip(net.sites, twin.sites, fresh.sites, strict=True):
        assert torch.equal(a.value(), b.value())
        assert torch.equal(a.value(), c.value())
        assert a.latent() is not b.latent()


@pytest.mark.parametrize(("name", "op"), [c for c in CASES if isinstance(c[1], Quantizer)])
def test_a_quantizer_lands_on_its_grid_and_saturates_at_both_edges(name, op):
    net = attached(op)
    net.set_step(0)
    net.model.eval()
    site = net.sites[0]
    value = site.value().detach()
    grid = site.quantizer.grid()
    on_grid = torch.from_numpy(grid.dequantize(grid.quantize(value.double().numpy())))
    torch.testing.assert_close(value.double(), on_grid, rtol=3e-7, atol=0)  # a float32's rounding
    assert grid.frac is None or torch.equal(value.double(), on_grid)
    assert grid.bits <= op.bits
    low, high = grid.limits
    if name == "max_abs":  # its range follows the largest value, so nothing lies outside
        return
    for far, edge in ((1e6, high), (-1e6, low)):
        y = site.quantizer.forward(torch.full_like(value, far)).detach().double()
        if op.config().get("overflow") != "wrap":
            expected = torch.as_tensor(edge).double().expand_as(y)
            torch.testing.assert_close(y, expected, rtol=3e-7, atol=0)


@pytest.mark.parametrize(("name", "op"), [c for c in CASES if isinstance(c[1], Quantizer)])
@pytest.mark.parametrize("bits", [0, 33, -1, 2.0, True])
def test_bits_outside_1_to_32(name, op, bits):
    with pytest.raises(pq.PareqError) as error:
        type(op)(**{**op.config(), "bits": bits})
    kind = "must be in" if type(bits) is int else "must be a whole number in"
    assert str(error.value) == f"bits {kind} 1..32, got {bits!r}"


@pytest.mark.parametrize(("name", "op"), ON_OUTPUTS)
def test_on_an_activation(name, op):
    """Identity at first, then the same keys, a finite gradient, and twins that agree."""
    x = torch.randn(5, 6)
    net = on_outputs(op)
    keys, plain = list(net.model.state_dict()), net.model(x)
    net.set_step(0)
    assert torch.equal(net.model(x), plain)
    y = walk(net, x)
    assert y.shape == plain.shape
    assert not torch.equal(y, plain)
    y.square().sum().backward()
    grad = net.model[0].weight.grad
    assert torch.isfinite(grad).all()
    assert grad.abs().sum() > 0
    assert list(net.model.state_dict()) == keys
    net.model.eval()
    twin, fresh = copy.deepcopy(net), on_outputs(op)
    fresh.model.load_state_dict(net.model.state_dict())
    fresh.model.eval()
    assert torch.equal(net.model(x), twin.model(x))
    assert torch.equal(net.model(x), fresh.model(x))
