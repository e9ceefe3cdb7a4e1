"""The recipes that come with pareq."""

import pytest

from pareq.attach.attach import attach
from pareq.errors import RecipeError
from pareq.operators.schedule import Clock, Stairs
from pareq.pruners import L1, FanIn, Prune
from pareq.quantizers import LearnedScale, MaxAbs
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.recipe.presets import find_recipe, presets
from pareq.tasks import Cifar10, Digits, Jets, SuperResolution

NAMES = ("float", "interleaved", "joint", "joint-pq", "joint-qp", "learned-bits")
NAMES += ("pruned", "qap", "qap-fixed", "qap-paper", "qap-reversed", "quantized")
NAMES += ("table-neurons",)
IMAGES = {
    "cifar10-joint": (Cifar10(width=2), Cifar10(network="mobilenet_v2")),
    **dict.fromkeys(
        ("mobilenet-pq", "mobilenet-q", "mobilenet-qp"), (Cifar10(network="mobilenet_v2"),)
    ),
    **dict.fromkeys(("espcn-joint", "espcn-pq", "espcn-q", "espcn-qp"), (SuperResolution(),)),
}


def test_each_says_what_it_is():
    """Sorted; the line is the first one of the file."""
    assert tuple(presets()) == tuple(sorted([*NAMES, *IMAGES]))
    assert all(line.endswith(".") and not line.startswith("#") for line in presets().values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", [Jets(), Digits(), Digits(network="cnn")])
def test_each_fits_the_reference_tasks(name, task):
    """It is read, written, read again, and finds its sites."""
    recipe = find_recipe(name)
    assert parse_recipe(dump_recipe(recipe)) == recipe
    net = attach(task.model(), recipe, example=task.example)
    net.plan(1000, 10)
    assert net.settled_at < 900  # time is left to train what it has become
    assert bool(net.sites) == (name != "float")


@pytest.mark.parametrize("name", IMAGES)
def test_each_for_images_fits_its_task(name):
    """It finds its sites, and leaves time to train, if little where it was published so."""
    recipe = find_recipe(name)
    assert parse_recipe(dump_recipe(recipe)) == recipe
    for task in IMAGES[name]:
        net = attach(task.model(), recipe, example=task.example)
        net.plan(1000, 10)
        assert net.sites
        assert net.settled_at <= 960


@pytest.mark.parametrize("name", ["pruned", "qap", "qap-reversed", "qap-paper"])
def test_pruning_leaves_a_fifth(name):
    """852 of the jet tagger's 4,256 weights; the stairs round as the publication did."""
    rule = next(r for r in find_recipe(name).rules if isinstance(r.op, Prune))
    when = rule.when.resolve(Clock(1000, 10))
    left = 4256 - when.count(1000, 4256)
    assert left == (852 if isinstance(when, Stairs) else 851)


def test_the_order_is_in_the_times():
    """P->Q prunes first, Q->P quantizes first, with the same operators."""
    forward, backward = find_recipe("qap"), find_recipe("qap-reversed")
    assert [type(r.op) for r in forward.rules] == [type(r.op) for r in backward.rules]
    for recipe, first, second in ((forward, 0, 1), (backward, 1, 0)):
        times = [rule.when.resolve(Clock(1000, 10)) for rule in recipe.rules]
        assert times[first].first < times[second].first


def test_the_published_operators():
    """Hawks et al. 2021: six bits from the first step, a scale that begins at 6, L1 twice."""
    rules = find_recipe("qap-paper").rules
    assert [type(rule.op) for rule in rules] == [Prune, L1, L1, MaxAbs, LearnedScale]
    assert rules[4].op.initial == 6.0
    assert not rules[4].op.signed
    assert {rule.op.weight for rule in rules[1:3]} == {1e-4}
    assert [rule.when.at for rule in rules[3:]] == [0, 0]


def test_every_neuron_of_table_neurons_fits_a_table():
    """Two words of the input's 4 bits, behind it three of 2 bits."""
    task = Jets()
    net = attach(task.model(), find_recipe("table-neurons"), example=task.example)
    net.plan(1000, 10)
    net.set_step(1000)
    left = [
        int((site.value() != 0).sum(1).max())
        for site in net.sites
        if any(isinstance(operator, FanIn) for operator in site.operators)
    ]
    assert left == [2, 3, 3, 3]


def test_a_file_is_found_by_its_path(tmp_path, monkeypatch):
    """A preset's name is a preset; everything that looks like a path is a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("[training]\nepochs = 7\n")
    (tmp_path / "plain").write_text("[training]\nepochs = 8\n")
    (tmp_path / "qap").write_text("[training]\nepochs = 9\n")
    assert find_recipe("mine.toml").training.epochs == 7
    assert find_recipe("plain").training.epochs == 8
    assert find_recipe("./mine.toml").training.epochs == 7
    assert find_recipe("qap") != find_recipe(str(tmp_path / "qap"))


def test_a_misspelt_name_is_suggested():
    """And the other way to name one is said."""
    with pytest.raises(RecipeError) as caught:
        find_recipe("quantised")
    assert str(caught.value) == (
        "unknown recipe 'quantised'; did you mean 'quantized'? (or the path of a file in TOML)"
    )
