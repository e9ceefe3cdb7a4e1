"""Memory footprint and performance density, as published and as an inference needs it.

| convention | activations | parameters | masks |
|---|---|---|---|
| published | outputs of all layers with parameters, norms too, twice | all | free |
| inference | outputs of linear layers and convolutions, once | without norms: they fold | counted |

The published one is that of Zhang et al. 2021 (arXiv 2110.08271); the factor two comes from the
gradients that a summary of a training adds. A Mbit is 10^6 bits.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pareq.attach.attach import Attached, Site
from pareq.attach.chain import Chain
from pareq.errors import DataError, SiteError, at
from pareq.metrics.layer import FLOAT_BITS
from pareq.metrics.parameters import active_quantizer
from pareq.metrics.single import SingleSample
from pareq.operators.base import Operator
from pareq.pruners import Prune, PruneActivation
from pareq.registry import Registry

__all__ = ["DENSITIES", "Footprint", "Held", "Part", "density", "footprint", "megabits"]

_PRODUCTS = (nn.Linear, nn.modules.conv._ConvNd)


@dataclass(frozen=True)
class Part:
    """Numbers held alike: `count` of them, `bits` wide, of which the share `sparsity` is pruned.

    kept: how many of the count no pruner touches.
    """

    count: int
    bits: int = FLOAT_BITS
    sparsity: float = 0.0
    kept: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.kept <= self.count and 0 <= self.sparsity <= 1):
            raise DataError(f"expected 0 <= kept <= count and a sparsity in 0..1, got {self}")


def megabits(parts: Iterable[Part]) -> float:
    """The published footprint: count * bits * (1 - sparsity), summed, in Mbit."""
    held = (p.bits * (p.kept + (p.count - p.kept) * (1 - p.sparsity)) for p in parts)
    return sum(held) / 1e6


DENSITIES: Registry[Callable[[float, float], float]] = Registry("performance density")
DENSITIES.add("accuracy", lambda metric, mbit: metric / mbit)  # percent a Mbit
DENSITIES.add("psnr", lambda metric, mbit: metric / math.log(mbit))  # dB, by ln Mbit
DENSITIES.add("map", lambda metric, mbit: metric / (mbit / 1e3))  # percent a Gbit
DENSITIES.add("fid", lambda metric, mbit: 1e6 / (metric * mbit))


def density(kind: str, metric: float, mbit: float) -> float:
    """Performance density of a metric at a footprint in Mbit; kind: a name in DENSITIES.

    It rewards small networks beyond measure (a poor, tiny one wins): report the metric at equal
    memory beside it. Raises UnknownName, and DataError for numbers without a density.
    """
    if not (mbit > 0 and math.isfinite(mbit)) or (kind == "psnr" and mbit == 1.0):
        raise DataError(f"a footprint of {mbit} Mbit has no performance density of kind {kind}")
    if kind == "fid" and metric <= 0:
        raise DataError(f"a distance must be positive, got {metric}")
    return DENSITIES[kind](metric, mbit)


@dataclass(frozen=True)
class Held:
    """What one layer holds for one sample.

    product: a linear layer or a convolution. parameters, outputs: counts. parameter_bits: of those
    that are not pruned; index_bits: one a weight, where a mask says which those are. output_bits:
    the width; alive: how many outputs are not pruned; mask_bits: of the mask that says which.
    """

    path: str
    product: bool
    parameters: int
    outputs: int
    parameter_bits: int
    index_bits: int = 0
    output_bits: int = FLOAT_BITS
    alive: int = 0
    mask_bits: int = 0


@dataclass(frozen=True)
class Footprint:
    """The layers of a network in the order of execution, and the sums of both conventions."""

    rows: tuple[Held, ...]

    @property
    def parameters(self) -> int:
        """All of them, of norms too."""
        return sum(row.parameters for row in self.rows)

    @property
    def published_outputs(self) -> int:
        """Twice the outputs of all layers with parameters."""
        return 2 * sum(row.outputs for row in self.rows)

    @property
    def outputs(self) -> int:
        """Outputs of linear layers and convolutions."""
        return sum(row.outputs for row in self.rows if row.product)

    def published(self) -> float:
        """Mbit as published: parameters, and twice the outputs of all layers with parameters."""
        bits = sum(row.parameter_bits + 2 * row.alive * row.output_bits for row in self.rows)
        return bits / 1e6

    def inference(self, *, masks: bool = True) -> float:
        """Mbit that an inference holds: linear layers and convolutions, with or without masks."""
        rows = [row for row in self.rows if row.product]
        bits = sum(row.parameter_bits + row.alive * row.output_bits for row in rows)
        return (bits + masks * sum(row.index_bits + row.mask_bits for row in rows)) / 1e6

    def totals(self) -> dict[str, float]:
        """Every figure by name."""
        return {
            "parameters": self.parameters,
            "outputs_published": self.published_outputs,
            "outputs": self.outputs,
            "mbit_published": self.published(),
            "mbit_inference": self.inference(),
            "mbit_inference_without_masks": self.inference(masks=False),
        }


def footprint(net: Attached | nn.Module, example: Tensor) -> Footprint:
    """What a network holds for one sample, with its operators as they are now.

    The output of a layer is as wide as the first quantizer that follows it before the next linear
    layer or convolution makes it, and as pruned as the first mask does; 32 bits and whole without
    them. example: `(N, ...)`, of which the first sample is run.

    Raises SiteError for a model that carries operators but comes without its Attached, DataError
    for an example without samples.
    """
    with at("footprint"):
        model = net.model if isinstance(net, Attached) else net
        sites = net.sites if isinstance(net, Attached) else ()
        if not sites and any(isinstance(m, Chain) for m in model.modules()):
            raise SiteError("the model carries operators; give what attach returned")
        if example.ndim == 0 or len(example) == 0:
            raise DataError(f"the example has no sample, got shape {tuple(example.shape)}")
        rows: list[Held] = []
        was = {module: module.training for module in model.modules()}
        with ExitStack() as stack, torch.no_grad():
            for handle in _watch(model, sites, rows):
                stack.callback(handle)
            for module, training in was.items():
                stack.callback(setattr, module, "training", training)
            model.eval()
            stack.enter_context(SingleSample())
            model(example[:1])
        return Footprint(tuple(rows))


def _watch(
    model: nn.Module, sites: Sequence[Site], rows: list[Held]
) -> Iterable[Callable[[], None]]:
    """Hooks that write a row for each layer and narrow it when its output is narrowed."""
    weights: dict[nn.Module, dict[str, Site]] = {}
    for site in sites:
        if site.kind in ("weight", "bias"):
            weights.setdefault(site.module, {})[site.tensor] = site
    for path, module in model.named_modules():
        inside = isinstance(module, Operator | nn.utils.parametrize.ParametrizationList)
        if not inside and (module in weights or list(module.parameters(recurse=False))):
            hook = _layer(path, weights.get(module, {}), rows)
            yield module.register_forward_hook(hook).remove
    for site in sites:
        if site.kind == "output":
            yield site.module.register_forward_hook(_narrowing(site, rows)).remove


def _layer(
    path: str, sites: Mapping[str, Site], rows: list[Held]
) -> Callable[[nn.Module, object, object], None]:
    def hook(module: nn.Module, args: object, output: object) -> None:
        size = output[0].numel() if isinstance(output, Tensor) else 0
        bits = index = count = 0
        for parameter in module.parameters(recurse=False):
            bits, count = bits + FLOAT_BITS * parameter.numel(), count + parameter.numel()
        for site in sites.values():
            value, alive = site.value(), _alive(site)
            quantizer = active_quantizer(site)
            total = 0 if value is None else value.numel()
            bits += (alive if alive is not None else total) * (
                quantizer.bits if quantizer else FLOAT_BITS
            )
            index += 0 if alive is None else total
            count += total
        product = isinstance(module, _PRODUCTS)
        rows.append(Held(path, product, count, size, bits, index, FLOAT_BITS, size))

    return hook


def _alive(site: Site) -> int | None:
    """How many of a weight are not pruned; None without a mask."""
    masks = [o.mask for o in site.operators if isinstance(o, Prune) and o.engaged]
    latent = site.latent()
    if not masks or latent is None:
        return None
    return int(torch.stack([m.expand_as(latent) != 0 for m in masks]).all(0).sum())


def _narrowing(site: Site, rows: list[Held]) -> Callable[[nn.Module, object, object], None]:
    def hook(module: nn.Module, args: object, output: object) -> None:
        if not isinstance(output, Tensor):
            return
        quantizer = active_quantizer(site)
        bits = FLOAT_BITS if quantizer is None else quantizer.bits
        share, mask = 1.0, 0
        for operator in site.operators:
            if isinstance(operator, PruneActivation) and operator.engaged:
                share = float(operator.kept(output.shape[1:]).double().mean())
                mask = operator.units
        for place in reversed(range(len(rows))):
            row = rows[place]
            if row.output_bits == FLOAT_BITS:
                row = replace(row, output_bits=bits)
            if row.alive == row.outputs and not row.mask_bits:
                owned = mask if row.product else 0
                row = replace(row, alive=round(row.outputs * share), mask_bits=owned)
            rows[place] = row
            if row.product:
                break

    return hook
