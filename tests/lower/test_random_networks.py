"""300 random small torch networks: float64, the integer reference and C give the same integers."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pareq as pq
from pareq.backends import C, build, verify
from pareq.lower.lower import lower
from tests.lower.trained import inputs, mismatches

ROUNDINGS = ("half_even", "half_up", "floor", "toward_zero")


class Drawn(nn.Module):
    """Layers with a place for a grid after each: `act0`, `act1`, ...; some pass by a branch."""

    def __init__(self, draw, bits: int) -> None:
        super().__init__()
        self.rank, width = draw.integers(0, 2), int(draw.integers(1, 5))
        self.shape = (width, *(5, 4)[: self.rank])
        self.bits, self.rules = bits, []
        self.layers, self.acts = nn.ModuleList(), nn.ModuleList()
        self.passes = []
        for _ in range(int(draw.integers(1, 4))):
            width = self.layer(draw, width)
        self.head = nn.Linear(width, int(draw.integers(1, 4)))

    def layer(self, draw, width: int) -> int:
        """One weighted layer, a norm half of the time, an activation."""
        again = draw.random() < 0.3
        outputs = width if again else int(draw.integers(1, 6))
        groups = width if again and draw.random() < 0.3 and self.rank else 1
        bias = bool(draw.integers(2))
        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
        how = {"kernel_size": 3, "padding": 1, "groups": groups} if self.rank else {}
        parts = [kinds[self.rank](width, outputs, bias=bias, **how)]
        if draw.random() < 0.5:
            norm = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d)[self.rank](outputs)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.1, 3)
            parts.append(norm)
        if draw.random() < 0.3:
            parts.append(nn.Identity())
        acts = (nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.25), nn.Hardtanh(-1, 2), nn.Identity())
        self.acts.append(acts[draw.integers(len(acts))])
        self.layers.append(nn.Sequential(*parts))
        self.passes.append(again)
        return outputs

    def forward(self, x):
        """`(N, width, ...)` to `(N, outputs)`."""
        for layer, act, again in zip(self.layers, self.acts, self.passes, strict=True):
            y = act(layer(x))
            x = y + x if again else y
        return self.head(x.flatten(2).sum(2) if self.rank else x)


def network(seed: int):
    """A random network with random grids, at work but not trained."""
    draw = np.random.default_rng(seed)
    torch.manual_seed(seed)
    bits, rounding = int(draw.integers(2, 9)), ROUNDINGS[draw.integers(4)]
    model = Drawn(draw, bits)
    if draw.random() < 0.5:
        grid = pq.FixedPoint(bits, frac=int(draw.integers(0, bits)), rounding=rounding)
        weight = pq.FixedPoint(bits)
        output = pq.FixedPoint(8, frac=4, rounding=rounding)
    else:
        grid = pq.LearnedScale(bits, signed=True, initial=float(draw.uniform(0.5, 6)))
        weight = pq.MaxAbs(bits, per_channel=bool(draw.integers(2)))
        output = pq.LearnedScale(9, signed=True, initial=float(draw.uniform(1, 9)))
    rules = [
        pq.Rule("*:weight", pq.Prune(scope="layer"), pq.After(0, to=float(draw.uniform(0, 0.9)))),
        pq.Rule("*:weight", weight),
        pq.Rule("acts.*@*:output", grid),
        pq.Rule(":input", pq.FixedPoint(6, frac=3, rounding=rounding)),
        pq.Rule(":output", output),
    ]
    net = pq.attach(model, pq.Recipe(*rules), example=torch.randn(2, *model.shape))
    net.set_step(0)
    return net, model.shape


def check(seed: int, *, compiled: bool) -> None:
    net, shape = network(seed)
    graph = lower(net, torch.zeros(1, *shape))
    x = inputs(shape, 60)
    assert mismatches(net, graph, x) == 0
    if compiled:
        with TemporaryDirectory() as folder:
            artefact = build(graph, C(flags=("-O0",)), Path(folder) / "net")
            verify(artefact, graph, x.numpy(), rows=100)


@pytest.mark.parametrize("seed", range(12))
def test_some_networks(seed):
    check(seed, compiled=seed == 0)


@pytest.mark.slow
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_300_random_networks(seed):
    """C for every tenth, which is what takes the time."""
    check(seed, compiled=seed % 10 == 0)
