"""Fixed point: which step it finds, when it looks, and what it refuses."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import pareq as pq
from pareq.quantizers.ranges import RANGES, rows


def measured(op, x):
    op.prepare(x)
    op.measure(x, anew=True)
    return op


@given(st.floats(2.0**-20, 2.0**20), st.integers(2, 12))
def test_max_takes_the_smallest_power_of_two_that_clips_nothing(largest, bits):
    largest = float(torch.tensor(largest))
    op = measured(pq.FixedPoint(bits), torch.tensor([largest, -largest / 2]))
    hi = 2 ** (bits - 1) - 1
    assert op.fixed * hi >= largest
    assert op.fixed / 2 * hi < largest
    assert op.grid().frac is not None


def test_mean_square_search_finds_the_best_power_of_two():
    """Published for N(0, 1) with the nearest rounding: checked here by exhaustion."""
    x = torch.randn(20_000)
    for bits in (2, 3, 4, 8):
        op = measured(pq.FixedPoint(bits, range="mse"), x)
        errors = {}
        for frac in range(-2, 10):
            y = pq.Grid.fixed_point(bits, frac)
            errors[frac] = float(((y.dequantize(y.quantize(x)) - x.double().numpy()) ** 2).mean())
        assert op.grid().frac == min(errors, key=errors.get)


def test_percentile_ignores_the_outlier_that_max_follows():
    x = torch.cat([torch.linspace(-1, 1, 5000), torch.tensor([1000.0])])
    assert measured(pq.FixedPoint(8, range="max"), x).fixed == 8.0
    assert measured(pq.FixedPoint(8, range="percentile"), x).fixed == 2.0**-6


def test_one_step_per_channel():
    x = torch.tensor([[1.0, -0.5], [8.0, 0.0], [0.001, 0.0]])
    op = measured(pq.FixedPoint(4, per_channel=True), x)
    assert op.step.flatten().tolist() == [2.0**-2, 2.0**1, 2.0**-12]
    for c in range(3):
        assert op.step[c] == measured(pq.FixedPoint(4), x[c]).fixed


def test_all_zero_is_a_value_too():
    op = measured(pq.FixedPoint(4), torch.zeros(3))
    op.set_strength(1.0)
    assert op(torch.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", RANGES)
def test_bounds_of_batches_merge(name):
    estimator = RANGES[name]
    small, large = torch.tensor([1.0]), torch.tensor([3.0])
    assert estimator.merge(large, large) == large
    merged = estimator.merge(small, large)
    assert small < merged <= large


def test_rows_of_a_channel():
    x = torch.arange(24).reshape(2, 3, 4)
    assert rows(x, None).shape == (1, 24)
    assert torch.equal(rows(x, 1)[2], x[:, 2].flatten())


def test_a_weight_is_measured_when_it_engages_and_at_each_refresh():
    model = nn.Sequential(nn.Linear(4, 4, bias=False))
    net = pq.attach(model, pq.Recipe(pq.Rule("*:weight", pq.FixedPoint(4, refresh=3), pq.After(2))))
    latent, quantizer = net.sites[0].latent(), net.sites[0].quantizer
    steps = []
    for step in range(9):
        latent.data.fill_(2.0**step)
        net.set_step(step)
        steps.append(quantizer.fixed)
    assert steps == [None, None, 1.0, 1.0, 1.0, 8.0, 8.0, 8.0, 64.0]


def test_a_range_is_measured_also_when_the_first_step_was_never_visited():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    rules = [pq.Rule("*:weight", pq.FixedPoint(4)), pq.Rule("*:output", pq.FixedPoint(4))]
    net = pq.attach(model, pq.Recipe(*rules))
    net.set_step(7)
    model(torch.randn(8, 4))
    steps = [s.quantizer.fixed for s in net.sites]
    assert all(s is not None for s in steps)
    net.set_step(8)
    net.sites[0].latent().data.mul_(100)
    model(torch.randn(8, 4) * 100)
    assert [s.quantizer.fixed for s in net.sites] == steps


def test_values_that_are_not_finite_are_refused():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].weight.data[0, 0] = torch.inf
    net = pq.attach(model, pq.Recipe(pq.Rule("*:weight", pq.FixedPoint(4))))
    with pytest.raises(pq.PareqError) as error:
        net.set_step(0)
    assert str(error.value) == (
        "rule 1 (*:weight): the values to be quantized are not finite; look at the loss and the data"
    )


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda: pq.FixedPoint(4, rounding="half_upp"),
            "unknown rounding 'half_upp'; did you mean 'half_up'?",
        ),
        (
            lambda: pq.FixedPoint(4, overflow="wrapp"),
            "unknown overflow 'wrapp'; did you mean 'wrap'?",
        ),
        (
            lambda: pq.FixedPoint(4, range="maxx"),
            "unknown range estimator 'maxx'; did you mean 'max'?",
        ),
        (
            lambda: pq.FixedPoint(4, gradient="ste"),
            "gradient must be 'clip', 'pass' or 'value', got 'ste'",
        ),
        (lambda: pq.FixedPoint(4, frac=300), "frac must be in -126..126, got 300"),
        (
            lambda: pq.FixedPoint(4, frac=3, per_channel=True),
            "a given frac is one for all channels; leave out frac or per_channel",
        ),
        (
            lambda: pq.FixedPoint(1, narrow=True),
            "a signed narrow range of 1 bit holds only zero; use 2 bits or more",
        ),
        (lambda: pq.FixedPoint(4, window=-1), "window must be 0 steps or more, got -1"),
        (lambda: pq.MaxAbs(1), "bits must be in 2..32, got 1: a symmetric bit holds only zero"),
        (lambda: pq.MaxAbs(4, gradient="x"), "gradient must be 'through' or 'frozen', got 'x'"),
        (lambda: pq.MaxAbs(4, floor=0.0), "floor must be positive, got 0.0"),
        (
            lambda: pq.LearnedScale(1, signed=True),
            "bits must be in 2..32, got 1: a symmetric bit holds only zero",
        ),
        (lambda: pq.LearnedScale(4, initial=-1.0), "initial must be positive, got -1.0"),
        (lambda: pq.LearnedScale(4, domain="log"), "domain must be 'log2' or 'linear', got 'log'"),
        (
            lambda: pq.LearnedScale(4, gradient="lsqq"),
            "gradient must be 'published' or 'lsq', got 'lsqq'",
        ),
    ],
)
def test_what_cannot_be_meant(make, line):
    with pytest.raises(pq.PareqError) as error:
        make()
    assert str(error.value) == line


def test_a_learned_scale_moves_toward_its_data():
    op = pq.LearnedScale(4)
    op.prepare(None)
    op.set_strength(1.0)
    x = torch.rand(500)  # in 0..1, where the published start is 6
    optimizer = torch.optim.Adam(op.parameters(), 0.05)
    first = (op(x) - x).square().mean().item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = (op(x) - x).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 10
    assert 0.8 < 2 ** op.scale.item() < 1.3


@pytest.mark.parametrize("range_", RANGES)
def test_a_default_type_of_doubles(range_):
    """Bounds are merged whatever type the buffers were made with."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        op = measured(pq.FixedPoint(4, range=range_), torch.randn(5, 4))
        op.measure(2 * torch.randn(5, 4), anew=False)
        assert op.bound.dtype == torch.float64
        assert op.bound.isfinite()
    finally:
        torch.set_default_dtype(before)
