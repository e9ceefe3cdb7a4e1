"""Layers with weights: sums of products, whose bias is exact or the next real step."""

import math
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pareq.errors import LoweringError
from pareq.ir.attributes import Attribute, Attributes
from pareq.ir.meaning import meaning_of
from pareq.ir.ops import KINDS
from pareq.lower.curve import Known, Term
from pareq.lower.rules import Scope, rule
from pareq.lower.settle import exact_grid, multiples
from pareq.numerics.grid import Grid

__all__: list[str] = []

Reals = npt.NDArray[np.float64]


@rule("linear")
def _linear(scope: Scope) -> Term:
    x, weight = scope.exact("input"), _weight(scope, "weight")
    return _layer(scope, ("dense", x), weight, scope.known("bias"), {})


@rule("matmul", "mm")
def _matmul(scope: Scope) -> Term:
    other = "other" if "other" in scope.call.arguments else "mat2"
    if isinstance(scope.entry("self"), Known):
        raise LoweringError("multiplies from the left; transpose, and use linear")
    if isinstance(scope.entry(other), Term):
        raise LoweringError("multiplies two tensors; use linear, whose weight is a constant")
    x, weight = scope.exact("self"), _turned(_weight(scope, other))
    return _layer(scope, ("dense", x), weight, None, {})


@rule("addmm")
def _addmm(scope: Scope) -> Term:
    if scope.real("beta", 1.0) != 1.0 or scope.real("alpha", 1.0) != 1.0:
        raise LoweringError("beta and alpha must be 1; multiply the weight instead")
    x, weight = scope.exact("mat1"), _turned(_weight(scope, "mat2"))
    return _layer(scope, ("dense", x), weight, scope.known("self"), {})


