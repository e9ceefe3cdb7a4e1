"""Fan-in: exact counts in every neuron of every kind of layer, and tables of what is left."""

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.errors import PareqError
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.tasks.base import TASKS, make_task
from pareq.train.measure import density
from pareq.train.population import train_population
from pareq.train.start import Start
from pareq.train.trial import Trial, network, reopen
from tests.backends.verilog.programs import icarus
from tests.train.clouds import Clouds, variant

LAYERS = {
    "linear": (lambda: nn.Linear(12, 5), 12),
    "convolution": (lambda: nn.Conv2d(3, 4, 3), 27),
    "in groups": (lambda: nn.Conv2d(6, 4, (3, 2), groups=2), 18),
    "channels last": (lambda: nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), 27),
    "transposed": (lambda: nn.ConvTranspose2d(5, 3, 2), 20),
    "transposed, in groups": (lambda: nn.ConvTranspose1d(6, 4, 3, groups=2), 9),
}


def attached(layer, when, *, inputs=3, regrow=False):
    rule = pq.Rule("*:weight", pq.FanIn(inputs=inputs, regrow=regrow), when)
    return pq.attach(nn.Sequential(layer), pq.Recipe(rule))


def neurons(layer, x):
    """The weights of each output channel, each picked by itself."""
    if not getattr(layer, "transposed", False):
        return [row.flatten() for row in x]
    inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    groups = [x[g * inputs : (g + 1) * inputs] for g in range(layer.groups)]
    return [group[:, o].flatten() for group in groups for o in range(outputs)]


@pytest.mark.parametrize("name", LAYERS)
def test_every_neuron_loses_its_least_weights_in_exact_numbers(name):
    torch.manual_seed(1)
    make, taps = LAYERS[name]
    layer = make()
    net = attached(layer, pq.Ramp(1, 5, power=1.0, every=1))
    site = net.sites[0]
    for step, share in enumerate((0, 0, 0.25, 0.5, 0.75, 1, 1)):
        net.set_step(step)
        pairs = zip(*(neurons(layer, x) for x in (site.latent(), site.value())), strict=True)
        for latent, value in pairs:
            assert len(latent) == taps
            left = value != 0
            assert int(left.sum()) == taps - round(share * (taps - 3))
            assert torch.equal(value[left], latent[left])
            if share:
                assert latent[~left].abs().max() <= latent[left].abs().min()
    assert site.operators[0].sparsity == pytest.approx(1 - 3 / taps)


def test_of_equals_the_first_fall():
    layer = nn.Linear(6, 4)
    layer.weight.data.fill_(1.0)
    net = attached(layer, pq.After(0))
    net.set_step(0)
    assert torch.equal(layer.weight, torch.tensor([0.0, 0, 0, 1, 1, 1]).expand(4, 6))


def test_a_neuron_of_few_inputs_keeps_them():
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    net = pq.attach(model, pq.Recipe(pq.Rule("*:weight", pq.FanIn(inputs=4))))
    net.set_step(0)
    assert [(s.value() != 0).sum(1).unique().tolist() for s in net.sites] == [[3], [4]]
    assert net.sites[0].value().equal(net.sites[0].latent())


