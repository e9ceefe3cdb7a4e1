import numpy as np

from pareq.tasks.jets.momenta import Momenta

RANDOM = np.random.default_rng(0)
P = RANDOM.normal(size=(3, 50))
SOME = Momenta(*P, np.sqrt((P**2).sum(0) + 0.01))


def test_angles_and_transverse_momentum_give_the_momentum_back():
    back = [SOME.pt * np.cos(SOME.phi), SOME.pt * np.sin(SOME.phi), SOME.pt * np.sinh(SOME.eta)]
    assert np.allclose(back, P)


def test_rapidity_is_half_the_logarithm_of_light_cone_momenta():
    expected = 0.5 * np.log((SOME.e + SOME.pz) / (SOME.e - SOME.pz))
    assert np.allclose(SOME.rapidity, expected)


def test_rapidity_along_the_beam_is_finite():
    beam = Momenta(np.zeros(2), np.zeros(2), np.array([1e3, -1e3]), np.array([1e3, 1e3]))
    assert np.isfinite(beam.rapidity).all()
    assert beam.rapidity[0] == -beam.rapidity[1] > 10
    assert np.isfinite(beam.eta).all()


def test_selection_scaling_and_joining():
    first, rest = SOME[:10], SOME[np.arange(10, 50)]
    joined = Momenta.joined([first, rest])
    assert len(joined) == 50
    assert np.array_equal(joined.e, SOME.e)
    assert np.array_equal((SOME * np.full(50, 2.0)).px, 2 * SOME.px)
