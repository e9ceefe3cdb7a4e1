"""The differentiable twins: values equal to the grid, gradients as stated."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pareq.numerics.gradients import project, project_learned, project_max
from pareq.numerics.grid import Grid

ROUNDINGS = ["half_even", "half_up", "floor", "toward_zero"]
TIES = torch.arange(-40, 41) / 8.0  # every tie and every edge of a grid of step 1/4


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize("gradient", ["clip", "pass"])
@pytest.mark.parametrize("step", [0.25, torch.tensor(0.25), torch.full((1, 81), 0.25)])
def test_values_are_those_of_the_grid(rounding, overflow, gradient, step):
    x = TIES.reshape(1, -1) if isinstance(step, torch.Tensor) and step.ndim else TIES
    y = project(x, (-8, 7), step, rounding, overflow, gradient)
    grid = Grid(-8, 7, 0.25)
    assert np.array_equal(y, grid.dequantize(grid.quantize(x, rounding, overflow)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_float_formats(dtype):
    y = project(TIES.to(dtype), (-8, 7), 0.25)
    assert y.dtype == dtype
    assert torch.equal(y.float(), project(TIES, (-8, 7), 0.25))


def test_wide_grids_are_exact_too():
    grid = Grid.fixed_point(32, 8)
    x = torch.tensor([2**31 - 1, -(2**31), 12345678], dtype=torch.float64) / 256
    assert np.array_equal(project(x, (grid.lo, grid.hi), 2.0**-8), x)
    assert project(torch.tensor([9e9]), (grid.lo, grid.hi), 2.0**-8).item() == 2.0**23


@pytest.mark.parametrize("step", [0.25, torch.tensor(0.25)])
def test_the_gradient_stops_outside_the_range(step):
    x = torch.tensor([-9.0, -2.01, -1.9, 0.0, 1.7, 1.76, 9.0], requires_grad=True)
    project(x, (-8, 7), step).sum().backward()
    assert x.grad.tolist() == [0, 0, 1, 1, 1, 0, 0]
    x.grad = None
    project(x, (-8, 7), step, gradient="pass").sum().backward()
    assert x.grad.tolist() == [1] * 7
    x.grad = None
    project(x, (-8, 7), step, overflow="wrap").sum().backward()
    assert x.grad.tolist() == [1] * 7


def test_the_input_is_never_written():
    x = TIES.clone()
    for function in (
        lambda: project(x, (-8, 7), 0.25),
        lambda: project(x, (-8, 7), 0.25, gradient="pass"),
        lambda: project(x, (-8, 7), torch.tensor(0.25), "half_up", "wrap"),
        lambda: project_max(x, 7, None, 1e-5),
        lambda: project_learned(x, (0, 7), 0.25, torch.tensor(1.0), 1.0),
    ):
        function()
        assert torch.equal(x, TIES)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # torch's own, while tracing
def test_compiled_equals_eager():
    def loss(x):
        y = project(x, (-8, 7), 0.25)
        return (y * torch.arange(81.0)).sum(), y

    a, b = TIES.clone().requires_grad_(), TIES.clone().requires_grad_()
    compiled = torch.compile(loss, backend="aot_eager")
    (la, ya), (lb, yb) = loss(a), compiled(b)
    la.backward()
    lb.backward()
    assert torch.equal(ya, yb)
    assert torch.equal(a.grad, b.grad)


def published_max(w, hi):
    """The published quantizer from differentiable parts: rounding straight through."""
    s = w.abs().max()
    u = w / s * hi
    return (u + (u.round() - u).detach()) / hi * s


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_project_max_has_the_published_value_and_gradient(bits):
    hi = 2 ** (bits - 1) - 1
    w = torch.randn(13, 7, dtype=torch.float64)
    a, b = w.clone().requires_grad_(), w.clone().requires_grad_()
    g = torch.randn_like(w)
    ya, yb = project_max(a, hi, None, 2.0**-16), published_max(b, hi)
    torch.testing.assert_close(ya, yb)
    ya.backward(g)
    yb.backward(g)
    torch.testing.assert_close(a.grad, b.grad)
    frozen = w.clone().requires_grad_()
    project_max(frozen, hi, None, 2.0**-16, through_max=False).backward(g)
    assert torch.equal(frozen.grad, g)


def test_project_max_clips_nothing_and_holds_its_largest():
    w = torch.randn(5, 9)
    y = project_max(w, 31, None, 2.0**-16)
    assert y.abs().max() == w.abs().max()
    per_channel = project_max(w, 31, 0, 2.0**-16)
    assert torch.equal(per_channel.abs().amax(1), w.abs().amax(1))
    for row in range(5):
        assert torch.equal(per_channel[row], project_max(w[row], 31, None, 2.0**-16))


def test_project_max_of_zeros_is_zero_and_has_a_gradient():
    w = torch.zeros(4, requires_grad=True)
    y = project_max(w, 31, None, 2.0**-16)
    y.sum().backward()
    assert y.tolist() == [0] * 4
    assert w.grad.tolist() == [1] * 4


def learned_by_parts(x, v, lo, hi):
    """The published activation quantizer from differentiable parts."""
    s = torch.exp2(v)
    u = torch.clamp(x / s * hi, lo, hi)
    return (u + (u.round() - u).detach()) / hi * s


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("bounds", [(0, 63), (-31, 31)])
def test_project_learned_has_the_published_value_and_gradient(as_tensor, bounds):
    x = torch.randn(50, 3, dtype=torch.float64) * 2
    g = torch.randn_like(x)
    va = torch.tensor(math.log2(1.3), dtype=torch.float64, requires_grad=True)
    vb = va.detach().clone().requires_grad_()
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    step = torch.exp2(va.detach()) / bounds[1]
    ya = project_learned(a, bounds, step if as_tensor else step.item(), va, math.log(2))
    yb = learned_by_parts(b, vb, *bounds)
    torch.testing.assert_close(ya, yb)
    ya.backward(g)
    yb.backward(g)
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(va.grad, vb.grad)


def test_project_learned_per_channel_is_each_channel_alone():
    x = torch.randn(20, 3, dtype=torch.float64)
    v = torch.tensor([[0.1, -0.5, 0.7]], dtype=torch.float64, requires_grad=True)
    g = torch.randn_like(x)
    step = torch.exp2(v.detach()) / 31
    project_learned(x, (-31, 31), step, v, math.log(2), axis=1).backward(g)
    for c in range(3):
        vc = v.detach()[0, c].clone().requires_grad_()
        one = project_learned(x[:, c], (-31, 31), float(step[0, c]), vc, math.log(2))
        one.backward(g[:, c])
        torch.testing.assert_close(v.grad[0, c], vc.grad)


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), st.integers(2, 8))
def test_projection_is_idempotent(values, bits):
    x = torch.tensor(values)
    hi = 2 ** (bits - 1) - 1
    once = project(x, (-hi - 1, hi), 0.5)
    assert torch.equal(project(once, (-hi - 1, hi), 0.5), once)


@given(
    st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=20),
    st.integers(1, 16),
    st.integers(-12, 12),
)
def test_the_adder_rounds_as_the_grid_does(values, bits, frac):
    """Every power-of-two step of the fast form, ties among them."""
    grid = Grid.fixed_point(bits, frac)
    x = torch.tensor([*values, *(grid.scale * (n + 0.5) for n in (-3, -2, 0, 1, 2))])
    y = project(x, (grid.lo, grid.hi), float(grid.scale))
    assert np.array_equal(y, grid.dequantize(grid.quantize(x)))
