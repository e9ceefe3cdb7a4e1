"""The task "digits": scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, 0..16."""

from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from pareq.errors import DataError, MissingExtra, at
from pareq.registry import suggest
from pareq.tasks.base import Data, Split, Task
from pareq.tasks.networks import check_widths, mlp
from pareq.tasks.splits import Plan, prepare
from pareq.tasks.table import Table

__all__ = ["Digits"]

SIDE = 8
BRIGHTEST = 16
NETWORKS = ("mlp", "cnn")


@dataclass(frozen=True)
class Digits(Task, name="digits"):
    """Ten digits, 64 pixels divided by 16, so that every input is a multiple of 1/16.

    network: "mlp" of inputs (N, 64) and the hidden widths, or "cnn" of inputs (N, 1, 8, 8), whose
    two convolutions and one hidden layer have the widths (three numbers). batch_norm: after each.
    split ("random" or the folds), val, test, split_seed: see `splits.Plan`.

    Raises DataError for an option out of range.
    """

    network: str = "mlp"
    widths: tuple[int, ...] = ()
    batch_norm: bool = True
    split: str = "random"
    val: float = 0.16
    test: float = 0.2
    split_seed: int = 0

    def __post_init__(self) -> None:
        with at("digits"):
            if self.network not in NETWORKS:
                raise DataError(
                    f"unknown network {self.network!r}{suggest(self.network, NETWORKS)}"
                )
            check_widths(self.widths)
            if self.network == "cnn" and len(self._widths) != 3:
                raise DataError(f"widths of a cnn must be 3 numbers, got {len(self._widths)}")
            _ = self._plan

    @property
    def classes(self) -> tuple[str, ...]:
        """0 to 9."""
        return tuple("0123456789")

    @property
    def example(self) -> Tensor:
        """Two pictures of all grey levels, (2, 64) or (2, 1, 8, 8)."""
        levels = torch.arange(2 * SIDE * SIDE) % (BRIGHTEST + 1) / BRIGHTEST
        return levels.reshape(2, *self._shape)

    def model(self, batch_norm: bool | None = None) -> nn.Sequential:
        """The network with random weights by torch's defaults."""
        norm = self.batch_norm if batch_norm is None else batch_norm
        if self.network == "cnn":
            return _cnn(self._widths, norm)
        sizes = (SIDE * SIDE, *self._widths, len(self.classes))
        return mlp(sizes, {} if norm else None)

    def load(self) -> Data:
        """The pictures in a seeded order; needs scikit-learn."""
        with at("digits"):
            data = prepare(_table(), self._plan)
        pictures = {
            name: Split(part.x.reshape(-1, *self._shape), part.y)
            for name, part in (("train", data.train), ("val", data.val), ("test", data.test))
        }
        return replace(data, **pictures)  # type: ignore[arg-type]

    @property
    def _widths(self) -> tuple[int, ...]:
        return self.widths or {"mlp": (32, 16), "cnn": (8, 16, 32)}[self.network]

    @property
    def _shape(self) -> tuple[int, ...]:
        return (1, SIDE, SIDE) if self.network == "cnn" else (SIDE * SIDE,)

    @property
    def _plan(self) -> Plan:
        return Plan(self.split, self.val, self.test, self.split_seed, "none")


def _table() -> Table:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtra("scikit-learn", "tasks") from None
    bunch = load_digits()
    x = bunch.data / BRIGHTEST
    columns = tuple(bunch.feature_names)
    return Table(x, bunch.target.astype(np.int64), "scikit-learn digits", columns)


def _cnn(widths: tuple[int, ...], batch_norm: bool) -> nn.Sequential:
    """Two 3 x 3 convolutions, each pooled by 2, then a hidden layer."""
    first, second, hidden = widths
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate(((1, first), (first, second)), 1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
        if batch_norm:
            layers[f"bn{number}"] = nn.BatchNorm2d(outputs)
        layers[f"act{number}"] = nn.ReLU()
        layers[f"pool{number}"] = nn.MaxPool2d(2)
    layers["flat"] = nn.Flatten()
    layers["fc1"] = nn.Linear(second * (SIDE // 4) ** 2, hidden)
    if batch_norm:
        layers["bn3"] = nn.BatchNorm1d(hidden)
    layers["act3"] = nn.ReLU()
    layers["fc2"] = nn.Linear(hidden, 10)
    return nn.Sequential(layers)
