"""The differentiable twins of rounding and saturation, on torch tensors.

Each computes step * clamp(round(x / step)). Rounding has no useful derivative; they differ in the
one they use instead:

| function | step | gradient to x | gradient to the step |
|---|---|---|---|
| `project` | fixed | inside (`clip`), everywhere (`pass`), clamped itself (`value`) | none |
| `project_max` | max abs x / hi | everywhere | reaches the largest elements |
| `project_learned` | learned | inside lo..hi | q - x/step inside, lo or hi outside |

Source: straight-through estimator, Bengio et al. 2013; learned step, Esser et al. 2020 (LSQ) eq. 3;
`value`: Zhang et al. 2021 (arXiv 2110.08271): the gradient is clamped to the range of the grid.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import hardtanh

from pareq.numerics.rounding import Overflow, Rounding

__all__ = ["Gradient", "project", "project_learned", "project_max", "round_"]

Gradient = Literal["clip", "pass", "value"]

_clipped = torch.ops.aten.hardtanh_backward


def round_(x: Tensor, rounding: Rounding) -> Tensor:
    """Round in place; the twin of `pareq.numerics.rounding.round_real`.

    half_up is ceil(floor(2x) / 2): exact in any float format, unlike floor(x + 1/2).
    """
    if rounding == "half_even":
        return x.round_()
    if rounding == "floor":
        return x.floor_()
    if rounding == "toward_zero":
        return x.trunc_()
    if rounding == "half_up":
        return x.mul_(2).floor_().mul_(0.5).ceil_()
    down = x.floor()
    up = x.sub_(down) > torch.rand_like(x)
    return x.copy_(down).add_(up)


def project(
    x: Tensor,
    bounds: tuple[int, int],
    step: float | Tensor,
    rounding: Rounding = "half_even",
    overflow: Overflow = "saturate",
    gradient: Gradient = "clip",
) -> Tensor:
    """Put x on the grid lo..hi with a fixed step; the gradient is the straight-through one.

    x: any shape, floating. bounds: the integers (lo, hi). step: a float for the whole tensor, or a
    positive tensor that broadcasts against x; a float must be a power of two. Half-precision input
    is computed in float32, grids above 24 bits in float64. With overflow "wrap" the gradient passes
    everywhere.
    """
    wide = _working_dtype(x, bounds)
    if wide != x.dtype:
        return project(x.to(wide), bounds, step, rounding, overflow, gradient).to(x.dtype)
    if gradient == "value":
        x = _Clamped.apply(x, bounds, step)  # type: ignore[no-untyped-call]
    if not isinstance(step, float) or torch.compiler.is_compiling() or overflow == "wrap":
        clip = gradient == "clip" and overflow == "saturate"
        return _Project.apply(x, bounds, step, rounding, overflow, clip)  # type: ignore[no-any-return,no-untyped-call]
    # The fastest form in eager mode: hardtanh saves x and brings the clipped gradient; its fresh
    # output is then rounded in place behind autograd's back, which does not need that output.
    low, high = bounds[0] * step, bounds[1] * step
    if gradient == "clip":
        y = hardtanh(x, low, high)
        _round_to_(y.detach(), bounds, step, rounding)
    else:
        y = x.clone()
        _round_to_(y.detach().clamp_(low, high), bounds, step, rounding)
    return y


def _round_to_(x: Tensor, bounds: tuple[int, int], step: float, rounding: Rounding) -> None:
    """Round to multiples of a power-of-two step in place; |x| is at most that of the bounds.

    Half to even, the sum with 1.5 * 2^23 steps is a float32 whose last bit is worth one step: the
    adder itself rounds, and taking the constant away again is exact. Two passes instead of three.
    """
    narrow = max(-bounds[0], bounds[1]) < 2**21 and 2.0**-90 < step < 2.0**90
    if rounding == "half_even" and narrow and x.dtype == torch.float32:
        shift = 1.5 * 2.0**23 * step
        x.add_(shift).sub_(shift)
    else:
        round_(x.mul_(1.0 / step), rounding).mul_(step)


def _working_dtype(x: Tensor, bounds: tuple[int, int]) -> torch.dtype:
    """The float format whose integers cover the grid."""
    if bounds[1] - bounds[0] >= 2**24:
        return torch.float64
    return torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype


class _Clamped(torch.autograd.Function):
    """The identity; its gradient is clamped to the range of the grid."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, bounds: tuple[int, int], step: float | Tensor
    ) -> Tensor:
        ctx.limits = bounds[0] * step, bounds[1] * step  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0].clamp(*ctx.limits), None, None  # type: ignore[attr-defined]


class _Project(torch.autograd.Function):
    """`project` for every step, overflow and gradient, and under torch.compile."""

    @staticmethod
    def forward(  # noqa: PLR0913 - autograd's form
        ctx: FunctionCtx,
        x: Tensor,
        bounds: tuple[int, int],
        step: float | Tensor,
        rounding: Rounding,
        overflow: Overflow,
        clip: bool,
    ) -> Tensor:
        lo, hi = bounds
        q = x / step
        ctx.clip = (lo, hi) if clip else None  # type: ignore[attr-defined]
        if clip:
            ctx.save_for_backward(q)
            q = q.clone()
        q = round_(q, rounding)
        q = (
            q.clamp_(lo, hi)
            if overflow == "saturate"
            else q.sub_(lo).remainder_(hi - lo + 1).add_(lo)
        )
        return q.mul_(step)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if ctx.clip:  # type: ignore[attr-defined]
            (scaled,) = ctx.saved_tensors  # type: ignore[attr-defined]
            grad = _clipped(grad, scaled, *ctx.clip)  # type: ignore[attr-defined]
        return grad, None, None, None, None, None


