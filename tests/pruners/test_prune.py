"""Pruning: exact counts, ties, scopes, monotone masks."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import pareq as pq
from pareq.errors import PareqError
from pareq.pruners.prune import PATTERNS, SCORES, Pattern, least

PUBLISHED = (0.1, 0.111, 0.125, 0.143, 0.166, 0.2, 0.25, 0.333, 0.5, 0.666, 0.666)
ALIVE = [4256, 3830, 3405, 2979, 2553, 2129, 1703, 1277, 852, 426, 142, 47]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.data())
def test_exactly_k_fall_and_they_are_the_least(values, data):
    """Few distinct values make ties the rule."""
    k = data.draw(st.integers(0, len(values)))
    scores = torch.tensor(values, dtype=torch.float32)
    keep = least(scores, k)
    assert int((~keep).sum()) == k
    if 0 < k < len(values):
        assert scores[~keep].max() <= scores[keep].min()
    edge = scores[~keep].max() if k else None
    tied = [bool(b) for b, v in zip(keep, values, strict=True) if edge is not None and v == edge]
    assert tied == sorted(tied)  # of equals the first fall


def mlp():
    sizes = [16, 64, 32, 32, 5]
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*layers)


def weights(net):
    return [s.value() for s in net.sites]


@pytest.mark.parametrize("fill", ["random", "equal", "zero"])
def test_published_counts_on_the_published_network(fill):
    model = mlp()
    if fill != "random":
        for p in model.parameters():
            p.data.fill_(1.0 if fill == "equal" else 0.0)
    net = pq.attach(model, pq.Recipe(pq.Rule("*:weight", pq.Prune(), pq.Stairs(1, 11, PUBLISHED))))
    for step, alive in enumerate(ALIVE):
        net.set_step(step)
        assert sum(int(s.operators[0].mask.sum()) for s in net.sites) == alive
        if fill == "random":
            assert sum(int((w != 0).sum()) for w in weights(net)) == alive


def test_global_and_layer_budgets():
    model = mlp()
    model[0].weight.data.mul_(100)
    net = pq.attach(model, pq.Recipe(pq.Rule("*:weight", pq.Prune(), pq.After(0, to=0.5))))
    net.set_step(0)
    assert int((model[0].weight == 0).sum()) < 10
    assert sum(int((w == 0).sum()) for w in weights(net)) == 2128
    net.detach(bake=False)
    rule = pq.Rule("*:weight", pq.Prune(scope="layer"), pq.After(0, to=0.5))
    net = pq.attach(model, pq.Recipe(rule))
    net.set_step(0)
    assert [int((w == 0).sum()) for w in weights(net)] == [512, 1024, 512, 80]


def test_masks_only_shrink_unless_regrow():
    for regrow in (False, True):
        model = nn.Sequential(nn.Linear(10, 10))
        rule = pq.Rule("*:weight", pq.Prune(regrow=regrow), pq.Ramp(0, 4, to=0.5, every=1))
        net = pq.attach(model, pq.Recipe(rule))
        latent, mask = net.sites[0].latent(), net.sites[0].operators[0].mask
        net.set_step(1)
        first = mask.clone()
        latent.data[mask == 0] = 10.0  # what fell would now be worth most
        net.set_step(4)
        assert int((mask == 0).sum()) == 50
        assert bool((mask <= first).all()) is not regrow


def test_fallen_weights_get_no_gradient():
    model = nn.Sequential(nn.Linear(6, 4))
    net = pq.attach(model, pq.Recipe(pq.Rule("*:weight", pq.Prune(), pq.After(0, to=0.5))))
    net.set_step(0)
    model(torch.randn(8, 6)).square().sum().backward()
    grad, mask = net.sites[0].latent().grad, net.sites[0].operators[0].mask
    assert (grad[mask == 0] == 0).all()
    assert (grad[mask == 1] != 0).all()


def test_the_mask_does_not_depend_on_the_order_of_the_weights():
    """Without ties, permuting the weights permutes the mask."""
    w = torch.randn(40)
    order = torch.randperm(40)
    assert torch.equal(least(w.abs(), 17)[order], least(w[order].abs(), 17))


def test_channels_fall_whole():
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    rule = pq.Rule("*:weight", pq.Prune(pattern="channel"), pq.After(0, to=0.25))
    net = pq.attach(model, pq.Recipe(rule))
    net.set_step(0)
    zero = (model[0].weight == 0).flatten(1)
    assert int(zero.all(1).sum()) == 2
    assert int(zero.any(1).sum()) == 2


def test_a_new_pattern_and_a_new_score_are_one_registration_each(monkeypatch):
    for registry in (PATTERNS, SCORES):  # what this test adds, it takes away again
        monkeypatch.setattr(registry, "_things", dict(registry))
    pairs = Pattern(
        lambda s: s.reshape(-1, 2).sum(1),
        lambda kept, shape: kept[:, None].expand(-1, 2).reshape(shape),
    )
    PATTERNS.add("pairs-of-this-test", pairs)
    SCORES.add("negative-of-this-test", lambda x: -x)
    model = nn.Sequential(nn.Linear(4, 4))
    op = pq.Prune(score="negative-of-this-test", pattern="pairs-of-this-test")
    net = pq.attach(model, pq.Recipe(pq.Rule("*:weight", op, pq.After(0, to=0.5))))
    net.set_step(0)
    mask = net.sites[0].operators[0].mask.reshape(-1, 2)
    assert torch.equal(mask[:, 0], mask[:, 1])
    assert int((mask == 0).sum()) == 8
    sums = net.sites[0].latent().reshape(-1, 2).sum(1)
    assert sums[mask[:, 0] == 0].min() >= sums[mask[:, 0] == 1].max()


def test_l1_is_the_sum_of_what_is_left():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    net = pq.attach(
        model,
        pq.Recipe(
            pq.Rule("*:weight", pq.Prune(), pq.After(2, to=0.5)),
            pq.Rule("*:weight", pq.L1(0.5), pq.After(1)),
            pq.Rule("*@BatchNorm1d:weight", pq.L1(2.0)),
        ),
    )
    latent = net.sites[0].latent()
    for step, expected in enumerate((0.0, 0.5, 0.5)):
        net.set_step(step)
        seen = latent * net.sites[0].operators[0].mask
        torch.testing.assert_close(net.penalty(), expected * seen.abs().sum() + 2.0 * 4)
    net.penalty().backward()
    assert (model[1].parametrizations.weight.original.grad == 2.0).all()


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: pq.Prune(scope="globl"), "scope must be 'global' or 'layer', got 'globl'"),
        (lambda: pq.Prune(score="magnitud"), "unknown score 'magnitud'; did you mean 'magnitude'?"),
        (lambda: pq.Prune(pattern="chanel"), "unknown pattern 'chanel'; did you mean 'channel'?"),
        (lambda: pq.L1(-1.0), "weight must be 0 or more, got -1.0"),
        (lambda: pq.L1(1.0, "stoping"), "unknown counts_in 'stoping'; did you mean 'stopping'?"),
        (
            lambda: pq.attach(
                nn.Sequential(nn.ReLU()),
                pq.Recipe(pq.Rule("*:output", pq.Prune(), pq.After(0, 0.5))),
            ),
            "rule 1: 0:output is an activation, prune works on weights and biases; name those, such as '*:weight', or use prune_activation",
        ),
        (
            lambda: pq.Rule("*:weight", pq.Prune(), pq.After(0.3)),
            "sparsity must be in [0, 1), got 1.0; give the schedule to=...",
        ),
    ],
)
def test_what_cannot_be_meant(make, line):
    with pytest.raises(PareqError) as error:
        make()
    assert str(error.value) == line


def test_nan_weights_are_refused():
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].weight.data[0, 0] = torch.nan
    net = pq.attach(model, pq.Recipe(pq.Rule("*:weight", pq.Prune(), pq.After(0, to=0.5))))
    with pytest.raises(PareqError) as error:
        net.set_step(0)
    assert str(error.value) == (
        "rule 1 (*:weight): the tensors to be pruned hold NaN; look at the loss and the data"
    )
