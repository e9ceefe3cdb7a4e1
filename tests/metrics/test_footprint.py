"""Footprint and performance density: the published table, and the operators that are there."""

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.errors import DataError, SiteError, UnknownName
from pareq.metrics.footprint import Part, density, footprint, megabits
from pareq.pruners import PruneActivation
from pareq.quantizers import Uniform
from pareq.tasks.espcn import Espcn
from pareq.tasks.mobilenet import mobilenet_v2
from tests.metrics.published_networks import resnet9, resnet101_trunk, unet256

# network, input, parameters, outputs as published, outputs of convolutions and linear layers
COUNTS = {
    "mobilenet": (mobilenet_v2, (3, 32, 32), 2_296_922, 6_899_732, 1_724_938),
    "espcn": (Espcn, (1, 170, 170), 22_729, 6_069_000, 3_034_500),
    "resnet101": (resnet101_trunk, (3, 480, 720), 42_492_480, 6_889_881_600, 1_722_470_400),
    "unet256": (unet256, (3, 256, 256), 54_414_083, 16_466_944, 4_215_296),
    "resnet9": (resnet9, (3, 256, 256), 11_383_427, 130_416_640, 32_702_464),
}
WHOLE = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5))  # sparsities of weights and activations


@pytest.mark.parametrize("name", COUNTS)
def test_counts_follow_from_the_shapes(name):
    make, shape, parameters, published, outputs = COUNTS[name]
    with torch.device("meta"):
        found = footprint(make(), torch.zeros(1, *shape))
    assert (found.parameters, found.published_outputs) == (parameters, published)
    assert found.outputs == outputs


def mbit(name, bits, sparsity, kept=(0, 0), head=(0, 0)):
    """The published arithmetic; kept: what is not pruned; head: what stays in float."""
    _, _, parameters, published, _ = COUNTS[name]
    parts = [
        Part(n - h, bits, s, k)
        for n, h, s, k in zip((parameters, published), head, sparsity, kept, strict=True)
    ]
    return megabits([*parts, *(Part(h) for h in head)])


ESPCN = (22_729 - 64 * 32 * 9, 6_069_000 - 64 * 170 * 170)  # only the middle layer is pruned
TRUNK = (217_664, 2_034_892_800)  # the frozen stem and first stage, in float
UNET = (
    4 * 4 * 64 * 3 + 4 * 4 * 128 * 3 + 2 * 4 * 4 * 64 * 8,
    128 * 128 * 64 + 256 * 256 * 3 + 2 * 4 * 4 * 64 * 8,
)
CYCLE = (
    7 * 7 * 64 * 3 * 2,
    256 * 256 * 64 + 128 * 128 * 128 + 128 * 128 * 64 + 3 * 256 * 256,
)
FOOTPRINTS = [
    ("mobilenet", 32, (0, 0), {}, "294.293"),
    ("mobilenet", 8, (0, 0), {}, "73.573"),
    ("mobilenet", 8, (0.5, 0), {}, "64.386"),
    ("mobilenet", 8, (0.5, 0.5), {}, "36.787"),
    ("mobilenet", 32, (0, 0.5), {}, "183.897"),
    ("espcn", 32, (0, 0), {}, "194.935"),
    ("espcn", 8, (0, 0), {}, "48.734"),
    ("espcn", 8, (0.5, 0), {"kept": ESPCN}, "48.660"),
    ("espcn", 8, (0.5, 0.5), {"kept": ESPCN}, "41.262"),
    ("espcn", 32, (0, 0.5), {"kept": ESPCN}, "165.342"),
    ("resnet101", 32, (0, 0), {}, "221836.000"),
    ("resnet101", 8, (0, 0), {"head": TRUNK}, "104302.000"),
    ("resnet101", 8, (0.5, 0), {"head": TRUNK}, "104133.000"),
    ("resnet101", 8, (0.5, 0.5), {"head": TRUNK}, "84713.000"),
    ("resnet101", 32, (0, 0.5), {"head": TRUNK}, "144156.000"),
    ("unet256", 32, (0, 0), {}, "2268.193"),
    ("unet256", 8, (0.5, 0), {"kept": UNET}, "349.494"),
    ("unet256", 8, (0.5, 0.5), {"kept": UNET}, "288.673"),
    ("resnet9", 32, (0, 0), {}, "4537.60"),
    ("resnet9", 8, (0.5, 0), {"kept": CYCLE}, "1088.94"),
    ("resnet9", 8, (0.5, 0.5), {"kept": CYCLE}, "597.42"),
]