def project_max(
    x: Tensor, hi: int, axis: int | None, floor: float, through_max: bool = True
) -> Tensor:
    """Put x on the symmetric grid -hi..hi whose largest element is exactly hi.

    The published weight quantizer (Hawks et al. 2021, from Brevitas' STATS/MAX scaling):
    s = max(|x|, floor), y = round(x / s * hi) / hi * s, recomputed at every call. axis: the channel
    axis with a scale of its own, or None for one scale. through_max: let the gradient reach s,
    shared evenly among the largest elements.
    """
    wide = _working_dtype(x, (-hi, hi))
    if wide != x.dtype:
        return project_max(x.to(wide), hi, axis, floor, through_max).to(x.dtype)
    return _ProjectMax.apply(x, hi, axis, floor, through_max)  # type: ignore[no-any-return,no-untyped-call]


def max_abs(x: Tensor, axis: int | None) -> Tensor:
    """The largest magnitude: 0-dim for the whole tensor, or kept per index of `axis`."""
    others = None if axis is None else _but(x, axis)
    norm: Tensor = torch.linalg.vector_norm(x, torch.inf, dim=others, keepdim=axis is not None)
    return norm


class _ProjectMax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, hi: int, axis: int | None, floor: float, through_max: bool
    ) -> Tensor:
        largest = max_abs(x, axis).clamp_(min=floor)
        step = largest / hi
        y = (x / step).round_().mul_(step)
        ctx.axis = axis  # type: ignore[attr-defined]
        ctx.through_max = through_max  # type: ignore[attr-defined]
        if through_max:
            ctx.save_for_backward(x, y, largest)
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if ctx.through_max:  # type: ignore[attr-defined]
            x, y, largest = ctx.saved_tensors  # type: ignore[attr-defined]
            peak = x.abs().eq_(largest)  # 0 everywhere where the floor holds the scale
            slope = _inner(grad, y - x, ctx.axis).div_(largest)  # type: ignore[attr-defined]
            slope.div_(_inner(peak, peak, ctx.axis).clamp_(min=1))  # type: ignore[attr-defined]
            grad = torch.addcmul(grad, peak.mul_(slope), x.sign())
        return grad, None, None, None, None


def _but(x: Tensor, axis: int) -> list[int]:
    """All axes but one."""
    return [d for d in range(x.ndim) if d != axis % x.ndim]


def _inner(a: Tensor, b: Tensor, axis: int | None) -> Tensor:
    """sum(a * b): 0-dim, or kept per index of `axis`."""
    if axis is None:
        return torch.dot(a.reshape(-1), b.reshape(-1))
    return (a * b).sum(_but(a, axis), keepdim=True)


def project_learned(
    x: Tensor,
    bounds: tuple[int, int],
    step: float | Tensor,
    scale: Tensor,
    slope: float | Tensor,
    axis: int | None = None,
) -> Tensor:
    """Put x on the grid lo..hi with a step that follows from a learned scale.

    step: the present step, a float or a positive tensor that broadcasts. scale: the parameter it
    follows from, of size one on every axis but `axis`; its gradient is the sum over
    grad * (step * q - x) inside the range and grad * step * q outside (Esser et al. 2020 eq. 3; the
    published activation quantizer of Hawks et al. 2021 has the same), times `slope`, which is
    d step / d scale / step: ln 2 for a scale that is the logarithm to base 2.
    """
    wide = _working_dtype(x, bounds)
    if wide != x.dtype:
        return project_learned(x.to(wide), bounds, step, scale, slope, axis).to(x.dtype)
    return _ProjectLearned.apply(x, bounds, step, scale, slope, axis)  # type: ignore[no-any-return,no-untyped-call]


class _ProjectLearned(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913 - autograd's form
        ctx: FunctionCtx,
        x: Tensor,
        bounds: tuple[int, int],
        step: float | Tensor,
        scale: Tensor,
        slope: float | Tensor,
        axis: int | None,
    ) -> Tensor:
        lo, hi = bounds
        if isinstance(step, float):
            inside, limits = x, (lo * step, hi * step)
            y = hardtanh(x, *limits).mul_(1.0 / step)
        else:
            inside, limits = x / step, bounds
            y = inside.clamp(lo, hi)
        y = y.round_().mul_(step)
        ctx.save_for_backward(x, y, *([] if inside is x else [inside]))
        ctx.limits, ctx.slope, ctx.axis = limits, slope, axis  # type: ignore[attr-defined]
        ctx.dtype = scale.dtype  # type: ignore[attr-defined]
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, y, *scaled = ctx.saved_tensors  # type: ignore[attr-defined]
        to_x = _clipped(grad, scaled[0] if scaled else x, *ctx.limits)  # type: ignore[attr-defined]
        to_scale = _inner(grad, y, ctx.axis).sub_(_inner(to_x, x, ctx.axis))  # type: ignore[attr-defined]
        return to_x, None, None, to_scale.mul_(ctx.slope).to(ctx.dtype), None, None  # type: ignore[attr-defined]
