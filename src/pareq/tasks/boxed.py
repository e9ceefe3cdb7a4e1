"""Pictures with boxes: drawn ones, the folders of Pascal VOC, and an npz."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from pareq.errors import DataError
from pareq.tasks.drawn import drawn_kind
from pareq.tasks.pictures import arrays, decode

__all__ = ["SHAPES", "VOC", "Boxed", "drawn_boxes", "stored_boxes", "voc"]

Bytes = NDArray[np.uint8]
Reals = NDArray[np.float32]

SHAPES = ("disc", "square", "triangle")
VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


@dataclass(frozen=True)
class Boxed:
    """Pictures (H, W, 3), and for each its objects (M, 5): kind, x1, y1, x2, y2 as fractions."""

    pictures: Sequence[Bytes]
    objects: Sequence[Reals]

    def of(self, rows: NDArray[np.int64]) -> "Boxed":
        """Some of them, in this order."""
        return Boxed(
            [self.pictures[i] for i in rows.tolist()], [self.objects[i] for i in rows.tolist()]
        )


def drawn_boxes(count: int, size: int, seed: int = 0) -> Boxed:
    """One to three discs, squares and triangles on noise; none hides more than a little."""
    draws = np.random.default_rng(seed)
    pictures, objects = [], []
    grid = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(grid, grid)
    for _ in range(count):
        picture = draws.uniform(0.1, 0.9, 3) + draws.normal(0, 0.05, (size, size, 3))
        boxes: list[tuple[float, ...]] = []
        for _ in range(int(draws.integers(1, 4))):
            r, middle = draws.uniform(0.1, 0.2), draws.uniform(0.22, 0.78, 2)
            if any(np.hypot(*(middle - (b[1:3] + np.array(b[3:])) / 2)) < 0.3 for b in boxes):
                continue
            kind = int(draws.integers(len(SHAPES)))
            inside = drawn_kind(SHAPES[kind], x - middle[0], y - middle[1], r)
            picture = np.where(inside[..., None], draws.uniform(0, 1, 3), picture)
            boxes.append((kind, *(middle - r), *(middle + r)))
        pictures.append(np.asarray(np.clip(picture, 0, 1) * 255, np.uint8))
        objects.append(np.array(boxes, np.float32))
    return Boxed(pictures, objects)


def stored_boxes(path: Path) -> Boxed:
    """An npz: images (N, H, W, 3), boxes (B, 6) of picture, kind, x1, y1, x2, y2 as fractions."""
    found = arrays(path, ("images", "boxes"))
    images, boxes = found["images"], found["boxes"]
    if images.ndim != 4 or images.dtype != np.uint8 or boxes.ndim != 2 or boxes.shape[1] != 6:
        raise DataError(
            f"{path.name}: images {images.dtype} {images.shape} and boxes {boxes.shape}, expected"
            " uint8 (N, H, W, 3) and (B, 6)"
        )
    rows = boxes.astype(np.float32)
    objects = [rows[rows[:, 0] == number, 1:] for number in range(len(images))]
    return Boxed(list(images.astype(np.uint8)), objects)


def voc(folder: Path, split: str) -> Boxed | None:
    """A split of a folder such as VOC2007, difficult objects left out; None where it is not there.

    Raises DataError for a picture or an annotation that is missing or damaged.
    """
    listed = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not listed.exists():
        return None
    names = listed.read_text().split()
    objects = [_annotated(folder / "Annotations" / f"{name}.xml") for name in names]
    return Boxed([decode(folder / "JPEGImages" / f"{name}.jpg") for name in names], objects)


def _annotated(path: Path) -> Reals:
    """The objects of one annotation; its pixels begin at 1."""
    try:
        root = ElementTree.parse(path).getroot()
        width, height = (float(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        rows = []
        for entry in root.iter("object"):
            if entry.findtext("difficult", "0") == "1":
                continue
            ends = [float(entry.findtext(f"bndbox/{end}", "")) for end in _ENDS]
            kind = VOC.index(entry.findtext("name", ""))
            left, top, right, bottom = ends
            corners = ((left - 1) / width, (top - 1) / height, right / width, bottom / height)
            rows.append((kind, *corners))
    except (OSError, ElementTree.ParseError, ValueError, ZeroDivisionError) as error:
        raise DataError(f"{path} is no annotation of VOC ({error})") from None
    return np.array(rows, np.float32).reshape(-1, 5)


_ENDS = ("xmin", "ymin", "xmax", "ymax")
