import numpy as np
import pytest

from pareq.tasks.jets.detector import DETECTORS, Detector, Particles
from pareq.tasks.jets.momenta import Momenta

EXACT = Detector(resolution=0.0, hadronic_cell=0.022, electromagnetic_cell=0.0175)


def particles(kinds, pt, eta, phi, event=None):
    pt, eta, phi = (np.broadcast_to(np.asarray(v, float), len(kinds)) for v in (pt, eta, phi))
    momentum = Momenta(pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta))
    event = np.zeros(len(kinds), np.int64) if event is None else np.asarray(event)
    return Particles(event, np.asarray(kinds), momentum)


def seen(some, detector=EXACT, seed=0):
    return detector.measure(some, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", [211, -211, 2212, 11, -13])
def test_soft_charged_particles_are_seen_as_they_are(kind):
    _, found = seen(particles([kind], 10, 0.3, 1.0))
    assert np.allclose([found.pt[0], found.eta[0], found.phi[0]], [10, 0.3, 1.0])


@pytest.mark.parametrize("kind", [12, -14, 16, 310 * 1000])
def test_neutrinos_and_unknown_particles_are_lost(kind):
    assert len(seen(particles([kind], 10, 0.3, 1.0))[1]) == 0


@pytest.mark.parametrize(("kind", "pt"), [(130, 10), (22, 10), (211, 300)])
def test_cells_keep_the_energy_and_give_the_middle_of_the_cell(kind, pt):
    some = particles([kind], pt, 0.3, 1.0)
    _, found = seen(some)
    assert np.allclose(found.e, some.momentum.e)
    size = EXACT.electromagnetic_cell if kind == 22 else EXACT.hadronic_cell
    assert 0 < abs(found.eta[0] - 0.3) <= 0.51 * size
    assert 0 < abs(found.phi[0] - 1.0) <= 0.51 * size
    assert np.isclose(found.pt[0] * np.cosh(found.eta[0]), found.e[0])


def test_energies_add_up_within_a_cell_and_an_event_only():
    some = particles([22, 22, 22, 130], 10, 0.3, 1.0, event=[0, 0, 1, 1])
    event, found = seen(some)
    assert event.tolist() == [0, 1, 1]
    single = 10 * np.cosh(0.3)
    assert np.allclose(sorted(found.e), [single, single, 2 * single])


def test_cells_end_at_eta_three_and_tracks_do_not():
    assert len(seen(particles([22, 130], 1, 3.01, 0.0))[1]) == 0
    assert len(seen(particles([22, 130], 1, -2.99, 0.0))[1]) == 2
    assert len(seen(particles([211], 1, 3.5, 0.0))[1]) == 1


def test_all_azimuths_have_a_cell():
    phi = np.linspace(-np.pi, np.pi, 1001)
    _, found = seen(particles([22] * 1001, 1, 0.0, phi, event=np.arange(1001)))
    apart = np.abs(np.angle(np.exp(1j * (found.phi - phi))))
    assert apart.max() <= 0.51 * EXACT.electromagnetic_cell


@pytest.mark.parametrize(
    ("kind", "pt", "width"),
    [
        (211, 100, np.hypot(0.00025 * 100, 0.015)),
        (130, 70, np.sqrt(1.2**2 / 10 + 0.05**2)),
        (22, 16, np.sqrt(0.027**2 / 10 + 0.015**2 + 0.005**2)),
    ],
)
def test_the_resolutions(kind, pt, width):
    count = 4000
    some = particles([kind] * count, pt, 0.0, 1.0, event=np.arange(count))
    true = seen(some)[1].e
    for name, detector in DETECTORS.items():
        ratio = seen(some, detector)[1].e / true
        assert np.isclose(ratio.std(), detector.resolution * width, rtol=0.05), name
        assert np.isclose(ratio.mean(), 1, atol=5 * width / np.sqrt(count))


def test_momenta_never_turn_round():
    some = particles([130] * 2000, 0.01, 0.0, 1.0, event=np.arange(2000))
    assert (seen(some, DETECTORS["cernbox"])[1].e > 0).all()


def test_the_same_random_numbers_give_the_same_objects():
    some = particles([211, 22, 130], [5, 6, 7], 0.1, [0.0, 1.0, 2.0])
    first, again = (seen(some, DETECTORS["openml"], seed=3)[1] for _ in range(2))
    assert np.array_equal(first.px, again.px)
    assert not np.array_equal(first.px, seen(some, DETECTORS["openml"], seed=4)[1].px)
