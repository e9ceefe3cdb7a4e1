"""One rule an op: integers equal to the float64 module, and a refusal that says what to do."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import pareq as pq
from tests.lower.trained import lowered

IN = pq.Rule("enter:output", pq.FixedPoint(7, frac=3))
OUT = pq.Rule("leave:output", pq.FixedPoint(6, frac=2))
FREE = pq.Rule("leave:output", pq.LearnedScale(5, signed=True, initial=2.7))


class Apply(nn.Module):
    """A function between two places where a quantizer can be."""

    def __init__(self, function, **parts):
        super().__init__()
        self.enter, self.leave = nn.Identity(), nn.Identity()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.leave(self.function(self, self.enter(x)))


def apply(function, shape, *rules, **parts):
    torch.manual_seed(0)
    return lowered(Apply(function, **parts), [IN, *rules], shape, count=60)


# name: (shape of a sample, function, kinds that must remain after all passes)
EXACT = {
    "add twice": ((4,), lambda m, x: x + x, {"add"}),
    "add of another scale": ((4,), lambda m, x: x * 0.25 + x, {"add"}),
    "add a number": ((4,), lambda m, x: x + 0.375, {"requantize"}),
    "add a finer number": ((4,), lambda m, x: 1 / 64 + x, {"requantize"}),
    "add a number of each place": ((2, 3), lambda m, x: x + torch.tensor([0.5, 1, -2]), {"requantize"}),
    "subtract": ((4,), lambda m, x: x - 2 * x.relu(), {"subtract"}),
    "subtract from a number": ((4,), lambda m, x: 1.5 - x, {"requantize"}),
    "rsub": ((4,), lambda m, x: torch.rsub(x, 1.5), {"requantize"}),
    "product": ((4,), lambda m, x: x * (x + 1), {"multiply"}),
    "square by hand": ((4,), lambda m, x: x * x, {"multiply"}),
    "times a number": ((4,), lambda m, x: -3 * x, {"requantize"}),
    "times nothing in places": ((3,), lambda m, x: x * torch.tensor([0.0, 1, 2]), {"requantize"}),
    "over a number": ((4,), lambda m, x: x / 4, {"requantize"}),
    "neg": ((4,), lambda m, x: -x, {"requantize"}),
    "relu": ((4,), lambda m, x: functional.relu(x), {"clamp"}),
    "relu in place": ((4,), lambda m, x: functional.relu_(x + 1), {"requantize"}),
    "relu6": ((4,), lambda m, x: functional.relu6(x), {"clamp"}),
    "hardtanh": ((4,), lambda m, x: functional.hardtanh(x, -2, 1.5), {"clamp"}),
    "clamp": ((4,), lambda m, x: x.clamp(-1, 2.25), {"clamp"}),
    "clamp from below": ((4,), lambda m, x: x.clamp(min=-0.5), {"clamp"}),
    "clamp at tensors": ((4,), lambda m, x: x.clamp(torch.tensor(-1.0), torch.tensor(2.0)), {"clamp"}),
    "larger of a number": ((4,), lambda m, x: torch.maximum(x, torch.zeros_like(x)), {"clamp"}),
    "smaller of a number": ((4,), lambda m, x: torch.min(torch.full_like(x, 2.5), x), {"clamp"}),
    "clamp beyond the grid": ((4,), lambda m, x: x.clamp(-99.3, 99.3) + x, {"add"}),
    "leaky": ((4,), lambda m, x: functional.leaky_relu(x, 0.25), {"leaky"}),
    "leaky of slope 0": ((4,), lambda m, x: functional.leaky_relu(x, 0.0), {"clamp"}),
    "mask": ((4,), lambda m, x: x * torch.tensor([1, 0, 1, 1]), {"mask"}),
    "mask of one": ((4,), lambda m, x: (x * torch.ones(4)).relu(), {"clamp"}),
    "mask of each place": ((3, 4), lambda m, x: x * (torch.arange(12).reshape(3, 4) % 2), {"mask"}),
    "masked fill": ((4,), lambda m, x: x.masked_fill(torch.arange(4) > 2, -1.5), {"mask"}),
    "masked fill off the grid": ((4,), lambda m, x: x.masked_fill(torch.arange(4) > 2, 1 / 64), {"requantize"}),
    "where": ((4,), lambda m, x: torch.where(torch.arange(4) > 1, x, 0.0), {"mask"}),
    "where, turned": ((4,), lambda m, x: torch.where(torch.arange(4) > 1, -1.0, x), {"mask"}),
    "where of several": ((2, 3), lambda m, x: torch.where(torch.arange(3) > 0, torch.arange(3), x), {"requantize"}),
    "abs": ((4,), lambda m, x: x.abs(), {"table"}),
    "pow": ((4,), lambda m, x: x**2, {"table"}),
    "floor": ((4,), lambda m, x: x.floor(), {"table"}),
    "sign": ((4,), lambda m, x: x.sign(), {"table"}),
    "threshold": ((4,), lambda m, x: functional.threshold(x, 0.5, -3.0), {"table"}),
    "add zeros": ((4,), lambda m, x: (x + x.new_zeros(4) + torch.ones_like(x)), {"requantize"}),
    "max pool 1d": ((2, 9), lambda m, x: functional.max_pool1d(x, 3, 2, 1), {"max_pool"}),
    "max pool 2d": ((2, 6, 5), lambda m, x: functional.max_pool2d(x, (2, 3), (2, 1), (1, 0)), {"max_pool"}),
    "max pool with dilation": ((2, 7, 7), lambda m, x: functional.max_pool2d(x, 2, 1, 0, 2), {"max_pool"}),
    "adaptive max pool": ((2, 6, 4), lambda m, x: functional.adaptive_max_pool2d(x, (3, 2)), {"max_pool"}),
    "average of four": ((2, 4, 4), lambda m, x: functional.avg_pool2d(x, 2), {"sum_pool"}),
    "average with padding": ((2, 8), lambda m, x: functional.avg_pool1d(x, 2, 2, 1), {"sum_pool"}),
    "adaptive average": ((2, 8, 4), lambda m, x: functional.adaptive_avg_pool2d(x, (4, 2)), {"sum_pool"}),
    "mean": ((2, 4, 4), lambda m, x: x.mean((2, 3)), {"sum"}),
    "mean, kept": ((2, 4, 4), lambda m, x: x.mean((-1, -2), keepdim=True), {"sum"}),
    "sum": ((2, 3), lambda m, x: x.sum(1), {"sum"}),
    "argmax": ((5,), lambda m, x: x.argmax(1), {"top_k"}),
    "argmax, kept": ((5, 2), lambda m, x: x.argmax(1, keepdim=True), {"top_k"}),
    "top two": ((5,), lambda m, x: (x + torch.arange(5) / 64).topk(2, dim=1).indices, {"top_k"}),
    "flatten": ((2, 3, 2), lambda m, x: x.flatten(1), {"reshape"}),
    "view": ((2, 3, 2), lambda m, x: x.view(x.size(0), -1, 3), {"reshape"}),
    "squeeze and unsqueeze": ((1, 3), lambda m, x: x.squeeze(1).unsqueeze(2), {"reshape"}),
    "permute": ((2, 3, 4), lambda m, x: x.permute(0, 3, 1, 2), {"permute"}),
    "transpose": ((2, 3), lambda m, x: x.transpose(1, 2), {"permute"}),
    "transpose of rows": ((3, 2), lambda m, x: x.mT, {"permute"}),
    "movedim": ((3, 2, 4), lambda m, x: x.movedim(1, 3), {"permute"}),
    "movedim of two": ((3, 2, 4), lambda m, x: x.movedim((3, 1), (1, 2)), {"permute"}),
    "swapaxes": ((3, 2, 4), lambda m, x: x.swapaxes(1, -1), {"permute"}),
    "pixel shuffle": ((4, 2, 3), lambda m, x: functional.pixel_shuffle(x, 2), {"permute"}),
    "pixel unshuffle": ((2, 4, 6), lambda m, x: functional.pixel_unshuffle(x, 2), {"permute"}),
    "channel shuffle": ((6, 2, 2), lambda m, x: functional.channel_shuffle(x, 3), {"permute"}),
    "upsample": ((2, 3), lambda m, x: functional.interpolate(x, scale_factor=3), {"conv_transpose"}),
    "upsample 2d": ((2, 3, 2), lambda m, x: functional.interpolate(x, size=(3, 4)), {"conv_transpose"}),
    "narrow": ((6,), lambda m, x: x.narrow(1, 2, 3), {"slice"}),
    "slice": ((7,), lambda m, x: x[:, 1:6:2], {"slice"}),
    "slice from the end": ((7, 2), lambda m, x: x[:, -3:, :], {"slice"}),
    "select": ((7, 2), lambda m, x: x[:, -2], {"slice", "reshape"}),
    "chunks": ((6,), lambda m, x: x.chunk(3, 1)[2] + x.split([2, 4], 1)[0], {"slice", "add"}),
    "unbind": ((2, 3), lambda m, x: x.unbind(1)[1], {"slice", "reshape"}),
    "pad": ((2, 3), lambda m, x: functional.pad(x, (1, 2)), {"pad"}),
    "pad with a number": ((2, 3), lambda m, x: functional.pad(x, (0, 1, 2, 0), value=-1.5), {"pad"}),
    "crop by padding": ((2, 5), lambda m, x: functional.pad(x, (-1, 2)), {"slice", "pad"}),
    "concat": ((2, 3), lambda m, x: torch.cat([x, x + 1, x * 0.5], 1), {"concat"}),
    "hstack": ((4,), lambda m, x: torch.hstack([x, -x]), {"concat"}),
    "stack": ((2, 3), lambda m, x: torch.stack([x, -x], 2), {"concat"}),
    "dropout": ((4,), lambda m, x: functional.dropout(x, 0.5, m.training) + x, {"add"}),
    "largest": ((2, 4, 3), lambda m, x: x.amax((2, 3)), {"max_pool"}),
    "largest of an axis": ((2, 4, 3), lambda m, x: x.max(2).values, {"max_pool", "permute"}),
    "largest, and where": ((2, 4), lambda m, x: x.max(2, keepdim=True), {"max_pool", "top_k"}),
    "smallest": ((2, 4), lambda m, x: x.min(2), {"max_pool", "top_k"}),
    "smallest of all": ((2, 4), lambda m, x: x.amin((1, 2)) + 1, {"max_pool"}),
    "where the smallest is": ((5,), lambda m, x: x.argmin(1), {"top_k"}),
    "integers as reals": ((5,), lambda m, x: x.argmax(1).float(), {"top_k"}),
    "a number for each sample": ((5,), lambda m, x: x.argmax(1) + 1, {"top_k", "requantize"}),
    "smaller integers": ((5,), lambda m, x: x.argmax(1).to(torch.int8), {"top_k"}),
    "several results": ((4,), lambda m, x: (x + 1, x * x), {"multiply", "requantize"}),
    "matmul": ((2, 3), lambda m, x: x @ torch.tensor([[1.0, 2], [0.5, -1], [3, 0]], dtype=x.dtype), {"dense"}),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_exact_without_a_second_quantizer(name):
    shape, function, kinds = EXACT[name]
    graph = apply(function, shape)
    assert kinds <= {op.kind for op in graph.ops}, [op.kind for op in graph.ops]


ROUNDED = {
    "add an odd number": ((4,), lambda m, x: x + 0.1),
    "times an odd number": ((4,), lambda m, x: x * -0.3),
    "average of three": ((2, 9), lambda m, x: functional.avg_pool1d(x, 3)),
    "average of six": ((2, 4, 6), lambda m, x: functional.avg_pool2d(x, (2, 3))),
    "mean of six": ((2, 2, 3), lambda m, x: x.mean((2, 3))),
    "leaky of any slope": ((4,), lambda m, x: functional.leaky_relu(x, 0.01)),
    "prelu": ((3, 2), lambda m, x: functional.prelu(x, torch.tensor([0.1, 0.3, 0.0], dtype=x.dtype))),
    "steps in any order": ((4,), lambda m, x: functional.relu(x * 0.7 + 0.2) * 1.3 - 0.4),
    "steps that move": ((2, 3), lambda m, x: (x * torch.tensor([0.3, 0.7, -1.1])).transpose(1, 2).flatten(1)[:, 1:]),
    "a function of each element": ((2, 3), lambda m, x: x * torch.tensor([[0.3, 0.7, -1.1], [0.2, 0.0, 2.0]])),
    "mask and an odd fill": ((4,), lambda m, x: (x * 0.3).masked_fill(torch.arange(4) > 2, -1.1)),
    "one number a sample": ((4, 1), lambda m, x: x.sum(1).squeeze(1) * 0.7 - 0.1),
    "a constant from constants": ((4,), lambda m, x: x * torch.linspace(0.1, 1.0, 4).exp() / (torch.arange(1, 5) / 3)),
    "reciprocal": ((4,), lambda m, x: 1 / (x.abs() + 1)),
    "elu": ((4,), lambda m, x: functional.elu(x, 0.7)),
    "selu": ((4,), lambda m, x: functional.selu(x)),
    "mish": ((4,), lambda m, x: functional.mish(x)),
    "hardsigmoid": ((4,), lambda m, x: functional.hardsigmoid(x)),
    "logarithm": ((4,), lambda m, x: (x.clamp(min=0) + 0.125).log()),
    "sigmoid": ((4,), lambda m, x: x.sigmoid()),
    "tanh": ((4,), lambda m, x: x.tanh()),
    "gelu": ((4,), lambda m, x: functional.gelu(x)),
    "gelu, other form": ((4,), lambda m, x: functional.gelu(x, approximate="tanh")),
    "silu": ((4,), lambda m, x: functional.silu(x)),
    "hardswish": ((4,), lambda m, x: functional.hardswish(x)),
    "softplus after a step": ((3, 2), lambda m, x: functional.softplus(x * torch.tensor([[0.5], [1.5], [2.5]]))),
}  # fmt: skip


@pytest.mark.parametrize("leave", [OUT, FREE], ids=["fixed", "free"])
@pytest.mark.parametrize("name", ROUNDED)
def test_real_steps_end_in_the_next_grid(name, leave):
    shape, function = ROUNDED[name]
    apply(function, shape, leave)


LAYERS = {
    "conv1d": (nn.Conv1d(3, 4, 3, stride=2, padding=1), (3, 9)),
    "conv2d": (nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1)), (3, 7, 6)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, bias=False), (4, 5, 5)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding="same"), (4, 5, 5)),
    "same, uneven": (nn.Conv1d(2, 3, 4, padding="same"), (2, 7)),
    "transposed": (nn.ConvTranspose1d(3, 2, 3, stride=2, padding=1, output_padding=1), (3, 5)),
    "transposed 2d": (nn.ConvTranspose2d(4, 4, 2, stride=2, groups=2, dilation=2), (4, 3, 3)),
    "linear": (nn.Linear(5, 3), (5,)),
    "linear on rows": (nn.Linear(5, 3), (2, 5)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
def test_layers(name, free):
    """Free: a scale for each output of the weight, a float bias, and a free grid after it."""
    layer, shape = LAYERS[name]
    torch.manual_seed(1)
    layer.reset_parameters()
    rules = [
        pq.Rule("layer:weight", pq.MaxAbs(5, per_channel=True) if free else pq.FixedPoint(5)),
        FREE if free else OUT,
    ]
    if layer.bias is not None and not free:
        rules.append(pq.Rule("layer:bias", pq.FixedPoint(8)))
    apply(lambda m, x: m.layer(x), shape, *rules, layer=copy.deepcopy(layer))