def test_a_table_of_few_bits_takes_fewer_inputs():
    """Three words of 2 bits fit 8, three of 4 bits do not."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 5))
    )
    rules = (
        pq.Rule("*:weight", pq.FanIn(inputs=3, table=8)),
        pq.Rule(":input", pq.FixedPoint(4)),
        pq.Rule("*:output", pq.FixedPoint(2, signed=False)),
    )
    net = pq.attach(model, pq.Recipe(*rules), example=torch.randn(2, 2, 6, 6))
    net.set_step(0)
    weights = [site.value().flatten(1) for site in net.sites if site.kind == "weight"]
    assert [(w != 0).sum(1).unique().tolist() for w in weights] == [[2], [3]]


@pytest.mark.parametrize("regrow", [False, True])
def test_what_fell_returns_only_where_it_may(regrow):
    torch.manual_seed(2)
    net = attached(nn.Linear(20, 6), pq.Stairs(0, 1, (0.5, 0.5)), regrow=regrow)
    latent, mask = net.sites[0].latent(), net.sites[0].operators[0].mask
    net.set_step(0)
    first = mask.clone()
    latent.data[mask == 0] = 10.0  # what fell would now be worth most
    net.set_step(1)
    assert (mask.sum(1) == 20 - 12).all()  # half of 17, then half of what is left of them
    assert bool((mask <= first).all()) is not regrow


def test_fallen_weights_get_no_gradient():
    net = attached(nn.Linear(6, 4), pq.After(0))
    net.set_step(0)
    net.model(torch.randn(8, 6)).square().sum().backward()
    grad, mask = net.sites[0].latent().grad, net.sites[0].operators[0].mask
    assert (grad[mask == 0] == 0).all()
    assert (grad[mask == 1] != 0).all()


def test_a_loaded_state_chooses_no_other_mask():
    """What fell before a checkpoint has fallen after it, whatever the weights have become."""
    made = [attached(nn.Linear(9, 4), pq.Ramp(0, 4, every=1)) for _ in range(2)]
    made[0].set_step(2)
    made[1].model.load_state_dict(made[0].model.state_dict())
    made[1].sites[0].latent().data.uniform_()
    mask = made[1].sites[0].operators[0].mask
    before = mask.clone()
    made[1].set_step(2)
    assert torch.equal(mask, before)
    made[1].set_step(4)
    assert (mask <= before).all()
    assert (mask.sum(1) == 3).all()


def test_costs_count_what_is_left():
    model = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 4))
    net = pq.attach(model, pq.Recipe(pq.Rule("*:weight", pq.FanIn(inputs=2))))
    net.set_step(0)
    assert [row.alive for row in pq.cost(net, torch.randn(1, 10)).rows] == [16, 8]
    assert density(net)[0] == pytest.approx(1 - 24 / 112)


def test_a_quantizer_behind_learns_of_every_mask():
    rules = (
        pq.Rule("*:weight", pq.FanIn(inputs=2), pq.Levels(0, 8, levels=2)),
        pq.Rule("*:weight", pq.Uniform(4)),
    )
    net = pq.attach(nn.Sequential(nn.Linear(10, 4)), pq.Recipe(*rules))
    for step, looked in ((0, 0), (3, 0), (4, 4), (7, 4), (8, 8), (9, 8)):
        net.set_step(step)
        assert net.sites[0].quantizer.looked == looked


def test_a_lottery_ticket_keeps_the_masks(tmp_path):
    rule = pq.Rule("*:weight", pq.FanIn(inputs=4), pq.After(0))
    training = pq.Training(epochs=1, batch_size=256, seed=5)
    text = dump_recipe(pq.Recipe(rule, training=training))
    Trial("digits", text).run(tmp_path)
    trained, drawn = reopen(tmp_path)[2], network(make_task("digits"), parse_recipe(text))
    ticket = network(make_task("digits"), parse_recipe(text))
    Start(str(tmp_path), 0).apply(ticket)
    for ours, its, first in zip(ticket.sites, trained.sites, drawn.sites, strict=True):
        assert torch.equal(ours.operators[0].mask, its.operators[0].mask)
        assert (ours.operators[0].mask.sum(1) == 4).all()
        assert torch.equal(ours.latent(), first.latent())


def test_a_population_has_it_beside_prune(monkeypatch):
    monkeypatch.setitem(TASKS._things, Clouds.name, Clouds)
    ramp = {"every": 2}
    rules = (
        pq.Rule("*:weight", pq.FanIn(inputs=2), pq.Ramp(0.1, 0.8, **ramp)),
        pq.Rule("*:weight", pq.Prune(), pq.Ramp(0.1, 0.8, to=0.7, **ramp)),
    )
    trials = [variant(rule, seed=n, epochs=2) for n, rule in enumerate(rules)]
    for run, trial in zip(train_population(trials), trials, strict=True):
        alone = trial.run().epochs
        assert [e.sparsity for e in run.epochs] == pytest.approx([e.sparsity for e in alone])
        assert run.epochs[-1].train_loss == pytest.approx(alone[-1].train_loss, rel=1e-3)


@icarus
def test_what_it_leaves_becomes_tables(tmp_path):
    """Trained, lowered, built: every neuron in front of the last layer is a table, bit for bit."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))
    recipe = pq.Recipe(
        pq.Rule("*:weight", pq.FanIn(inputs=3), pq.Ramp(0.1, 0.5)),
        pq.Rule("*:weight", pq.FixedPoint(8)),
        pq.Rule("*:output", pq.FixedPoint(2, signed=False)),
        pq.Rule(":input", pq.FixedPoint(2, frac=0)),
        pq.Rule(":output", pq.FixedPoint(4)),
    )
    net = pq.attach(model, recipe, steps=60)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for step in range(60):
        net.set_step(step)
        x = torch.randn(64, 8)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), x[:, :3].argmax(1)).backward()
        optimizer.step()
    net.set_step(60)
    model.eval()
    graph = pq.lower(net, torch.randn(2, 8))
    weights = [c.data for c in graph.constants if c.data.ndim == 2]
    assert all((w != 0).sum(1).max() <= 3 for w in weights)
    how = pq.Verilog(emitter="native", simulator="icarus")
    artefact = pq.build(graph, how, tmp_path / "net", name="net")
    assert artefact.figures["table_neurons"] > 0
    assert artefact.figures["adders"] == 0
    assert pq.verify(artefact, graph, rows=500).samples >= 500


