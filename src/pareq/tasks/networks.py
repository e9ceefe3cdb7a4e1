"""The plain networks of the reference tasks."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from pareq.errors import DataError

__all__ = ["check_widths", "mlp"]


def mlp(sizes: Sequence[int], norm: dict[str, bool] | None) -> nn.Sequential:
    """Linear -> BatchNorm1d -> ReLU for each hidden size, then Linear.

    sizes: inputs, hidden sizes, outputs. norm: the switches of BatchNorm1d, None for none at all.
    The modules are called fc1, bn1, act1, fc2, ...; a Linear keeps its bias.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate(pairwise(sizes[:-1]), 1):
        layers[f"fc{number}"] = nn.Linear(inputs, outputs)
        if norm is not None:
            layers[f"bn{number}"] = nn.BatchNorm1d(outputs, **norm)
        layers[f"act{number}"] = nn.ReLU()
    layers[f"fc{len(sizes) - 1}"] = nn.Linear(sizes[-2], sizes[-1])
    return nn.Sequential(layers)


def check_widths(widths: Sequence[int]) -> None:
    """Raise DataError for a width below 1."""
    if any(width < 1 for width in widths):
        raise DataError(f"widths must be at least 1, got {', '.join(map(str, widths))}")
