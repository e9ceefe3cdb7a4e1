"""Strategies: a function of the seed and the past, and better than chance."""

import importlib.util
import math
import sys

import pytest

from pareq.errors import MissingExtra, SearchError
from pareq.search.bayes import Bayes
from pareq.search.space import Choice, Integers, Reals, Space
from pareq.search.strategy import Random, Sobol, Told

SPACE = Space({"a": Integers(8, 128), "b": Reals(1e-4, 1e-1, log=True), "c": Choice(("x", "y"))})
needs_botorch = pytest.mark.skipif(
    importlib.util.find_spec("botorch") is None,
    reason="botorch is not installed: Bayesian optimisation is not tested; extra 'bayes'",
)


def score(point) -> float:
    """Best at a = 40, b = 0.01, c = y."""
    far = ((point["a"] - 40) / 60) ** 2 + (math.log10(point["b"]) + 2) ** 2
    return -far - (point["c"] == "x")


def searched(strategy, count: int, several: bool = False) -> list[Told]:
    for _ in range(count):
        (point,) = strategy.ask()
        cheap = (-point["a"] / 100,) if several else ()
        strategy.tell(Told(point, (score(point), *cheap), ()))
    return strategy.told


@pytest.mark.parametrize("kind", [Random, Sobol])
def test_one_by_one_or_at_once(kind):
    """The same points, also by a strategy that was told its past; others with another seed."""
    at_once = kind(SPACE, 3).ask(8)
    single = kind(SPACE, 3)
    assert [single.ask()[0] for _ in range(8)] == at_once
    resumed = kind(SPACE, 3)
    for point in at_once[:5]:
        resumed.tell(Told(point))
    assert resumed.ask(3) == at_once[5:]
    assert kind(SPACE, 4).ask(8) != at_once


def test_sobol_fills_the_space():
    """Of eight points one lies in each eighth of an axis, which chance does not do."""
    axis = Space({"a": Reals(0.0, 8.0), "b": Reals(0.0, 8.0)})
    points = Sobol(axis, 1).ask(8)
    for name in ("a", "b"):
        assert sorted(int(point[name]) for point in points) == list(range(8))


@needs_botorch
@pytest.mark.slow
def test_bayes_finds_what_chance_does_not():
    """After twenty points nearer the best than almost twice as many of a Sobol sequence."""
    best = max(told.scores[0] for told in searched(Bayes(SPACE, 1), 20))
    assert best > max(score(point) for point in Sobol(SPACE, 1).ask(36))


@needs_botorch
@pytest.mark.slow
def test_bayes_goes_on_as_if_not_interrupted():
    """Told its past again, it asks for the same points."""
    straight = searched(Bayes(SPACE, 1), 8)
    resumed = Bayes(SPACE, 1)
    for told in straight[:6]:
        resumed.tell(told)
    assert [t.point for t in searched(resumed, 2)] == [t.point for t in straight]


@needs_botorch
@pytest.mark.slow
def test_several_objectives():
    """Cheap points and good ones, several at a time."""
    strategy = Bayes(SPACE, 1, floor=(-3.0, -1.3))
    told = searched(strategy, 10, several=True)

    def beaten(one: Told, other: Told) -> bool:
        return all(a < b for a, b in zip(one.scores, other.scores, strict=True))

    front = [t for t in told if not any(beaten(t, other) for other in told)]
    assert len({t.point["a"] for t in front}) >= 2
    for objective in (0, 1):
        best = max(t.scores[objective] for t in front)
        assert best >= max(t.scores[objective] for t in told[:5])
    assert max(t.scores[0] for t in told) > max(t.scores[0] for t in told[:5])
    assert len(strategy.ask(3)) == 3


def test_failed_points_are_no_knowledge():
    """Fewer than two scores: the Sobol sequence goes on."""
    strategy = Bayes(SPACE, 1, initial=2)
    for point in strategy.ask(3):
        strategy.tell(Told(point))
    assert strategy.ask() == Sobol(SPACE, 1, asked=3).ask()


def test_without_botorch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "botorch", None)
    monkeypatch.setitem(sys.modules, "botorch.acquisition.logei", None)
    strategy = Bayes(SPACE, 1, initial=2)
    for point in strategy.ask(2):
        strategy.tell(Told(point, (score(point),)))
    with pytest.raises(MissingExtra) as caught:
        strategy.ask()
    assert str(caught.value) == "botorch is not installed; run: pip install 'pareq[bayes]'"


def test_what_no_strategy_can_do():
    with pytest.raises(SearchError) as caught:
        Sobol(SPACE).ask(0)
    assert str(caught.value) == "ask for 1 point or more, got 0"
    with pytest.raises(SearchError) as caught:
        Bayes(SPACE, initial=1)
    assert str(caught.value) == "bayes.initial must be 2 points or more, got 1"
    strategy = Bayes(SPACE)
    strategy.tell(Told({}, (1.0,)))
    with pytest.raises(SearchError) as caught:
        strategy.tell(Told({}, (1.0, 2.0)))
    assert str(caught.value) == "2 scores, but 1 before"
