"""Random labels: which rows, how many are wrong, and what stays clean."""

import numpy as np
import pytest

from pareq.errors import DataError
from pareq.tasks.jets import Jets
from pareq.tasks.noise import Noise
from pareq.tasks.splits import Plan, prepare
from pareq.tasks.table import Table

ROWS, CLASSES = 50_000, 5


def table() -> Table:
    draws = np.random.default_rng(1)
    x = draws.normal(size=(ROWS, 2)).astype(np.float32)
    return Table(x, draws.integers(CLASSES, size=ROWS), "made up", ("a", "b"))


def splits(noise: Noise | None, scaling: str = "train"):
    return prepare(table(), Plan(scaling=scaling), noise=noise, classes=CLASSES)


def wrong(noisy, clean) -> float:
    return float((noisy.y != clean.y).float().mean())


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("rows", ["random", "paper"])
def test_a_share_of_the_labels_says_nothing(share, rows):
    """Four fifths of the random ones are wrong; inputs and the test split stay as they are."""
    clean = splits(None)
    noisy = splits(Noise(share, rows, validation=True, seed=3))
    assert wrong(noisy.train, clean.train) == pytest.approx(0.8 * share, abs=0.01)
    assert wrong(noisy.val, clean.val) == pytest.approx(0.8 * share, abs=0.02)
    assert wrong(noisy.test, clean.test) == 0
    for name in ("train", "val", "test"):
        assert (getattr(noisy, name).x == getattr(clean, name).x).all()


def test_validation_is_clean_unless_asked():
    clean, noisy = splits(None), splits(Noise(0.5))
    assert wrong(noisy.train, clean.train) > 0.3
    assert wrong(noisy.val, clean.val) == 0


def test_random_rows_are_drawn_by_the_seed():
    """An exact number of rows, others with another seed."""
    y = np.zeros(1000, np.int64)
    rows, none = np.arange(1000), np.arange(0)
    one = Noise(0.5, seed=1).labels(y, rows, none, 1_000_000_000)
    assert (one != 0).sum() == 500
    assert (one == Noise(0.5, seed=1).labels(y, rows, none, 1_000_000_000)).all()
    other = Noise(0.5, seed=2).labels(y, rows, none, 1_000_000_000)
    assert ((one != 0) != (other != 0)).sum() > 400
    assert (y == 0).all()  # the labels given stay as they are


def test_the_paper_takes_the_first_rows_of_each_file():
    """Of every 10,000 rows the first, whichever split they went to."""
    y = np.zeros(25_000, np.int64)
    rows = np.arange(25_000)
    noisy = Noise(0.5, "paper", validation=True).labels(y, rows[::2], rows[1::2], 1_000_000_000)
    assert (noisy[:5000] != 0).all()
    assert (noisy[5000:10_000] == 0).all()
    assert (noisy[10_000:15_000] != 0).all()
    assert (noisy[20_000:] != 0).all()


def test_no_noise_is_no_change():
    y = np.arange(5)
    assert Noise().labels(y, y, y, 5) is y


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": 1.5}, "jets: noise must be a share in 0..1, got 1.5"),
        ({"noise": 0.5, "noise_rows": "papper"}, "did you mean 'paper'?"),
        ({"noise_seed": -1}, "noise_seed must not be negative, got -1"),
        ({"noise": 0.5, "noise_rows": "paper"}, "set noise_validation, or use 'random'"),
    ],
)
def test_noise_that_cannot_be_meant(options, message):
    with pytest.raises(DataError) as caught:
        Jets(**options)
    assert message in str(caught.value)


def test_jets_with_noise():
    """The option reaches the labels; the same jets otherwise."""
    clean, noisy = Jets().load(), Jets(noise=0.5, noise_seed=1).load()
    assert wrong(noisy.train, clean.train) == pytest.approx(0.4, abs=0.01)
    assert wrong(noisy.test, clean.test) == 0
    assert (noisy.train.x == clean.train.x).all()
    assert Jets.from_options(Jets(noise=0.5).options()) == Jets(noise=0.5)
