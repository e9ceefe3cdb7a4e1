"""Element by element: real steps with constants, and exact ops between two tensors."""

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pareq.errors import LoweringError
from pareq.lower.curve import Known, Step, Term
from pareq.lower.rules import Scope, rule
from pareq.lower.settle import settle, unify

__all__ = ["bounded"]

Reals = npt.NDArray[np.float64]

_RISING = frozenset(  # whatever their other arguments are
    (
        *("sigmoid", "tanh", "erf", "atan", "asinh", "sinh", "exp", "exp2", "expm1", "hardsigmoid"),
        *("log_sigmoid", "floor", "ceil", "round", "trunc", "sign", "sgn"),
    )
)


@rule("relu")
def _relu(scope: Scope) -> Term:
    return scope.term("self").then(scope.step("clamp", 0.0, np.inf))


@rule("relu6")
def _relu6(scope: Scope) -> Term:
    return scope.term("self").then(scope.step("clamp", 0.0, 6.0))


@rule("hardtanh")
def _hardtanh(scope: Scope) -> Term:
    ends = scope.real("min_val", -1.0), scope.real("max_val", 1.0)
    return scope.term("self").then(scope.step("clamp", *ends))


@rule("clamp", "clip", "clamp_min", "clamp_max")
def _clamp(scope: Scope) -> Term:
    given = scope.call.arguments
    low = scope.known("min") if "min" in given else None
    high = scope.known("max") if "max" in given else None
    ends = (-np.inf if low is None else low.value, np.inf if high is None else high.value)
    return scope.term("self").then(scope.step("clamp", *ends))


@rule("maximum", "minimum")
def bounded(scope: Scope) -> Term:
    """The larger or smaller of a tensor and a constant."""
    a, b = scope.entry("self"), scope.entry("other")
    if isinstance(a, Term) and isinstance(b, Term):
        raise LoweringError("compares two tensors; a clamp at a constant has integers")
    left, right = ("self", "other") if isinstance(a, Term) else ("other", "self")
    term = scope.term(left)
    bound = _beside(scope, right, term)
    ends = (bound, np.inf) if scope.call.op in ("maximum", "max") else (-np.inf, bound)
    return term.then(scope.step("clamp", *ends))


@rule("where", "masked_fill")
def _fill(scope: Scope) -> Term:
    """A mask that is a constant: other places hold constants too."""
    if scope.call.op == "masked_fill":
        term = scope.term("self")
        places, value = _beside(scope, "mask", term), _beside(scope, "value", term)
        return term.then(scope.step("fill", places, value))
    a, b = scope.entry("self"), scope.entry("other")
    if isinstance(a, Term) and isinstance(b, Term):
        raise LoweringError("picks from two tensors; multiply each by its mask and add them")
    name, other = ("self", "other") if isinstance(a, Term) else ("other", "self")
    term = scope.term(name)
    chosen = _beside(scope, "condition", term) != 0
    places = ~chosen if name == "self" else chosen
    return term.then(scope.step("fill", places, _beside(scope, other, term)))


@rule("leaky_relu")
def _leaky_relu(scope: Scope) -> Term:
    slope = scope.real("negative_slope", 0.01)
    if slope < 0:
        raise LoweringError(f"has the slope {slope:g} below 0, expected 0 or more; use abs")
    return scope.term("self").then(scope.step("leaky", slope))


@rule("prelu")
def _prelu(scope: Scope) -> Term:
    slope, x = scope.known("weight"), scope.term("self")
    if slope is None or (slope.value < 0).any():
        raise LoweringError("has a slope below 0; use leaky_relu")
    sizes = (-1, *(1 for _ in scope.value(x.name).shape[1:]))
    return x.then(scope.step("leaky", slope.value.reshape(sizes)))


@rule("neg")
def _neg(scope: Scope) -> Term:
    return scope.term("self").then(scope.step("multiply", -1.0))


