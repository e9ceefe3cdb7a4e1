"""From a trained network with its operators to a graph of integers that computes the same function.

The specification is the network in float64, in evaluation mode. Constants fold, weights become
integers, sites put values on grids, and what lies between two grids is one exact op.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from pareq.attach.attach import Attached, Site
from pareq.errors import GraphError, GridError, LoweringError, at
from pareq.ir.build import Builder
from pareq.ir.graph import Graph
from pareq.lower import rules_layers, rules_moves, rules_pools, rules_steps  # noqa: F401 - register
from pareq.lower.curve import Known, Target, Term, project
from pareq.lower.passes import simplify
from pareq.lower.rules import MOVES, RULES, Entry, Raw, Scope
from pareq.lower.settle import settle
from pareq.lower.trace import Call, Ref, Trace, trace
from pareq.lower.widths import Widths
from pareq.numerics.grid import Grid
from pareq.operators.base import Quantizer
from pareq.quantizers import FixedPoint, LearnedBits, MaxAbs
from pareq.recipe.config import dump_recipe

__all__ = ["lower"]

_FILLED = {
    **dict.fromkeys(("zeros_like", "new_zeros"), 0.0),
    **dict.fromkeys(("ones_like", "new_ones"), 1.0),
    **dict.fromkeys(("full_like", "new_full"), None),
}  # constants in the shape of a tensor
_CASTS = ("to", "_to_copy", "type_as")
_NORM = "use batch norm, whose statistics are constants when the network evaluates"
_SOFTMAX = (
    "leave it to the host: the order of the classes is that of its input; inside a network write "
    "it as exp, sum and reciprocal with a quantizer behind each"
)
_COMPARE = "use relu, clamp or a function of one number"
_PICK = "use slices and cat"
_PRODUCT = "use linear, whose weight is a constant"
_RECURRENT = "write its steps as linear layers with quantizers between them"
_REMEDIES = {
    **dict.fromkeys(("softmax", "log_softmax", "_softmax", "_log_softmax", "logsumexp"), _SOFTMAX),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm"), _NORM),
    **dict.fromkeys(("linalg_vector_norm", "var", "std", "cosine_similarity"), _NORM),
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne", "logical_not", "isnan"), _COMPARE),
    **dict.fromkeys(("index", "index_select", "gather", "flip", "roll", "sort"), _PICK),
    **dict.fromkeys(("einsum", "bmm", "baddbmm", "bilinear", "dot", "outer"), _PRODUCT),
    **dict.fromkeys(("gru", "lstm", "rnn_tanh", "rnn_relu"), _RECURRENT),
    "scaled_dot_product_attention": _PRODUCT,
    "embedding": "give it one-hot vectors and use linear",
    **dict.fromkeys(("repeat", "tile", "repeat_interleave"), "use cat, or upsample to the nearest"),
    **dict.fromkeys(("rand_like", "randn_like", "bernoulli"), "draw numbers in training only"),
}


def lower(net: Attached, example: Tensor) -> Graph:
    """The network as it is now, as integers.

    net: trained, with quantizers on its input, on weights, and wherever a real number would be
    rounded. example: `(N, ...)`; only the shape of a sample counts. The graph gives, for every
    input, the integers of the float64 network in evaluation mode; its metadata name the recipe and
    the grids. Raises LoweringError with the module, the op and the remedy; GridError for a scale
    that training has lost.
    """
    with at("lower"):
        plan = trace(net, example)
        graph = _Lowering(plan).graph(_metadata(net, plan))
        return simplify(graph)


def _metadata(net: Attached, plan: Trace) -> dict[str, str]:
    grids = {}
    for site in plan.sites:
        quantizer = _engaged(site)
        if quantizer is not None:
            with at(site.name):
                grids[site.name] = _described(quantizer)
    recipe = dump_recipe(net.recipe).encode()
    return {
        "pareq": version("pareq"),
        "recipe_sha256": hashlib.sha256(recipe).hexdigest(),
        "grids": json.dumps(grids, sort_keys=True),
    }


def _engaged(site: Site) -> Quantizer | None:
    """The quantizer of a site while it works."""
    quantizer = site.quantizer
    return quantizer if quantizer is not None and quantizer.engaged else None


def _described(quantizer: Quantizer) -> dict[str, int | float | list[float]]:
    if isinstance(quantizer, MaxAbs) and not quantizer.step.any():
        return {}
    grid = quantizer.grid()
    scale = grid.scale if isinstance(grid.scale, float) else grid.scale.ravel().tolist()
    return {"lo": grid.lo, "hi": grid.hi, "scale": scale}


class _Lowering:
    """One walk over a trace; `values` holds what each name stands for."""

    def __init__(self, plan: Trace) -> None:
        self.plan = plan
        self.builder = Builder()
        self.values: dict[str, Entry] = {}
        self.entered: dict[str, tuple[str, Target]] = {}  # inputs on their grids
        self.tensors = dict(plan.known)  # what is known, in its own type
        for name, value in plan.known.items():
            self.values[name] = Known(plan.names[name], _reals(value))
        for name, _ in plan.inputs:
            self.values[name] = Raw(name)

    def graph(self, metadata: dict[str, str]) -> Graph:
        """The whole network."""
        needed = _needed(self.plan)
        for call in self.plan.calls:
            if call.name in needed:
                self.values[call.name] = self._located(call)
        outputs = [self._output(name) for name in self.plan.outputs]
        self._order_inputs()
        return self.builder.graph(outputs, metadata)

    def _located(self, call: Call) -> Entry:
        """The result of a call; errors say where and what."""
        with at(f"{call.path or 'the model'} ({call.op})"):
            try:
                return self._result(call)
            except (GraphError, GridError) as error:
                raise LoweringError(error.fact, where=error.where) from error

    def _result(self, call: Call) -> Entry:
        operands = [self.values[name] for name in _names(call)]
        if call.op == "site":
            return self._site(call, operands[0])
        if call.op == "getitem":
            return _item(operands[0], call)
        if all(isinstance(each, Known) for each in operands):
            return self._folded(call)
        if call.op in _FILLED:
            return self._filled(call)
        raw = next((each for each in operands if isinstance(each, Raw)), None)
        if raw is not None:
            if call.op in MOVES:
                return Raw(raw.name, (*raw.moves, call))
            raise LoweringError(
                "reads the input before it is on a grid; add a rule with a quantizer for "
                f"'{call.path}:input'"
            )
        return self._ruled(call, self.values)

    def _ruled(self, call: Call, values: dict[str, Entry]) -> Entry:
        if call.op not in RULES:
            remedy = _REMEDIES.get(call.op, "use layers that have one, or lower the part before it")
            raise LoweringError(f"{call.op} has no exact integer meaning here; {remedy}")
        if call.dtype in ("float32", "float16", "bfloat16") and call.op not in _CASTS:
            raise LoweringError(f"computes in {call.dtype}; leave the number format to pareq")
        result = RULES[call.op](Scope(self.builder, call, values, self.plan.batch))
        parts = result if isinstance(result, tuple) else (result,)
        for part, shape in zip(parts, call.shapes, strict=False):
            if isinstance(part, Term) and self.builder.value(part.name).shape != shape[1:]:
                found = self.builder.value(part.name).shape
                raise LoweringError(f"gives {shape[1:]} from {found}, which repeats values")
        return result

    def _folded(self, call: Call) -> Known:
        """Evaluate what does not depend on the input; a weight that only moved keeps its grid."""
        given = [self._tensor(each) for each in call.arguments.values()]
        try:
            with torch.no_grad():
                result = call.function(*given)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise LoweringError(f"is a constant that torch cannot evaluate ({line})") from error
        if not isinstance(result, Tensor):
            raise LoweringError("gives several constants, expected one tensor")
        self.tensors[call.name] = result
        operands = [self.values[name] for name in _names(call)]
        value = _reals(result)
        grid = operands[0].grid if len(operands) == 1 and isinstance(operands[0], Known) else None
        kept = grid is not None and isinstance(grid.scale, float) and grid.holds(value)
        name = operands[0].name if kept and isinstance(operands[0], Known) else call.name
        return Known(name, value, grid if kept else None)

    def _filled(self, call: Call) -> Known:
        """A constant in the shape of a tensor; samples are as many as in the trace."""
        number = _FILLED[call.op]
        given = call.arguments.get("fill_value") if number is None else number
        if not isinstance(given, int | float):
            raise LoweringError(f"fill_value is {given!r}, expected a number")
        value = torch.full(call.shapes[0], given, dtype=getattr(torch, call.dtype))
        self.tensors[call.name] = value
        return Known(call.name, _reals(value))

    def _tensor(self, argument: object) -> object:
        if isinstance(argument, Ref):
            return self.tensors[argument.name]
        if isinstance(argument, tuple):
            return [self._tensor(each) for each in argument]
        return argument

    def _site(self, call: Call, operand: Entry) -> Entry:
        number = call.arguments["number"]
        site = self.plan.sites[number if isinstance(number, int) else 0]
        if isinstance(operand, Known):
            value = self.plan.values[number if isinstance(number, int) else 0]
            if value is not None:
                self.tensors[call.name] = value
                return _weight(site, _reals(value))
        if isinstance(operand, Raw):
            return self._enter(operand, site, call)
        if not isinstance(operand, Term):
            raise LoweringError("quantizes a constant, or several results; quantize a tensor")
        return self._projected(operand, site)

    def _projected(self, term: Term, site: Site) -> Term:
        rank = len(self.builder.value(term.name).shape)
        label, widths = (site.path or "output", site.path), _widths(site, rank)
        if widths is None:
            return project(self.builder, term, _without_batch(_target(site), rank), *label)
        made = project(self.builder, widths.before(term, site.path), widths.target(), *label)
        return Term(widths.after(self.builder, made.name, label))

    def _enter(self, raw: Raw, site: Site, call: Call) -> Entry:
        """Let an input in on a grid, then repeat how it was moved."""
        shape = dict(self.plan.inputs)[raw.name][1:]
        widths = _widths(site, len(shape))
        target = _target(site) if widths is None else widths.input()
        moved = not isinstance(target.grid.scale, float) and raw.moves
        if moved:
            raise LoweringError("an input with a scale per channel is moved before; quantize first")
        entering = _without_batch(target, len(shape))
        if raw.name not in self.entered:
            made = self.builder.input(
                raw.name,
                shape,
                entering.grid,
                rounding=entering.rounding,
                overflow=entering.overflow,
            )
            self.entered[raw.name] = made, entering
        name, before = self.entered[raw.name]
        if (before.grid, before.rounding) != (entering.grid, entering.rounding):
            raise LoweringError(
                f"input {raw.name!r} enters on two grids; quantize it once, where it comes in"
            )
        if widths is not None:
            name = widths.after(self.builder, name, (site.path or "input", site.path))
        result: Entry = Term(name)
        for move in raw.moves:
            inside = dict.fromkeys(_names(move), result)
            result = self._ruled(move, inside)
        return result

    def _output(self, name: str) -> str:
        entry = self.values.get(name)
        with at(f"output {name!r}"):
            if isinstance(entry, Raw):
                raise LoweringError("is the input itself, which has no grid; quantize it")
            if not isinstance(entry, Term):
                raise LoweringError("does not depend on the input; return something that does")
            try:
                return settle(self.builder, entry, last=True)
            except (GraphError, GridError) as error:
                raise LoweringError(error.fact, where=error.where) from error

    def _order_inputs(self) -> None:
        """Every input of the network must have been read."""
        missing = [name for name, _ in self.plan.inputs if name not in self.entered]
        if missing:
            raise LoweringError(f"input {missing[0]!r} is never read; leave it out")


def _needed(plan: Trace) -> set[str]:
    """The names that the outputs depend on."""
    needed = set(plan.outputs)
    for call in reversed(plan.calls):
        if call.name in needed:
            needed.update(_names(call))
    return needed


def _names(call: Call) -> list[str]:
    """The references among the arguments, lists of them included."""
    found: list[str] = []
    for each in call.arguments.values():
        parts: Sequence[object] = each if isinstance(each, tuple) else (each,)
        found += [part.name for part in parts if isinstance(part, Ref)]
    return found


def _item(operand: Entry, call: Call) -> Entry:
    index = call.arguments["1"]
    if not isinstance(operand, tuple) or not isinstance(index, int):
        raise LoweringError("picks from something that is no tuple of tensors")
    found = operand[index]
    if found is None:
        raise LoweringError("reads a result that integers do not have; use the other one")
    return found


def _reals(value: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array(value.detach().double().numpy())


def _weight(site: Site, value: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Known:
    """A weight or bias after its operators; on a grid when a quantizer is engaged."""
    name = f"{site.path}.{site.tensor}".lstrip(".")
    quantizer = _engaged(site)
    if quantizer is None:
        return Known(name, value)
    grid = _whole(quantizer, site).grid()
    if not grid.holds(value):
        raise LoweringError(f"{site.name} leaves its grid after the quantizer; quantize last")
    return Known(name, value, grid)


def _target(site: Site) -> Target:
    """The grid that a site puts an activation on."""
    quantizer = site.quantizer
    if quantizer is None or isinstance(quantizer, MaxAbs):
        raise LoweringError(
            "max_abs measures each batch anew, so it has no grid; use learned_scale or fixed_point"
        )
    grid = _whole(quantizer, site).grid()
    if isinstance(quantizer, FixedPoint):
        return Target(grid, quantizer.rounding, quantizer.overflow)
    return Target(grid)


def _widths(site: Site, rank: int) -> Widths | None:
    """The words of an activation whose bits are learned."""
    quantizer = site.quantizer
    if not isinstance(quantizer, LearnedBits):
        return None
    _whole(quantizer, site)
    return Widths(quantizer, rank)


def _whole(quantizer: Quantizer, site: Site) -> Quantizer:
    """Refuse a quantizer that is only blended in."""
    if quantizer.value != 1.0:
        raise LoweringError(
            f"{site.name} is quantized with strength {quantizer.value:g}; lower at the end of its "
            "schedule, where it is 1"
        )
    return quantizer


def _without_batch(target: Target, rank: int) -> Target:
    """The same with a scale that has no batch axis."""
    scale = target.grid.scale
    if isinstance(scale, float) or scale.ndim <= rank:
        return target
    grid = target.grid
    return replace(target, grid=Grid(grid.lo, grid.hi, scale[0], grid.zero))
