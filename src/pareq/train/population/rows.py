"""The samples of K members on their device: gathered by the members' own row numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pareq.tasks.base import Split

__all__ = ["Rows"]


class Rows:
    """A split of each member; tensors that several share lie in memory once."""

    def __init__(self, splits: Sequence[Split]) -> None:
        self.count = len(splits[0])
        self._x, self._x_first = _pooled([split.x for split in splits])
        self._y, self._y_first = _pooled([split.y for split in splits])

    def take(self, kept: Sequence[int]) -> None:
        """Go on with these members only."""
        rows = torch.tensor(kept, dtype=torch.int64, device=self._x.device)
        self._x_first, self._y_first = self._x_first[rows], self._y_first[rows]

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (members, N, *features) and labels (members, N, ...) of rows (members, N)."""
        return _gathered(self._x, self._x_first, rows), _gathered(self._y, self._y_first, rows)

    def part(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """The same rows of all members."""
        rows = torch.arange(first, min(last, self.count), device=self._x.device)
        return self.batch(rows.expand(len(self._x_first), -1))


def _pooled(tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """All different tensors in a row, and the first row of each member's."""
    places: dict[int, int] = {}
    different: list[Tensor] = []
    for tensor in tensors:
        if id(tensor) not in places:
            places[id(tensor)] = len(different) * len(tensor)
            different.append(tensor)
    first = torch.tensor([places[id(tensor)] for tensor in tensors], device=tensors[0].device)
    return (torch.cat(different) if len(different) > 1 else different[0]), first


def _gathered(pool: Tensor, first: Tensor, rows: Tensor) -> Tensor:
    wanted = rows + first[:, None]
    return pool.index_select(0, wanted.flatten()).view(*wanted.shape, *pool.shape[1:])
