"""Each test holds one weakness of the published library for joint pruning and quantization away.

They were found by running its releases 1.2.11 and 2.0.1; the numbers in the names are theirs.
"""

import copy

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.errors import PareqError
from pareq.operators.schedule import Clock, Levels
from pareq.pruners import PruneActivation
from pareq.quantizers import Uniform


def joint(prune=(2, 6), quantize=8, bits=8, share=0.5):
    """Weights and activations pruned and quantized."""
    masks = Levels(*prune, to=share)
    return pq.Recipe(
        pq.Rule("*:weight", pq.Prune(scope="layer"), masks),
        pq.Rule("*:weight", Uniform(bits), pq.After(quantize)),
        pq.Rule("*:output", PruneActivation(window=2), masks),
        pq.Rule("*:output", Uniform(bits, window=2), pq.After(quantize)),
    )


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)
    )


def images(step=0, n=5):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(n, 3, 8, 8, generator=generator)


def trained(recipe=None, steps=12, n=5, **lengths):
    model = cnn()
    net = pq.attach(model, recipe or joint(), example=images(n=1), **lengths)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for step in range(steps):
        net.set_step(step)
        optimizer.zero_grad()
        model(images(step, n)).square().mean().backward()
        optimizer.step()
    return net


def test_values_beyond_the_range_saturate_in_a_network():
    """Number 1: at 4 bits and a step of .1 an input of 100 stayed 100."""
    net = trained(joint(bits=4))
    for site in net.sites:
        low, high = site.quantizer.grid().limits
        values = torch.tensor([[-1e6, 1e6]]).double()
        assert site.quantizer(values).tolist() == [[low, high]]
    calm, loud = (net.model.eval()(images(1) * n).detach() for n in (1, 1e6))
    assert float(loud.abs().max()) < 1e3 * float(calm.abs().max() + 1)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_default_options_take_any_batch(n):
    """Number 2: the default quantizer of an activation fails for every batch but 1."""
    net = trained(n=n)
    for site in net.sites:
        if site.kind == "output":
            seen = []
            site.module.register_forward_hook(lambda m, a, y, seen=seen: seen.append(y.detach()))
            net.model.eval()(images(99, n))
            assert site.quantizer.grid().holds(seen[0].numpy())


def test_weights_and_biases_keep_their_own_time_and_range():
    """Number 3: they share one counter, which runs double, and the bias becomes two-dimensional."""
    recipe = pq.Recipe(
        pq.Rule("*:weight", Uniform(8), pq.After(4)), pq.Rule("*:bias", Uniform(16), pq.After(2))
    )
    net = pq.attach(cnn(), recipe)
    for step, expected in ((1, set()), (2, {"bias"}), (3, {"bias"}), (4, {"bias", "weight"})):
        net.set_step(step)
        assert {s.kind for s in net.sites if s.quantizer.engaged} == expected
    assert net.model[0].bias.shape == (4,)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_every_layer_reaches_the_target(scope):
    """Number 4: layer by layer the sparsity became 4.21, and 0 in the final mask."""
    rules = [
        pq.Rule(f"{n}:weight", pq.Prune(scope=scope), Levels(2 + 4 * i, 6 + 4 * i, to=0.75))
        for i, n in enumerate((0, 2, 5))
    ]
    net = pq.attach(cnn(), pq.Recipe(*rules))
    for step in range(15):
        net.set_step(step)
        shares = [site.operators[0].sparsity for site in net.sites]
        assert all(share <= 0.75 + 1e-6 for share in shares)
    assert shares == pytest.approx([0.75] * 3, abs=0.01)


def test_fractional_epochs_are_met():
    """Number 4: a start at step 2252.2 never equals a step."""
    rule = Levels("2.4 epochs", "4.8 epochs", to=0.5)
    found = rule.resolve(Clock(9 * 938, 938))
    assert (found.start, found.stop) == (2251, 4502)
    changes = [t for t in range(4600) if found(t) != found(t - 1)]
    assert changes == [2814, 3377, 3940, 4502]
    assert found(4502) == 0.5


@pytest.mark.parametrize(("share", "fall"), [(0.0, 0), (0.25, 2), (0.5, 5), (0.75, 8), (0.95, 10)])
@pytest.mark.parametrize("activation", [True, False])
def test_as_many_fall_as_were_asked_for(share, fall, activation):
    """Number 6: s = 0 prunes one of ten, .75 seven; here .25 of 10 is 2.5, rounded to even."""
    model = nn.Linear(1, 10, bias=False)
    nn.init.ones_(model.weight)  # and all are equal
    rule = (
        pq.Rule(":output", PruneActivation(), pq.After(2, to=share))
        if activation
        else pq.Rule(":weight", pq.Prune(), pq.After(2, to=share))
    )
    net = pq.attach(model, pq.Recipe(rule), example=torch.ones(1, 1))
    for step in range(4):
        net.set_step(step)
        y = model(torch.ones(2, 1))
    assert int((y[0] == 0).sum()) == fall


