import copy
import json
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import pareq as pq
from pareq.attach.attach import attach
from pareq.errors import DataError, SiteError
from pareq.metrics.bops import bops, effective_bits
from pareq.metrics.cost import Cost
from pareq.metrics.footprint import footprint
from pareq.metrics.probe import cost

WEIGHTS = pq.Rule("*:weight", pq.FixedPoint(6))
ACTIVATIONS = pq.Rule("*:output", pq.LearnedScale(6))
INPUTS = pq.Rule("0:input", pq.FixedPoint(8, frac=4))


@pytest.fixture(autouse=True)
def seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def mlp(batch_norm=True):
    widths, layers = (16, 64, 32, 32), []
    for n, m in pairwise(widths):
        layers += [nn.Linear(n, m), *([nn.BatchNorm1d(m)] if batch_norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(32, 5))


def attached(model, *rules):
    net = attach(model, pq.Recipe(*rules), steps=10, steps_per_epoch=1)
    net.set_step(0)
    return net


def bits(found):
    return [(row.weight_bits, row.input_bits) for row in found.rows]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_float_network(batch_norm):
    found = cost(mlp(batch_norm), torch.randn(3, 16))
    assert bops(found.rows) == bops(found.rows, "code") == 4_652_832
    assert [row.weights for row in found.rows] == [1024, 2048, 1024, 160]
    assert [row.biases for row in found.rows] == [64, 32, 32, 5]
    assert [row.reads for row in found.rows] == [16, 64, 32, 32]
    assert bits(found) == [(32, 32)] * 4
    norms = [rest.values for rest in found.rest]
    assert norms == ([256, 128, 128] if batch_norm else [])
    assert all(rest.norm and rest.kind == "BatchNorm1d" for rest in found.rest)
    assert found.totals()["bits_norms"] == 32 * sum(norms)


@pytest.mark.parametrize("bits", [12, 6, 4])
def test_quantized_network_costs_the_published_number(bits):
    net = attached(
        mlp(), pq.Rule("*:weight", pq.MaxAbs(bits)), pq.Rule("*:output", pq.LearnedScale(bits))
    )
    found = cost(net, torch.randn(2, 16))
    assert bops(found.rows) == {12: 1_003_552, 6: 412_960, 4: 267_808}[bits]
    assert [row.path for row in found.rows] == ["0", "3", "6", "9"]


def test_input_site_makes_the_input_narrow():
    net = attached(mlp(), WEIGHTS, ACTIVATIONS, INPUTS)
    found = cost(net, torch.randn(2, 16))
    assert bits(found) == [(6, 8), (6, 6), (6, 6), (6, 6)]
    assert bops(found.rows, "true_input") < bops(found.rows, "code")


def test_operators_that_do_not_work_yet_cost_float():
    net = attached(mlp(), pq.Rule("*:weight", pq.FixedPoint(6), pq.After(5)), ACTIVATIONS)
    assert bits(cost(net, torch.randn(2, 16))) == [(32, 32), (32, 6), (32, 6), (32, 6)]
    net.set_step(5)
    assert bits(cost(net, torch.randn(2, 16))) == [(6, 32), (6, 6), (6, 6), (6, 6)]


def test_half_blended_values_are_on_no_grid():
    net = attached(mlp(), pq.Rule("*:weight", pq.FixedPoint(6), pq.After(0, to=0.5)))
    found = cost(net, torch.randn(2, 16))
    assert bits(found) == [(32, 32)] * 4
    assert found.rows[0].effective is None


def test_counts_of_pruned_and_quantized_weights():
    prune = pq.Rule("*:weight", pq.Prune(scope="layer"), pq.After(0, to=0.8))
    net = attached(mlp(), prune, WEIGHTS)
    found = cost(net, torch.randn(2, 16))
    assert [row.alive for row in found.rows] == [205, 410, 205, 32]
    for site, row in zip(net.sites, found.rows, strict=True):
        prune, quantizer = site.operators
        assert row.path == site.path
        assert row.alive == int(prune.mask.sum())
        value = site.value()
        assert row.nonzero == int(value.count_nonzero()) <= row.alive
        integers = value.detach().numpy() / quantizer.grid().scale
        assert row.effective == effective_bits(integers).sum()
        assert 0 < row.effective < row.nonzero * 6
    assert found.totals()["ebops"] < found.totals()["ebops_per_layer_bits"]


def test_alive_of_a_plain_model_is_its_nonzero_weights():
    model = nn.Sequential(nn.Linear(4, 3))
    with torch.no_grad():
        model[0].weight[0] = 0
        model[0].bias[1] = 0
    (row,) = cost(model, torch.randn(1, 4)).rows
    assert (row.alive, row.nonzero, row.biases, row.biases_alive) == (8, 8, 3, 2)


def test_a_mask_counts_once_pruning_began():
    model = nn.Sequential(nn.Linear(4, 4))
    with torch.no_grad():
        model[0].weight[0] = 0
    net = attached(model, pq.Rule("*:weight", pq.Prune(), pq.After(5, to=0.5)))
    assert cost(net, torch.randn(1, 4)).rows[0].alive == 12
    net.set_step(5)
    assert cost(net, torch.randn(1, 4)).rows[0].alive == 8


def test_latent_weights_below_half_a_step_are_alive_but_zero():
    model = nn.Sequential(nn.Linear(8, 4))
    with torch.no_grad():
        model[0].weight.fill_(0.5)
        model[0].weight[:2] = 1e-4
    net = attached(model, pq.Rule("*:weight", pq.MaxAbs(4)))
    (row,) = cost(net, torch.randn(1, 8)).rows
    assert (row.alive, row.nonzero, row.effective) == (32, 16, 16 * 3)
    assert bops([row], "quantized_zeros") < bops([row], "paper")


def test_quantized_biases():
    net = attached(mlp(False), pq.Rule("*:bias", pq.FixedPoint(10, frac=8)))
    found = cost(net, torch.randn(2, 16))
    assert [row.bias_bits for row in found.rows] == [10] * 4
    assert found.totals()["bits_biases"] == 10 * 133


class Small(nn.Module):
    """A convolution with a residual add, pooling, flatten."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.act2 = nn.ReLU()
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = nn.Linear(4 * 8 * 8, 10)

    def forward(self, x):
        x = self.act(self.first(x))
        y = self.act2(self.depth(F.dropout(x, training=self.training)))
        y = F.max_pool2d(torch.cat([y, y[:, :8]], 1)[:, :8], 2)
        y = self.up(y + 0)
        return self.head(y.flatten(1))


def test_convolutions():
    net = attached(Small(), WEIGHTS, pq.Rule("*:output", pq.FixedPoint(5, frac=3, signed=False)))
    found = cost(net, torch.randn(2, 3, 8, 8))
    first, depth, up, head = found.rows
    assert [row.path for row in found.rows] == ["first", "depth", "up", "head"]
    assert (first.kind, first.inputs, first.outputs, first.positions) == ("conv", 27, 8, 64)
    assert (depth.inputs, depth.outputs, depth.groups, depth.positions) == (9, 8, 8, 64)
    assert (up.inputs, up.outputs, up.positions, up.weights) == (32, 4, 16, 8 * 4 * 4)
    assert (head.kind, head.inputs, head.outputs, head.positions) == ("linear", 256, 10, 1)
    assert (first.input_bits, depth.input_bits) == (32, 5)
    assert up.input_bits == 32  # + is not exact on a grid
    assert first.multiplies == 64 * 8 * 27
    assert first.reads == 3 * 64


def test_an_empty_weight_is_no_layer():
    class Empty(nn.Module):
        def forward(self, x):
            return F.linear(x, torch.ones(3, 0))

    assert cost(Empty(), torch.ones(2, 0)) == Cost(())


def test_multiplies_of_a_transposed_convolution_by_counting():
    # every product of an input value with a weight happens once: outputs of ones are their counts
    conv = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        products = conv(torch.ones(1, 4, 5, 5)).sum()
    (row,) = cost(conv, torch.ones(1, 4, 5, 5)).rows
    assert row.multiplies == int(products)
    assert (row.inputs, row.outputs, row.groups) == (2 * 9, 6, 2)


def test_multiplies_of_a_convolution_by_counting():
    conv = nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        products = conv(torch.ones(1, 4, 9, 9)).sum()
    (row,) = cost(conv, torch.ones(1, 4, 9, 9)).rows
    assert row.multiplies == int(products)
    assert row.effective is None


def written(values):
    def function(x):
        y = x.clone()
        y[:, :4] = values(x)
        return y

    return function


EXACT = {
    "relu": lambda x: torch.relu(x),
    "relu in place": lambda x: F.relu(x, inplace=True),
    "max_pool": lambda x: F.max_pool1d(x[:, None], 1)[:, 0],
    "flatten": lambda x: x.flatten(1),
    "reshape": lambda x: x.reshape(2, 4).view(1, 8),
    "transposes": lambda x: x.t().T.mT.permute(1, 0),
    "squeeze": lambda x: x.unsqueeze(0).squeeze(0),
    "dropout": lambda x: F.dropout(x, training=False),
    "identity": nn.Identity(),
    "getitem": lambda x: x[:, :],
    "chunks": lambda x: torch.cat(x.chunk(2, 1), 1),
    "index": lambda x: x.index_select(1, torch.arange(8)),
    "written with its own": written(lambda x: x[:, 4:]),
    "pad": lambda x: F.pad(x[:, :6], (1, 1)),
    "dtype": lambda x: x.double().float(),
    "stack": lambda x: torch.stack([x, x]).amax(0),
}
INEXACT = {
    "add": lambda x: x + 0,
    "add in place": lambda x: x.add_(0),
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "average": lambda x: F.avg_pool1d(x[:, None], 1)[:, 0],
    "pad with ones": lambda x: F.pad(x[:, :6], (1, 1), value=1.0),
    "dropout at work": lambda x: F.dropout(x, 0.9, training=True),
    "with a float": lambda x: torch.cat([x[:, :4], torch.ones(1, 4)], 1),
    "written with floats": written(lambda x: torch.ones(1, 4)),
    "copied to": lambda x: torch.ones(1, 8).copy_(x),
}


class Between(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.act, self.fc, self.function = nn.ReLU(), nn.Linear(8, 2), function

    def forward(self, x):
        return self.fc(self.function(self.act(x)))


@pytest.mark.parametrize("case", [*EXACT, *INEXACT])
def test_what_keeps_the_width_of_an_activation(case):
    net = attached(
        Between({**EXACT, **INEXACT}[case]),
        pq.Rule("act:output", pq.FixedPoint(5, frac=3, signed=False)),
    )
    (row,) = cost(net, torch.randn(4, 8)).rows
    assert row.input_bits == (5 if case in EXACT else 32)


def test_concatenation_takes_the_widest():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.fc = nn.ReLU(), nn.ReLU(), nn.Linear(16, 2)

        def forward(self, x):
            return self.fc(torch.cat([self.a(x), self.b(x)], 1))

    net = attached(
        Two(),
        pq.Rule("a:output", pq.FixedPoint(5, frac=3)),
        pq.Rule("b:output", pq.FixedPoint(7, frac=3)),
    )
    assert cost(net, torch.randn(1, 8)).rows[0].input_bits == 7


def test_linear_on_a_sequence_counts_every_position():
    (row,) = cost(nn.Linear(8, 3), torch.randn(2, 7, 8)).rows
    assert (row.positions, row.multiplies, row.reads) == (7, 7 * 24, 56)


def test_multihead_attention():
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = attached(block, pq.Rule("*:weight", pq.FixedPoint(6)))
    found = cost(net, torch.randn(2, 5, 8))
    rows = {row.path: row for row in found.rows}
    assert list(rows) == [
        "self_attn.q", "self_attn.k", "self_attn.v", "self_attn.out_proj", "linear1", "linear2",
    ]  # fmt: skip
    for name in ("q", "k", "v", "out_proj"):
        row = rows[f"self_attn.{name}"]
        assert (row.weights, row.biases, row.positions, row.weight_bits) == (64, 8, 5, 6)
        assert row.shares == ""
    parameters = sum(site.latent().numel() for site in net.sites)
    assert found.totals()["weights"] == parameters
    kinds = [(rest.path, rest.kind, rest.norm) for rest in found.rest]
    assert ("self_attn", "scaled_dot_product_attention", False) in kinds
    assert ("norm1", "LayerNorm", True) in kinds


def test_attention_with_other_lengths_and_widths():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = nn.MultiheadAttention(8, 2, batch_first=True, kdim=6, vdim=4)

        def forward(self, x):
            return self.attn(x, torch.ones(1, 3, 6), torch.ones(1, 3, 4))[0]

    found = cost(Cross(), torch.randn(1, 5, 8))
    shapes = [(row.path, row.inputs, row.outputs, row.positions) for row in found.rows]
    assert shapes == [
        ("attn.q", 8, 8, 5), ("attn.k", 6, 8, 3), ("attn.v", 4, 8, 3), ("attn.out_proj", 8, 8, 5),
    ]  # fmt: skip


def test_the_model_is_left_as_it_was():
    model = mlp().train()
    model[1].eval()
    net = attached(
        model, WEIGHTS, ACTIVATIONS, pq.Rule("*:weight", pq.Prune(), pq.After(0, to=0.5))
    )
    state = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    first = cost(net, torch.randn(2, 16))
    assert cost(net, torch.randn(2, 16)) == first
    assert [m.training for m in model.modules()] == modes
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_a_failing_forward_leaves_no_hooks():
    model = mlp().train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        cost(model, torch.randn(2, 3))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.training


def test_a_compiled_model_is_read_without_compiling():
    def backend(graph, example):
        raise AssertionError("compiled")

    model = mlp()
    found = cost(torch.compile(model, backend=backend), torch.randn(1, 16))
    assert found.totals() == cost(model, torch.randn(1, 16)).totals()
    assert [row.path for row in found.rows] == [f"_orig_mod.{i}" for i in (0, 3, 6, 9)]


def test_after_detach_the_baked_model_is_a_plain_one():
    net = attached(mlp(), WEIGHTS, pq.Rule("*:weight", pq.Prune(), pq.After(0, to=0.5)))
    alive = sum(row.alive for row in cost(net, torch.randn(1, 16)).rows)
    found = cost(net.detach(), torch.randn(1, 16))
    assert bits(found) == [(32, 32)] * 4
    assert sum(row.alive for row in found.rows) <= alive < 4256


def test_json_round_trip():
    net = attached(mlp(), WEIGHTS, ACTIVATIONS)
    found = cost(net, torch.randn(2, 16))
    assert Cost.from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False))) == found


def test_refused():
    net = attached(mlp(), WEIGHTS)
    with pytest.raises(SiteError, match="cost: the model carries operators; give what attach"):
        cost(net.model, torch.randn(2, 16))
    with pytest.raises(DataError, match=r"cost: the example has no sample, got shape \(0, 16\)"):
        cost(net, torch.randn(0, 16))
    with pytest.raises(DataError, match=r"cost: the example has no sample, got shape \(\)"):
        cost(net, torch.tensor(1.0))


def test_batch_normalisation_of_the_batch_itself_takes_a_single_sample():
    def net(running):
        norm = nn.BatchNorm1d(64, track_running_stats=running)
        return nn.Sequential(nn.Linear(16, 64), norm, nn.ReLU(), nn.Linear(64, 5))

    x = torch.randn(1, 16)
    assert cost(net(False), x).rows == cost(net(True), x).rows
    assert len(footprint(net(False), x).rows) == len(footprint(net(True), x).rows) > 0
