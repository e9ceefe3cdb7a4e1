"""Networks as people write them: shared relus, functional calls, nesting, fused norms, masks."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fusion

import pareq as pq
from pareq.errors import LoweringError
from pareq.lower.agreement import agreement
from pareq.lower.lower import lower
from pareq.pruners import PruneActivation
from pareq.recipe.presets import find_recipe
from tests.lower.trained import attached, lowered

EDGES = [pq.Rule(":input", pq.FixedPoint(8, frac=4)), pq.Rule(":output", pq.FixedPoint(8))]
WEIGHTS = [pq.Rule("*:weight", pq.FixedPoint(5)), pq.Rule("*:bias", pq.FixedPoint(9))]
RELUS = pq.Rule("*@ReLU:output", pq.FixedPoint(5, signed=False))


class Shared(nn.Module):
    """One relu in place for all layers, one call of F.relu, and += around a block."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.bn, self.relu = nn.BatchNorm1d(6), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.fc1(x))
        z = self.relu(self.bn(self.fc2(y)))
        z += y
        return self.fc3(functional.relu(z))


class Block(nn.Module):
    """The basic block of residual networks, with a projection where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.down: nn.Module = nn.Identity()
        if stride != 1:
            down = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.down = nn.Sequential(down, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.down(x)
        return self.relu(y)


def residual() -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(1, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 3))
    return nn.Sequential(stem, nn.Sequential(Block(4, 4, 1), Block(4, 8, 2)), *tail)


BRANCHES = [
    pq.Rule("1.*.bn2@BatchNorm2d:output", pq.FixedPoint(6)),
    pq.Rule("1.*.down@*:output", pq.FixedPoint(6)),
]


def test_one_relu_for_all_layers():
    graph = lowered(Shared(), [*EDGES, *WEIGHTS, RELUS], (6,))
    assert "add" in {op.kind for op in graph.ops}


def test_a_residual_network_with_sums_in_place():
    graph = lowered(residual(), [*EDGES, WEIGHTS[0], RELUS, *BRANCHES], (1, 8, 8), 30)
    assert [op.kind for op in graph.ops].count("add") == 2


def test_a_branch_without_a_grid_is_named():
    net = attached(residual(), [*EDGES, WEIGHTS[0], RELUS], (1, 8, 8))
    with pytest.raises(LoweringError, match=r"1\.0 \(add\).* quantizer on '1\.0\.bn2:output'"):
        lower(net, torch.zeros(1, 1, 8, 8))


def test_nested_parts_and_what_does_nothing():
    inner = nn.Sequential(nn.BatchNorm1d(5), nn.ReLU())
    model = nn.Sequential(
        nn.Sequential(nn.Linear(6, 5), inner), nn.Dropout(), nn.Identity(), nn.Linear(5, 3)
    )
    graph = lowered(model, [*EDGES, *WEIGHTS, RELUS], (6,))
    assert [op.kind for op in graph.ops] == ["dense", "requantize"] * 2
    assert [op.origin for op in graph.ops] == ["0.0", "0.1.1", "3", "3"]


def test_norms_that_were_folded_before():
    conv = fusion.fuse_conv_bn_eval(nn.Conv1d(2, 4, 3).eval(), nn.BatchNorm1d(4).eval())
    layer = fusion.fuse_linear_bn_eval(nn.Linear(16, 3).eval(), nn.BatchNorm1d(3).eval())
    rules = [
        *EDGES,
        pq.Rule("*:weight", pq.MaxAbs(4)),
        pq.Rule("*@ReLU:output", pq.LearnedScale(5)),
    ]
    lowered(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), layer).train(), rules, (2, 6))


@pytest.mark.parametrize("first", ["mask", "grid"])
@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
def test_pruned_activations(pattern, first):
    """In front of the grid or behind it; fallen channels leave the network."""
    mask = PruneActivation(pattern=pattern, window=2)
    rules = [
        pq.Rule("1:output", mask, pq.After(3, to=0.5)),
        pq.Rule("1:output", pq.FixedPoint(4, signed=False)),
    ]
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3))
    outputs = [pq.Rule("2@Conv2d:output", pq.FixedPoint(8)), EDGES[0], WEIGHTS[0]]
    rules = rules if first == "mask" else rules[::-1]
    graph = lowered(model, [*rules, *outputs], (2, 5, 5), 40)
    assert ("mask" in {op.kind for op in graph.ops}) == (pattern == "unstructured")
    assert (graph.ops[0].output.shape[0] == 2) == (pattern == "channel")


class Softmax(nn.Module):
    """As the page on lowering has it."""

    def __init__(self) -> None:
        super().__init__()
        self.exp, self.inverse = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        e = self.exp((x - x.amax(1, keepdim=True)).exp())
        return e * self.inverse(e.sum(1, keepdim=True).reciprocal())


def test_a_softmax_whose_steps_are_on_grids():
    rules = [
        EDGES[0],
        WEIGHTS[0],
        pq.Rule("0@Linear:output", pq.FixedPoint(6, frac=3)),
        pq.Rule("1.exp@Identity:output", pq.FixedPoint(8, frac=8, signed=False)),
        pq.Rule("1.inverse@Identity:output", pq.FixedPoint(10, frac=10, signed=False)),
    ]
    graph = lowered(nn.Sequential(nn.Linear(8, 4), Softmax()), rules, (8,))
    assert {"max_pool", "subtract", "table", "sum", "multiply"} <= {op.kind for op in graph.ops}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["jets", "digits"])
@pytest.mark.parametrize("name", ["qap", "qap-fixed", "qap-paper", "qap-reversed", "quantized"])
def test_shipped_recipes(task, name):
    """With rules for the edges where a recipe has none, every one lowers after some steps."""
    if task == "digits":
        pytest.importorskip("sklearn", reason="scikit-learn is missing: digits are not tested")
    problem = pq.TASKS[task]()
    data = problem.load()
    rules = list(find_recipe(name).rules)
    given = {rule.where for rule in rules}
    rules += [rule for rule in EDGES if rule.where not in given]
    model = problem.model()
    net = pq.attach(model, pq.Recipe(*rules), steps=10, steps_per_epoch=1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(10):
        rows = slice(64 * step, 64 * (step + 1))
        net.set_step(step)
        problem.loss(model(data.train.x[rows]), data.train.y[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
    net.set_step(10)
    found = agreement(net, lower(net, problem.example), data.test.x[:500])
    assert found.exact
    assert found.unexplained == 0