@rule("conv1d", "conv2d", "conv3d")
def _conv(scope: Scope) -> Term:
    x, weight = scope.exact("input"), _weight(scope, "weight")
    rank = len(scope.value(x).shape) - 1
    dilation = scope.wholes("dilation", rank)
    attributes: dict[str, Attribute] = {
        "stride": scope.wholes("stride", rank),
        "padding": _padding(scope, weight.value.shape[2:], dilation),
        "dilation": dilation,
        "groups": scope.whole("groups"),
        "fill": scope.value(x).grid.zero,
    }
    return _layer(scope, ("conv", x), weight, scope.known("bias"), attributes)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(scope: Scope) -> Term:
    x, weight = scope.exact("input"), _weight(scope, "weight")
    rank = len(scope.value(x).shape) - 1
    begin, more = scope.wholes("padding", rank), scope.wholes("output_padding", rank)
    end = tuple(b - m for b, m in zip(begin, more, strict=True))
    attributes: dict[str, Attribute] = {
        "stride": scope.wholes("stride", rank),
        "padding": (*begin, *end),
        "dilation": scope.wholes("dilation", rank),
        "groups": scope.whole("groups"),
        "fill": scope.value(x).grid.zero,
    }
    return _layer(scope, ("conv_transpose", x), weight, scope.known("bias"), attributes)


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def _upsample(scope: Scope) -> Term:
    """Each value becomes a block of equal ones: a transposed convolution with ones."""
    x = scope.exact("input")
    channels, *sizes = scope.value(x).shape
    factors = tuple(n // m for n, m in zip(scope.shape[1:], sizes, strict=True))
    places = np.arange(math.prod(sizes), dtype=np.float64).reshape(1, 1, *sizes)
    blocks = places
    for axis, factor in enumerate(factors):
        blocks = blocks.repeat(factor, axis=axis + 2)
    others = list(scope.call.arguments.values())[1:]
    chosen = cast(Tensor, scope.call.function(torch.from_numpy(places), *others)).numpy()
    if not np.array_equal(blocks, chosen):
        raise LoweringError(
            f"{tuple(sizes)} to {scope.shape[1:]} repeats unevenly; double the size"
        )
    rank = len(sizes)
    weight = Known(f"{scope.label}.ones", np.ones((channels, 1, *factors)), Grid(0, 1))
    attributes: dict[str, Attribute] = {
        "stride": factors,
        "padding": (0,) * (2 * rank),
        "dilation": (1,) * rank,
        "groups": channels,
        "fill": scope.value(x).grid.zero,
    }
    return _layer(scope, ("conv_transpose", x), weight, None, attributes)


@rule("batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(scope: Scope) -> Term | tuple[Term]:
    mean, variance = scope.known("running_mean"), scope.known("running_var")
    if mean is None or variance is None or scope.call.arguments.get("training"):
        raise LoweringError("uses the statistics of the batch; keep running statistics")
    x = scope.term("input")
    sizes = (-1, *(1 for _ in scope.value(x.name).shape[1:]))
    gamma, beta = scope.known("weight"), scope.known("bias")
    # torch: alpha = gamma / sqrt(var + eps); y = x alpha + (beta - mean alpha)
    alpha = 1.0 / np.sqrt(variance.value + scope.real("eps", 0.0))
    alpha = alpha if gamma is None else alpha * gamma.value
    shift = (0.0 if beta is None else beta.value) - mean.value * alpha
    result = x.then(
        scope.step("multiply", alpha.reshape(sizes)), scope.step("add", shift.reshape(sizes))
    )
    return result if scope.call.op == "batch_norm" else (result,)


def _weight(scope: Scope, name: str) -> Known:
    """A weight on its grid; one that was never quantized may be whole numbers all the same."""
    weight = scope.known(name)
    if weight is None:
        raise LoweringError(f"{name} is missing")
    if weight.grid is not None:
        return weight
    grid = exact_grid(weight.value)
    if grid is None:
        raise LoweringError(
            f"the {name} has no grid; add a rule with a quantizer for "
            f"'{scope.call.path}:{name if name == 'weight' else 'weight'}'"
        )
    return Known(weight.name, weight.value, grid)


def _turned(weight: Known) -> Known:
    """(in, out) -> (out, in)."""
    grid = weight.grid
    if weight.value.ndim != 2 or grid is None:
        raise LoweringError(f"weight is {weight.value.shape}, expected (in, out)")
    scale = grid.scale
    turned = scale if isinstance(scale, float) else np.broadcast_to(scale, weight.value.shape).T
    return Known(weight.name, weight.value.T, Grid(grid.lo, grid.hi, turned))


def _padding(scope: Scope, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Padding at the beginning and the end of each axis; "same" puts the odd one at the end."""
    given = scope.call.arguments["padding"]
    if given == "valid":
        return (0,) * (2 * len(kernel))
    if given == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return (*(n // 2 for n in total), *(n - n // 2 for n in total))
    return scope.wholes("padding", len(kernel)) * 2


def _layer(
    scope: Scope,
    kind: tuple[str, str],
    weight: Known,
    bias: Known | None,
    attributes: dict[str, Attribute],
) -> Term:
    """Add the sum of products; a bias on its scale goes inside, another is the next step."""
    op, x = kind
    grid = weight.grid or Grid(0, 0)
    builder = scope.builder
    integers = grid.quantize(weight.value)
    w = builder.constant(weight.name, integers, grid.scale)
    operands = [scope.value(x), scope.value(w)]
    means = KINDS[op].meaning(
        Attributes(attributes), [meaning_of(each.shape, each.grid) for each in operands]
    )
    outputs = scope.shape[-1] if op == "dense" else scope.shape[0]
    label = f"{scope.label}.bias" if bias is None else bias.name
    inside = np.zeros(outputs, dtype=np.int64)
    found = None
    if bias is not None and means is not None:
        scales = means.scale.reshape(-1, outputs)[0] if op == "dense" else means.scale.reshape(-1)
        found = multiples(bias.value, scales)
        if found is not None and found[1] == 0:
            inside, bias = found[0], None
    b = builder.constant(label, inside)
    result = Term(scope.op(op, (x, w, b), attributes))
    if bias is None:
        return result
    sizes = (-1,) if op == "dense" else (-1, *(1 for _ in scope.shape[1:]))
    return result.then(replace(scope.step("add", bias.value.reshape(sizes)), bias=True))
