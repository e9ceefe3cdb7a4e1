"""The task "facades": photographs of houses from maps of their parts, by pix2pix's generator."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, l1_loss

from pareq.errors import DataError, at
from pareq.metrics.similarity import feature_distance, ssim
from pareq.registry import suggest
from pareq.tasks.base import Data, Judged, Picture, Split, Task, data_source, outputs
from pareq.tasks.drawn_houses import houses
from pareq.tasks.pictures import SUFFIXES, arrays, decode, one_of
from pareq.tasks.unet import UNet

__all__ = ["Facades"]

Bytes = NDArray[np.uint8]
Part = tuple[list[Bytes], list[Bytes], list[int]]  # maps, photographs, and which house it is


@dataclass(frozen=True)
class Facades(Task, name="facades"):
    """A colour map of walls, windows and doors in, a photograph out (Tylecek & Sara 2013).

    The generator is trained on its L1 distance alone: the adversary of pix2pix (Isola et al. 2017)
    is no part of a task's loss, so pictures are softer than published ones. Judged by SSIM;
    beside it L1 and a distance of features (see `metrics.similarity`), which is no FID.

    data: "sample" draws houses; else a folder that holds the CMP base (NAME.jpg beside NAME.png),
    the folders train and test of pix2pix (photograph and map side by side), or an npz of `label`,
    `photo` and `group`; "" means what PAREQ_DATA names, and the sample without it. size: pictures
    are scaled to size x size. width, depth: of the U-Net. val: the share of the houses that
    validates. split_seed: which.

    Raises DataError for an option out of range.
    """

    judged: ClassVar[Judged] = Judged("ssim", "SSIM", "", 1.0)

    data: str = ""
    size: int = 32
    width: int = 16
    depth: int = 3
    val: float = 0.15
    split_seed: int = 0

    def __post_init__(self) -> None:
        with at("facades"):
            if not (1 <= self.depth <= 8 and self.width >= 1):
                raise DataError(
                    f"width must be positive and depth in 1..8, got {self.width}, {self.depth}"
                )
            if self.size < 16 or self.size % 2**self.depth:
                raise DataError(
                    f"size must be 16 or more and a multiple of {2**self.depth}, got {self.size}"
                )
            if not 0 < self.val < 0.5 or self.split_seed < 0:
                found = f"got {self.val}, {self.split_seed}"
                raise DataError(f"val must be in (0, 0.5), split_seed not negative, {found}")

    @property
    def source(self) -> str:
        """The option `data`, or what stands for it when that is empty."""
        return data_source(self.data)

    @property
    def classes(self) -> tuple[str, ...]:
        """None: a picture has no label."""
        return ()

    @property
    def example(self) -> Tensor:
        """Two pictures of all levels, (2, 3, size, size)."""
        levels = torch.arange(2 * 3 * self.size**2) % 256
        return (levels.reshape(2, 3, self.size, self.size) - 128) / 128

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        """The U-Net; batch normalisation belongs to it."""
        if batch_norm is False:
            raise DataError("facades: the U-Net has no form without batch normalisation")
        return UNet(self.width, self.depth)

    def load(self) -> Data:
        """Maps and photographs, multiples of 1/128 in -1..1; no house is in two splits."""
        with at("facades"):
            name, rest, test = _read(self.source)
            groups = np.asarray(rest[2])
            order = np.random.default_rng(self.split_seed).permutation(np.unique(groups))
            cut = max(round(self.val * len(order)), 1)
            if test is None:
                test, held = _chosen(rest, groups, order[:cut]), order[cut : 2 * cut]
                kept = order[2 * cut :]
            else:
                held, kept = order[:cut], order[cut:]
            if not len(kept) or not len(held):
                raise DataError(f"{len(order)} houses cannot be split")
            parts = (_chosen(rest, groups, kept), _chosen(rest, groups, held), test)
            train, val, test_split = (self._split(part) for part in parts)
            return Data(train, val, test_split, name)

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Mean absolute error."""
        return l1_loss(output, y)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """The sum of the structural similarities."""
        return ssim(output, y, 2.0).sum()

    def score_text(self, score: float) -> str:
        """The mean structural similarity."""
        return f"SSIM {score:.3f}"

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, object]:
        """Loss, ssim, l1 (of levels 0..1) and feature_distance, see `metrics.similarity`."""
        with at(f"{self.name}: evaluate"):
            if len(split) == 0:
                raise DataError("the split is empty")
            made, truth = outputs(model, split.x).cpu().float(), split.y.cpu()
            loss = float(self.loss(made, truth))
            return {
                "loss": loss,
                "ssim": float(self.score(made, truth)) / len(split),
                "l1": loss / 2,
                "feature_distance": feature_distance(made, truth),
            }

    def pictures(self, model: nn.Module, split: Split) -> tuple[Picture, ...]:
        """The first three rows."""
        x, truth = split.x[:3].cpu(), split.y[:3].cpu()
        made = outputs(model, split.x[:3]).cpu().float()
        scores = ssim(made, truth, 2.0)
        return tuple(
            Picture(_bytes(x[i]), _bytes(made[i]), _bytes(truth[i]), self.score_text(float(score)))
            for i, score in enumerate(scores)
        )

    def _split(self, part: Part) -> Split:
        return Split(*(torch.stack([_scaled(p, self.size) for p in side]) for side in part[:2]))


