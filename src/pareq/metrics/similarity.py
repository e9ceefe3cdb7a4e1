"""How near made pictures are to true ones: pixel by pixel, by structure, and as two crowds.

| figure | of | better |
|---|---|---|
| ssim | each pair: means, variances and covariance in Gaussian windows | larger, at most 1 |
| feature_distance | all made against all true pictures, in features of a fixed network | smaller |

The feature distance is the Frechet distance of two normal distributions, as in FID (Heusel et al.
2017), but in 48 features of three convolutions whose weights are drawn once from a fixed seed. No
trained network is needed for it; its values say which of two sets of pictures of one task is
nearer to the truth, and cannot be compared with a published FID.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, relu

from pareq.errors import DataError

__all__ = ["feature_distance", "ssim"]

_SIGMA, _WINDOW = 1.5, 11  # as published
_FEATURES, _SEED = 16, 20210815


def ssim(made: Tensor, truth: Tensor, span: float) -> Tensor:
    """Structural similarity of each picture, (N,); pictures (N, C, H, W) whose levels span `span`.

    Wang et al. 2004 with their constants, of windows that lie inside, mean over channels. Raises
    DataError for shapes that differ or are smaller than a window.
    """
    if made.shape != truth.shape or made.ndim != 4 or min(made.shape[2:]) < _WINDOW:
        raise DataError(
            f"pictures are {tuple(made.shape)} and {tuple(truth.shape)}, expected the same (N, C,"
            f" H, W) of at least {_WINDOW} x {_WINDOW}"
        )
    place = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    line = torch.exp(-(place**2) / (2 * _SIGMA**2))
    window = torch.outer(line, line) / line.sum() ** 2
    x, y = (part.double().reshape(-1, 1, *part.shape[2:]) for part in (made, truth))
    kernel = window.to(x.device)[None, None]
    mean_x, mean_y, xx, yy, xy = (conv2d(part, kernel) for part in (x, y, x * x, y * y, x * y))
    low, high = (0.01 * span) ** 2, (0.03 * span) ** 2
    product = mean_x * mean_y
    top = (2 * product + low) * (2 * (xy - product) + high)
    squares = mean_x**2 + mean_y**2
    bottom = (squares + low) * (xx + yy - squares + high)
    return (top / bottom).mean((1, 2, 3)).reshape(made.shape[:2]).mean(1)


def feature_distance(made: Tensor, truth: Tensor) -> float:
    """The Frechet distance of the features of two sets of pictures (N, C, H, W) and (M, C, H, W).

    Raises DataError for sets of fewer than two pictures.
    """
    if min(len(made), len(truth)) < 2:
        raise DataError(
            f"{len(made)} and {len(truth)} pictures have no distance; expected two each"
        )
    (mean_a, spread_a), (mean_b, spread_b) = (_moments(_features(p)) for p in (made, truth))
    values, vectors = torch.linalg.eigh(spread_a)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ spread_b @ root).clamp(min=0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + (spread_a + spread_b).trace() - 2 * cross)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    return features.mean(0), torch.cov(features.T)


def _features(pictures: Tensor) -> Tensor:
    """Means over the picture of each layer's channels, (N, 48) float64."""
    draws = torch.Generator().manual_seed(_SEED)
    x, found = pictures.detach().cpu().double(), []
    for _ in range(3):
        fan = x.shape[1] * 9
        weight = torch.randn(_FEATURES, x.shape[1], 3, 3, generator=draws, dtype=torch.float64)
        x = relu(conv2d(x, weight * (2 / fan) ** 0.5, padding=1))
        found.append(x.mean((2, 3)))
        x = avg_pool2d(x, 2, ceil_mode=True)
    return torch.cat(found, 1)
