"""The parts of a population, each beside what it stands for K times."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pareq.attach.attach import attach
from pareq.numerics import gradients
from pareq.operators.schedule import After
from pareq.pruners import L1, Prune
from pareq.quantizers import FixedPoint, LearnedScale, MaxAbs
from pareq.recipe.recipe import Recipe, Rule
from pareq.tasks.base import Split
from pareq.train.population.adam import StackedAdam
from pareq.train.population.network import Network
from pareq.train.population.project import project_learned, project_max, project_step
from pareq.train.population.rows import Rows

BITS = (2, 4, 6)
HI = torch.tensor([2.0 ** (bits - 1) - 1 for bits in BITS])


def _both(ours, theirs, x: torch.Tensor) -> None:
    """Value and gradient of a stack, and of its members one by one."""
    one, other, way = x.clone().requires_grad_(), x.clone().requires_grad_(), torch.randn_like(x)
    y = ours(one)
    alone = torch.stack([theirs(part, k) for k, part in enumerate(other)])
    torch.testing.assert_close(y, alone, rtol=1e-6, atol=1e-7)
    (y * way).sum().backward()
    (alone * way).sum().backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("through", [True, False])
def test_max_abs_of_each_member(through):
    x = torch.randn(3, 7, 5)
    x[1, 0, :2] = x[1].abs().max() + 1  # two largest ones share the gradient
    x[2] *= 1e-6  # the floor holds
    floor = torch.full((3,), 2.0**-16)
    mode = torch.full((3,), float(through))
    _both(
        lambda v: project_max(v, HI, floor, mode)[0],
        lambda v, k: gradients.project_max(v, int(HI[k]), None, 2.0**-16, through),
        x,
    )


def test_fixed_steps_of_each_member_and_their_edges():
    """On an edge of the grid there is no gradient, as alone."""
    step = torch.tensor([0.5, 0.25, 2.0**-4])
    x = torch.randn(3, 50) * 3
    lo = torch.tensor([-(h + 1) for h in HI.tolist()])
    x[:, 0], x[:, 1] = lo * step, HI * step
    x[:, 2], x[:, 3] = lo * step * 1.01, HI * step * 0.99
    _both(
        lambda v: project_step(v, lo, HI, step),
        lambda v, k: gradients.project(v, (int(lo[k]), int(HI[k])), float(step[k])),
        x,
    )


@pytest.mark.parametrize("signed", [True, False])
def test_learned_steps_of_each_member(signed):
    v = torch.tensor([0.3, 1.0, -2.0])
    mine, its = v.clone().requires_grad_(), v.clone().requires_grad_()
    slope = torch.full((3,), math.log(2.0), dtype=torch.float64)
    x = torch.randn(3, 40)
    x[:, 0] = 0.0

    def alone(part: torch.Tensor, k: int) -> torch.Tensor:
        hi = int(HI[k])
        bounds, step = (-hi if signed else 0, hi), 2.0 ** float(v[k]) / hi
        return gradients.project_learned(part, bounds, step, its[k], math.log(2.0))

    largest = torch.exp2(v.double())
    _both(lambda part: project_learned(part, HI, largest, slope, mine, signed=signed), alone, x)
    torch.testing.assert_close(mine.grad, its.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decoupled", [True, False])
def test_adam_of_each_member(decoupled):
    """Own rates, steps and decays; what is not live stays, and counts from its first step."""
    models = [nn.Sequential(nn.Linear(4, 3)) for _ in range(2)]
    network = Network(models)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    decays = (0.1, 0.0)
    theirs = [nn.Parameter(row.clone()) for row in network.stacks.flat.detach()]
    pairs = list(zip(theirs, decays, strict=True))
    reference = [
        [kind([part], 1e-2, weight_decay=decay) for part in _halves(p)] for p, decay in pairs
    ]
    stacked = StackedAdam(
        network.stacks,
        [kind(m.parameters(), 1e-2, weight_decay=d) for m, d in zip(models, decays, strict=True)],
        decoupled=decoupled,
    )
    rates = torch.tensor([1e-2, 3e-3], dtype=torch.float64)
    for step in range(6):
        gradient = torch.randn(2, 15)
        live = torch.ones(2, 2)
        live[1, 1] = step > 2  # the second member's bias begins late
        network.stacks.flat.grad = gradient.clone() * live[:, [0] * 12 + [1] * 3]
        stacked.step(rates, live)
        for k, optimizers in enumerate(reference):
            for s, optimizer in enumerate(optimizers):
                (group,) = optimizer.param_groups
                group["lr"] = float(rates[k])
                part = gradient[k, :12] if s == 0 else gradient[k, 12:]
                group["params"][0].grad = part.clone()
                if live[k, s]:
                    optimizer.step()
    for k, optimizers in enumerate(reference):
        found = torch.cat([o.param_groups[0]["params"][0].detach() for o in optimizers])
        mine = torch.cat([p.detach().flatten() for p in models[k].parameters()])
        torch.testing.assert_close(mine, found, rtol=1e-5, atol=1e-7)
    state = stacked.optimizers[1].state[models[1][0].bias]
    assert float(state["step"]) == 3
    assert state["exp_avg"].shape == (3,)


def _halves(flat: nn.Parameter) -> list[nn.Parameter]:
    return [nn.Parameter(flat.detach()[:12].clone()), nn.Parameter(flat.detach()[12:].clone())]


def _nets(count: int = 3) -> list[nn.Module]:
    norm = {"affine": False, "track_running_stats": False}
    return [
        nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, **norm), nn.ReLU(), nn.Linear(6, 2))
        for _ in range(count)
    ]


def test_the_networks_of_all_members_in_one():
    """Bits, order of operators and masks differ; without statistics evaluation takes the batch's."""
    models = _nets()
    recipes = [
        Recipe(Rule("*:weight", Prune(), After(0, 0.5)), Rule("*:weight", MaxAbs(4))),
        Recipe(
            Rule("*:weight", FixedPoint(6)),
            Rule("*:weight", Prune(), After(0, 0.3)),
            Rule("*:weight", L1(0.5)),
            Rule("*:output", LearnedScale(3)),
        ),
        Recipe(
            Rule("*:weight", L1(0.25)),
            Rule("*:output", L1(9.0)),  # says nothing: penalties are on parameters
            Rule("*:output", LearnedScale(8, signed=True)),
        ),
    ]
    nets = [attach(m, r, steps=10) for m, r in zip(models, recipes, strict=True)]
    network = Network(models)
    for net in nets:
        net.set_step(0)
    network.refresh()
    x = torch.randn(3, 20, 4)
    for training in (True, False):
        y, penalty = network.forward(x, training=training)
        for k, net in enumerate(nets):
            net.model.train(training)
            torch.testing.assert_close(y[k].T, net.model(x[k]), rtol=1e-5, atol=1e-5)
            if training:
                torch.testing.assert_close(penalty[k], net.penalty())
    zeros = [int(sum((s.value() == 0).sum() for s in n.sites if s.kind == "weight")) for n in nets]
    assert network.zeros().tolist() == zeros
    assert zeros[0] >= 18