def test_the_gradient_of_saturated_inputs_and_of_the_caller_are_left_alone():
    """Number 5: a gradient of 10 became 3.97, in place, and one at a saturated input passed."""
    layer = nn.Identity()
    rule = pq.Rule(":output", Uniform(4, gradient="clip"), pq.After(0))
    net = pq.attach(layer, pq.Recipe(rule), example=torch.ones(1, 3))
    net.calibrate([torch.tensor([[0.5, -0.5, 0.25]])], step=0)
    x = torch.tensor([[100.0, 0.25, -100.0]], requires_grad=True)
    upstream = torch.full((1, 3), 10.0)
    layer(x).backward(upstream)
    assert x.grad.tolist() == [[0.0, 10.0, 0.0]]
    assert upstream.tolist() == [[10.0] * 3]


@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
def test_half_fall_where_most_values_are_zero(pattern):
    """Number 6: behind a ReLU with 83 % zeros half of it was asked for, and nothing fell."""
    layer = nn.ReLU()
    rule = pq.Rule(":output", PruneActivation(pattern=pattern), pq.After(2, to=0.5))
    net = pq.attach(layer, pq.Recipe(rule), example=torch.ones(1, 6, 2, 2))
    x = torch.full((3, 6, 2, 2), -1.0)
    x[:, 0] = 1.0  # the other five of six are zero behind the ReLU
    for step in range(4):
        net.set_step(step)
        layer(x)
    (site,) = net.sites
    assert site.operators[0].sparsity == 0.5
    assert (layer(x)[:, 0] == 1).all()


def test_one_element_and_everything():
    """Number 6: s = 1 and a single element end in an IndexError."""
    with pytest.raises(PareqError, match=r"sparsity must be in \[0, 1\), got 1"):
        pq.Rule("*:output", PruneActivation(), pq.After(0, to=1.0))
    net = pq.attach(nn.Linear(1, 1), pq.Recipe(pq.Rule(":weight", pq.Prune(), pq.After(0, to=0.4))))
    net.set_step(0)
    assert net.model.weight != 0


def test_step_0_means_from_the_beginning():
    """Number 7: there it means never."""
    net = pq.attach(cnn(), pq.Recipe(pq.Rule("*:weight", Uniform(4), pq.After(0))))
    net.set_step(0)
    for site in net.sites:
        assert site.quantizer.grid().holds(site.value().detach().numpy())


def test_reading_a_weight_does_not_advance_time():
    """Number 8: its counter advances at each read in training mode."""
    net = trained(steps=7)
    before = {k: v.clone() for k, v in net.model.state_dict().items()}
    net.model.train()
    for _ in range(50):
        _ = net.model[0].weight, net.model[5].weight
    assert all(torch.equal(v, before[k]) for k, v in net.model.state_dict().items())


def test_resumed_then_evaluated_it_is_quantized():
    """Number 9: after a plain load_state_dict the network is not quantized."""
    net = trained()
    fresh = pq.attach(cnn(), joint(), example=images(n=1))
    fresh.model.load_state_dict(net.model.state_dict())
    x = images(77)
    assert torch.equal(net.model.eval()(x), fresh.model.eval()(x))
    for site in fresh.sites:
        assert site.quantizer.engaged
        assert site.operators[0].sparsity == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("stop", [3, 5, 7, 8, 9])
def test_a_resumed_run_is_the_straight_one(stop):
    """Number 9: the running mean restarts, the scale .4221 becomes .0044."""
    straight, first = trained(), trained(steps=stop)
    second = pq.attach(cnn(), joint(), example=images(n=1))
    second.model.load_state_dict(first.model.state_dict())
    optimizer = torch.optim.SGD(second.model.parameters(), 0.01)
    for step in range(stop, 12):
        second.set_step(step)
        optimizer.zero_grad()
        second.model(images(step)).square().mean().backward()
        optimizer.step()
    other = second.model.state_dict()
    for key, value in straight.model.state_dict().items():
        assert torch.equal(value, other[key]), key


def test_masks_are_frozen_after_their_schedule():
    """Number 10: refreshed at every step, by a full sort, forever."""
    net = trained(steps=7)
    masks = [s.operators[0].mask.clone() for s in net.sites]
    for site in net.sites:
        if site.kind == "weight":
            site.latent().data.normal_()
    for step in range(7, 30):
        net.set_step(step)
        net.model(images(step) * 7)
    assert all(torch.equal(s.operators[0].mask, m) for s, m in zip(net.sites, masks, strict=True))


def test_state_lives_in_buffers_that_can_be_cast():
    """Integer and Boolean parameters were counted, averaged and cast; a bfloat16 model failed."""
    net = trained()
    names = {n for n, _ in net.model.named_parameters() if "original" not in n}
    assert names == {"0.bias", "2.bias", "5.bias"}
    half = copy.deepcopy(net).model.to(torch.bfloat16).eval()
    assert torch.isfinite(half(images().bfloat16())).all()


def test_export_sees_no_branch_on_data():
    """torch.export failed on a branch that depends on data."""
    net = trained()
    x = images(n=2)
    program = torch.export.export(net.model.eval(), (x,))
    torch.testing.assert_close(program.module()(x), net.model(x))
