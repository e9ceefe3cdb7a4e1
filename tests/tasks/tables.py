"""Small tables of jets for the tests of loaders."""

import numpy as np

from pareq.tasks.jets.features import CLASSES, FEATURES


def rows(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (count, 16) float32, all different, and labels (count,) of all classes."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, len(FEATURES))).astype(np.float32)
    return x, np.arange(count) % len(CLASSES)


def named(x: np.ndarray, prefix: str = "") -> dict[str, np.ndarray]:
    """The features as named columns."""
    return {prefix + name: x[:, place] for place, name in enumerate(FEATURES)}


def write_csv(path, columns: dict[str, np.ndarray]) -> None:
    lines = [",".join(columns)]
    lines += [",".join(str(value) for value in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")
