from itertools import combinations

import numpy as np
import pytest

from pareq.tasks.jets.features import CLASSES, FEATURES, correlators, jet_features
from pareq.tasks.jets.momenta import Momenta


def jet(count, seed=0, spread=0.3):
    """Massless particles around rapidity 0.5 and azimuth 3, so that some lie beyond pi."""
    random = np.random.default_rng(seed)
    pt = random.exponential(20, count) + 0.1
    eta, phi = 0.5 + spread * random.normal(size=count), 3 + spread * random.normal(size=count)
    return from_angles(pt, eta, phi)


def from_angles(pt, eta, phi):
    return Momenta(pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta))


def by_definition(particles):
    """The 13 ratios, written out over pairs and triples."""
    z, y, phi = particles.pt / particles.pt.sum(), particles.rapidity, particles.phi

    def distance(i, j):
        turn = abs(phi[i] - phi[j])
        return np.hypot(y[i] - y[j], min(turn, 2 * np.pi - turn))

    def pairs(beta):
        return sum(z[i] * z[j] * distance(i, j) ** beta for i, j in combinations(range(len(z)), 2))

    def triples(beta, smallest):
        total = 0.0
        for i, j, k in combinations(range(len(z)), 3):
            angles = sorted([distance(i, j), distance(i, k), distance(j, k)])[:smallest]
            total += z[i] * z[j] * z[k] * np.prod(angles) ** beta
        return total

    e2 = {beta: pairs(beta) for beta in (0, 1, 2)}
    return [
        *(e2[0], e2[1], e2[2]),
        *(triples(b, 3) / e2[b] ** 2 for b in (1, 2)),
        *(triples(b, 3) / e2[b] ** 3 for b in (1, 2)),
        *(triples(1, 3) / e2[b] ** (3 / b) for b in (1, 2)),
        *(triples(b, 1) / e2[b] for b in (1, 2)),
        *(triples(b, 2) / e2[b] ** 2 for b in (1, 2)),
    ]


@pytest.mark.parametrize("count", [3, 4, 5, 9, 16])
def test_the_correlators_are_their_definitions(count):
    particles = jet(count, seed=count)
    assert np.allclose(correlators(particles), by_definition(particles), rtol=1e-10)


def test_the_correlators_do_not_depend_on_order_scale_boost_or_turn():
    particles = jet(20)
    expected = correlators(particles)
    shuffled = particles[np.random.default_rng(1).permutation(20)]
    scaled = particles * np.full(20, 7.0)
    pt, eta, phi = particles.pt, particles.eta, particles.phi
    moved = from_angles(pt, eta + 0.7, phi + 2.0)
    mirrored = from_angles(pt, -eta, -phi)
    for other in (shuffled, scaled, moved, mirrored):
        assert np.allclose(correlators(other), expected, rtol=1e-9)


def test_equal_particles_in_a_triangle():
    side = 0.2
    height = side * np.sqrt(3) / 2
    triangle = from_angles(
        np.ones(3), np.array([0.0, side, side / 2]), np.array([0.0, 0.0, height])
    )
    z, found = 1 / 3, dict(zip(FEATURES[1:14], correlators(triangle), strict=True))
    e2, e3 = 3 * z**2 * side, z**3 * side**3
    assert np.isclose(found["c1_b0_mmdt"], 3 * z**2)
    assert np.isclose(found["c1_b1_mmdt"], e2)
    assert np.isclose(found["d2_b1_mmdt"], e3 / e2**3)
    assert np.isclose(found["m2_b1_mmdt"], z**3 * side / e2)
    assert np.isclose(found["n2_b1_mmdt"], z**3 * side**2 / e2**2)


def test_a_two_pronged_jet_has_less_d2_than_one_without_prongs():
    random = np.random.default_rng(0)
    pt, spread = random.exponential(20, 30) + 1, 0.02 * random.normal(size=(2, 30))
    prong = np.where(np.arange(30) % 2, 0.15, -0.15)
    two = correlators(from_angles(pt, prong + spread[0], spread[1]))
    one = correlators(from_angles(pt, 8 * spread[0], 8 * spread[1]))
    assert two[5] < one[5] / 2


def test_the_features_of_a_jet():
    whole = jet(12)
    kept = whole[:8]
    found = dict(zip(FEATURES, jet_features(whole, kept, 80.4), strict=True))
    share = whole.e / whole.e.sum()
    assert np.isclose(found["zlogz"], (share * np.log(share)).sum())
    assert found["mass_mmdt"] == 80.4
    assert found["multiplicity"] == 12
    assert found["d2_a1_b1_mmdt"] == found["d2_b1_mmdt"]
    assert found["c1_b1_mmdt"] == correlators(kept)[1]


def test_equal_energies_give_the_lowest_zlogz():
    ring = from_angles(np.ones(6), np.zeros(6), np.linspace(0, 1, 6))
    assert np.isclose(jet_features(ring, ring, 1.0)[0], -np.log(6))


def test_jets_without_all_features_are_none():
    pair = jet(2)
    assert jet_features(pair, pair, 1.0) is None
    same_place = from_angles(np.ones(4), np.zeros(4), np.zeros(4))
    with np.errstate(invalid="ignore"):
        assert jet_features(same_place, same_place, 1.0) is None


def test_names_and_classes():
    assert len(FEATURES) == len(set(FEATURES)) == 16
    assert CLASSES == ("g", "q", "t", "w", "z")