@rule("add", "sub", "rsub")
def _add(scope: Scope) -> Term:
    alpha = scope.real("alpha", 1.0)
    if alpha != 1.0:
        raise LoweringError(f"alpha is {alpha}, expected 1; multiply first")
    left, right = ("other", "self") if scope.call.op == "rsub" else ("self", "other")
    sign = 1.0 if scope.call.op == "add" else -1.0
    a, b = scope.entry(left), scope.entry(right)
    if isinstance(a, Term) and isinstance(b, Term):
        names = [settle(scope.builder, each) for each in (a, b)]
        names = unify(scope.builder, names, (scope.label, scope.call.path))
        kind = "add" if sign > 0 else "subtract"
        return Term(scope.op(kind, names, {"shift_a": 0, "shift_b": 0}))
    if isinstance(a, Term):
        return a.then(scope.step("add", sign * _beside(scope, right, a)))
    term = scope.term(right)
    turn = () if sign > 0 else (scope.step("multiply", -1.0),)
    return term.then(*turn, scope.step("add", _beside(scope, left, term)))


@rule("mul")
def _mul(scope: Scope) -> Term:
    a, b = scope.entry("self"), scope.entry("other")
    if isinstance(a, Term) and isinstance(b, Term):
        names = [settle(scope.builder, each) for each in (a, b)]
        return Term(scope.op("multiply", names))
    left, right = ("self", "other") if isinstance(a, Term) else ("other", "self")
    term = scope.term(left)
    return term.then(scope.step("multiply", _beside(scope, right, term)))


@rule("div")
def _div(scope: Scope) -> Term:
    if scope.call.arguments.get("rounding_mode") is not None:
        raise LoweringError("rounds its quotient; use a quantizer instead")
    if isinstance(scope.entry("other"), Term):
        raise LoweringError("divides by a tensor that depends on the input; multiply by a constant")
    term = scope.term("self")
    return term.then(scope.step("divide", _beside(scope, "other", term)))


def _beside(scope: Scope, name: str, term: Term) -> Reals:
    """A constant that broadcasts against a term, without the batch axis."""
    known = scope.known(name) or Known(name, np.zeros(()))
    value, shape = known.value, scope.value(term.name).shape
    if value.ndim == len(shape) + 1 and (value == value[:1]).all():
        value = value[0]
    if value.ndim > len(shape) or np.broadcast_shapes(value.shape, shape) != shape:
        raise LoweringError(
            f"the constant is {known.value.shape}, expected one that broadcasts to {shape}; "
            "repeat the tensor with cat first"
        )
    return value


@rule(
    *("sigmoid", "tanh", "gelu", "silu", "mish", "elu", "selu", "celu", "softplus", "hardsigmoid"),
    *("hardswish", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "abs", "square"),
    *("sqrt", "rsqrt", "reciprocal", "pow", "erf", "sin", "cos", "tan", "atan", "asinh", "sinh"),
    *("cosh", "hardshrink", "softshrink", "log_sigmoid", "sign", "sgn", "threshold", "remainder"),
    *("floor", "ceil", "round", "trunc", "frac"),
)
def _function(scope: Scope) -> Term:
    """Any function of one number, evaluated by torch in float64: a table, or steps if it rises."""
    names = list(scope.call.arguments)
    others = [scope.call.arguments[name] for name in names[1:]]
    if not all(each is None or isinstance(each, bool | int | float | str) for each in others):
        raise LoweringError("depends on more than one number an element; a table holds one")
    rises, real = scope.call.op in _RISING, _real(scope, others)
    return scope.term(names[0]).then(Step("function", (), scope.call.path, real, rises=rises))


def _real(scope: Scope, others: list[object]) -> Callable[[Reals], Reals]:
    def function(y: Reals) -> Reals:
        with torch.no_grad():
            given = torch.from_numpy(np.ascontiguousarray(y))
            return cast(Reals, cast(Tensor, scope.call.function(given, *others)).numpy())

    return function
