"""The task "jets": which of g, q, t, w, z a jet came from, by 16 features."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pareq.errors import DataError, at
from pareq.registry import suggest
from pareq.tasks.base import Data, Task
from pareq.tasks.jets.features import CLASSES, FEATURES
from pareq.tasks.jets.sources import read_source
from pareq.tasks.networks import check_widths, mlp
from pareq.tasks.noise import Noise
from pareq.tasks.splits import Plan, prepare

__all__ = ["Jets"]

SOFTMAXES = ("classes", "batch")
ORDERS = {"openml": CLASSES, "paper": ("g", "q", "w", "z", "t")}


@dataclass(frozen=True)
class Jets(Task, name="jets"):
    """Five classes of jets, 16 features, an MLP 16-64-32-32-5 (Hawks et al. 2021).

    data: see `sources.read_source`. widths: the hidden layers. batch_norm, affine, running_stats:
    whether there is batch normalisation, with a learned scale, and with running statistics.
    class_order: "openml" g q t w z, or "paper" g q w z t. split, val, test, split_seed, scaling:
    see `splits.Plan`. noise: the share of the labels that is random; noise_rows, noise_validation,
    noise_seed: see `noise.Noise`. drop_nonfinite: remove rows with NaN or infinities instead of
    refusing them. softmax: over the "classes"; or over the "batch", a defect of the published code:
    each output then depends on the other jets beside it, and of a single jet nothing is said.

    Raises DataError for an option out of range.
    """

    data: str = ""
    widths: tuple[int, ...] = (64, 32, 32)
    batch_norm: bool = True
    affine: bool = True
    running_stats: bool = True
    class_order: str = "openml"
    split: str = "random"
    val: float = 0.16
    test: float = 0.2
    split_seed: int = 0
    scaling: str = "train"
    noise: float = 0.0
    noise_rows: str = "random"
    noise_validation: bool = False
    noise_seed: int = 0
    drop_nonfinite: bool = False
    softmax: str = "classes"

    def __post_init__(self) -> None:
        with at("jets"):
            check_widths(self.widths)
            if self.class_order not in ORDERS:
                raise DataError(
                    f"unknown class_order {self.class_order!r}{suggest(self.class_order, ORDERS)}"
                )
            if self.softmax not in SOFTMAXES:
                raise DataError(
                    f"unknown softmax {self.softmax!r}{suggest(self.softmax, SOFTMAXES)}"
                )
            _ = self._plan, self._noise

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return ORDERS[self.class_order]

    @property
    def example(self) -> Tensor:
        """Two standardised jets, (2, 16)."""
        return torch.linspace(-2, 2, 2 * len(FEATURES)).reshape(2, -1)

    def model(self, batch_norm: bool | None = None) -> nn.Sequential:
        """fc1, bn1, act1, ... of the widths; random weights by torch's defaults."""
        norm = {"affine": self.affine, "track_running_stats": self.running_stats}
        wanted = self.batch_norm if batch_norm is None else batch_norm
        sizes = (len(FEATURES), *self.widths, len(self.classes))
        return mlp(sizes, norm if wanted else None)

    def load(self) -> Data:
        """The jets, standardised; the same options and files give the same rows in one order."""
        with at("jets"):
            raw = read_source(self.data)
            table = raw.checked(len(CLASSES), drop_nonfinite=self.drop_nonfinite)
            place = np.array([self.classes.index(name) for name in CLASSES])
            return prepare(
                replace(table, y=place[table.y]),
                self._plan,
                dropped=len(raw) - len(table),
                noise=self._noise,
                classes=len(CLASSES),
            )

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Cross entropy; as published, the binary one of a softmax over the rows of the batch."""
        if self.softmax == "classes":
            return super().loss(output, y)
        wanted = functional.one_hot(y, len(self.classes)).to(output.dtype)
        return functional.binary_cross_entropy(output.softmax(0), wanted)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """How many labels are right; a softmax over the batch changes the order of the classes."""
        return super().score(output if self.softmax == "classes" else output.log_softmax(0), y)

    @property
    def _plan(self) -> Plan:
        return Plan(self.split, self.val, self.test, self.split_seed, self.scaling)

    @property
    def _noise(self) -> Noise:
        return Noise(self.noise, self.noise_rows, self.noise_validation, self.noise_seed)
