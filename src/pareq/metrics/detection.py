"""Boxes around objects: overlap, suppression of doubles, and mean average precision by COCO's tool.

Boxes are (x1, y1, x2, y2), fractions of the picture.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass

import torch
from torch import Tensor

from pareq.errors import DataError, MissingExtra

__all__ = ["Boxes", "intersection_over_union", "mean_average_precision", "suppressed"]

_SIDE = 1000.0  # the boxes are told in pixels of such a picture


@dataclass(frozen=True)
class Boxes:
    """The objects of one picture: places (M, 4), kinds (M,), and how sure each is, (M,)."""

    places: Tensor
    kinds: Tensor
    sure: Tensor

    def __len__(self) -> int:
        return len(self.kinds)


def intersection_over_union(a: Tensor, b: Tensor) -> Tensor:
    """Of boxes (..., M, 4) with boxes (..., K, 4): (..., M, K); 0 for boxes without area."""
    first, second = a[..., :, None, :], b[..., None, :, :]
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (first, second)]
    return common / (areas[0] + areas[1] - common).clamp(min=1e-9)


def suppressed(found: Boxes, overlap: float = 0.5) -> Boxes:
    """Without the boxes that overlap a surer one of their kind by more, the surest first."""
    order = found.sure.argsort(descending=True, stable=True)
    places, kinds, sure = found.places[order], found.kinds[order], found.sure[order]
    same = kinds[:, None] == kinds[None, :]
    near = ((intersection_over_union(places, places) > overlap) & same).tolist()
    kept: list[int] = []
    for row in range(len(kinds)):
        if not any(near[row][other] for other in kept):
            kept.append(row)
    return Boxes(places[kept], kinds[kept], sure[kept])


def mean_average_precision(found: Sequence[Boxes], truth: Sequence[Boxes]) -> dict[str, float]:
    """map50 at an overlap of 0.5 (101 points), and map, the mean over 0.5, 0.55 ... 0.95.

    A pair of each a picture. Raises DataError when no object is known, and MissingExtra without
    pycocotools.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise MissingExtra("pycocotools", "detect") from None
    if len(found) != len(truth) or not sum(map(len, truth)):
        raise DataError(
            f"{len(found)} and {len(truth)} pictures with {sum(map(len, truth))} objects;"
            " expected as many of each, and some object"
        )
    kinds = sorted({int(kind) for boxes in (*found, *truth) for kind in boxes.kinds})
    with redirect_stdout(io.StringIO()):  # the tool reports on standard output
        known = COCO()
        known.dataset = {
            "images": [{"id": i, "width": _SIDE, "height": _SIDE} for i in range(len(truth))],
            "categories": [{"id": kind, "name": str(kind)} for kind in kinds],
            "annotations": _entries(truth, known=True),
        }
        known.createIndex()
        guessed = COCO()
        guessed.dataset = {**known.dataset, "annotations": _entries(found, known=False)}
        guessed.createIndex()
        judge = COCOeval(known, guessed, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {"map50": max(float(judge.stats[1]), 0.0), "map": max(float(judge.stats[0]), 0.0)}


def _entries(pictures: Sequence[Boxes], *, known: bool) -> list[dict[str, object]]:
    """As the tool reads them; numbers begin at 1, since it takes 0 for none."""
    entries: list[dict[str, object]] = []
    for picture, boxes in enumerate(pictures):
        scaled = (boxes.places.double() * _SIDE).tolist()
        for box, kind, sure in zip(scaled, boxes.kinds.tolist(), boxes.sure.tolist(), strict=True):
            x1, y1, x2, y2 = box
            size = [x1, y1, max(x2 - x1, 0.0), max(y2 - y1, 0.0)]
            entries.append(
                {
                    "id": len(entries) + 1,
                    "image_id": picture,
                    "category_id": int(kind),
                    "bbox": size,
                    "area": size[2] * size[3],
                    "iscrowd": 0,
                }
                | ({} if known else {"score": float(sure)})
            )
    return entries
