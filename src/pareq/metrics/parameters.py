"""The weights and biases of a model as a forward pass meets them: whose they are, and what is left.

A projected weight is a new tensor at every read, so it is recognised by its values; a plain
parameter by identity.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pareq.attach.attach import Site
from pareq.attach.chain import Chain
from pareq.metrics.bops import effective_bits
from pareq.metrics.cost import Rest
from pareq.metrics.layer import FLOAT_BITS
from pareq.operators.base import Operator, Quantizer
from pareq.pruners.prune import Prune

__all__ = ["Found", "Parameters", "active_quantizer"]

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True, eq=False)
class Found:
    """A weight or bias that a function was called with.

    path: of its module, with the tensor's name unless that is "weight". key: equal for the same
    parameter, or the same part of it; None for a tensor that is no parameter. value: what the
    function sees. kept: True where it is not pruned. spans: effective bits, None where the values
    are not integers on a grid.
    """

    path: str
    key: tuple[int, int] | None
    value: Tensor
    kept: Tensor
    bits: int = FLOAT_BITS
    spans: Tensor | None = None

    @property
    def alive(self) -> int:
        """How many are not pruned."""
        return int(self.kept.count_nonzero())

    @property
    def nonzero(self) -> int:
        """How many are not zero once quantized."""
        return int(self.value.count_nonzero())

    @property
    def effective(self) -> int | None:
        """The sum of the effective bits."""
        return None if self.spans is None else int(self.spans.sum())

    def thirds(self) -> "Iterator[Found]":
        """Three equal parts along the first axis."""
        spans = [None] * 3 if self.spans is None else list(self.spans.chunk(3))
        parts = zip(self.value.chunk(3), self.kept.chunk(3), spans, strict=True)
        for number, (value, kept, span) in enumerate(parts, 1):
            key = self.key and (self.key[0], number)
            yield replace(self, key=key, value=value, kept=kept, spans=span)


class Parameters:
    """All parameters of a model, and which of them were found."""

    def __init__(self, model: nn.Module, sites: Sequence[Site]) -> None:
        self._model = model
        self._sites = [(site, latent) for site in sites if (latent := site.latent()) is not None]
        self._values = [site.value() for site, _ in self._sites]
        self._used: set[int] = set()

    def find(self, tensor: Tensor, module: str) -> Found:
        """Whose `tensor` is; `module` is the path of the module that runs."""
        for site, latent in self._matching(tensor, module):
            self._used.add(id(latent))
            return _at_site(site, latent, tensor)
        named = self._model.named_parameters(remove_duplicate=False)
        names = [_split(name) for name, parameter in named if tensor is parameter]
        if names:
            self._used.add(id(tensor))
            name = next((n for n in names if n[0] == module), names[0])
            return Found(_path(*name), (id(tensor), 0), tensor, tensor != 0)
        return Found(module, None, tensor, tensor != 0)

    def _matching(self, tensor: Tensor, module: str) -> Iterator[tuple[Site, Tensor]]:
        """Sites whose parameter this is, the surest first; those of the running module win.

        Stochastic rounding gives other values at every read; there the shape must do.
        """
        held = list(zip(self._sites, self._values, strict=True))
        here = [(pair, value) for pair, value in held if pair[0].path == module]
        for pair, value in here + held:
            if tensor is pair[1] or (value is not None and _same(tensor, value)):
                yield pair
        if not isinstance(tensor, nn.Parameter):
            yield from (pair for pair, _ in here if pair[1].shape == tensor.shape)

    def rest(self) -> list[Rest]:
        """The modules with parameters that were never found, and normalisations."""
        unused: dict[nn.Module, int] = {}
        for site, latent in self._sites:
            if id(latent) not in self._used:
                unused[site.module] = unused.get(site.module, 0) + latent.numel()
        found = []
        for path, module in self._model.named_modules():
            if isinstance(module, Chain | Operator | nn.utils.parametrize.ParametrizationList):
                continue
            values = unused.get(module, 0) + _unseen(module, self._used)
            if values:
                kind = type(module).__name__.removeprefix("Parametrized")
                found.append(Rest(path, kind, values, isinstance(module, _NORMS)))
        return found


def active_quantizer(site: Site) -> Quantizer | None:
    """The quantizer of a site when it works at full strength, so that the tensor is on its grid."""
    quantizer = site.quantizer
    return quantizer if quantizer is not None and quantizer.value == 1.0 else None


def _at_site(site: Site, latent: Tensor, tensor: Tensor) -> Found:
    kept = latent != 0
    masks = [o.mask for o in site.operators if isinstance(o, Prune) and o.engaged]
    if masks:
        kept = torch.stack([mask.expand_as(latent) != 0 for mask in masks]).all(0)
    found = Found(_path(site.path, site.tensor), (id(latent), 0), tensor, kept)
    quantizer = active_quantizer(site)
    if quantizer is None:
        return found
    grid = quantizer.grid()
    whole = grid.quantize(tensor.detach().double().cpu().numpy()) - grid.zero
    return replace(found, bits=quantizer.width, spans=torch.from_numpy(effective_bits(whole)))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)


def _split(name: str) -> tuple[str, str]:
    path, _, tensor = name.rpartition(".")
    return path, tensor


def _path(module: str, tensor: str) -> str:
    return module if tensor == "weight" else f"{module}:{tensor}"


def _unseen(module: nn.Module, seen: set[int]) -> int:
    """Parameters and running statistics that a module itself holds."""
    held: list[Tensor] = [p for p in module.parameters(recurse=False) if id(p) not in seen]
    held += [b for b in module.buffers(recurse=False) if b.is_floating_point()]
    return sum(math.prod(t.shape) for t in held)
