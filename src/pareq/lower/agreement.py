"""How far a network and its integers agree on some inputs, in float64 and in float32.

In float64 nothing may differ: that is the promise of `lower`. In float32 the sums of a network are
rounded, so a value that lies next to a rounding tie may fall on its other side. `agreement` follows
every differing sample to the first quantizer that gives another integer, and asks whether the value
in front of it was as close to a tie as float32 can err.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pareq.attach.attach import Attached, Site
from pareq.errors import LoweringError, at
from pareq.ir.execute import execute, quantize_inputs
from pareq.ir.graph import Graph
from pareq.operators.base import Quantizer

__all__ = ["Agreement", "agreement"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

_BATCH = 1024
_EPSILON = 2.0**-24  # the largest relative error of one float32 operation
_ON_GRID = 1e-6  # of a step: a float64 output farther from its integer is none


@dataclass(frozen=True)
class Agreement:
    """What was compared, and what differed; all but `rows` and `farthest` count output integers.

    rows: samples. outputs: integers of all outputs. float64_differ: those that are not the float64
    network's; float32_differ: those that are not the float32 network's. explained_by_ties: the
    latter in samples whose first difference is a tie that float32 cannot tell. farthest: in steps
    of the grid, the largest error of float32 where a sample first differs; the float64 value is
    that near to a tie, or nearer.
    """

    rows: int
    outputs: int
    float64_differ: int
    float32_differ: int
    explained_by_ties: int
    farthest: float

    @property
    def exact(self) -> bool:
        """Whether the integers are those of the float64 network."""
        return self.float64_differ == 0

    @property
    def unexplained(self) -> int:
        """Differences from float32 that are no ties."""
        return self.float32_differ - self.explained_by_ties


@dataclass
class _Counts:
    outputs: int = 0
    float64: int = 0
    float32: int = 0
    ties: int = 0
    farthest: float = 0.0


@dataclass(eq=False)
class _Twin:
    """A copy of the network in one format that notes what its quantizers see and give."""

    model: nn.Module
    dtype: torch.dtype
    terms: int = 1  # the largest number of products in one sum
    weights: list[Integers] = field(default_factory=list)
    seen: list[tuple[Reals, Integers]] = field(default_factory=list)

    def run(self, x: Tensor) -> list[Reals]:
        """Outputs; `seen` then holds, call by call, steps before and integers after a quantizer."""
        self.seen.clear()
        with torch.no_grad():
            found = self.model(x.to(self.dtype))
        parts = found if isinstance(found, tuple | list) else (found,)
        return [part.double().numpy() for part in parts]


def agreement(net: Attached, graph: Graph, x: Tensor | npt.ArrayLike) -> Agreement:
    """Compare a graph with the network it was lowered from, integer by integer.

    x: `(N, ...)`, one sample a row. A sample is explained when its integers first differ where the
    float32 value is off by at most 2^-24 * (products in the longest sum + 16) * (largest value of
    the sample there, in steps), which is what sums in float32 may lose (Higham 2002, section 3.1):
    a tie lies between the two values. So it is where a weight itself is such a tie. Raises
    LoweringError when x or the graph does not fit the network.
    """
    given = torch.as_tensor(np.asarray(x) if not isinstance(x, Tensor) else x).detach().cpu()
    if not given.ndim or not len(given):
        raise LoweringError(f"x has shape {tuple(given.shape)}, expected (N, ...), N >= 1")
    with at("agreement"):
        twins = _twin(net, torch.float64), _twin(net, torch.float32)
        counts = _Counts()
        for begin in range(0, len(given), _BATCH):
            _compare(graph, given[begin : begin + _BATCH], twins, counts)
    return Agreement(
        len(given), counts.outputs, counts.float64, counts.float32, counts.ties, counts.farthest
    )


def _twin(net: Attached, dtype: torch.dtype) -> _Twin:
    """A copy in evaluation mode whose activation sites take notes."""
    copied = copy.deepcopy(net)
    twin = _Twin(copied.model.cpu().to(dtype).eval(), dtype)
    for site in copied.sites:
        for operator in site.operators:
            operator.reload()
    for site in copied.sites:
        with torch.no_grad():
            value = site.value()
        quantizer = site.quantizer
        if value is not None and site.kind == "weight":
            twin.terms = max(twin.terms, value[0].numel())
        if quantizer is None or not quantizer.engaged:
            continue
        if value is not None:
            twin.weights.append(quantizer.grid().quantize(value.double().numpy()))
        else:
            site.chain.activation = _noting(site, twin)  # type: ignore[method-assign]
    return twin


def _noting(site: Site, twin: _Twin) -> Callable[..., Tensor]:
    """The chain of a site in evaluation mode, which notes what goes into its quantizer."""

    def activation(x: Tensor, *, training: bool) -> Tensor:
        for operator in site.operators:
            if not operator.engaged:
                continue
            before, x = x, operator.forward(x)
            if isinstance(operator, Quantizer):
                grid = operator.grid()
                steps = before.double().numpy() / grid.scale
                twin.seen.append((steps, grid.quantize(x.double().numpy())))
        return x

    return activation


def _compare(graph: Graph, x: Tensor, twins: tuple[_Twin, _Twin], counts: _Counts) -> None:
    """One batch."""
    exact, single = (twin.run(x) for twin in twins)
    found = execute(graph, *quantize_inputs(graph, x.double().numpy())).outputs
    shapes = [each.shape for each in exact], [each.shape for each in found]
    if shapes[0] != shapes[1]:
        raise LoweringError(f"the network gives {shapes[0]}, the graph {shapes[1]}")
    differ = np.zeros(len(x), dtype=np.int64)
    near = np.ones(len(x), dtype=bool)
    for name, n, wide, narrow in zip(graph.outputs, found, exact, single, strict=True):
        grid = graph.value(name).grid
        off = np.abs(wide / grid.scale + grid.zero - n) > _ON_GRID
        counts.float64 += int(off.sum())
        counts.outputs += n.size
        wrong = grid.quantize(narrow) != n
        differ += _by_row(wrong).sum(axis=1)
        error = np.abs(narrow - wide) / grid.scale
        near &= (_by_row(error) <= _bound(twins[0].terms, _by_row(wide / grid.scale))).all(axis=1)
    counts.float32 += int(differ.sum())
    if differ.any():
        tie, distance = _ties(twins, near)
        counts.ties += int(differ[tie].sum())
        counts.farthest = max(counts.farthest, float(distance[differ > 0].max()))


def _ties(twins: tuple[_Twin, _Twin], near: Flags) -> tuple[Flags, Reals]:
    """Which rows first differ at a tie, and how far from it.

    near: rows to explain where no quantizer differs, because the outputs are within the error.
    """
    wide, narrow = twins
    tie, distance = near.copy(), np.zeros(len(near))
    if not all(np.array_equal(a, b) for a, b in zip(wide.weights, narrow.weights, strict=True)):
        return np.ones_like(near), distance
    open_ = np.ones_like(near)
    for (real, a), (other, b) in zip(wide.seen, narrow.seen, strict=True):
        differs = _by_row(a != b)
        here = open_ & differs.any(axis=1)
        if here.any():
            away = np.where(differs, np.abs(_by_row(real) - _by_row(other)), 0.0)
            within: Flags = away <= _bound(wide.terms, _by_row(real))
            tie[here] = within[here].all(axis=1)
            distance[here] = away.max(axis=1)[here]
        open_ &= ~here
    return tie, distance


def _bound(terms: int, steps: Reals) -> Reals:
    """How far float32 may be off, in steps, in each row."""
    largest: Reals = np.maximum(np.abs(steps).max(axis=1, keepdims=True), 1.0)
    return largest * (_EPSILON * (terms + 16))


def _by_row(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """`(N, everything else)`."""
    return array.reshape(len(array), -1)
