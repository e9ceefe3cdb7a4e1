"""Pictures drawn by a formula, so that image tasks work without a download."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "drawn_kind", "emblems", "scenes"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def emblems(count: int, size: int = 32, seed: int = 0) -> tuple[Bytes, NDArray[np.int64]]:
    """Pictures (count, size, size, 3) of ten kinds and their labels, equally many of each.

    Place, size, both colours and the noise are drawn; the kind is all that the label says.
    """
    draws = np.random.default_rng(seed)
    labels = draws.permutation(np.arange(count) % len(KINDS))
    grid = np.linspace(-1, 1, size)
    pictures = np.empty((count, size, size, 3), np.uint8)
    for number, label in enumerate(labels):
        x, y = (grid + draws.uniform(-0.3, 0.3) for _ in range(2))
        inside = drawn_kind(KINDS[label], *np.meshgrid(x, y), draws.uniform(0.4, 0.7))
        ground, ink = draws.uniform(0, 1, 3), draws.uniform(0, 1, 3)
        ink = np.where(np.abs(ink - ground).sum() < 0.6, 1 - ground, ink)
        colours = np.where(inside[..., None], ink, ground)
        noisy = colours + draws.normal(0, 0.06, colours.shape)
        pictures[number] = np.clip(noisy * 255, 0, 255).astype(np.uint8)
    return pictures, labels.astype(np.int64)


def drawn_kind(kind: str, x: Floats, y: Floats, r: float) -> Mask:
    """Where the ink of a kind in KINDS is; r: the half width."""
    return np.asarray(_SHAPES[kind](x, y, r))


def _round(x: Floats, y: Floats, r: float) -> Mask:
    return np.asarray(x * x + y * y < r * r)


def _square(x: Floats, y: Floats, r: float) -> Mask:
    return np.asarray(np.maximum(np.abs(x), np.abs(y)) < r)


def _bands(x: Floats, r: float) -> Floats:
    return np.asarray(np.sin(2 * np.pi / r * x))


_SHAPES: dict[str, Callable[[Floats, Floats, float], Mask]] = {
    "disc": _round,
    "ring": lambda x, y, r: _round(x, y, r) & ~_round(x, y, 0.6 * r),
    "square": _square,
    "frame": lambda x, y, r: _square(x, y, r) & ~_square(x, y, 0.6 * r),
    "triangle": lambda x, y, r: (y < r) & (y > 2 * np.abs(x) - r),
    "cross": lambda x, y, r: _square(x, y, r) & (np.minimum(np.abs(x), np.abs(y)) < 0.3 * r),
    "rows": lambda x, y, r: _bands(y, r) > 0,
    "columns": lambda x, y, r: _bands(x, r) > 0,
    "checker": lambda x, y, r: _bands(x, r) * _bands(y, r) > 0,
    "diagonal": lambda x, y, r: _bands((x + y) / 2, r) > 0,
}
KINDS = tuple(_SHAPES)


def scenes(count: int, size: int, seed: int = 0) -> list[Bytes]:
    """Pictures (size, size, 3) with smooth shades, fine stripes and sharp edges."""
    draws = np.random.default_rng(seed)
    x, y = np.meshgrid(*[np.linspace(-1, 1, size)] * 2)
    made = []
    for _ in range(count):
        picture = (
            draws.uniform(0.2, 0.8, 3) + 0.2 * (x * draws.normal() + y * draws.normal())[..., None]
        )
        for _ in range(12):
            turn, far = draws.uniform(0, np.pi), draws.uniform(-0.7, 0.7, 2)
            u, v = x - far[0], y - far[1]
            u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
            inside = drawn_kind(KINDS[draws.integers(5)], u, v, draws.uniform(0.1, 0.5))
            stripes = 1 + 0.4 * np.sin(u * draws.uniform(5, 60))
            picture = np.where(
                inside[..., None], draws.uniform(0, 1, 3) * stripes[..., None], picture
            )
        made.append((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return made
