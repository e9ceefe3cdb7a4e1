"""The networks that every exact program is held to, trained a little on jets.

MLPs with and without batch norm at 2 to 16 bits, a residual, a depthwise-separable and a
one-dimensional convolutional network, each with powers of two as scales and with free ones. The 16
features of a jet are a row, a 4 x 4 image or two rows of 8. `tests/conformance/test_backends.py`
runs a part of them, `benchmarks/exactness.py` all.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import pareq as pq
from pareq.attach.attach import Attached
from pareq.backends.vectors import extremes, uniform
from pareq.ir.graph import Graph
from pareq.tasks.networks import mlp

__all__ = ["CASES", "Case", "disagreements", "jets", "samples", "trained"]


class ResidualNet(nn.Module):
    """Two convolutions around which the input passes, batch norm, one relu for all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0, self.bn0 = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv1, self.bn1 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.act0, self.act1, self.act2 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Images `(N, 1, 4, 4)` to scores `(N, 5)`."""
        x = self.act0(self.bn0(self.conv0(x)))
        y = self.act1(self.bn1(self.conv1(x)))
        x = self.act2(self.bn2(self.conv2(y)) + x)
        return self.head(x.mean((2, 3)))


class SeparableNet(nn.Module):
    """Depthwise and pointwise convolutions, relu6, a global pool."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0, self.act0 = nn.Conv2d(1, 6, 2), nn.ReLU6()
        self.deep, self.bn1, self.act1 = (
            nn.Conv2d(6, 6, 3, padding=1, groups=6),
            nn.BatchNorm2d(6),
            nn.ReLU6(),
        )
        self.point, self.bn2, self.act2 = nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8), nn.ReLU6()
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Images `(N, 1, 4, 4)` to scores `(N, 5)`."""
        x = self.act1(self.bn1(self.deep(self.act0(self.conv0(x)))))
        x = self.act2(self.bn2(self.point(x)))
        return self.head(self.pool(x).flatten(1))


class SignalNet(nn.Module):
    """Convolutions over one axis, leaky relu, pools, a table."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.act1 = nn.Conv1d(2, 6, 3, padding="same", dilation=2), nn.LeakyReLU(0.125)
        self.pool, self.conv2 = nn.MaxPool1d(2), nn.Conv1d(6, 8, 3, stride=2, padding=1)
        self.bn2, self.act2 = nn.BatchNorm1d(8), nn.Tanh()
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Rows `(N, 2, 8)` to scores `(N, 5)`."""
        x = self.pool(self.act1(self.conv1(x)))
        return self.head(self.act2(self.bn2(self.conv2(x))).flatten(1))


@dataclass(frozen=True)
class Case:
    """A network of the matrix; free: scales that are learned or measured, and real biases."""

    name: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    bits: int
    free: bool

    def rules(self) -> list[pq.Rule]:
        """Grids on the edges, weights and activations, half of the weights pruned."""
        edge = pq.Rule(":input", pq.FixedPoint(max(self.bits, 4), range="max"))
        prune = pq.Rule("*:weight", pq.Prune(scope="layer"), pq.After(0, to=0.5))
        signed = self.shape == (2, 8)  # its activations fall below zero
        if self.free:
            inner = pq.LearnedScale(self.bits, signed=signed, initial=3.3)
            branch = pq.LearnedScale(max(self.bits, 3), signed=True, initial=2.9)
            weight = [pq.Rule("*:weight", pq.MaxAbs(self.bits))]
        else:
            inner = pq.FixedPoint(self.bits, signed=signed)
            branch = pq.FixedPoint(max(self.bits, 3))
            weight = [
                pq.Rule("*:weight", pq.FixedPoint(self.bits)),
                pq.Rule("*:bias", pq.FixedPoint(min(self.bits + 4, 18))),
            ]
        rules = [edge, prune, *weight, pq.Rule("act?:output", inner)]
        if "bn2" in dict(self.model().named_children()) and self.shape != (16,):
            rules.append(pq.Rule("bn2:output", branch))
        if self.model is SeparableNet:  # a mean of nine is rounded, so it needs a grid of its own
            rules.append(pq.Rule("pool:output", inner))
        return [*rules, pq.Rule(":output", pq.FixedPoint(max(self.bits, 6)))]


def _cases() -> dict[str, Case]:
    found = []
    for bits in range(2, 17):
        for free in (False, True):
            kind = "free" if free else "power of two"
            for norm in (False, True):
                how = {"affine": True} if norm else None
                what = "MLP with batch norm" if norm else "MLP"
                name = f"{what}, {bits} bits, {kind}"
                found.append(
                    Case(name, lambda how=how: mlp((16, 24, 12, 5), how), (16,), bits, free)
                )
            if bits not in (2, 4, 6, 8):
                continue
            for net, shape in ((ResidualNet, (1, 4, 4)), (SeparableNet, (1, 4, 4))):
                found.append(Case(f"{net.__name__}, {bits} bits, {kind}", net, shape, bits, free))
            found.append(Case(f"SignalNet, {bits} bits, {kind}", SignalNet, (2, 8), bits, free))
    return {case.name: case for case in found}


CASES = _cases()


@cache
def jets() -> tuple[Tensor, Tensor, Tensor]:
    """Training inputs and labels, test inputs, of the embedded jets."""
    data = pq.TASKS["jets"]().load()
    return data.train.x, data.train.y, data.test.x


def trained(case: Case, steps: int = 30) -> Attached:
    """The network after some steps on jets, all operators at work."""
    x, y, _ = jets()
    torch.manual_seed(case.bits)
    model = case.model()
    net = pq.attach(model, pq.Recipe(*case.rules()), steps=steps)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(steps):
        rows = slice(256 * step, 256 * (step + 1))
        net.set_step(step)
        cross_entropy(model(x[rows].reshape(-1, *case.shape)), y[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
    net.set_step(steps)
    return net


def samples(graph: Graph, rows: int, seed: int = 0) -> np.ndarray:
    """Integers of the input: all lowest, all highest, random ones, some at both ends."""
    rng = np.random.default_rng(seed)
    return np.concatenate([extremes(graph)[0], uniform(graph, rows, rng)[0]])


def disagreements(net: Attached, graph: Graph, x: np.ndarray, expected: np.ndarray) -> int:
    """How many integers of the output are not those of the float64 network.

    x: integers of the input, or reals; expected: integers of the output.
    """
    twin = _double(net)
    reals = graph.inputs[0].value.grid.dequantize(x) if x.dtype.kind == "i" else x
    grid = graph.value(graph.outputs[0]).grid
    wrong = 0
    for begin in range(0, len(reals), 65536):
        part = slice(begin, begin + 65536)
        with torch.no_grad():
            y = twin(torch.from_numpy(np.asarray(reals[part], dtype=np.float64))).numpy()
        wrong += int((np.abs(y / grid.scale - expected[part]) > 1e-6).sum())
    return wrong


def _double(net: Attached) -> nn.Module:
    """A copy in float64 and evaluation mode."""
    return copy.deepcopy(net.model).double().eval()
