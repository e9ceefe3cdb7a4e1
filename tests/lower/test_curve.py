"""Any steps between two grids: constants where they are monotone, tables else."""

import numpy as np
import pytest

from pareq.errors import LoweringError
from pareq.ir.build import Builder
from pareq.ir.execute import execute
from pareq.lower.curve import Step, Target, Term, project
from pareq.numerics.grid import Grid

COLUMN = np.array([[0.3], [-0.7]])
ROW = np.array([0.5, 1.25, 0.0])


def run(steps, grid, *, rounding="half_even", overflow="saturate", high=200):
    """The ops of a projection, shown equal to the steps in float64 on every integer."""
    b = Builder()
    x = b.input("x", (2, 3), Grid(-high, high, 0.125))
    term = project(b, Term(x, steps), Target(grid, rounding, overflow), "q", "m")
    graph = b.graph((term.name,))
    n = np.broadcast_to(np.arange(-high, high + 1)[:, None, None], (2 * high + 1, 2, 3))
    y = n * 0.125
    for step in steps:
        y = step(y, step.numbers)
    expected = grid.quantize(y, rounding, overflow)
    np.testing.assert_array_equal(execute(graph, n.astype(np.int64)).outputs[0], expected)
    return [op.kind for op in graph.ops]


def step(kind, *numbers, function=None):
    return Step(kind, tuple(np.asarray(each, dtype=np.float64) for each in numbers), "m", function)


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor", "toward_zero"])
@pytest.mark.parametrize("numbers", [0.3, COLUMN, ROW, COLUMN * ROW], ids=["one", "c", "r", "all"])
def test_monotone_steps_need_no_table(numbers, rounding):
    steps = (
        step("multiply", numbers),
        step("add", 0.4),
        step("clamp", 0.0, np.inf),
        step("divide", -3),
    )
    kinds = run(steps, Grid(-9, 6, 0.21), rounding=rounding)
    assert set(kinds) <= {"requantize", "threshold", "reshape"}


@pytest.mark.parametrize("numbers", [0.3, COLUMN, ROW, COLUMN * ROW], ids=["one", "c", "r", "all"])
def test_other_functions_are_tables(numbers):
    steps = (step("multiply", numbers), step("function", function=np.sin))
    assert "table" in run(steps, Grid(-9, 8, 0.1))


def test_wrapping_is_a_table():
    assert run((step("add", 0.5),), Grid(-4, 3, 0.5), overflow="wrap") == ["table"]


def test_a_scale_for_each_place_of_the_next_grid():
    run((step("add", COLUMN),), Grid(-9, 8, np.array([0.1, 0.2, 0.3])))


def test_tables_and_grids_have_an_end():
    b = Builder()
    x = b.input("x", (2,), Grid(-(2**20), 2**20))
    with pytest.raises(LoweringError, match="in front of the function"):
        project(b, Term(x, (step("function", function=np.sin),)), Target(Grid(0, 3)), "q", "m")
    y = b.input("y", (2,), Grid(-(2**30), 2**30))
    with pytest.raises(LoweringError, match="fewer bits"):
        project(b, Term(y), Target(Grid(-(2**30), 2**30)), "q", "m")
    with pytest.raises(LoweringError, match="stochastic"):
        project(b, Term(x), Target(Grid(0, 3), "stochastic"), "q", "m")