def _scaled(picture: Bytes, size: int) -> Tensor:
    """(H, W, 3) bytes -> (3, size, size), multiples of 1/128 from -1."""
    x = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)
    if x.shape[1:] != (size, size):
        x = interpolate(x[None], (size, size), mode="bilinear", antialias=True)[0]
    return (x.round() - 128) / 128


def _bytes(x: Tensor) -> Bytes:
    levels = (x * 128 + 128).round().clamp(0, 255).byte()
    return np.ascontiguousarray(levels.permute(1, 2, 0).numpy())


def _chosen(part: Part, groups: NDArray[np.int64], chosen: NDArray[np.int64]) -> Part:
    """The rows of some houses."""
    rows = np.flatnonzero(np.isin(groups, chosen)).tolist()
    maps, photographs, houses_of = part
    return [maps[i] for i in rows], [photographs[i] for i in rows], [houses_of[i] for i in rows]


def _read(source: str) -> tuple[str, Part, Part | None]:
    """Where from, all pairs, and the test pairs where the source names them."""
    if source == "sample":
        maps, photographs = houses(240, 32)
        return "drawn houses", (list(maps), list(photographs), list(range(len(maps)))), None
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(f"no folder {source!r}{suggest(source, ('sample',))}")
    stored = one_of(folder, ("*facades*.npz", "facades*/*.npz"))
    if stored is not None:
        found = arrays(stored, ("label", "photo", "group"))
        part = (list(found["label"]), list(found["photo"]), found["group"].tolist())
        return stored.stem, part, None
    inside = one_of(folder, ("train", "facades*/train"))
    if inside is not None:
        test = one_of(inside.parent, ("test", "val"))
        return inside.parent.name, _beside(inside), _beside(test) if test else None
    files = [p for p in sorted(folder.rglob("*.jpg")) if p.with_suffix(".png").exists()]
    if not files:
        raise DataError(
            f"folder {folder} holds no facades: neither NAME.jpg beside NAME.png, nor train and"
            ' test of pix2pix, nor *facades*.npz; name its folder, or use data = "sample"'
        )
    coloured = [decode(p.with_suffix(".png")) for p in files]
    return folder.name, (coloured, [decode(p) for p in files], list(range(len(files)))), None


def _beside(folder: Path) -> Part:
    """Pictures whose left half is the photograph, whose right half the map."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    both = [decode(file) for file in files]
    for file, picture in zip(files, both, strict=True):
        if picture.shape[1] % 2:
            raise DataError(f"{file} is {picture.shape[1]} pixels wide, expected two halves")
    if not both:
        raise DataError(f"{folder} holds no picture ({', '.join(SUFFIXES)})")
    half = [picture.shape[1] // 2 for picture in both]
    left = [picture[:, :n] for picture, n in zip(both, half, strict=True)]
    right = [picture[:, n:] for picture, n in zip(both, half, strict=True)]
    return right, left, list(range(len(both)))