def test_members_live_in_rows_of_the_stacks():
    """What one member's operators write is in the stack, and in no other row."""
    models = _nets(2)
    rule = Rule("0:weight", Prune(), After(0, 0.5))
    nets = [attach(model, Recipe(rule), steps=10) for model in models]
    network = Network(models)
    nets[1].set_step(0)
    (mask,) = (held for key, held in network.stacks.held.items() if key.endswith("mask"))
    assert mask.sum((1, 2)).tolist() == [24.0, 12.0]
    before = models[0][0].parametrizations.weight.original.clone()
    network.take([1])
    with torch.no_grad():
        network.stacks.flat.zero_()
    assert not models[1][0].parametrizations.weight.original.any()
    assert torch.equal(models[0][0].parametrizations.weight.original, before)


class _Reading(TorchDispatchMode):
    """Notes every read of a tensor's value by Python, which would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "_local_scalar_dense" in str(func) or "nonzero" in str(func):
            self.reads.append(str(func))
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device():
    models = _nets(2)
    rules = (Rule("*:weight", Prune(), After(0, 0.5)), Rule("*:weight", MaxAbs(4)))
    recipe = Recipe(*rules, Rule("*:weight", L1(0.1)), Rule("*:output", LearnedScale(4)))
    nets = [attach(model, recipe, steps=10) for model in models]
    network = Network(models)
    adam = StackedAdam(network.stacks, [torch.optim.Adam(model.parameters()) for model in models])
    for net in nets:
        net.set_step(0)
    network.refresh()
    data = Rows([Split(torch.randn(30, 4), torch.randint(2, (30,))) for _ in models])
    rows, rates = torch.arange(20).repeat(2, 1), torch.full((2,), 1e-3, dtype=torch.float64)
    with _Reading() as reading:
        x, y = data.batch(rows)
        outputs, penalty = network.forward(x, training=True)
        loss = nn.functional.cross_entropy(outputs, y, reduction="none").mean(1) + penalty
        loss.sum().backward()
        adam.step(rates, network.live)
    assert reading.reads == []
    with _Reading() as reading:
        float(loss.detach()[0])
    assert reading.reads


def test_rows_that_members_share_lie_in_memory_once():
    x, y = torch.arange(10.0).reshape(5, 2), torch.arange(5)
    splits = [Split(x, y), Split(x, y + 10), Split(x + 100, y)]
    rows = Rows(splits)
    wanted = torch.tensor([[0, 4], [1, 1], [3, 2]])
    found, labels = rows.batch(wanted)
    for k, split in enumerate(splits):
        assert torch.equal(found[k], split.x[wanted[k]])
        assert torch.equal(labels[k], split.y[wanted[k]])
    assert len(rows._x) == 10
    rows.take([2])
    assert torch.equal(rows.part(3, 9)[0][0], splits[2].x[3:])
