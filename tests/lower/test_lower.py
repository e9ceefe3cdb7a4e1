"""A trained network and its integers: the same function, and refusals that say what to do."""

import hashlib
import json

import pytest
import torch
from torch import Tensor, nn

import pareq as pq
from pareq.errors import LoweringError
from pareq.lower.lower import lower
from pareq.recipe.config import dump_recipe
from pareq.tasks.networks import mlp
from tests.attach.networks import Residual
from tests.lower.trained import attached, inputs, lowered, mismatches

SWITCHES = {"affine": True}


def fixed(bits):
    """Powers of two everywhere; nothing on the output, which is an exact accumulator."""
    return [
        pq.Rule(":input", pq.FixedPoint(8, frac=4)),
        pq.Rule("*:weight", pq.Prune(scope="layer"), pq.After(0, to=0.5)),
        pq.Rule("*:weight", pq.FixedPoint(bits)),
        pq.Rule("*:bias", pq.FixedPoint(bits + 4)),
        pq.Rule("*:output", pq.FixedPoint(bits, signed=False)),
    ]


def free(bits):
    """The published quantizers; the biases stay real, the output is on a grid."""
    return [
        pq.Rule(":input", pq.FixedPoint(8, frac=4)),
        pq.Rule("*:weight", pq.MaxAbs(bits)),
        pq.Rule("*:output", pq.LearnedScale(bits, initial=3.3)),
        pq.Rule(":output", pq.LearnedScale(10, signed=True, initial=5.1)),
    ]