@pytest.mark.parametrize(("name", "bits", "sparsity", "rest", "printed"), FOOTPRINTS)
def test_the_published_footprints(name, bits, sparsity, rest, printed):
    """Every printed digit; those of the detector were printed in Gbit."""
    found = mbit(name, bits, sparsity, **rest)
    if name == "resnet101":
        assert f"{found / 1e3:.3f}" == printed[:-7] + "." + printed[-7:-4]
    else:
        assert f"{found:.{len(printed.partition('.')[2])}f}" == printed


DENSITY = [
    ("accuracy", "mobilenet", 32, (0, 0), {}, 92.60, ".3147"),
    ("accuracy", "mobilenet", 8, (0, 0), {}, 92.52, "1.2575"),
    ("accuracy", "mobilenet", 8, (0.5, 0), {}, 92.23, "1.4325"),
    ("accuracy", "mobilenet", 8, (0.5, 0), {}, 85.94, "1.3348"),
    ("accuracy", "mobilenet", 8, (0.5, 0.5), {}, 91.44, "2.4857"),
    ("accuracy", "mobilenet", 8, (0.5, 0.5), {}, 86.84, "2.3606"),
    ("accuracy", "mobilenet", 32, (0, 0.5), {}, 91.87, ".4996"),
    ("psnr", "espcn", 32, (0, 0), {}, 32.84, "6.2283"),
    ("psnr", "espcn", 8, (0, 0), {}, 32.68, "8.4089"),
    ("psnr", "espcn", 8, (0.5, 0), {"kept": ESPCN}, 32.51, "8.3684"),
    ("psnr", "espcn", 8, (0.5, 0), {"kept": ESPCN}, 32.54, "8.3761"),
    ("psnr", "espcn", 8, (0.5, 0.5), {"kept": ESPCN}, 31.03, "8.3415"),
    ("psnr", "espcn", 8, (0.5, 0.5), {"kept": ESPCN}, 31.66, "8.5109"),
    ("psnr", "espcn", 8, (0, 0.5), {"kept": ESPCN}, 32.03, "8.6062"),
    ("psnr", "espcn", 32, (0, 0.5), {"kept": ESPCN}, 32.02, "6.2686"),
    ("map", "resnet101", 32, (0, 0), {}, 74.47, ".3357"),
    ("map", "resnet101", 8, (0, 0), {"head": TRUNK}, 74.25, ".7119"),
    ("map", "resnet101", 8, (0.5, 0), {"head": TRUNK}, 74.44, ".7149"),
    ("map", "resnet101", 8, (0.5, 0), {"head": TRUNK}, 74.13, ".7119"),
    ("map", "resnet101", 8, (0.5, 0.5), {"head": TRUNK}, 73.00, ".8617"),
    ("map", "resnet101", 8, (0.5, 0.5), {"head": TRUNK}, 70.13, ".8279"),
    ("map", "resnet101", 32, (0, 0.5), {"head": TRUNK}, 73.04, ".5067"),
    ("fid", "unet256", 32, (0, 0), {}, 119.90, "3.677"),
    ("fid", "unet256", 8, (0.5, 0), {"kept": UNET}, 127.1, "22.512"),
    ("fid", "unet256", 8, (0.5, 0), {"kept": UNET}, 123.5, "23.168"),
    ("fid", "unet256", 8, (0.5, 0.5), {"kept": UNET}, 154.8, "22.378"),
    ("fid", "unet256", 8, (0.5, 0.5), {"kept": UNET}, 135.0, "25.660"),
    ("fid", "resnet9", 32, (0, 0), {}, 67.1, "3.2844"),
    ("fid", "resnet9", 8, (0.5, 0), {"kept": CYCLE}, 81.8, "11.2264"),
    ("fid", "resnet9", 8, (0.5, 0), {"kept": CYCLE}, 83.72, "10.9690"),
    ("fid", "resnet9", 8, (0.5, 0.5), {"kept": CYCLE}, 100.4, "16.6719"),
    ("fid", "resnet9", 8, (0.5, 0.5), {"kept": CYCLE}, 89.35, "18.7337"),
    ("fid", "resnet9", 12, (0.5, 0), {"kept": CYCLE}, 81.8, "7.484"),
    ("fid", "resnet9", 12, (0.5, 0.5), {"kept": CYCLE}, 89.35, "12.489"),
]


