"""The projections of `pareq.numerics.gradients` with a grid for each member.

Each takes x (members, ...) and one number a member; of the gradients see the table there. The
forward pass computes in the same order as there, so that a member is what it would be alone.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

__all__ = ["project_learned", "project_max", "project_step", "wide"]

_clipped = torch.ops.aten.hardtanh_backward


def wide(numbers: Tensor, like: Tensor) -> Tensor:
    """One number a member, (members,), to broadcast against `like`."""
    return numbers.view(-1, *[1] * (like.ndim - 1))


def _sums(x: Tensor) -> Tensor:
    """The sum over all axes but that of the members, (members,)."""
    return x.flatten(1).sum(1)


def project_max(x: Tensor, hi: Tensor, floor: Tensor, through: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric grids whose largest integer is that of the largest element; and their steps.

    hi, floor: (members,). through: (members,) 1 where the gradient reaches the largest elements.
    """
    return _ProjectMax.apply(x, hi, floor, through)  # type: ignore[no-any-return,no-untyped-call]


class _ProjectMax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, hi: Tensor, floor: Tensor, through: Tensor
    ) -> tuple[Tensor, Tensor]:
        largest = x.abs().flatten(1).amax(1).maximum(floor)
        step = largest / hi
        y = (x / wide(step, x)).round_().mul_(wide(step, x))
        ctx.save_for_backward(x, y, largest, through)
        ctx.mark_non_differentiable(step)
        return y, step

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, y, largest, through = ctx.saved_tensors  # type: ignore[attr-defined]
        grad = grads[0]
        peak = x.abs().eq_(wide(largest, x))  # 0 everywhere where the floor holds the scale
        slope = _sums(grad * (y - x)) / largest * through / _sums(peak).clamp_(min=1)
        return torch.addcmul(grad, peak.mul_(wide(slope, x)), x.sign()), None, None, None


def project_step(x: Tensor, lo: Tensor, hi: Tensor, step: Tensor) -> Tensor:
    """The grids lo..hi with given steps, powers of two; the gradient passes inside.

    lo, hi, step: (members,).
    """
    return _Project.apply(x, wide(lo, x), wide(hi, x), wide(step, x))  # type: ignore[no-any-return,no-untyped-call]


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, lo: Tensor, hi: Tensor, step: Tensor) -> Tensor:
        whole = x * (1 / step)
        torch.minimum(whole, hi, out=whole)
        torch.maximum(whole, lo, out=whole)
        ctx.save_for_backward(whole, lo, hi)
        return whole.round().mul_(step)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        whole, lo, hi = ctx.saved_tensors  # type: ignore[attr-defined]
        place = (whole - (lo + hi) / 2).mul_(2 / (hi - lo))  # -1..1, the ends exactly
        return _clipped(grads[0], place, -1, 1), None, None, None


def project_learned(
    x: Tensor, hi: Tensor, largest: Tensor, slope: Tensor, scale: Tensor, *, signed: bool
) -> Tensor:
    """The grids -hi..hi, or 0..hi, with the steps largest / hi that follow from learned scales.

    All (members,); largest and slope, which is d step / d scale / step, float64.
    """
    if x.dtype == torch.float64:
        largest = (largest / hi).float() * hi.double()  # the step is a float32 in any format
    limit, step = (wide(each.to(x.dtype), x) for each in (largest, largest / hi))
    return _ProjectLearned.apply(x, wide(hi, x), limit, step, slope, scale, signed)  # type: ignore[no-any-return,no-untyped-call]


class _ProjectLearned(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913 - autograd's form
        ctx: FunctionCtx,
        x: Tensor,
        hi: Tensor,
        limit: Tensor,
        step: Tensor,
        slope: Tensor,
        scale: Tensor,
        signed: bool,
    ) -> Tensor:
        ctx.lowest = -1 if signed else 0  # type: ignore[attr-defined]
        share = (x * (1 / limit)).clamp_(ctx.lowest, 1)  # type: ignore[attr-defined]
        y = (share * hi).round_().mul_(step)
        ctx.save_for_backward(share, y, limit, slope)
        ctx.dtype = scale.dtype  # type: ignore[attr-defined]
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        share, y, limit, slope = ctx.saved_tensors  # type: ignore[attr-defined]
        to_x = _clipped(grads[0], share, ctx.lowest, 1)  # type: ignore[attr-defined]
        product = grads[0] * y
        to_step = _sums(product) - _sums(torch.mul(to_x, share, out=product)) * limit.flatten()
        to_scale = (to_step * slope).to(ctx.dtype)  # type: ignore[attr-defined]
        return to_x, None, None, None, None, to_scale, None
