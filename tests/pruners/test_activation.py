"""Pruned activations: exact counts, windows, patterns, sizes, resume."""

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.errors import PareqError
from pareq.operators.schedule import Levels
from pareq.pruners import PruneActivation
from pareq.quantizers import Uniform


def net_of(op, when, size=6, channels=3):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, channels, 3, padding=1), nn.ReLU())
    rule = pq.Rule("*:output", op, when)
    return pq.attach(model, pq.Recipe(rule), example=torch.zeros(1, 2, size, size))


def walk(net, inputs, start=0):
    net.model.train()
    for step, x in enumerate(inputs, start):
        net.set_step(step)
        net.model(x)
    return net.sites[0].operators[0]


def batches(count, size=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 2, size, size, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_exactly_k_fall_also_with_ties(share):
    """A ReLU output is mostly zeros; the published quantile then prunes nothing at all."""
    net = net_of(PruneActivation(), pq.After(3, to=share))
    net.model[0].bias.data.fill_(-100.0)  # every output is 0
    op = walk(net, batches(5))
    assert int((op.mask == 0).sum()) == op.count == round(share * 108)
    assert op.sparsity == pytest.approx(share, abs=0.005)


def test_the_published_steps_and_shares():
    """n = 4, half: .2891, .4375, .4922, .5 at start + i strides, nothing before the first."""
    net = net_of(PruneActivation(window=2), Levels(4, 12, to=0.5), size=16)
    op, seen = net.sites[0].operators[0], []
    net.model.train()
    for step, x in enumerate(batches(14, 16)):
        net.set_step(step)
        net.model(x)
        seen.append(op.count / 768)
    expected = [0.0] * 6 + [0.2891] * 2 + [0.4375] * 2 + [0.4922] * 2 + [0.5] * 2
    assert seen == pytest.approx(expected, abs=6e-4)


def test_the_worth_is_the_mean_over_the_samples_of_the_window():
    inputs = batches(8)
    net = net_of(PruneActivation(window=3), pq.After(6, to=0.5))
    op = walk(net, inputs)
    seen = net.model[0](torch.cat(inputs[3:6])).relu().sum(0)
    fallen = op.mask == 0
    assert int(fallen.sum()) == 54
    assert seen[fallen].max() <= seen[~fallen].min()


def test_a_moving_average_forgets_slowly():
    inputs = batches(6)
    net = net_of(PruneActivation(window=5, decay=0.5), pq.After(5, to=0.5))
    op = walk(net, inputs)
    weighted = sum(0.5 ** (4 - i) * net.model[0](x).relu().sum(0) for i, x in enumerate(inputs[:5]))
    torch.testing.assert_close(op.worth, weighted)
    assert float(op.seen) == pytest.approx(4 * sum(0.5**i for i in range(5)))


def test_no_batch_yet_waits_for_one():
    net = net_of(PruneActivation(), pq.After(0, to=0.5))
    op = net.sites[0].operators[0]
    walk(net, batches(1))
    assert op.count == 0
    net.set_step(1)
    assert op.count == 54
    assert not op.observing


def test_channels_fall_whole():
    op = PruneActivation(pattern="channel")
    net = net_of(op, pq.After(2, to=0.5), channels=8)
    walk(net, batches(4))
    y = net.model(batches(1, 11)[0])  # of any size
    dead = (y == 0).all(0).flatten(1)
    assert int(dead.all(1).sum()) == 4


@pytest.mark.parametrize("size", [6, 5, 12, 17])
@pytest.mark.parametrize("tile", [0, 3, 4])
def test_tiles_cover_images_of_any_size(size, tile):
    """The published mask leaves a border: .48 becomes .37 on 17 x 17."""
    op = PruneActivation(pattern="tiled", tile=tile)
    net = net_of(op, pq.After(2, to=0.5))
    walk(net, batches(4))
    found = net.sites[0].operators[0]
    kept = found.kept((3, size, size))
    assert kept.shape == (3, size, size)
    for (c, i, j), one in zip(
        torch.cartesian_prod(*map(torch.arange, kept.shape)), kept.flatten(), strict=True
    ):
        assert one == found.mask[c, i % found.mask.shape[1], j % found.mask.shape[2]]
    y = net.model.eval()(batches(1, size)[0])
    assert (y * (1 - kept) == 0).all()
    assert abs(float(kept.mean()) - 0.5) < 0.15


def test_a_tile_is_worth_the_mean_of_its_positions():
    """Also where the image ends within a tile."""
    op = PruneActivation(pattern="tiled", tile=4)
    op.prepare(torch.zeros(1, 2, 6, 6), 1)
    x = torch.rand(3, 2, 6, 6)
    op.observe(x)
    total = x.sum(0)
    assert op.worth.shape == (2, 4, 4)
    torch.testing.assert_close(op.worth[:, 0, 0], total[:, ::4, ::4].mean((1, 2)))
    torch.testing.assert_close(op.worth[:, 2, 1], total[:, 2, [1, 5]].mean(1))
    torch.testing.assert_close(op.worth[:, 3, 3], total[:, 3, 3])


def test_an_unstructured_mask_refuses_other_sizes():
    net = net_of(PruneActivation(), pq.After(2, to=0.5))
    walk(net, batches(4))
    with pytest.raises(PareqError) as error:
        net.model(batches(1, 7)[0])
    assert str(error.value) == (
        "1:output: the mask is (3, 6, 6), the activation (3, 7, 7); use the pattern 'tiled' or"
        " 'channel' for images of several sizes"
    )


def test_masks_only_shrink_unless_regrow():
    for regrow in (False, True):
        net = net_of(PruneActivation(regrow=regrow, window=2), Levels(0, 8, to=0.5, levels=2))
        op = walk(net, batches(5))
        first = op.mask.clone()
        net.model[0].weight.data.neg_()
        walk(net, batches(5, seed=9), 5)
        assert op.count == 54
        assert bool((op.mask <= first).all()) is not regrow


def test_one_budget_for_all_or_for_each():
    for scope, expected in (("layer", [54, 54]), ("global", [0, 108])):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
        model[0].bias.data.fill_(50.0)
        model[1].weight.data.mul_(1e-3)
        rule = pq.Rule("*@Conv2d:output", PruneActivation(scope=scope), pq.After(2, to=0.5))
        net = pq.attach(model, pq.Recipe(rule), example=torch.zeros(1, 2, 6, 6))
        walk(net, batches(4))
        assert [s.operators[0].count for s in net.sites] == expected


@pytest.mark.parametrize("split", [3, 5, 6, 7])
@pytest.mark.parametrize("decay", [1.0, 0.8])
def test_a_resumed_run_has_the_same_masks(split, decay):
    inputs, made = batches(10), PruneActivation(window=3, decay=decay)
    nets = [net_of(made, Levels(2, 8, to=0.5, levels=2)) for _ in range(3)]
    straight = walk(nets[0], inputs)
    walk(nets[1], inputs[:split])
    nets[2].model.load_state_dict(nets[1].model.state_dict())
    resumed = walk(nets[2], inputs[split:], split)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_the_gradient_is_the_mask():
    op = PruneActivation()
    op.prepare(torch.zeros(1, 4))
    op.mask[1] = 0
    x = torch.randn(3, 4, requires_grad=True)
    op(x).sum().backward()
    assert torch.equal(x.grad, op.mask.expand(3, 4))


def test_a_quantizer_behind_a_new_mask_searches_anew():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    nn.init.zeros_(model[0].weight)
    model[0].bias.data = torch.tensor([0.01, 0.02, 3.0, 3.5])
    rules = (
        pq.Rule("0:output", PruneActivation(window=2), pq.After(8, to=0.5)),
        pq.Rule("0:output", Uniform(4, window=2), pq.After(4)),
    )
    net = pq.attach(model, pq.Recipe(*rules), example=torch.zeros(1, 4))
    quantizer = net.sites[0].quantizer
    for step in range(12):
        net.set_step(step)
        model(torch.randn(4, 4))
        if step == 7:
            before = quantizer.errors.clone()
    values = torch.tensor([0.0, 0.0, 3.0, 3.5])
    other = Uniform(4)
    other.prepare(values)
    other.turn_to(0, 0, lambda: values.expand(4, 4))
    assert torch.equal(quantizer.errors, other.errors)
    assert not torch.equal(quantizer.errors, before)


def test_calibration_chooses_masks_and_then_ranges():
    rules = (
        pq.Rule("1:output", PruneActivation(), pq.After(0, to=0.5)),
        pq.Rule("1:output", Uniform(8, signed=False), pq.After(0)),
    )
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    net = pq.attach(model, pq.Recipe(*rules), example=torch.zeros(1, 4), steps=10)
    net.calibrate(iter([torch.randn(8, 4), torch.randn(8, 4)]))
    y = net.model.eval()(torch.randn(8, 4))
    assert net.sites[0].operators[0].count == 3
    assert net.sites[0].quantizer.grid().holds(y.detach().numpy())
    assert int((y == 0).all(0).sum()) >= 3


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: PruneActivation(pattern="tile"), "pattern must be one of unstructured, channel, tiled, got 'tile'"),
        (lambda: PruneActivation(tile=4), "tile belongs to pattern 'tiled', got 'unstructured'"),
        (lambda: PruneActivation(window=0), "window must be 1 step or more, got 0"),
        (lambda: PruneActivation(decay=0.0), "decay must be in (0, 1], got 0.0"),
        (lambda: pq.Rule("*:output", PruneActivation(), pq.After(0.3)), "sparsity must be in [0, 1), got 1.0; give the schedule to=..."),
        (
            lambda: pq.attach(nn.Linear(2, 2), pq.Recipe(pq.Rule(":weight", PruneActivation(), pq.After(0, 0.5)))),
            "rule 1: :weight is a parameter, prune_activation works on what modules return; name those, such as '*:output', or use prune",
        ),
        (
            lambda: pq.attach(nn.ReLU(), pq.Recipe(pq.Rule(":output", PruneActivation(), pq.After(0, 0.5)))),
            "rule 1 (:output): prune_activation needs the shape of the activation; give attach an example input",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(make, line):
    with pytest.raises(PareqError) as error:
        make()
    assert str(error.value) == line