FAN_IN = pq.Rule("*:weight", pq.FanIn(inputs=2))
TABLE = pq.Rule("*:weight", pq.FanIn(inputs=2, table=8))


def on_a_layer(*rules):
    return pq.attach(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), pq.Recipe(*rules))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: pq.FanIn(inputs=0), "inputs must be a whole number, 1 or more, got 0"),
        (lambda: pq.FanIn(inputs=True), "inputs must be a whole number, 1 or more, got True"),
        (
            lambda: pq.FanIn(inputs=2, table=0.5),
            "table must be a whole number, 1 or more, got 0.5",
        ),
        (
            lambda: on_a_layer(TABLE),
            "rule 1 (0:weight): table: no quantizer is known of what the layer reads; name one in"
            " a rule and give attach an example input, or leave out table",
        ),
        (
            lambda: on_a_layer(TABLE, pq.Rule(":input", pq.FixedPoint(9))),
            "rule 1 (0:weight): table: the layer reads words of 9 bits, of which none fits 8;"
            " give it fewer bits",
        ),
        (
            lambda: pq.FanIn(inputs=2, score="magnitud"),
            "unknown score 'magnitud'; did you mean 'magnitude'?",
        ),
        (
            lambda: parse_recipe('[[rule]]\nwhere = "*:weight"\nop = { name = "fan_in" }\n'),
            "recipe: rule 1.op (fan_in): 'inputs' is missing, expected a whole number",
        ),
        (
            lambda: on_a_layer(pq.Rule("*:bias", pq.FanIn(inputs=2))),
            "rule 1 (0:bias): fan_in works on weights with an axis of inputs, this tensor has one"
            " axis; name the layers' weights, such as '*:weight'",
        ),
        (
            lambda: on_a_layer(pq.Rule("*:output", pq.FanIn(inputs=2))),
            "rule 1: 1:output is an activation, prune works on weights and biases; name those,"
            " such as '*:weight', or use prune_activation",
        ),
        (
            lambda: on_a_layer(FAN_IN, pq.Rule("*:weight", pq.Prune(), pq.After(0, 0.5))),
            "0:weight would be pruned twice, by rule 1 (*:weight) and rule 2 (*:weight);"
            " exclude it from one",
        ),
    ],
)
def test_what_cannot_be_meant(make, line):
    with pytest.raises(PareqError) as error:
        make()
    assert str(error.value) == line


def test_nan_weights_are_refused():
    net = attached(nn.Linear(6, 4), pq.After(0))
    net.sites[0].latent().data[0, 0] = torch.nan
    with pytest.raises(PareqError) as error:
        net.set_step(0)
    assert str(error.value) == (
        "rule 1 (*:weight): the tensors to be pruned hold NaN; look at the loss and the data"
    )
