"""What a network computes, as a list of calls: one trace by torch.export.

Each quantizer shows as one call `site` with the number of its site; other operators on activations
show as the ops they are made of. Weights, masks and statistics are tensors that are known. Only
this file knows torch.export.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.fx import Node

from pareq.attach.attach import Attached, Site
from pareq.errors import LoweringError, PareqError
from pareq.operators.base import Quantizer

__all__ = ["Call", "Ref", "Trace", "trace"]

_BATCH = 5  # samples in the trace; its axis is told from others by its place, not by its length


@dataclass(frozen=True)
class Ref:
    """The result of an earlier call, or an input, or a known tensor."""

    name: str


@dataclass(frozen=True, eq=False)
class Call:
    """One step of the network.

    op: the name of the ATen op ("conv2d"), "site", or "getitem". arguments: by the names of the
    op's schema, with defaults, a Ref for each tensor. path: of the module in whose forward it is.
    shapes: of its results, with the batch axis. dtype: of the first one, such as "float64".
    function: evaluates it on tensors, in the order of arguments.
    """

    name: str
    op: str
    arguments: dict[str, object]
    path: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    function: Callable[..., object]


@dataclass(frozen=True, eq=False)
class Trace:
    """A network in evaluation mode, in float64.

    inputs: name and shape, with the batch axis. known: tensors by name. names: of known tensors as
    a person knows them ("fc1.bias"). sites: those of a float64 copy of the network.
    """

    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    known: dict[str, Tensor]
    names: dict[str, str]
    calls: tuple[Call, ...]
    outputs: tuple[str, ...]
    sites: tuple[Site, ...]
    values: tuple[Tensor | None, ...]
    batch: int = _BATCH


@torch.library.custom_op("pareq::site", mutates_args=())
def _site(x: Tensor, number: int) -> Tensor:
    """Stands for all operators of a site while a network is exported."""
    return x.clone()


@_site.register_fake
def _(x: Tensor, number: int) -> Tensor:
    return torch.empty_like(x)


class _Mark:
    """Takes the place of the operators of a weight, or of the quantizer of an activation."""

    def __init__(self, site: Site, number: int) -> None:
        self.site, self.number = site, number

    def forward(self, x: Tensor) -> Tensor:
        """The call that is seen in the trace."""
        return cast(Tensor, torch.ops.pareq.site(x, self.number))

    def activation(self, x: Tensor, *, training: bool) -> Tensor:
        """All operators of an activation, of which the trace sees the quantizer as one call."""
        for operator in self.site.operators:
            if isinstance(operator, Quantizer) and operator.engaged:
                x = self.forward(x)
            elif operator.engaged:
                x = operator.forward(x)
        return x


def trace(net: Attached, example: Tensor) -> Trace:
    """Export a float64 copy of a network in evaluation mode.

    example: `(N, ...)`, of which the first sample's shape counts. Raises LoweringError when
    torch.export cannot follow the network.
    """
    if example.ndim < 1 or not len(example):
        raise LoweringError(f"example has shape {tuple(example.shape)}, expected (N, ...), N >= 1")
    net = copy.deepcopy(net)
    net.model.cpu().double().eval()
    for site in net.sites:
        for operator in site.operators:
            operator.reload()
    with torch.no_grad():
        values = tuple(site.value() for site in net.sites)
    for number, site in enumerate(net.sites):
        _mark(site, number)
    given = example[:1].detach().cpu().double().expand(_BATCH, *example.shape[1:]).clone()
    program = _export(net.model, given)
    return _read(program, net.sites, values)


def _mark(site: Site, number: int) -> None:
    """Let a site appear as one call."""
    chain, mark = site.chain, _Mark(site, number)
    if not chain.engaged:
        chain.live = False
    elif site.kind in ("weight", "bias"):
        chain.engaged = (mark,)  # type: ignore[assignment]
    else:
        chain.live = True
        chain.activation = mark.activation  # type: ignore[method-assign]


def _export(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export warns about its own parts
        try:
            program = torch.export.export(model, (example,), strict=False)
            if any(_in_place(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
        except PareqError:
            raise
        except Exception as error:  # torch.export raises whatever it meets
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            types = any(word in line for word in ("scalar type", "dtype", "Type promoting"))
            remedy = (
                "keep constants in buffers, which take the type of the network"
                if types
                else "write its forward without branches that depend on values"
            )
            raise LoweringError(
                f"torch.export cannot follow the network ({line}); {remedy}"
            ) from error
    return program


def _in_place(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _read(
    program: torch.export.ExportedProgram,
    sites: Sequence[Site],
    values: tuple[Tensor | None, ...],
) -> Trace:
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise LoweringError("the network changes a buffer or its input while it evaluates")
    targets = {spec.arg.name: spec.target for spec in signature.input_specs if spec.target}
    stored = {**program.state_dict, **program.constants}
    inputs, known, calls = [], {}, []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in targets:
            known[node.name] = cast(Tensor, stored[targets[node.name]]).detach()
        elif node.op == "placeholder":
            inputs.append((node.name, tuple(node.meta["val"].shape)))
        elif node.op == "call_function":
            calls.append(_call(node))
        elif node.op != "output":
            raise LoweringError(f"torch.export shows a {node.op}, expected calls of ATen ops")
    outputs = tuple(str(name) for name in signature.user_outputs)
    return Trace(tuple(inputs), known, dict(targets), tuple(calls), outputs, tuple(sites), values)


def _call(node: Node) -> Call:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    seen = node.meta.get("val")
    results = seen if isinstance(seen, tuple | list) else (seen,)
    tensors = [each for each in results if isinstance(each, Tensor)]
    shapes = tuple(tuple(each.shape) for each in tensors)
    dtype = str(tensors[0].dtype).removeprefix("torch.") if tensors else ""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        op = getattr(target, "__name__", str(target))
        arguments = {str(i): _argument(each) for i, each in enumerate(node.args)}
        getter = cast(Callable[..., object], target)
        return Call(node.name, op, arguments, path, shapes, dtype, getter)
    schema = target._schema
    arguments = {}
    for place, each in enumerate(schema.arguments):
        value = each.default_value if each.has_default_value() else None
        value = node.args[place] if place < len(node.args) else node.kwargs.get(each.name, value)
        arguments[each.name] = _argument(value)
    loose = sum(not each.kwarg_only for each in schema.arguments)

    def function(*given: object) -> object:
        names = [each.name for each in schema.arguments[loose:]]
        return target(*given[:loose], **dict(zip(names, given[loose:], strict=True)))

    op = schema.name.removeprefix("aten::").removeprefix("pareq::")
    return Call(node.name, op, arguments, path, shapes, dtype, function)


def _argument(value: object) -> object:
    """Nodes become references, lists of them too; SymInts do not occur with fixed shapes."""
    if isinstance(value, Node):
        return Ref(value.name)
    if isinstance(value, tuple | list):
        return tuple(_argument(each) for each in value)
    return value
