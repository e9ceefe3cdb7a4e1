"""What needs no rounding: multiples of a scale, coarsest grids, one scale for several values."""

import numpy as np
import pytest

from pareq.errors import LoweringError
from pareq.ir.build import Builder
from pareq.ir.execute import evaluate
from pareq.lower.curve import Step, Term
from pareq.lower.settle import exact_grid, multiples, settle, unify
from pareq.numerics.grid import Grid


def number(*values):
    return np.array(values, dtype=np.float64)


def test_multiples_give_the_smallest_shift():
    n, shift = multiples(number(0.75, -2.0, 0.0), 0.5)
    assert (n.tolist(), shift) == ([3, -8, 0], 1)
    n, shift = multiples(4 * number(0.1, 0.2), number(0.1, 0.2))
    assert (n.tolist(), shift) == ([4, 4], 0)
    assert multiples(3 * number(0.1), 0.1) is None  # 0.30000000000000004 is no multiple


@pytest.mark.parametrize("reals", [number(0.1), number(np.inf), number(np.nan), number(2.0**-60)])
def test_multiples_of_nothing(reals):
    assert multiples(reals, 1.0) is None


def test_the_coarsest_grid():
    assert exact_grid(number(12.0, -4.0)) == Grid(-1, 3, 4.0)
    assert exact_grid(number(0.5, 0.75)) == Grid(0, 3, 0.25)
    assert exact_grid(number(0.0)) == Grid(0, 0, 1.0)
    assert exact_grid(number(1.0, 2.0**-16)) is None
    assert exact_grid(number(0.1)) is None


def start(scale=0.25):
    b = Builder()
    return b, b.input("x", (2,), Grid(-40, 40, scale))


STEPS = {
    "multiply": (Step("multiply", (number(3.0, -0.5),), "m"), lambda x: x * [3.0, -0.5]),
    "by zero": (Step("multiply", (number(0.0, 2.0),), "m"), lambda x: x * [0.0, 2.0]),
    "divide": (Step("divide", (number(8.0),), "m"), lambda x: x / 8),
    "add": (Step("add", (number(1.5, 1 / 64),), "m"), lambda x: x + number(1.5, 1 / 64)),
    "clamp": (Step("clamp", (number(-1.0), number(2.5)), "m"), lambda x: np.clip(x, -1, 2.5)),
    "clamp to one number": (
        Step("clamp", (number(99.75), number(np.inf)), "m"),
        lambda x: 0 * x + 99.75,
    ),
    "leaky": (Step("leaky", (number(0.5),), "m"), lambda x: np.where(x < 0, x / 2, x)),
}


@pytest.mark.parametrize("name", STEPS)
def test_exact_steps(name):
    step, function = STEPS[name]
    b, x = start()
    graph = b.graph((settle(b, Term(x, (step,))),))
    reals = np.arange(-40, 41)[:, None] * number(0.25, 0.25)
    np.testing.assert_array_equal(evaluate(graph, reals)[0], function(reals))


ROUNDING = [
    Step("add", (number(0.1),), "m"),
    Step("divide", (number(0.0),), "m"),
    Step("clamp", (number(-1.1), number(3.0)), "m"),
    Step("leaky", (number(0.3),), "m"),
    Step("leaky", (number(0.0, 0.5),), "m"),
    Step("function", (), "m", np.tanh),
]


@pytest.mark.parametrize("step", ROUNDING, ids=lambda step: step.kind)
def test_a_step_that_rounds_says_where_the_quantizer_goes(step):
    b, x = start()
    with pytest.raises(LoweringError, match=r"m leaves the grid .* quantizer on 'act:output'$"):
        settle(b, Term(x, (step, Step("clamp", (number(0.0), number(np.inf)), "act"))))


def test_one_scale_for_free_scales():
    """Scales of 24 bits, as float32 has them, meet exactly."""
    b, x = start(float(np.float32(0.1)))
    y = b.input("y", (2,), Grid(-40, 40, float(np.float32(0.37))))
    names = unify(b, [x, y], ("u", "u"))
    scales = [b.value(name).grid.scale for name in names]
    assert scales[0] == scales[1]
    graph = b.graph(tuple(names))
    given = [np.array([[3, -40]]) * float(np.float32(s)) for s in (0.1, 0.37)]
    for found, real in zip(evaluate(graph, *given), given, strict=True):
        np.testing.assert_array_equal(found, real)


def test_scales_that_never_meet_are_refused():
    b, x = start(0.1)
    y = b.input("y", (2,), Grid(-40, 40, 1 / 3))
    with pytest.raises(LoweringError, match="no common step"):
        unify(b, [x, y], ("u", "u"))
    z = b.input("z", (2,), Grid(-40, 40, number(0.1, 0.2)))
    with pytest.raises(LoweringError, match="per channel"):
        unify(b, [x, z], ("u", "u"))
