import sys

import numpy as np
import pytest

from pareq.errors import MissingExtra
from pareq.tasks.jets.features import CLASSES
from pareq.tasks.jets.physics import collisions

HERE = "needs the extra jets: pip install 'pareq[jets]'"


@pytest.mark.slow
@pytest.mark.parametrize("process", CLASSES)
def test_collisions_are_seeded_and_hard(process):
    pytest.importorskip("pythia8mc", reason=HERE)
    first, again, other = (next(collisions(process, seed, 4)) for seed in (1, 1, 2))
    assert first.count == 4
    assert np.array_equal(first.particles.momentum.e, again.particles.momentum.e)
    assert len(first.particles.event) != len(other.particles.event)
    assert (np.diff(first.particles.event) >= 0).all()
    momentum = first.particles.momentum
    for event in range(4):
        mine = momentum[first.particles.event == event]
        assert np.isclose(mine.e.sum(), 13_000, rtol=1e-3)
        assert abs(mine.px.sum()) < 1
        assert mine.pt.sum() > 1500


@pytest.mark.slow
def test_decay_angles_of_bosons():
    pytest.importorskip("pythia8mc", reason=HERE)
    batch = next(collisions("w", 3, 60))
    assert np.bincount(batch.event, minlength=60).tolist() == [4] * 60  # two quarks each
    assert np.allclose(batch.x**2 + batch.y**2, 1)
    assert np.allclose(batch.cosine[0::2], -batch.cosine[1::2], atol=1e-3)
    # transverse bosons prefer the poles: the mean square is 2/5, isotropic decays have 1/3
    assert 0.3 < (batch.cosine**2).mean() < 0.5
    toward = batch.decay_cosine(0, batch.x[0], batch.y[0])
    assert toward == batch.cosine[0]
    away = batch.decay_cosine(0, -batch.x[0], -batch.y[0])
    assert away != toward
    none = next(collisions("g", 3, 2))
    assert none.decay_cosine(0, 1.0, 0.0) == 0.0


def test_without_pythia_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(MissingExtra, match="pythia8mc is not installed; run: pip install 'pareq"):
        next(collisions("g", 1, 1))
