"""A one-stage detector: each cell of a grid says whether an object's middle is in it, and which.

As YOLO (Redmon et al. 2016) with one box a cell; a channel of the output for

| channel | meaning, after a sigmoid s |
|---|---|
| 0 | whether there is an object |
| 1, 2 | its middle: s(x), s(y) of the cell |
| 3, 4 | width and height: s of the picture |
| 5 ... | its kind, the largest |
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from pareq.metrics.detection import Boxes

__all__ = ["decoded", "grid_detector", "grid_loss"]

EMPTY = -1.0  # the kind of a row of y without an object
_BOX = 5.0  # weight of the places in the loss, as published


def grid_detector(width: int, kinds: int) -> nn.Sequential:
    """Three halvings and one more layer, each with batch norm and ReLU, then 1 x 1.

    (N, 3, 8 G, 8 G) -> (N, 5 + kinds, G, G).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for number, (outputs, stride) in enumerate(
        ((width, 2), (2 * width, 2), (4 * width, 2), (4 * width, 1)), 1
    ):
        layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        layers[f"bn{number}"] = nn.BatchNorm2d(outputs)
        layers[f"act{number}"] = nn.ReLU()
        inputs = outputs
    layers["head"] = nn.Conv2d(inputs, 5 + kinds, 1)
    return nn.Sequential(layers)


def grid_loss(output: Tensor, y: Tensor) -> Tensor:
    """Objects, places and kinds; output (N, 5 + K, G, G), y (N, M, 5) of kind, x1, y1, x2, y2.

    Of two objects in one cell the later row counts.
    """
    size = output.shape[-1]
    there = y[..., 0] != EMPTY
    middle = (y[..., 1:3] + y[..., 3:5]) / 2 * size
    cell = middle.floor().clamp(0, size - 1)
    picture, row = torch.nonzero(there, as_tuple=True)
    column, line = cell[picture, row].long().T
    wanted = output.new_zeros(len(output), size, size)
    wanted[picture, line, column] = 1.0
    objects = binary_cross_entropy_with_logits(output[:, 0], wanted, reduction="sum")
    here = output[picture, :, line, column]
    inside = (middle - cell)[picture, row]
    extent = (y[..., 3:5] - y[..., 1:3])[picture, row]
    box = mse_loss(here[:, 1:5].sigmoid(), torch.cat([inside, extent], 1), reduction="sum")
    kinds = cross_entropy(here[:, 5:], y[picture, row, 0].long(), reduction="sum")
    return (objects + _BOX * box + kinds) / len(output)


def decoded(output: Tensor, most: int) -> list[Boxes]:
    """The `most` surest boxes of each picture."""
    size = output.shape[-1]
    parts = output.detach().cpu().double().flatten(2)
    sure, cells = parts[:, 0].sigmoid().topk(min(most, size * size), dim=1)
    wide = parts.gather(2, cells[:, None].expand(-1, parts.shape[1], -1))
    place = torch.stack([cells % size, cells // size], 1)
    middle = (place + wide[:, 1:3].sigmoid()) / size
    half = wide[:, 3:5].sigmoid() / 2
    corners = torch.cat([middle - half, middle + half], 1).clamp(0, 1).transpose(1, 2)
    kinds = wide[:, 5:].argmax(1)
    return [Boxes(*each) for each in zip(corners, kinds, sure, strict=True)]