@pytest.mark.parametrize(("kind", "name", "bits", "sparsity", "rest", "metric", "printed"), DENSITY)
def test_the_published_densities(kind, name, bits, sparsity, rest, metric, printed):
    found = density(kind, metric, mbit(name, bits, sparsity, **rest))
    digits = len(printed.partition(".")[2])
    assert f"{found:.{digits}f}".lstrip("0") == printed


def joint_espcn(size):
    """Only the middle layer and its output are pruned, as published."""
    torch.manual_seed(0)
    half = pq.After(2, to=0.5)
    x = torch.rand(1, 1, size, size)
    model = Espcn()
    recipe = pq.Recipe(
        pq.Rule("conv2:weight", pq.Prune(), half),
        pq.Rule("conv2:output", PruneActivation(), half),
        pq.Rule("*:weight", Uniform(8), pq.After(1)),
        pq.Rule("*:bias", Uniform(8), pq.After(1)),
        pq.Rule("*@Conv2d:output", Uniform(8, window=1), pq.After(1)),
    )
    net = pq.attach(model, recipe, example=x)
    for step in range(4):
        net.set_step(step)
        model(x)
    return net, x


def test_the_operators_of_a_network_give_the_published_footprint():
    found = footprint(*joint_espcn(170))
    assert f"{found.published():.3f}" == "41.262"


def test_an_inference_pays_for_its_masks():
    size = 12
    net, x = joint_espcn(size)
    found = footprint(net, x)
    weights, middle = 22_729, 64 * 32 * 9
    outputs = (64 + 16 + 9) * size**2
    assert found.inference(masks=False) * 1e6 == pytest.approx(
        8 * (weights - middle // 2 + outputs)
    )
    masks = middle + 32 * size**2
    assert (found.inference() - found.inference(masks=False)) * 1e6 == pytest.approx(masks)
    assert found.totals()["outputs"] == (64 + 32 + 9) * size**2
    assert all(m.training for m in net.model.modules())


def test_norms_are_published_twice_and_fold_in_an_inference():
    model = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    rule = pq.Rule("*:output", Uniform(4, signed=False), pq.After(0))
    net = pq.attach(model, pq.Recipe(rule))
    net.calibrate([torch.rand(2, 2, 5, 5)], step=0)
    found = footprint(net, torch.rand(1, 2, 5, 5))
    assert [row.output_bits for row in found.rows] == [4, 4]
    assert found.published() * 1e6 == pytest.approx(32 * (72 + 8) + 2 * 4 * (36 + 36))
    assert found.inference() * 1e6 == pytest.approx(32 * 72 + 4 * 36)


def test_what_has_no_footprint():
    net, x = joint_espcn(5)
    with pytest.raises(SiteError, match="give what attach returned"):
        footprint(net.model, x)
    with pytest.raises(DataError, match="footprint: the example has no sample"):
        footprint(net, x[:0])
    with pytest.raises(DataError, match=r"no performance density of kind psnr"):
        density("psnr", 30.0, 1.0)
    with pytest.raises(UnknownName, match="did you mean 'psnr'"):
        density("pnsr", 30.0, 2.0)
    with pytest.raises(DataError, match="expected 0 <= kept <= count"):
        Part(3, kept=4)


def test_a_mask_and_a_quantizer_behind_the_function_narrow_the_same_output():
    """As published: convolution, mask, tanh, 8 bits; the later site adds what the first lacks."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 1))
    rules = (
        pq.Rule("0:output", PruneActivation(window=1), pq.After(1, to=0.5)),
        pq.Rule("1:output", Uniform(8)),
    )
    net = pq.attach(model, pq.Recipe(*rules), steps=2, example=torch.zeros(2, 1, 8, 8))
    for step in range(3):
        net.set_step(step)
        model(torch.randn(4, 1, 8, 8))
    first, last = footprint(net, torch.zeros(1, 1, 8, 8)).rows
    assert (first.output_bits, first.alive, first.mask_bits) == (8, 128, 256)
    assert (last.output_bits, last.alive, last.mask_bits) == (32, 64, 0)
