"""Put an exact requantization into a graph that is being built."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pareq.errors import LoweringError, at
from pareq.ir.build import Builder
from pareq.ir.reach import Range
from pareq.lower.requantize import Constants, Steps, requantize
from pareq.lower.transfer import Transfer

__all__ = ["channel_range", "emit"]

Integers = npt.NDArray[np.int64]


def emit(  # noqa: PLR0913 - what, where and under which name
    builder: Builder,
    x: str,
    transfer: Transfer,
    *,
    axis: int = 0,
    name: str = "",
    origin: str = "",
    shared_shift: bool = False,
) -> str:
    """Add the op that equals `transfer` on all that x can reach; return its name.

    axis: of the channels in the shape of x; a transfer of one channel serves the whole tensor. The
    op is a `requantize`, or a `threshold` where no constants exist; its grid is that of the
    transfer. Raises LoweringError, with the op.
    """
    label = name or "requantize"
    with at(f"op {label!r}"):
        shape, count = builder.value(x).shape, len(transfer.gain)
        if count != 1 and (not 0 <= axis < len(shape) or shape[axis] != count):
            raise LoweringError(f"{count} channels for x = {shape} on axis {axis}, which differ")
        reach = channel_range(builder.range(x), None if count == 1 else axis)
        found = _of_each(transfer, reach, shared_shift)
    sizes = tuple(count if i == axis else 1 for i in range(len(shape)))
    scale = transfer.grid.scale
    grid = transfer.grid
    if not isinstance(scale, float):
        grid = replace(grid, scale=scale.reshape(sizes) if scale.size > 1 else float(scale.item()))

    def constant(part: str, data: Integers) -> str:
        return builder.constant(f"{label}.{part}", data.reshape((*sizes, *data.shape[1:])))

    if isinstance(found, Steps):
        inputs = [constant("thresholds", found.at), constant("base", found.base)]
        inputs.append(constant("step", found.step))
        return builder.op("threshold", (x, *inputs), name=label, origin=origin, grid=grid)
    inputs = [constant("multiplier", found.multiplier), constant("offset", found.offset)]
    inputs.append(constant("shift", found.shift))
    how = {"lo": found.lo, "hi": found.hi, "even": int(found.even)}
    return builder.op("requantize", (x, *inputs), how, name=label, origin=origin, grid=grid)


def _of_each(transfer: Transfer, reach: Range, shared_shift: bool) -> Constants | Steps:
    """The constants of each channel; those of equal functions are computed together, once."""
    rows, group = transfer.distinct()
    low, high = (np.full(len(rows), n) for n in (reach.lo.max(), reach.hi.min()))
    np.minimum.at(low, group, reach.lo)
    np.maximum.at(high, group, reach.hi)
    found = requantize(transfer.of(rows), low, high, shared_shift=shared_shift)
    return found.of(group)


def channel_range(reach: Range, axis: int | None) -> Range:
    """The range of each channel, `(C,)`; axis None: of the whole tensor, `(1,)`."""
    others = tuple(i for i in range(reach.lo.ndim) if i != axis)
    return Range(
        np.atleast_1d(reach.lo.min(axis=others)).astype(np.int64),
        np.atleast_1d(reach.hi.max(axis=others)).astype(np.int64),
    )
