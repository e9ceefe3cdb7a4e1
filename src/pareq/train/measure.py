"""What is measured of a network while it trains: validation, sparsity, bits, its weights."""

import torch
from torch import Tensor, nn

from pareq.attach.attach import Attached, Site
from pareq.operators.base import Operator
from pareq.pruners import L1
from pareq.tasks.base import Split, Task

__all__ = ["density", "starting_weights", "stopping", "validate", "working_weights"]

_FLOAT_BITS = 32


@torch.no_grad()
def validate(model: nn.Module, task: Task, split: Split, size: int) -> tuple[float, float]:
    """Mean loss and score of `model` on a split, in batches of `size`, in evaluation mode.

    The loss of the task is taken as a mean over its batch; the score of labels is the accuracy.
    """
    model.eval()
    rows = len(split.y)
    loss = torch.zeros((), dtype=torch.float64, device=split.y.device)
    score = torch.zeros((), dtype=torch.float64, device=split.y.device)
    for x, y in zip(torch.split(split.x, size), torch.split(split.y, size), strict=True):
        output = model(x)
        loss += task.loss(output, y) * len(y)
        score += task.score(output, y)
    return float(loss) / rows, float(score) / rows


@torch.no_grad()
def stopping(net: Attached) -> float:
    """What the penalties that count there add to a validation loss before it is judged."""
    total = 0.0
    for site in net.sites:
        for operator in site.operators:
            latent = site.latent()
            if isinstance(operator, L1) and operator.stops and latent is not None:
                size = operator.size(site.chain.before(operator, latent))
                total += 0.0 if size is None else float(size)
    return total


@torch.no_grad()
def density(net: Attached) -> tuple[float, float]:
    """The share of zeros among the weights at sites, and the mean bits of a weight there.

    Zeros are counted in the values that the network computes with. Without sites: 0 and 32.
    """
    zeros = total = bits = 0
    for site in _weight_sites(net):
        value = site.value()
        if value is None:
            continue
        quantizer = site.quantizer
        engaged = quantizer is not None and quantizer.engaged
        zeros += int((value == 0).sum())
        bits += value.numel() * (quantizer.bits if quantizer and engaged else _FLOAT_BITS)
        total += value.numel()
    return (zeros / total, bits / total) if total else (0.0, float(_FLOAT_BITS))


def starting_weights(net: Attached) -> dict[str, Tensor]:
    """The latent values of all weights with two or more axes, by site name such as "fc1:weight"."""
    return {name: _copied(latent) for name, (latent, _) in _weights(net).items()}


def working_weights(net: Attached) -> dict[str, Tensor]:
    """The same weights as the network computes with them: pruned and projected."""
    return {name: _copied(value) for name, (_, value) in _weights(net).items()}


@torch.no_grad()
def _weights(net: Attached) -> dict[str, tuple[Tensor, Tensor]]:
    """Each weight: the latent tensor and its value."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for site in _weight_sites(net):
        latent, value = site.latent(), site.value()
        if latent is not None and value is not None:
            found[site.name] = (latent, value)
    known = {id(latent) for latent, _ in found.values()}
    for path, module in net.model.named_modules():
        if isinstance(module, Operator):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim > 1 and id(parameter) not in known:
                found[f"{path}:{name}"] = (parameter, parameter)
    return found


def _weight_sites(net: Attached) -> list[Site]:
    return [site for site in net.sites if site.kind == "weight"]


def _copied(tensor: Tensor) -> Tensor:
    """A float32 copy on the CPU, as it is before the training goes on."""
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
