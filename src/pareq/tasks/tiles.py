"""Pictures in tiles of one size, so that a network of fixed shape sees them whole.

A tile overlaps its neighbours by the reach of the network, and only its inside is used, up to the
border where the tile ends with the picture: there the network pads the tile as it would pad the
picture. What is put together so is exactly what the network makes of the whole picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pareq.errors import DataError
from pareq.tasks.base import Split

__all__ = ["Tiles", "patches", "tiles"]


@dataclass(frozen=True)
class Tiles(Split):
    """Tiles x (N, 1, t, t), what they should become y (N, 1, s t, s t), and which of it counts.

    picture: (N,) the number of the picture. inside: (N, 4) first and last + 1 row, the same of
    columns, in pixels of y. place: (N, 2) first row and column of the tile in y of the picture.
    """

    picture: Tensor
    inside: Tensor
    place: Tensor

    def square_errors(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of (output - y)^2 and the number of pixels of each picture, float64."""
        error = (output.double().cpu() - self.y.double().cpu()).square()
        place = torch.arange(error.shape[-1])
        top, bottom, left, right = self.inside.T[..., None].cpu()
        rows, columns = (place >= top) & (place < bottom), (place >= left) & (place < right)
        kept = (rows[:, :, None] & columns[:, None, :])[:, None]
        pictures = int(self.picture.max()) + 1
        sums = torch.zeros(2, pictures, dtype=torch.float64)
        each = torch.stack([(error * kept).sum((1, 2, 3)), kept.sum((1, 2, 3)).double()])
        sums.index_add_(1, self.picture.cpu(), each)
        return sums[0], sums[1]

    def whole(self, values: Tensor, picture: int) -> Tensor:
        """One picture (H, W) put together from values of the tiles, such as x, y or the output."""
        rows = torch.nonzero(self.picture.cpu() == picture)[:, 0].tolist()
        times = self.y.shape[-1] // values.shape[-1]
        place, inside = (each[rows].cpu() // times for each in (self.place, self.inside))
        height, width = ((place + inside[:, 1::2]).max(0).values).tolist()
        whole = values.new_empty(height, width)
        for row, (down, right), ends in zip(rows, place.tolist(), inside.tolist(), strict=True):
            top, bottom, left, right_end = ends
            part = values[row, 0, top:bottom, left:right_end]
            whole[down + top : down + bottom, right + left : right + right_end] = part
        return whole


def tiles(pairs: Sequence[tuple[Tensor, Tensor]], size: int, reach: int) -> Tiles:
    """All pictures in tiles of `size`; reach: how many pixels of x a pixel of y depends on.

    pairs: x (H, W) and y (s H, s W) of each. Raises DataError for a picture smaller than a tile.
    """
    x, y, numbers, inside, place = [], [], [], [], []
    for number, (low, high) in enumerate(pairs):
        scale = high.shape[0] // low.shape[0]
        if min(low.shape) < size:
            raise DataError(f"a picture of {tuple(low.shape)} is smaller than a tile of {size}")
        for top, first_row, last_row in _cuts(low.shape[0], size, reach):
            for left, first, last in _cuts(low.shape[1], size, reach):
                x.append(low[top : top + size, left : left + size])
                rows = slice(top * scale, (top + size) * scale)
                y.append(high[rows, left * scale : (left + size) * scale])
                numbers.append(number)
                place.append([top * scale, left * scale])
                inside.append([n * scale for n in (first_row, last_row, first, last)])
    picture, counts = torch.tensor(numbers), torch.tensor(inside)
    stacked_x, stacked_y = (torch.stack(each)[:, None] for each in (x, y))
    return Tiles(stacked_x, stacked_y, picture, counts, torch.tensor(place))


def _cuts(length: int, size: int, reach: int) -> Iterator[tuple[int, int, int]]:
    """Where tiles begin, and which part of each counts, so that every pixel counts once."""
    covered = 0
    while covered < length:
        start = min(max(covered - reach, 0), length - size)
        end = size if start + size == length else size - reach
        yield start, covered - start, end
        covered = start + end


def patches(pairs: Sequence[tuple[Tensor, Tensor]], size: int, stride: int) -> Split:
    """Patches of `size` every `stride` pixels of x, with what they should become."""
    x, y = [], []
    for low, high in pairs:
        scale = high.shape[0] // low.shape[0]
        x.append(low.unfold(0, size, stride).unfold(1, size, stride).reshape(-1, 1, size, size))
        wide, step = size * scale, stride * scale
        y.append(high.unfold(0, wide, step).unfold(1, wide, step).reshape(-1, 1, wide, wide))
    return Split(torch.cat(x), torch.cat(y))
