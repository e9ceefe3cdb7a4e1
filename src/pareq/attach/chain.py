"""Operators in a row on one tensor, and the places where a module lets them in.

A weight or bias gets its chain as a `torch.nn.utils.parametrize` parametrization, an activation by
a hook that finds the chain in its module, so that deep copies use their own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pareq.errors import SiteError, at
from pareq.operators.base import Operator

__all__ = ["Chain", "insert", "remove"]

_CHILD = {"input": "pareq_input", "output": "pareq_output"}


class Chain(nn.ModuleList):
    """The operators of one site, applied in order; `live` is False while none has work to do.

    rules: for each operator the index of the rule that made it. calibrating: observe in evaluation
    mode too.
    """

    def __init__(self, operators: Sequence[Operator], rules: Sequence[int], name: str) -> None:
        super().__init__(operators)
        self.rules = tuple(rules)
        self.name = name
        self.engaged: tuple[Operator, ...] = ()
        self.live = False
        self.calibrating = False
        self.loaded = False  # whether a state was loaded since the last set_step
        self.register_load_state_dict_post_hook(_after_load)  # type: ignore[no-untyped-call]

    def refresh(self) -> None:
        """Note which operators work now; called after they were moved to another step."""
        operators = [m for m in self if isinstance(m, Operator)]
        self.engaged = tuple(o for o in operators if o.engaged)
        self.live = bool(self.engaged) or any(o.observing for o in operators)

    def forward(self, x: Tensor) -> Tensor:
        """The tensor after all engaged operators."""
        for operator in self.engaged:
            x = operator.forward(x)
        return x

    def before(self, operator: Operator, x: Tensor) -> Tensor:
        """The tensor as `operator` sees it."""
        for earlier in self:
            if earlier is operator:
                break
            if isinstance(earlier, Operator) and earlier.engaged:
                x = earlier.forward(x)
        return x

    def activation(self, x: Tensor, *, training: bool) -> Tensor:
        """The activation after all engaged operators, each observed first where it asks for it."""
        with at(self.name):
            for operator in self:
                if not isinstance(operator, Operator):
                    continue
                if operator.observing and (training or self.calibrating):
                    with torch.no_grad():
                        operator.observe(x.detach())
                if operator.engaged:
                    x = operator.forward(x)
        return x


def _after_load(chain: nn.Module, keys: object) -> None:
    if isinstance(chain, Chain):
        chain.loaded = True
        chain.refresh()


def insert(module: nn.Module, tensor: str, kind: str, chain: Chain) -> None:
    """Let a chain in at a tensor of a module."""
    if kind in ("weight", "bias"):
        parametrize.register_parametrization(module, tensor, chain, unsafe=True)
        setattr(type(module), tensor, _reader(tensor))
        if isinstance(module, nn.RNNBase) and not _hooked(module, _project_rnn):
            module.register_forward_pre_hook(_project_rnn)
            module.register_forward_hook(_restore_rnn, always_call=True)
        return
    module.add_module(_CHILD[kind], chain)
    if kind == "input":
        module.register_forward_pre_hook(_on_input)
    else:
        module.register_forward_hook(_on_output)


def remove(module: nn.Module, tensor: str, kind: str, *, bake: bool) -> None:
    """Take the chain out again; bake leaves the projected values in the parameter."""
    if kind in ("weight", "bias"):
        if isinstance(module, nn.RNNBase):
            _unhook(module, _project_rnn, _restore_rnn)
        _own_class(module)
        parametrize.remove_parametrizations(module, tensor, leave_parametrized=bake)
        if isinstance(module, nn.RNNBase):
            _set_flat_weights(module)
        return
    delattr(module, _CHILD[kind])
    _unhook(module, _on_input if kind == "input" else _on_output)


def _own_class(module: nn.Module) -> None:
    """A deep copy shares the class that parametrize made; what is removed there must be its own."""
    cls = type(module)
    content = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
    module.__class__ = type(cls.__name__, cls.__bases__, content)


def _reader(tensor: str) -> property:
    """A property as parametrize makes it, at next to no cost while no operator is engaged."""

    def read(self: nn.Module) -> Tensor:
        held: nn.Module = self._modules["parametrizations"]._modules[tensor]  # type: ignore[union-attr,assignment]
        x: Tensor = held._parameters["original"]  # type: ignore[assignment]
        for operator in held._modules["0"].engaged:  # type: ignore[union-attr]
            x = operator.forward(x)
        return x

    def write(self: nn.Module, value: Tensor) -> None:
        self.parametrizations[tensor].right_inverse(value)  # type: ignore[union-attr,index]

    return property(read, write)


def _on_input(module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...] | None:
    chain = module._modules["pareq_input"]
    if not isinstance(chain, Chain) or not chain.live:
        return None
    if not args or not isinstance(args[0], Tensor):
        raise SiteError(
            "the module is not called with a tensor first; name another", where=chain.name
        )
    return (chain.activation(args[0], training=module.training), *args[1:])


def _on_output(module: nn.Module, args: object, output: object) -> object:
    chain = module._modules["pareq_output"]
    if not isinstance(chain, Chain) or not chain.live:
        return None
    if isinstance(output, Tensor):
        return chain.activation(output, training=module.training)
    if type(output) is tuple and output and isinstance(output[0], Tensor):
        return (chain.activation(output[0], training=module.training), *output[1:])
    raise SiteError(
        f"the module returns {type(output).__name__}, expected a tensor or a tuple that starts "
        "with one; name a module inside it",
        where=chain.name,
    )


def _project_rnn(module: nn.Module, args: object) -> None:
    """Recurrent layers read a list, not their attributes: put the projected weights there."""
    _set_flat_weights(module)


def _restore_rnn(module: nn.Module, args: object, output: object) -> None:
    """Afterwards the list holds parameters again, so that the module can be copied."""
    held = module._modules.get("parametrizations")
    module._flat_weights = [  # type: ignore[assignment]
        held[n].original if isinstance(held, nn.ModuleDict) and n in held else getattr(module, n)
        for n in module._flat_weights_names  # type: ignore[union-attr]
    ]


def _set_flat_weights(module: nn.Module) -> None:
    module._flat_weights = [getattr(module, n) for n in module._flat_weights_names]  # type: ignore[assignment,union-attr]


def _hooked(module: nn.Module, hook: object) -> bool:
    return hook in module._forward_pre_hooks.values()


def _unhook(module: nn.Module, *hooks: object) -> None:
    """Take out module-level hooks by what they are; a copy of a module has no handles for them."""
    for kept in (module._forward_pre_hooks, module._forward_hooks):
        for key in [k for k, hook in kept.items() if hook in hooks]:
            del kept[key]
            module._forward_hooks_always_called.pop(key, None)
