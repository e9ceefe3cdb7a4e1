import sys

import numpy as np
import pytest

from pareq.errors import MissingExtra
from pareq.tasks.jets.clustering import groom, leading_jets
from pareq.tasks.jets.momenta import Momenta

HERE = "needs the extra jets: pip install 'pareq[jets]'"


def at(pt, eta, phi):
    pt, eta, phi = (np.asarray(v, float) for v in (pt, eta, phi))
    return Momenta(pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta))


def test_the_hardest_jet_of_each_event():
    pytest.importorskip("fastjet", reason=HERE)
    momenta = at([300, 50, 200, 190, 90, 400], [0, 0.1, 2, 0.2, 0, 0], [0, 0.1, 2, 6.2, 0, -3.0])
    event = np.array([0, 0, 0, 0, 1, 2])
    found = leading_jets(event, momenta, 4)
    assert sorted(found[0]) == [0, 1, 3]  # across phi = 0, without the jet at eta 2
    assert found[1] is None  # too soft
    assert found[2].tolist() == [5]
    assert found[3] is None  # an event without particles


def test_grooming_cuts_soft_radiation_at_wide_angles():
    pytest.importorskip("fastjet", reason=HERE)
    two_prongs = at([100, 80, 5], [0, 0.2, -0.3], [0, 0.0, 0.1])
    kept, mass = groom(two_prongs)
    assert sorted(kept) == [0, 1]
    pair = two_prongs[np.array([0, 1])]
    total = [v.sum() for v in (pair.e, pair.px, pair.py, pair.pz)]
    assert np.isclose(mass, np.sqrt(total[0] ** 2 - sum(v**2 for v in total[1:])))


@pytest.mark.parametrize(("softer", "kept"), [(11.2, [0, 1]), (11.0, [0])])
def test_the_cut_is_a_tenth_of_the_sum(softer, kept):
    pytest.importorskip("fastjet", reason=HERE)
    for order in ([0, 1], [1, 0]):
        jet = at([100, softer], [0, 0.2], [0, 0])[np.array(order)]
        found, _ = groom(jet)
        assert sorted(np.array(order)[found]) == kept


def test_one_particle_is_its_own_groomed_jet():
    pytest.importorskip("fastjet", reason=HERE)
    kept, mass = groom(at([10], [0.1], [0.2]))
    assert kept.tolist() == [0]
    assert abs(mass) < 1e-5


def test_without_awkward_the_extra_is_named(monkeypatch):
    pytest.importorskip("fastjet", reason=HERE)
    monkeypatch.setitem(sys.modules, "awkward", None)
    with pytest.raises(MissingExtra, match="awkward is not installed"):
        leading_jets(np.zeros(1, np.int64), at([1], [0], [0]), 1)