class Separable(nn.Module):
    """Depthwise and pointwise convolutions, a global pool."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)
        self.bn1, self.act1 = nn.BatchNorm2d(4), nn.ReLU6()
        self.point = nn.Conv2d(4, 8, 1)
        self.bn2, self.act2 = nn.BatchNorm2d(8), nn.ReLU6()
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.depth(x)))
        return self.head(self.pool(self.act2(self.bn2(self.point(x)))).flatten(1))


class Signal(nn.Module):
    """A one-dimensional convolutional network with a look-up table and two results."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.act1 = nn.Conv1d(2, 6, 5, padding="same", dilation=2), nn.LeakyReLU(0.125)
        self.pool, self.conv2 = nn.MaxPool1d(2), nn.Conv1d(6, 6, 3)
        self.bn2, self.act2 = nn.BatchNorm1d(6), nn.Tanh()
        self.head = nn.Linear(36, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool(self.act1(self.conv1(x)))
        y = self.head(self.act2(self.bn2(self.conv2(x))).flatten(1))
        return y, y.argmax(1)


@pytest.mark.parametrize("norm", [None, SWITCHES], ids=["plain", "norm"])
@pytest.mark.parametrize("rules", [fixed, free])
@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_mlp(bits, rules, norm):
    graph = lowered(mlp((16, 20, 12, 5), norm), rules(bits), (16,), 1000)
    kinds = [op.kind for op in graph.ops]
    assert kinds.count("dense") <= 3
    assert set(kinds) <= {"dense", "requantize", "threshold", "clamp"}


@pytest.mark.slow
@pytest.mark.parametrize("rules", [fixed, free])
@pytest.mark.parametrize("bits", [12, 16])
def test_wide_mlp(bits, rules):
    lowered(mlp((8, 6, 3), SWITCHES), rules(bits), (8,), 1000)


@pytest.mark.parametrize("rules", [fixed, free])
def test_residual_network(rules):
    """Each operand of the add has a grid; with free scales they differ."""
    branch = pq.FixedPoint(6) if rules is fixed else pq.LearnedScale(6, signed=True, initial=2.9)
    graph = lowered(Residual(), [*rules(5), pq.Rule("bn2:output", branch)], (3, 8, 8), 60)
    assert {"conv", "add", "sum"} <= {op.kind for op in graph.ops}


@pytest.mark.parametrize("rules", [fixed, free])
def test_separable_network(rules):
    graph = lowered(Separable(), rules(5), (4, 8, 8), 60)
    assert graph.ops[0].attributes.whole("groups") == 4


@pytest.mark.parametrize("rules", [fixed, free])
def test_signal_network(rules):
    signed = [
        pq.Rule("bn2:output", pq.FixedPoint(6)),
        pq.Rule("act?:output", pq.LearnedScale(6, signed=True, initial=2.1)),
    ]
    output = pq.Rule("head:output", pq.FixedPoint(12))
    kept = [r for r in rules(5) if r.where not in ("*:output", ":output")]
    graph = lowered(Signal(), [*kept, *signed, output], (2, 16), 200)
    assert {"table", "max_pool", "top_k"} <= {op.kind for op in graph.ops}


def test_scales_per_channel():
    rules = [
        pq.Rule(":input", pq.FixedPoint(8, frac=4)),
        pq.Rule("*:weight", pq.MaxAbs(4, per_channel=True)),
        pq.Rule("act1:output", pq.LearnedScale(4, per_channel=True)),
        pq.Rule("point:input", pq.LearnedScale(5, initial=7.0)),
        pq.Rule("act2:output", pq.FixedPoint(5, signed=False, rounding="half_up")),
        pq.Rule("head:output", pq.FixedPoint(9, rounding="floor")),
    ]
    lowered(Separable(), rules, (4, 8, 8), 60)


def test_input_rounds_and_wraps_as_its_quantizer():
    rules = fixed(4)
    rules[0] = pq.Rule(":input", pq.FixedPoint(5, frac=2, rounding="half_up", overflow="wrap"))
    net = attached(mlp((6, 4, 2), None), rules, (6,))
    graph = lower(net, torch.zeros(1, 6))
    assert (graph.inputs[0].rounding, graph.inputs[0].overflow) == ("half_up", "wrap")
    assert mismatches(net, graph, inputs((6,), 300)) == 0


def test_a_wrapping_activation_is_a_table():
    rules = fixed(3)
    rules[-1] = pq.Rule("act1:output", pq.FixedPoint(3, frac=2, overflow="wrap"))
    graph = lowered(mlp((4, 3, 2), None), rules, (4,))
    assert "table" in {op.kind for op in graph.ops}


def test_an_input_may_be_moved_before_its_grid():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    graph = lowered(model, [pq.Rule("1:input", pq.FixedPoint(6, frac=3)), *fixed(4)[2:4]], (3, 4))
    assert graph.inputs[0].value.shape == (3, 4)


def test_one_layer_called_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act = nn.Linear(5, 5), nn.ReLU()

        def forward(self, x):
            return self.act(self.fc(self.act(self.fc(x))))

    graph = lowered(Twice(), fixed(4), (5,))
    assert [op.kind for op in graph.ops].count("dense") == 2


def test_the_network_is_left_as_it_was():
    net = attached(mlp((6, 4, 2), SWITCHES), free(4), (6,))
    net.model.train()
    before = {k: v.clone() for k, v in net.model.state_dict().items()}
    x = torch.randn(8, 6)
    torch.manual_seed(0)
    first = lower(net, x)
    assert lower(net, x) == first
    assert net.model.training
    after = net.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert net.model(x).dtype == torch.float32


def test_metadata_name_the_recipe_and_the_grids():
    net = attached(mlp((6, 4, 2), None), fixed(4), (6,))
    graph = pq.lower(net, torch.zeros(1, 6))
    text = dump_recipe(net.recipe)
    assert graph.metadata["recipe_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    grids = json.loads(graph.metadata["grids"])
    assert grids["fc1:input"] == {"lo": -128, "hi": 127, "scale": 0.0625}
    assert set(grids) == {s.name for s in net.sites}


def without(*left_out):
    return [r for r in free(4) if r.where not in left_out]


REFUSALS = {
    "no grid on the input": (without(":input"), "fc1 (linear).*rule with a quantizer for 'fc1:input'"),
    "no grid on a weight": (without("*:weight"), "fc1 (linear).*quantizer for 'fc1:weight'"),
    "no grid between layers": (without("*:output"), "fc2 (linear).*quantizer on 'act1:output'"),
    "no grid on the output": (without(":output"), "'fc2:output' (or on 'fc2:bias'"),
    "a scale of each batch": (
        [*without("*:output"), pq.Rule("act1:output", pq.MaxAbs(4))],
        "act1 (site).*use learned_scale or fixed_point",
    ),
    "a random rounding": (
        [*without("*:output"), pq.Rule("act1:output", pq.FixedPoint(4, rounding="stochastic"))],
        "act1 (site).*stochastic",
    ),
    "a schedule half way": (
        [*without("*:weight"), pq.Rule("*:weight", pq.MaxAbs(4), pq.After(0, to=0.5))],
        "fc1:weight is quantized with strength 0.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_names_the_place_and_the_remedy(name):
    rules, pattern = REFUSALS[name]
    net = attached(mlp((6, 4, 2), SWITCHES), rules, (6,))
    with pytest.raises(LoweringError) as refusal:
        lower(net, torch.zeros(1, 6))
    text = str(refusal.value)
    assert text.startswith("lower: ")
    assert "\n" not in text
    assert all(part in text for part in pattern.split(".*")), text


FUNCTIONS = {
    "softmax": (lambda x: x.softmax(1), "softmax.*leave it to the host"),
    "log softmax": (lambda x: x.log_softmax(1), "log_softmax.*as exp, sum and reciprocal"),
    "layer norm": (lambda x: nn.functional.layer_norm(x, (4,)), "layer_norm.*use batch norm"),
    "variance": (lambda x: x.var(1), "var.*use batch norm"),
    "comparison": (lambda x: torch.where(x > 0, x, -x), "gt.*use relu, clamp"),
    "attention": (lambda x: (x[:, :, None] @ x[:, None]).flatten(1), "matmul.*use linear"),
    "products of batches": (lambda x: torch.bmm(x[:, :, None], x[:, None]), "bmm.*use linear"),
    "embedding": (lambda x: nn.functional.embedding(x.argmax(1), torch.eye(4)), "one-hot"),
    "picked": (lambda x: x[:, [2, 0]], "index.*use slices and cat"),
    "turned about": (lambda x: x.flip(1), "flip.*use slices and cat"),
    "noise": (lambda x: x + torch.rand_like(x), "rand_like.*in training only"),
    "dropout that stays": (lambda x: nn.functional.dropout(x, 0.5, True), "in training only"),
    "glu": (lambda x: nn.functional.glu(x), "glu.*lower the part before it"),
    "over samples": (lambda x: x.mean(0, keepdim=True).expand(5, 4), "mixes the samples"),
    "the largest of all": (lambda x: x.max() + x, "max.*name the dimension"),
    "where of all": (lambda x: x.argmax() + x, "argmax.*name the dimension"),
    "mean of all": (lambda x: x.mean() + x, "mean.*name the dimensions"),
    "turned": (lambda x: x.t(), "moves the samples"),
    "flat samples": (lambda x: x.flatten(), "keep axis 0"),
    "one sample": (lambda x: x[0], "mixes the samples"),
    "joined samples": (lambda x: torch.cat([x, x]), "mixes the samples"),
    "some samples": (lambda x: x[1:], "picks samples"),
    "padded samples": (lambda x: nn.functional.pad(x, (0, 0, 1, 0)), "pads the samples"),
    "division": (lambda x: x / (x + 9), "divides by a tensor"),
    "rounded division": (lambda x: torch.div(x, 2, rounding_mode="floor"), "use a quantizer"),
    "repeated": (lambda x: x.repeat(1, 2), "repeat.*use cat"),
    "spread": (lambda x: x[:, :, None].expand(5, 4, 3), "repeat nothing"),
    "a constant that spreads": (lambda x: x[:, :1] + torch.arange(4), "repeat the tensor with cat"),
    "scaled addition": (lambda x: torch.add(x, x, alpha=2), "alpha is 2.*multiply first"),
    "cast": (lambda x: x.to(torch.int32), "cuts reals to int32"),
    "truth": (lambda x: x.argmax(1).bool(), "cuts reals to bool"),
    "too small a type": (lambda x: (x.argmax(1) + 300).to(torch.int8), "int8 does not hold"),
    "half": (lambda x: (x + 1 / 1024).half(), "rounds to float16"),
    "float32": (lambda x: x.float() * 0.3, "computes in float32"),
    "constant": (lambda x: torch.ones(5, 4), "does not depend on the input"),
    "constant joined": (lambda x: torch.cat([x, torch.ones(5, 1)], 1), "joins a constant"),
    "constant from the left": (lambda x: torch.eye(4, dtype=x.dtype) @ x[:, :, None], "transpose, and use linear"),
    "constant of another type": (lambda x: torch.eye(4) @ x[:, :, None], "keep constants in buffers"),
    "branch": (lambda x: x if x.sum() > 0 else -x, "cannot follow the network"),
    "values of top-k": (lambda x: x.topk(2, 1).values, "use the other one"),
    "places of a pool": (lambda x: nn.functional.max_pool1d(x[:, None], 2, return_indices=True)[1], "use the other one"),
    "larger of two": (lambda x: torch.maximum(x, -x), "compares two tensors"),
    "one of two": (lambda x: torch.where(torch.arange(4) > 1, x, -x), "picks from two tensors"),
    "slope below 0": (lambda x: nn.functional.leaky_relu(x, -0.5), "use abs"),
    "slopes below 0": (lambda x: nn.functional.prelu(x, torch.tensor([-0.5], dtype=x.dtype)), "use leaky_relu"),
    "a last window": (lambda x: nn.functional.max_pool1d(x[:, None], 3, ceil_mode=True), "ceil_mode=False"),
    "uneven windows": (lambda x: nn.functional.adaptive_avg_pool1d(x[:, None], 3), "an output that divides"),
    "counts at the edge": (lambda x: nn.functional.avg_pool1d(x[:, None], 3, padding=1, count_include_pad=False), "count_include_pad=True"),
    "uneven upsampling": (lambda x: nn.functional.interpolate(x[:, None], size=6), "repeats unevenly"),
    "tanh of a wide sum": (lambda x: (x * 3.0 + (x * 1000)).tanh(), "leaves the grid.*quantizer"),
    "a third of a sum": (lambda x: (x / 3) @ torch.eye(4, dtype=x.dtype), "(divide).*quantizer"),
    "a function of two numbers": (lambda x: x.pow(x), "more than one number"),
    "reflected": (lambda x: nn.functional.pad(x[:, None], (1, 1), mode="reflect"), "pad with zeros"),
    "padded off the grid": (lambda x: nn.functional.pad(x, (0, 1), value=0.01), "pad with 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_without_integers_is_refused(name):
    function, pattern = FUNCTIONS[name]

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter = nn.Identity()

        def forward(self, x):
            return function(self.enter(x))

    net = pq.attach(Model(), pq.Recipe(pq.Rule("enter:output", pq.FixedPoint(6, frac=3))))
    net.set_step(0)
    with pytest.raises(LoweringError) as refusal:
        lower(net, torch.randn(1, 4))
    assert all(part in str(refusal.value) for part in pattern.split(".*")), str(refusal.value)
