"""The task "detect": boxes around objects, by a one-stage detector."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pareq.errors import DataError, at
from pareq.metrics.detection import (
    Boxes,
    intersection_over_union,
    mean_average_precision,
    suppressed,
)
from pareq.registry import suggest
from pareq.tasks.base import Data, Judged, Picture, Split, Task, data_source, outputs
from pareq.tasks.boxed import SHAPES, VOC, Boxed, drawn_boxes, stored_boxes, voc
from pareq.tasks.grid_detector import EMPTY, decoded, grid_detector, grid_loss
from pareq.tasks.pictures import arrays, one_of

__all__ = ["Detect"]

_SHOWN, _SURE = 3, 0.5  # pictures to show, and how sure a box that is drawn


@dataclass(frozen=True)
class Detect(Task, name="detect"):
    """Where discs, squares and triangles are, or the objects of a set of your own.

    Judged by mean average precision at an overlap of 0.5, by COCO's tool (extra `detect`); while
    training by the mean overlap of the true boxes with the nearest of the boxes found.

    data: "sample" draws pictures; else a folder that holds VOC2007 or VOC2012 of Pascal VOC, or an
    npz of images and boxes (see `boxed.stored_boxes`); "" means what PAREQ_DATA names, and the
    sample without it. size: pictures are scaled to size x size, a multiple of 8. width: channels of
    the first layer. most: boxes a picture, at most. val: the share that validates, and that tests
    where the source names no test. split_seed: which.

    Raises DataError for an option out of range.
    """

    judged: ClassVar[Judged] = Judged("map50", "mAP at 0.5", "%", 100.0, "overlap")

    data: str = ""
    size: int = 64
    width: int = 8
    most: int = 20
    val: float = 0.15
    split_seed: int = 0

    def __post_init__(self) -> None:
        with at("detect"):
            if self.size < 16 or self.size % 8:
                raise DataError(f"size must be 16 or more and a multiple of 8, got {self.size}")
            if self.width < 1 or self.most < 1:
                raise DataError(f"width and most must be positive, got {self.width}, {self.most}")
            if not 0 < self.val < 0.5 or self.split_seed < 0:
                found = f"got {self.val}, {self.split_seed}"
                raise DataError(f"val must be in (0, 0.5), split_seed not negative, {found}")

    @property
    def source(self) -> str:
        """The option `data`, or what stands for it when that is empty."""
        return data_source(self.data)

    @property
    def classes(self) -> tuple[str, ...]:
        """None: a picture has many objects. Their kinds are `kinds`."""
        return ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the kinds of objects; raises DataError without data."""
        if self.source == "sample":
            return SHAPES
        place, stored = _found(self.source)
        if not stored:
            return VOC
        return tuple(map(str, arrays(place, ("classes",))["classes"]))

    @property
    def example(self) -> Tensor:
        """Two pictures of all levels, (2, 3, size, size)."""
        return (torch.arange(2 * 3 * self.size**2) % 256 / 255).reshape(2, 3, self.size, self.size)

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        """The detector; batch normalisation belongs to it."""
        if batch_norm is False:
            raise DataError("detect: the detector has no form without batch normalisation")
        with at("detect"):
            return grid_detector(self.width, len(self.kinds))

    def load(self) -> Data:
        """Pictures, whole multiples of 1/255, and boxes (N, most, 5), -1 where there is none."""
        with at("detect"):
            name, rest, test = _read(self.source)
            order = np.random.default_rng(self.split_seed).permutation(len(rest.pictures))
            cut = max(round(self.val * len(order)), 1)
            if test is None:
                test, order = rest.of(order[:cut]), order[cut:]
            if len(order) <= cut:
                raise DataError(f"{len(rest.pictures)} pictures cannot be split")
            parts = (rest.of(order[cut:]), rest.of(order[:cut]), test)
            train, val, test_split = (self._split(part) for part in parts)
            return Data(train, val, test_split, name)

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """See `grid_detector.grid_loss`."""
        return grid_loss(output, y)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """The sum over pictures of the mean overlap of true boxes with the nearest one found."""
        total = torch.zeros((), dtype=torch.float64)
        for found, truth in zip(decoded(output, self.most), _truths(y), strict=True):
            same = truth.kinds[:, None] == found.kinds[None, :]
            overlap = intersection_over_union(truth.places, found.places) * same
            total += overlap.amax(1).mean() if len(truth) else 1 - found.sure.max()
        return total

    def score_text(self, score: float) -> str:
        """The mean overlap."""
        return f"overlap {score:5.1%}"

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, object]:
        """Loss, overlap, map50 and map; raises MissingExtra without the extra `detect`."""
        with at(f"{self.name}: evaluate"):
            if len(split) == 0:
                raise DataError("the split is empty")
            output, y = outputs(model, split.x).cpu().float(), split.y.cpu()
            found = [suppressed(boxes) for boxes in decoded(output, self.most)]
            return {
                "loss": float(self.loss(output, y)),
                "overlap": float(self.score(output, y)) / len(split),
                **mean_average_precision(found, _truths(y)),
            }

    def pictures(self, model: nn.Module, split: Split) -> tuple[Picture, ...]:
        """The first rows with the boxes that are sure, and with the true ones."""
        x = split.x[:_SHOWN]
        made = [suppressed(boxes) for boxes in decoded(outputs(model, x).cpu(), self.most)]
        shown = []
        for pixels, found, truth in zip(x.cpu(), made, _truths(split.y[:_SHOWN]), strict=True):
            sure = found.sure >= _SURE
            kept = Boxes(found.places[sure], found.kinds[sure], found.sure[sure])
            plain = pixels.mul(255).round().byte().permute(1, 2, 0).numpy()
            words = f"{len(kept)} boxes, {len(truth)} objects"
            shown.append(Picture(plain, _framed(plain, kept), _framed(plain, truth), words))
        return tuple(shown)

    def _split(self, part: Boxed) -> Split:
        x = torch.stack([_scaled(picture, self.size) for picture in part.pictures])
        y = torch.full((len(x), self.most, 5), EMPTY)
        for number, objects in enumerate(part.objects):
            rows = torch.from_numpy(objects[: self.most])
            y[number, : len(rows)] = rows
        return Split(x, y)


