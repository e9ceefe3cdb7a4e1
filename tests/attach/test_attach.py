"""Attach: the model stays the user's own, before, during and after."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import pareq as pq
from pareq.errors import OperatorError
from tests.attach.networks import NETWORKS, Tied, make, mlp


def recipe(at=2, sparsity=0.5):
    return pq.Recipe(
        pq.Rule("*:weight", pq.Prune(), pq.After(at, to=sparsity)),
        pq.Rule("*:weight", pq.FixedPoint(4), pq.After(at)),
        pq.Rule("*:bias", pq.FixedPoint(8), pq.After(at)),
    )


def train(model, x, net, steps, start=0):
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    y = torch.arange(len(x)) % 4
    losses = []
    for step in range(start, start + steps):
        net.set_step(step)
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y) + net.penalty()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", NETWORKS)
def test_strength_zero_is_the_identity_and_changes_no_training(name):
    plain, x = make(name)
    model, _ = make(name)
    keys = set(plain.state_dict())
    net = pq.attach(model, recipe(at=10**6))
    assert torch.equal(plain(x), model(x))
    empty = pq.attach(nn.Linear(1, 1), pq.Recipe())
    assert train(plain, x, empty, 4) == train(model, x, net, 4)
    net.detach()
    assert set(model.state_dict()) == keys
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in plain.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_engaged_operators_reach_the_forward_pass_and_training_goes_on(name):
    model, x = make(name)
    net = pq.attach(model, recipe())
    before = model(x).detach()
    keys = list(model.state_dict())
    losses = train(model, x, net, 25)
    assert list(model.state_dict()) == keys
    assert losses[-1] < losses[2]
    sites = [s for s in net.sites if s.kind == "weight"]
    zeros = sum(int((s.value() == 0).sum()) for s in sites)
    total = sum(s.value().numel() for s in sites)
    assert zeros >= total // 2
    for site in net.sites:
        assert site.quantizer.grid().holds(site.value().detach().numpy())
        assert site.latent().grad is not None
    assert not torch.equal(before, model(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_weights_in_use_are_the_projected_ones(name):
    """A plain copy that holds the projected values computes the same."""
    model, x = make(name)
    net = pq.attach(model, recipe())
    train(model, x, net, 5)
    model.eval()
    expected = model(x)
    plain = net.detach(bake=True)
    assert torch.equal(plain.eval()(x), expected)
    assert not any("parametrizations" in k for k in plain.state_dict())


def test_detach_without_baking_gives_the_latent_weights_back():
    model, x = make("mlp")
    net = pq.attach(model, recipe())
    train(model, x, net, 5)
    latent = {s.name: s.latent().detach().clone() for s in net.sites}
    net.detach(bake=False)
    assert torch.equal(model[0].weight, latent["0:weight"])
    assert model(x).grad_fn is not None
    pq.attach(model, recipe())  # and it can be attached again


@pytest.mark.parametrize("name", NETWORKS)
def test_a_deep_copy_has_operators_of_its_own(name):
    model, x = make(name)
    net = pq.attach(model, recipe())
    train(model, x, net, 5)
    model.eval()
    twin_net = copy.deepcopy(net)
    twin = copy.deepcopy(model).eval()
    assert torch.equal(twin(x), model(x))
    assert torch.equal(twin_net.model(x), model(x))
    expected = model(x).detach()
    train(twin_net.model.train(), x, twin_net, 3, start=5)
    assert torch.equal(model(x), expected)
    assert not torch.equal(twin_net.model.eval()(x), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_copy_that_is_detached_leaves_the_original_attached(name):
    model, x = make(name)
    net = pq.attach(model, recipe())
    train(model, x, net, 5)
    expected = model.eval()(x)
    twin = copy.deepcopy(net)
    assert torch.equal(twin.detach().eval()(x), expected)
    assert torch.equal(model(x), expected)
    train(model.train(), x, net, 2, start=5)
    net.detach()


def test_an_operator_that_refuses_its_layer_leaves_the_model_as_it_was():
    model = mlp()
    before = copy.deepcopy(model.state_dict())
    refused = pq.Recipe(
        pq.Rule("*:weight", pq.FixedPoint(4)), pq.Rule("*:weight", pq.Ebops(budget=9.0))
    )
    with pytest.raises(OperatorError, match=r"rule 2 \(.*\): neither the weight"):
        pq.attach(model, refused, steps=4)
    assert set(model.state_dict()) == set(before)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    pq.attach(model, recipe(), steps=4)


def test_an_optimizer_made_before_attach_keeps_its_parameters():
    model, x = make("mlp")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    net = pq.attach(model, recipe(at=0))
    net.set_step(0)
    before = net.sites[0].latent().detach().clone()
    model(x).square().sum().backward()
    optimizer.step()
    assert not torch.equal(before, net.sites[0].latent())


def test_a_state_dict_loads_into_a_fresh_attachment():
    model, x = make("mlp")
    rules = [*recipe().rules, pq.Rule("*:output", pq.LearnedScale(4), pq.After(2)),
             pq.Rule(":input", pq.FixedPoint(5), pq.After(2))]  # fmt: skip
    net = pq.attach(model, pq.Recipe(*rules))
    train(model, x, net, 8)
    twin, _ = make("mlp")
    other = pq.attach(twin, pq.Recipe(*rules))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.eval()(x), model.eval()(x))
    other.set_step(8)
    net.set_step(8)
    assert torch.equal(twin(x), model(x))


def test_the_same_step_again_changes_nothing():
    model, x = make("mlp")
    net = pq.attach(model, recipe())
    train(model, x, net, 5)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    net._quiet_until = 0  # as after a resume
    net.set_step(4)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())


def test_tied_weights_share_one_mask_and_count_once():
    model = Tied()
    net = pq.attach(model, recipe(at=0))
    net.set_step(0)
    assert torch.equal(model.encoder.weight, model.decoder.weight)
    assert int((model.encoder.weight == 0).sum()) >= 18
    assert model.encoder.parametrizations.weight[0] is model.decoder.parametrizations.weight[0]
    assert int(net.sites[0].operators[0].mask.sum()) == 18
    assert len({id(p) for p in model.parameters() if p.ndim == 2}) == 1
    x = torch.randn(4, 6)
    expected = model(x)
    twin = copy.deepcopy(model)
    assert twin.encoder.parametrizations.weight[0] is twin.decoder.parametrizations.weight[0]
    net.detach()
    assert torch.equal(model(x), expected)
    assert model.encoder.weight is model.decoder.weight


def test_a_module_used_twice_is_one_site():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    net = pq.attach(model, pq.Recipe(pq.Rule("2:weight", pq.FixedPoint(3))))
    assert [s.name for s in net.sites] == ["0:weight"]


@pytest.mark.parametrize("edge", [":input", ":output"])
def test_the_edges_of_a_sequential_are_those_of_its_ends(edge):
    model, x = make("mlp")
    net = pq.attach(model, pq.Recipe(pq.Rule(edge, pq.FixedPoint(3, frac=1))))
    net.set_step(0)
    assert [s.name for s in net.sites] == [{":input": "0:input", ":output": "5:output"}[edge]]
    assert len(model) == 6
    if edge == ":output":
        assert ((model(x) * 2).frac() == 0).all()


def test_activations_observe_only_in_training_and_saturate():
    model, x = make("mlp")
    rule = pq.Rule("*:output", pq.FixedPoint(3, signed=False, window=2, refresh=0), pq.After(4))
    net = pq.attach(model, pq.Recipe(rule))
    steps = []
    for step in range(8):
        net.set_step(step)
        model.eval()(x * 100)
        model.train()(x)
        steps.append(net.sites[0].quantizer.step.item())
    assert steps[:2] == [0, 0]  # not measured yet
    assert steps[2] > 0  # two steps before it is needed
    assert len(set(steps[4:])) == 1  # then frozen
    seen = []
    model[3].register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    model.eval()(x * 1e6)
    assert seen[0].max() == 7 * steps[-1]
    assert seen[0].min() == 0


def test_calibrate_measures_without_training():
    model, x = make("mlp")
    net = pq.attach(model, pq.Recipe(pq.Rule("*:output", pq.FixedPoint(6, signed=False))))
    model.eval()
    net.set_step(0)
    with pytest.raises(pq.PareqError) as error:
        model(x)
    assert str(error.value) == (
        "2:output: the range is not known yet; run a training batch after set_step, or calibrate(...)"
    )
    net.calibrate([x, x * 2])
    assert not model.training
    assert all(s.quantizer.known for s in net.sites)
    assert all(not o.observing for s in net.sites for o in s.operators)
    model(x)


def test_fractions_and_epochs_need_the_length_of_the_run():
    model, _ = make("mlp")
    net = pq.attach(model, pq.Recipe(pq.Rule("*:weight", pq.FixedPoint(4), pq.After(0.5))))
    with pytest.raises(pq.PareqError) as error:
        net.set_step(0)
    assert str(error.value) == (
        "rule 1 (*:weight): position 0.5 is a fraction of the run, but its length is not known; "
        "give attach or plan(...) steps"
    )
    net.plan(steps=10)
    net.set_step(4)
    assert not net.sites[0].quantizer.engaged
    net.set_step(5)
    assert net.sites[0].quantizer.engaged
    assert net.settled_at == 5


def test_a_blend_lies_between():
    model, _x = make("mlp")
    net = pq.attach(
        model, pq.Recipe(pq.Rule("*:weight", pq.MaxAbs(2), pq.Ramp(0, 4, power=1, every=1)))
    )
    site, far = net.sites[0], []
    for step in range(5):
        net.set_step(step)
        far.append((site.value() - site.latent()).abs().mean().item())
    assert far[0] == 0
    assert far == sorted(far)
    torch.testing.assert_close(torch.tensor(far[2]), torch.tensor(far[4] / 2))


def test_per_channel_activation_learns_from_an_example():
    model, x = make("cnn")
    rule = pq.Rule("relu1:output", pq.LearnedScale(4, per_channel=True))
    net = pq.attach(model, pq.Recipe(rule), example=x)
    assert net.sites[0].quantizer.scale.shape == (1, 8, 1, 1)
    net.set_step(0)
    model(x).sum().backward()
    assert net.sites[0].quantizer.scale.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_autocast(name):
    model, x = make(name)
    rules = [*recipe(at=0).rules]
    if name in ("mlp", "cnn"):
        rules.append(pq.Rule("*:output", pq.FixedPoint(6, signed=False)))
    net = pq.attach(model, pq.Recipe(*rules))
    net.set_step(0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(x).float().square().mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(s.latent().grad.dtype == torch.float32 for s in net.sites if s.kind == "weight")


def test_a_bfloat16_model():
    model, x = make("mlp")
    model.bfloat16()
    net = pq.attach(model, recipe(at=0))
    net.set_step(0)
    y = model(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert net.sites[1].quantizer.grid().holds(net.sites[1].value().detach().float().numpy())


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # torch's own, while tracing
@pytest.mark.parametrize("name", ["mlp", "cnn", "attention"])
def test_compiled_equals_eager(name):
    results = []
    for compiled in (False, True):
        model, x = make(name)
        rules = [*recipe().rules]
        if name != "attention":
            rules.append(pq.Rule("*:output", pq.LearnedScale(5), pq.After(3)))
        net = pq.attach(model, pq.Recipe(*rules))
        run = torch.compile(model, backend="aot_eager") if compiled else model
        results.append(train(run, x, net, 6))
    torch.testing.assert_close(
        torch.tensor(results[0]), torch.tensor(results[1]), rtol=1e-4, atol=1e-5
    )


def test_parametrized_models_say_how_they_are_saved():
    model, _ = make("mlp")
    pq.attach(model, recipe())
    with pytest.raises(RuntimeError, match="state_dict"):
        pickle.dumps(model)


def test_repr_names_every_site():
    net = pq.attach(mlp(), recipe())
    assert "0:weight: prune(), fixed_point(bits=4)" in repr(net)
    assert repr(net).startswith("Attached(Sequential, 6 sites)")
