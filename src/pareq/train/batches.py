"""Which rows are in which batch: a pure function of (seed, epoch), never stored."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pareq.errors import RunError

__all__ = ["Batches"]


@dataclass(frozen=True)
class Batches:
    """Shuffled batches of `size` of `rows` rows; the last, smaller one of an epoch is kept.

    A last batch of a single row is left out, since batch normalisation cannot train on one; which
    row that is changes from epoch to epoch.
    """

    rows: int
    size: int
    seed: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise RunError(
                f"the training split has {self.rows} rows, too few for a batch of {self.size};"
                " give at least 2"
            )

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.rows // self.size + (self.rows % self.size > 1)

    def order(self, epoch: int) -> Tensor:
        """The permutation of all rows in an epoch (counted from 0), (rows,) int64."""
        digest = hashlib.sha256(f"{self.seed}:{epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        return torch.randperm(self.rows, generator=generator)

    def of(self, epoch: int, device: torch.device, start: int = 0) -> Iterator[Tensor]:
        """The row numbers of each batch of an epoch, from batch `start` on."""
        order = self.order(epoch).to(device)
        yield from torch.split(order, self.size)[start : self.steps]
