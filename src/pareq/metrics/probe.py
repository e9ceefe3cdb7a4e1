"""The cost of a real model, read off one forward pass.

Every call of F.linear, F.conv* and F.conv_transpose* becomes a Layer, and a MultiheadAttention the
four it consists of. Its input is as wide as the quantizer that made it:

| tensor | bits |
|---|---|
| input or output of a site whose quantizer works at full strength | the quantizer's |
| relu, max pooling, reshaping, indexing, padding, idle dropout, concatenation | widest input's |
| anything else, the example too | 32 |

Positions that an activation pruner holds at zero are followed through its quantizers, activation
functions that keep zero, sums, pooling and reshaping to the layer that reads them (`Layer.dead`).

Not counted: products of two activations (matmul, attention scores), recurrent layers, which do not
pass through F.linear, embeddings, elementwise arithmetic, normalisations. What of these holds
parameters or multiplies matrices is listed in `Cost.rest`.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.overrides import TorchFunctionMode

from pareq.attach.attach import Attached, Site
from pareq.attach.chain import Chain
from pareq.errors import DataError, SiteError, at
from pareq.ir.graph import Graph
from pareq.metrics.cost import Cost, Rest
from pareq.metrics.integers import graph_cost
from pareq.metrics.layer import FLOAT_BITS, Kind, Layer
from pareq.metrics.parameters import Found, Parameters, active_quantizer
from pareq.metrics.single import SingleSample
from pareq.pruners import PruneActivation

__all__ = ["cost"]

Values = Iterable[object]
Bits = int | None

_ARGUMENTS = {
    "linear": "input weight bias",
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d"), "input weight bias stride padding dilation groups"
    ),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        "input weight bias stride padding output_padding groups dilation",
    ),
}
_EXACT = {
    *("relu", "relu_", "amax", "maximum", "minimum"),
    *("max_pool1d", "max_pool2d", "max_pool3d"),
    *("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices"),
    *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
    *("flatten", "unflatten", "reshape", "reshape_as", "view", "view_as", "unfold"),
    *("permute", "transpose", "swapaxes", "swapdims", "movedim", "t", "flip", "roll"),
    *("squeeze", "unsqueeze", "expand", "expand_as", "repeat", "tile"),
    *("contiguous", "clone", "detach", "pixel_shuffle", "pixel_unshuffle"),
    *("__get__", "__getitem__", "__setitem__", "select", "narrow", "index_select"),
    *("chunk", "split", "unbind", "cat", "concat", "stack"),
}
_EXACT_IF_EQUAL = {
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"),
    *("to", "float", "double", "half", "bfloat16", "type_as"),
}
_KEEP_ZERO = (_EXACT - {"__setitem__", "minimum"}) | {
    *("add", "__add__", "__iadd__", "__radd__", "add_", "dropout"),
    *("tanh", "hardtanh", "relu6", "leaky_relu", "silu", "gelu", "elu", "hardswish", "softsign"),
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "mean", "sum"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
}
_PRODUCTS = {
    *("matmul", "mm", "bmm", "mv", "dot", "inner", "outer", "tensordot", "einsum", "bilinear"),
    *("addmm", "addbmm", "baddbmm", "addmv", "scaled_dot_product_attention"),
}


def cost(net: Attached | nn.Module | Graph, example: Tensor | None = None) -> Cost:
    """The cost per sample of a model, with operators or without, as it is now; or of a graph.

    example: (N, ...), a batch the model takes; its first sample is run in eval mode without
    gradient, and parameters, masks and modes stay as they are. Without an Attached all widths are
    32 bits. A graph needs no example (see `pareq.metrics.integers`).

    Raises DataError without an example, or for one without samples, SiteError for a model that
    carries operators but comes without its Attached.
    """
    if isinstance(net, Graph):
        return graph_cost(net)
    with at("cost"):
        if example is None:
            raise DataError("a model is read off a forward pass; give an example, such as x[:1]")
        model = net.model if isinstance(net, Attached) else net
        sites = net.sites if isinstance(net, Attached) else ()
        if not sites and any(isinstance(m, Chain) for m in model.modules()):
            raise SiteError("the model carries operators; give what attach returned")
        if example.ndim == 0 or len(example) == 0:
            raise DataError(f"the example has no sample, got shape {tuple(example.shape)}")
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(_evaluating(model))
            probe = _Probe(Parameters(model, sites))
            stack.enter_context(_watching(model, sites, probe))
            stack.enter_context(probe)
            stack.enter_context(SingleSample())
            model(example[:1])
        return Cost(tuple(probe.rows), (*probe.parameters.rest(), *probe.products))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was.items():
            module.training = training


@contextmanager
def _watching(model: nn.Module, sites: Sequence[Site], probe: "_Probe") -> Iterator[None]:
    """Tell the probe which module runs, and which tensors come out of a quantizer."""
    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(probe.enter(path)))
        handles.append(module.register_forward_hook(probe.leave))
    for site in sites:
        if site.latent() is not None:
            continue
        quantizer, module = active_quantizer(site), site.module
        bits, (raw, done) = quantizer.bits if quantizer else None, probe.around(site)
        if site.kind == "input":
            handles.append(module.register_forward_pre_hook(lambda _, a, f=raw: f(a), prepend=True))
            handles.append(module.register_forward_pre_hook(lambda _, a, f=done, b=bits: f(a, b)))
        else:
            handles.append(
                module.register_forward_hook(lambda _, _a, o, f=raw: f([o]), prepend=True)
            )
            handles.append(module.register_forward_hook(lambda _, _a, o, f=done, b=bits: f([o], b)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Probe(TorchFunctionMode):
    """Sees every torch function of the pass, keeps widths of activations, writes the rows."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__()
        self.parameters = parameters
        self.rows: list[Layer] = []
        self.products: list[Rest] = []
        self._path: list[str] = [""]
        self._bits: dict[int, tuple[Tensor, int]] = {}  # the tensor keeps its id from being reused
        self._live: dict[int, tuple[Tensor, Tensor]] = {}  # 0 where it is pruned, of its shape
        self._owner: dict[tuple[int, int], str] = {}

    def enter(self, path: str) -> Callable[[nn.Module, object], None]:
        """A hook for a module that begins."""
        return lambda _, _args: self._path.append(path)

    def leave(self, *_: object) -> None:
        """A hook for a module that ends."""
        self._path.pop()

    def around(self, site: Site) -> tuple[Callable[[Values], None], Callable[[Values, Bits], None]]:
        """What to call before and after the operators of a site, with the values it acts on.

        The first tensor of them is as wide as the quantizer then, if there is one; what is pruned
        before stays so, and masks of the site prune more.
        """
        before: list[Tensor | None] = []
        masks = [o for o in site.operators if isinstance(o, PruneActivation) and o.engaged]

        def raw(values: Values) -> None:
            before.extend(self._known(tensor) for tensor in list(_tensors(values))[:1])

        def done(values: Values, bits: Bits) -> None:
            for tensor in list(_tensors(values))[:1]:
                if bits is not None:
                    self._tag([tensor], bits)
                live = before.pop()
                for operator in masks:
                    mask = operator.kept(tensor.shape[1:]).expand(tensor.shape)
                    live = mask.clone() if live is None else live * mask
                if live is not None:
                    self._live[id(tensor)] = (tensor, live)

        return raw, done

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Run a function, note what it costs and how wide its results are."""
        named = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        widest = self._widest([*args, *named.values()])  # before a function that works in place
        output = func(*args, **named)
        if name in _ARGUMENTS:
            given = dict(zip(_ARGUMENTS[name].split(), args, strict=False)) | named
            self._layer(name, output, given)
        elif func is F.multi_head_attention_forward:
            self._attention(inspect.signature(func).bind(*args, **named).arguments)
        elif name in _PRODUCTS:
            self.products.append(Rest(self._path[-1], name))
        exact = name in _EXACT or (name in _EXACT_IF_EQUAL and _same(output, args))
        exact = exact or (name == "pad" and _pads_with_zero(args, named))
        changed = args[0] if name == "__setitem__" else output
        self._tag([changed], widest if exact else FLOAT_BITS)
        if name in _KEEP_ZERO:
            self._follow(func, args, named, output)
        elif name == "__setitem__":
            self._live.pop(id(args[0]), None)
        return output

    def _known(self, tensor: object) -> Tensor | None:
        """Where a tensor is not pruned, if it is known to be pruned at all."""
        found = self._live.get(id(tensor))
        return found[1] if found is not None and found[0] is tensor else None

    def _follow(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        named: Mapping[str, Any],
        output: object,
    ) -> None:
        """Let a function that keeps zero move the masks as it moves the values."""
        before = list(_tensors([*args, *named.values()]))
        if all(self._known(tensor) is None for tensor in before):
            return

        def masked(value: object) -> object:
            if isinstance(value, list | tuple):
                return type(value)(masked(each) for each in value)
            if not isinstance(value, Tensor) or not value.is_floating_point():
                return value
            live = self._known(value)
            return torch.ones_like(value) if live is None else live.clone()

        given = [masked(value) for value in args]
        moved = func(*given, **{key: masked(value) for key, value in named.items()})
        for tensor, live in zip(_tensors([output]), _tensors([moved]), strict=True):
            if live.is_floating_point():
                self._live[id(tensor)] = (tensor, (live != 0).to(live.dtype))

    def _tag(self, values: Iterable[object], bits: int) -> None:
        for tensor in _tensors(values):
            self._bits[id(tensor)] = (tensor, bits)

    def _widest(self, values: Iterable[object]) -> int:
        """The width of the widest floating tensor among some values."""
        found = [
            self._bits.get(id(tensor), (tensor, FLOAT_BITS))[1]
            for tensor in _tensors(values)
            if tensor.is_floating_point()
        ]
        return max(found, default=FLOAT_BITS)

    def _layer(self, name: str, output: Tensor, given: Mapping[str, Any]) -> None:
        x, weight, groups = given["input"], given["weight"], given.get("groups", 1)
        if weight.numel() == 0:
            return
        inputs, positions = weight.shape[-1], x.numel() // max(weight.shape[-1], 1)
        if name.startswith("conv_transpose"):
            # (in, out / groups, *kernel), applied at every input position
            inputs = weight.numel() // (weight.shape[1] * groups)
            positions = x.numel() // weight.shape[0]
        elif name.startswith("conv"):
            inputs, positions = weight[0].numel(), output.numel() // weight.shape[0]
        kind: Kind = "linear" if name == "linear" else "conv"
        live = self._known(x)
        dead = 0 if live is None else int((live == 0).sum())
        use = _Use(kind, inputs, positions, x.numel(), self._widest([x]), groups, dead)
        self._row(self._find(weight), self._find_bias(given.get("bias")), use)

    def _attention(self, call: Mapping[str, Any]) -> None:
        """Three projections into the heads and one out of them; what is between is a product."""
        path, tokens = self._path[-1], (call["query"], call["key"], call["value"])
        if call.get("use_separate_proj_weight"):
            into = [self._find(call[f"{part}_proj_weight"]) for part in "qkv"]
        else:
            into = list(self._find(call["in_proj_weight"]).thirds())
        bias = self._find_bias(call["in_proj_bias"])
        biases = [None] * 3 if bias is None else list(bias.thirds())
        for name, x, weight, part in zip("qkv", tokens, into, biases, strict=True):
            inputs = x.shape[-1]
            use = _Use("linear", inputs, x.numel() // inputs, x.numel(), self._widest([x]))
            inner = f"{path}.{name}" if path else name
            self._row(replace(weight, path=inner), part, use)
        query, inputs = call["query"], call["out_proj_weight"].shape[-1]
        positions = query.numel() // query.shape[-1]
        use = _Use("linear", inputs, positions, positions * inputs, FLOAT_BITS)
        self._row(self._find(call["out_proj_weight"]), self._find_bias(call["out_proj_bias"]), use)
        self.products.append(Rest(path, "scaled_dot_product_attention"))

    def _find(self, tensor: Tensor) -> Found:
        return self.parameters.find(tensor, self._path[-1])

    def _find_bias(self, tensor: Tensor | None) -> Found | None:
        return None if tensor is None else self._find(tensor)

    def _row(self, weight: Found, bias: Found | None, use: "_Use") -> None:
        owner = "" if weight.key is None else self._owner.get(weight.key, "")
        if weight.key is not None and not owner:
            self._owner[weight.key] = weight.path
        self.rows.append(
            Layer(
                path=weight.path,
                kind=use.kind,
                inputs=use.inputs,
                outputs=weight.value.numel() // use.inputs,
                alive=weight.alive,
                nonzero=weight.nonzero,
                weight_bits=weight.bits,
                input_bits=use.bits,
                positions=use.positions,
                groups=use.groups,
                biases=bias.value.numel() if bias else 0,
                biases_alive=bias.alive if bias else 0,
                bias_bits=bias.bits if bias else FLOAT_BITS,
                effective=weight.effective,
                reads=use.reads,
                shares=owner,
                dead=use.dead,
            )
        )


@dataclass(frozen=True)
class _Use:
    """How a weight is used: inputs an output, times applied, values read, their bits, dead ones."""

    kind: Kind
    inputs: int
    positions: int
    reads: int
    bits: int
    groups: int = 1
    dead: int = 0


def _tensors(values: Iterable[object]) -> Iterator[Tensor]:
    """The tensors among some values, those in lists and tuples too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _same(output: Tensor, args: tuple[Any, ...]) -> bool:
    """Whether a function returned its first argument's values."""
    return torch.equal(args[0], output.to(args[0].dtype))


def _pads_with_zero(args: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    """Whether F.pad brings in no value but 0, or values of the tensor itself."""
    return not (args[3] if len(args) > 3 else named.get("value"))
