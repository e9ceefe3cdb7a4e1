"""One shot of each operator: what is measured, and what follows from it."""

import copy

import pytest
import torch

from pareq.recipe.order import Order, Places
from pareq.recipe.recipe import Recipe
from pareq.search.sensitivity import Probe, Sensitivity, probe
from pareq.tasks import Digits
from pareq.train.measure import validate

TASK = Digits(network="cnn", widths=(2, 2, 4))


def recipe(sparsity: float, bits: int) -> Recipe:
    return Recipe(*Order((0.1, 0.2), (0.1, 0.2), 0.3, 0.3).rules(sparsity, bits, Places()))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = TASK.model()
    with torch.no_grad():
        made.conv1.weight[0] *= 20  # so that it is the one that counts
    return made.eval()


def test_every_site_is_probed(model):
    """Pruned where it may be; the model itself stays as it is."""
    before = copy.deepcopy(model.state_dict())
    found = probe(model, TASK, recipe(0.8, 3))
    assert all(before[name].equal(t) for name, t in model.state_dict().items())
    assert {s.site for s in found.sites if s.prune is None} == {"conv1:input"}
    assert {s.site for s in found.sites if s.site.endswith("weight")} == set(found.weights)
    val = TASK.load().val
    assert found.loss == pytest.approx(validate(model, TASK, val, 1024)[0])
    rises = {s.site: s.prune for s in found.sites}
    assert [rises[w] for w in found.weights] == sorted(map(rises.get, found.weights), reverse=True)


def test_nothing_costs_nothing(model):
    """Sparsity 0 leaves the loss alone, 24 bits next to."""
    found = probe(model, TASK, recipe(0.0, 24))
    assert found.prune == 0
    assert all(s.prune in (None, 0.0) for s in found.sites)
    assert abs(found.quantize) < 1e-5
    assert abs(found.interaction) < 1e-5


def test_the_weaker_comes_first():
    sites = (Sensitivity("a:weight", 0.1, 0.2), Sensitivity("b:weight", 0.4, 0.0))
    found = Probe(1.0, sites, 0.5, 0.2, 0.9, 1.1)
    assert found.favours == "Q->P"
    assert found.interaction == pytest.approx(0.2)
    assert found.weights == ("b:weight", "a:weight")
    assert Probe(1.0, sites, 0.2, 0.2, 0.9, 1.1).favours == "P->Q"
