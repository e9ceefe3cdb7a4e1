"""`verify` compares every integer, and names the first op that differs."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from pareq.backends import C, build, measure, verify
from pareq.backends.vectors import extremes, uniform
from pareq.errors import BackendError
from pareq.ir.graph import Constant
from tests.backends.networks import perceptron


@dataclass(frozen=True)
class Wrong(C):
    """A back end that changes one constant of what it builds."""

    constant: str = ""
    index: tuple[int, ...] = ()
    name = "wrong"

    def write(self, graph, folder, name):
        data = graph.constant(self.constant).copy()
        data[self.index] += 1 if data[self.index] <= 0 else -1
        old = {each.name: each for each in graph.constants}
        grid = replace(old[self.constant].grid, lo=int(data.min()), hi=int(data.max()))
        old[self.constant] = Constant(self.constant, data, grid)
        return super().write(replace(graph, constants=tuple(old.values())), folder, name)


@pytest.fixture(scope="module")
def graph():
    return perceptron((5, 9, 3), density=0.6)


def test_what_is_equal_is_counted(graph, tmp_path):
    artefact = build(graph, C(flags=("-O1",)), tmp_path / "net")
    x = np.random.default_rng(0).normal(size=(50, 5))
    found = verify(artefact, graph, x, rows=100)
    assert (found.samples, found.integers) == (50 + 2 + 100, 3 * 152)
    assert verify(artefact, graph, rows=0).samples == 2


@pytest.mark.parametrize(
    ("constant", "index", "op"),
    [
        ("fc1.weight", (7, 2), r"op 'fc1' \(dense\)"),
        ("fc1.out.offset", (0,), r"op 'fc1.out' \(requantize\)"),
        ("fc2.weight", (1, 2), r"op 'fc2' \(dense\)"),
    ],
)
def test_the_first_difference_names_op_sample_and_both_integers(
    graph, tmp_path, constant, index, op
):
    flags = ("-O1",)
    artefact = build(graph, Wrong(flags=flags, constant=constant, index=index), tmp_path / "net")
    with pytest.raises(
        BackendError, match=op + r", .* sample \d+, index \[\d\]: wrong gives -?\d+, the"
    ):
        verify(artefact, graph, rows=2000)


def test_a_difference_that_only_the_artefact_shows_is_an_error_too(graph, tmp_path):
    artefact = build(
        perceptron((5, 9, 3), density=0.6, seed=1), C(flags=("-O1",)), tmp_path / "net"
    )
    with pytest.raises(BackendError, match=r"output 'fc2', extreme sample 0, index \[0\]: c gives"):
        verify(artefact, graph, rows=10)


def test_random_samples_hold_every_end_and_stay_on_the_grid(graph):
    (n,) = uniform(graph, 400, np.random.default_rng(0))
    assert (n.min(), n.max()) == (-32, 31)
    assert set(np.unique(n[::4])) == {-32, 31}
    assert len(np.unique(n[1::4])) == 64
    (low, high) = extremes(graph)[0]
    assert (low == -32).all()
    assert (high == 31).all()


def test_times_are_measured_and_positive(graph, tmp_path):
    artefact = build(graph, C(flags=("-O1",)), tmp_path / "net")
    found = measure(artefact, rows=100, seconds=0.02)
    assert found.rows == 100
    assert 0 < found.sample_ns < 1e6
    assert 0 < found.call_us < 1e5
    with pytest.raises(BackendError, match="got 0 rows"):
        measure(artefact, rows=0)
