"""Train a little, lower, and compare integers with the network in float64."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

import pareq as pq
from pareq.attach.attach import Attached
from pareq.ir.execute import execute, quantize_inputs
from pareq.ir.graph import Graph
from pareq.lower.lower import lower

__all__ = ["attached", "inputs", "lowered", "mismatches"]


def attached(
    model: nn.Module, rules: Sequence[pq.Rule], shape: tuple[int, ...], steps: int = 5
) -> Attached:
    """The model with its operators after a few steps on random data."""
    torch.set_num_threads(1)
    torch.manual_seed(3)
    net = pq.attach(model, pq.Recipe(*rules), steps=steps, example=torch.randn(2, *shape))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 1e-2) if trained else None
    for step in range(steps):
        net.set_step(step)
        results = model(2 * torch.randn(16, *shape))
        loss = sum(each.double().square().mean() for each in _tuple(results))
        if optimizer and loss.requires_grad:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    net.set_step(steps)
    return net


def inputs(shape: tuple[int, ...], count: int) -> Tensor:
    """Random numbers, random points of a grid (where ties are), and the extremes."""
    generator = torch.Generator().manual_seed(4)
    real = 2 * torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    points = torch.randint(-70, 70, (count, *shape), generator=generator).double() / 16
    ends = torch.tensor([-1e6, 1e6], dtype=torch.float64).reshape(2, *(1 for _ in shape))
    return torch.cat([real, points, ends.expand(2, *shape), torch.zeros(1, *shape).double()])


def mismatches(net: Attached, graph: Graph, x: Tensor) -> int:
    """How many integers of the graph differ from the float64 network on the output grid."""
    twin = copy.deepcopy(net.model).double().eval()
    with torch.no_grad():
        expected = _tuple(twin(x))
    found = execute(graph, *quantize_inputs(graph, x.numpy())).outputs
    assert len(found) == len(expected)
    wrong = 0
    for name, integers, reals in zip(graph.outputs, found, expected, strict=True):
        assert integers.shape == tuple(reals.shape)
        want = graph.value(name).grid.quantize(reals.double().numpy())
        assert np.abs(graph.value(name).grid.dequantize(want) - reals.numpy()).max() < 1e-9 * (
            1 + reals.abs().max()
        ), "the output is not on its grid"
        wrong += int((want != integers).sum())
    return wrong


def lowered(
    model: nn.Module, rules: Sequence[pq.Rule], shape: tuple[int, ...], count: int = 300
) -> Graph:
    """The graph of a trained network, shown equal to it."""
    net = attached(model, rules, shape)
    graph = lower(net, torch.zeros(1, *shape))
    assert mismatches(net, graph, inputs(shape, count)) == 0
    return graph


def _tuple(results: object) -> tuple[Tensor, ...]:
    return results if isinstance(results, tuple) else (results,)
