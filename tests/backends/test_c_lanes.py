"""Blocks of lanes begin and end anywhere in a batch, and give back every sample in its place."""

import platform

import numpy as np
import pytest

from pareq.backends import C, build
from pareq.backends.c.chain import chain
from pareq.backends.c.lanes import leave
from pareq.ir.execute import execute
from tests.backends.networks import perceptron

FLAGS = ("-O1", "-march=native", "-Wall", "-Wextra", "-Werror")
BATCHES = (1, 15, 16, 47, 48, 63, 64, 103)


CASES = [
    (16, 5, True, FLAGS),
    (16, 5, False, FLAGS),
    (7, 8, True, FLAGS),
    (5, 9, False, FLAGS),
    (7, 3, True, (*FLAGS, "-mno-avx512vbmi")),
    (16, 5, True, (*FLAGS, "-mno-avx512f")),
]


@pytest.mark.parametrize(("inputs", "outputs", "quantized", "flags"), CASES)
def test_batches_of_every_length(inputs, outputs, quantized, flags, tmp_path):
    if "-mno" in flags[-1] and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"{flags[-1]} is a flag of x86: not tested on {platform.machine()}")
    graph = perceptron((inputs, 9, outputs), free=True, quantized=quantized, density=0.5)
    assert chain(graph) is not None
    artefact = build(graph, C(flags=flags, threads=1), tmp_path / "net", name="net")
    x = np.random.default_rng(0).integers(-32, 32, (max(BATCHES), inputs))
    (expected,) = execute(graph, x).outputs
    for count in BATCHES:
        bound = artefact.bind(count)
        bound.x[0][...] = x[:count]
        bound()
        np.testing.assert_array_equal(bound.y[0], expected[:count])


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("outputs", range(1, 9))
def test_the_way_back_fetches_every_result_once(outputs, moved, words):
    """Rebuilt in numpy: sixteen lanes of 32 bits, with four bytes or two words of a sample each."""
    each, size = (2, 32) if words else (4, 64)
    found = np.array(leave(outputs, words=words, moved=moved))
    assert len(found) % size == 0
    lanes = np.full((4, 16, each), -1)  # vector, lane, place: which result of which sample
    for sample in range(16):
        lane = sample % 4 * 4 + sample // 4 if moved else sample
        for k in range(outputs):
            lanes[k // each, lane, k % each] = sample * outputs + k
    pair = (found < 0).astype(int)
    taken = lanes.reshape(2, 2 * size)[pair, found % (2 * size)][: 16 * outputs]
    np.testing.assert_array_equal(taken, np.arange(16 * outputs))
