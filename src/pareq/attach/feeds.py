"""What a layer reads: the quantizer that made it, and how often its weight meets it."""

import math
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from pareq.operators.base import Quantizer, Surroundings

__all__ = ["Seen", "surroundings"]

Seen = dict[tuple[nn.Module, str], Tensor]

_KEEPS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)  # other tensors, but the same words
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LONGEST = 16  # modules in a row that only pass words on


class _Site(Protocol):
    """An activation with its operators."""

    @property
    def module(self) -> nn.Module: ...
    @property
    def tensor(self) -> str: ...
    @property
    def quantizer(self) -> Quantizer | None: ...


def surroundings(
    module: nn.Module, weight: Quantizer | None, sites: Sequence[_Site], seen: Seen
) -> Surroundings:
    """A layer for the operators on its weight.

    seen: what each module was called with and returned for one example, in that order; without it
    only a quantizer at the layer's own input is found, and the layer is applied once.
    """
    transposed = isinstance(module, _TRANSPOSED)
    groups = getattr(module, "groups", 1)
    x, y = seen.get((module, "input")), seen.get((module, "output"))
    place, channels = (x, "in") if transposed else (y, "out")
    times = 1
    if place is not None and len(place):
        size = getattr(module, f"{channels}_channels", getattr(module, "out_features", 0))
        times = math.prod(place.shape[1:]) // size if size else 1
    return Surroundings(weight, _feed(module, sites, seen), times, groups, transposed)


def _feed(module: nn.Module, sites: Sequence[_Site], seen: Seen) -> Quantizer | None:
    """The quantizer of the tensor that a module reads."""
    made = {(site.module, site.tensor): site.quantizer for site in sites}
    for _ in range(_LONGEST):
        own = made.get((module, "input"))
        read = seen.get((module, "input"))
        if own is not None or read is None:
            return own
        home = read.untyped_storage().data_ptr()  # views and modules that do nothing share it
        makers = [
            other
            for (other, side), tensor in seen.items()
            if side == "output" and tensor.untyped_storage().data_ptr() == home
        ]
        found = [q for maker in makers if (q := made.get((maker, "output"))) is not None]
        if found:
            return found[-1]
        passing = [maker for maker in makers if isinstance(maker, _KEEPS)]
        if not passing:
            return None
        module = passing[-1]
    return None