def _scaled(picture: NDArray[np.uint8], size: int) -> Tensor:
    """(H, W, 3) bytes -> (3, size, size), multiples of 1/255."""
    x = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)
    if x.shape[1:] != (size, size):
        x = interpolate(x[None], (size, size), mode="bilinear", antialias=True)[0]
    return x.round() / 255


def _truths(y: Tensor) -> list[Boxes]:
    """The objects of each picture."""
    found = []
    for rows in y.detach().cpu().double():
        there = rows[rows[:, 0] != EMPTY]
        found.append(Boxes(there[:, 1:], there[:, 0].long(), torch.ones(len(there))))
    return found


def _framed(picture: NDArray[np.uint8], boxes: Boxes) -> NDArray[np.uint8]:
    """With a line around each box, in a colour of its kind."""
    made, size = picture.copy(), len(picture)
    colours = ((255, 40, 40), (40, 220, 40), (60, 120, 255), (255, 210, 0))
    corners = (boxes.places * size).round().long().clamp(0, size - 1).tolist()
    for (left, top, right, bottom), kind in zip(corners, boxes.kinds.tolist(), strict=True):
        made[[top, bottom], left : right + 1] = colours[kind % len(colours)]
        made[top : bottom + 1, [left, right]] = colours[kind % len(colours)]
    return made


def _found(source: str) -> tuple[Path, bool]:
    """The folder of VOC, or the npz; whether it is the latter."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(f"no folder {source!r}{suggest(source, ('sample',))}")
    if (folder / "ImageSets" / "Main").is_dir():
        return folder, False
    inside = one_of(folder, ("VOC20*", "VOCdevkit/VOC20*", "detection/*.npz", "*box*.npz", "*.npz"))
    if inside is None:
        raise DataError(
            f"folder {folder} holds neither VOC2007 nor an npz of images and boxes; name its"
            ' folder, or use data = "sample"'
        )
    return inside, inside.suffix == ".npz"


def _read(source: str) -> tuple[str, Boxed, Boxed | None]:
    """Where from, the pictures to train and validate, and those to test where they are named."""
    if source == "sample":
        return "drawn shapes", drawn_boxes(480, 64, 1), drawn_boxes(120, 64, 2)
    place, stored = _found(source)
    if stored:
        return place.stem, stored_boxes(place), None
    rest = voc(place, "trainval") or voc(place, "train")
    if rest is None:
        raise DataError(f"{place / 'ImageSets' / 'Main'} lists no trainval and no train")
    return place.name, rest, voc(place, "test") or voc(place, "val")
