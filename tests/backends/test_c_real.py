"""The float edge in C gives the integers of `Grid.quantize`, for float32 and float64."""

import shutil
import subprocess

import numpy as np
import pytest

from pareq.backends import C, build
from pareq.ir.build import Builder
from pareq.ir.execute import evaluate
from pareq.numerics.grid import Grid
from tests.backends.networks import perceptron

ROUNDINGS = ("half_even", "half_up", "floor", "toward_zero")
GRIDS = [
    Grid(-32, 31, 0.125),
    Grid(0, 255, 8.0),
    Grid(0, 255, 0.5, zero=128),
    Grid(-100, 27, 0.25, zero=-3),
    Grid(0, 1, 0.3),
    Grid(-7, 200, 0.1, zero=20),
    Grid(-(2**20), 2**20, 1.0),
    Grid(-(2**30), 2**30, 1e-3, zero=-5),
    Grid(-128, 127, np.array([0.125, 0.3, 7.0])),
    Grid(-8, 7, np.array([[0.5], [0.1]])),
]


def numbers(grid):
    """Ties, neighbours of ties, huge and tiny numbers, infinities and signed zeros."""
    rng = np.random.default_rng(0)
    step = float(np.max(grid.scale))
    ties = rng.integers(-(2**12), 2**12, 3000) * step / 2
    near = np.nextafter(ties, rng.choice([-np.inf, np.inf], 3000))
    short = np.nextafter(ties.astype(np.float32), np.float32(np.inf)).astype(float)
    wild = rng.normal(size=3000) * 10.0 ** rng.uniform(-40, 38, 3000)
    edges = [np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-46, -1e-46, 0.49999999999999994, 0.5]
    every = np.concatenate([ties, near, short, wild, np.repeat(edges, 12)])
    return every[: len(every) // 6 * 6].reshape(-1, 2, 3)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_reals_become_the_integers_of_the_grid(rounding, tmp_path):
    build_ = Builder()
    names = [build_.input(f"x{k}", (2, 3), grid, rounding=rounding) for k, grid in enumerate(GRIDS)]
    graph = build_.graph(tuple(names))
    artefact = build(
        graph, C(flags=("-O2", "-march=native", "-Wall", "-Wextra", "-Werror")), tmp_path / "n"
    )
    assert "NET_REAL" not in artefact.files
    for kind in (np.float64, np.float32):
        given = [numbers(grid).astype(kind) for grid in GRIDS]
        for grid, found, expected in zip(
            GRIDS, artefact(*given), evaluate(graph, *given), strict=True
        ):
            assert np.array_equal(found, expected), (kind, grid)
    mixed = [numbers(grid).astype((np.float32, np.float64)[k % 2]) for k, grid in enumerate(GRIDS)]
    for found, expected in zip(artefact(*mixed), evaluate(graph, *mixed), strict=True):
        assert np.array_equal(found, expected)


def test_inputs_that_wrap_take_the_long_way(tmp_path):
    build_ = Builder()
    x = build_.input("x", (3,), Grid(-4, 3, 0.5), overflow="wrap")
    graph = build_.graph((build_.op("clamp", (x,), {"lo": -2, "hi": 3}),))
    artefact = build(graph, C(flags=("-O1",)), tmp_path / "net")
    given = np.arange(-30, 30, 0.25).reshape(-1, 3)
    assert np.array_equal(artefact(given), evaluate(graph, given)[0])


HOSTILE = """
#include <stdint.h>
#include <stdio.h>
#include "net.h"
/* Any bits at all as reals: NaN, infinities, huge and subnormal numbers. */
int main(void) {
    enum { ROWS = 997 };
    static union { uint32_t bits[ROWS * 6]; float reals[ROWS * 6]; } small;
    static union { uint64_t bits[ROWS * 6]; double reals[ROWS * 6]; } large;
    static double y[ROWS * 4];
    uint64_t state = 88172645463325252u, nans = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < ROWS * 6; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            small.bits[i] = (uint32_t)(state >> 16), large.bits[i] = state;
            if (i % 5 == 0) { /* every exponent of all ones: NaN or infinity */
                small.bits[i] |= 0x7f800000u, large.bits[i] |= 0x7ff0000000000000u;
                if (i % 2) small.bits[i] &= 0xff800000u, large.bits[i] &= 0xfff0000000000000u;
            }
        }
        nans += net_float(small.reals, y, ROWS) + net_double(large.reals, y, ROWS);
    }
    printf("%d", nans > 0);
    return 0;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("vectors", ["-march=native", "-mavx2", "-DNET_PLAIN"])
@pytest.mark.parametrize("compiler", [name for name in ("gcc", "clang") if shutil.which(name)])
def test_hostile_reals_run_clean_under_sanitizers(compiler, vectors, tmp_path):
    build(perceptron((6, 9, 4)), C(), tmp_path / "net", name="net")
    (tmp_path / "main.c").write_text(HOSTILE)
    sanitize = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    command = [compiler, "-std=c11", *sanitize, vectors, "-ffp-contract=off", "-DNET_REAL"]
    files = [tmp_path / "main.c", tmp_path / "net" / "net.c", "-o", tmp_path / "main", "-lm"]
    subprocess.run([*command, "-I", tmp_path / "net", *files], check=True)
    ran = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1", "")
