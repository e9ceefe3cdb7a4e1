"""Houses drawn by a formula: a colour map of the parts, and a picture that follows from it."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["houses"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

SKY, WALL, WINDOW, DOOR, SILL, ROOF = range(6)
COLOURS = np.array(  # of the map
    [(0, 0, 170), (0, 0, 255), (0, 85, 255), (0, 170, 255), (85, 255, 170), (255, 85, 0)], np.uint8
)


def houses(count: int, size: int = 32, seed: int = 0) -> tuple[Bytes, Bytes]:
    """Maps and pictures, each (count, size, size, 3).

    Rows of windows above a door, under a roof; the colours of wall and roof follow from the number
    of storeys, light falls from the left, and there is some noise, so that a picture can be learned
    from its map but for the noise.
    """
    draws = np.random.default_rng(seed)
    maps = np.empty((count, size, size, 3), np.uint8)
    pictures = np.empty_like(maps)
    for number in range(count):
        parts, storeys = _parts(size, draws)
        maps[number] = COLOURS[parts]
        pictures[number] = _picture(parts, storeys, draws)
    return maps, pictures


def _parts(size: int, draws: np.random.Generator) -> tuple[NDArray[np.int64], int]:
    """The part of each pixel, and the number of storeys."""
    parts = np.full((size, size), SKY)
    storeys, columns = int(draws.integers(2, 5)), int(draws.integers(2, 5))
    top, left = (int(draws.integers(1, size // 6)) for _ in range(2))
    right = size - int(draws.integers(0, size // 6))
    parts[top : top + max(size // 12, 1), left:right] = ROOF
    begin = top + max(size // 12, 1)
    parts[begin:, left:right] = WALL
    tall, wide = (size - begin) / storeys, (right - left) / columns
    for storey in range(storeys):
        for column in range(columns):
            y, x = begin + storey * tall, left + column * wide
            rows = slice(round(y + 0.25 * tall), round(y + 0.75 * tall))
            place = slice(round(x + 0.25 * wide), round(x + 0.75 * wide))
            is_door = storey == storeys - 1 and column == columns // 2
            if is_door:
                parts[round(y + 0.25 * tall) :, place] = DOOR
            else:
                parts[rows, place] = WINDOW
                parts[rows.stop : rows.stop + 1, place] = SILL
    return parts, storeys


def _picture(parts: NDArray[np.int64], storeys: int, draws: np.random.Generator) -> Bytes:
    size = len(parts)
    wall = {2: (0.75, 0.45, 0.35), 3: (0.8, 0.75, 0.6), 4: (0.6, 0.62, 0.65)}[storeys]
    roof = {2: (0.4, 0.2, 0.15), 3: (0.5, 0.25, 0.2), 4: (0.25, 0.25, 0.3)}[storeys]
    ink = np.array(
        [(0.55, 0.7, 0.95), wall, (0.15, 0.2, 0.3), (0.35, 0.2, 0.1), (0.9, 0.9, 0.88), roof]
    )
    picture: Floats = ink[parts]
    light = 1.1 - 0.25 * np.arange(size) / size  # falls from the left
    bricks = 1 - 0.12 * ((np.arange(size) % 3) == 0)
    shade = np.where(parts == WALL, bricks[:, None], 1.0) * light[None, :]
    noisy = picture * shade[..., None] + draws.normal(0, 0.02, picture.shape)
    return np.asarray(np.clip(noisy, 0, 1) * 255, np.uint8)
