"""How much a network's layers say: states, layer and network efficiency, aIQ.

A neuron is on where its output is above zero. A layer of W neurons has a state of W bits for each
input; its efficiency is the entropy of these states over W, that of the network the geometric mean
over its layers, and aIQ = (efficiency * quality^beta)^(1 / (beta + 1)) (Schaub & Hotaling 2020,
arXiv 2006.02909; Hawks et al. 2021 with beta = 2 and the macro AUC as quality).

| points | outputs of |
|---|---|
| published | the normalisation after each layer, or the layer where there is none; the last layer |
| linear | every linear layer and convolution |
| activation | every ReLU, after its quantizer; the last layer |

Efficiencies compare at equal numbers of inputs and equal widths only: N inputs show log2 N bits at
most. Dead neurons count in W.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pareq.attach.attach import Attached
from pareq.errors import DataError, at
from pareq.metrics.entropy import cap, coverage, entropy, miller_madow, renyi, state_counts
from pareq.registry import suggest

__all__ = ["POINTS", "Information", "LayerInformation", "aiq", "information", "probe_points"]

POINTS = ("published", "linear", "activation")

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_BATCH = 8192  # rows at once

Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LayerInformation:
    """The states of one layer.

    width: neurons. states: distinct ones that were seen. entropy: bits, of the order `alpha` of the
    Information. corrected: Shannon's with Miller's term, at most `width`. coverage: the estimated
    probability of the states that were seen. cap: the most bits that the sample can show.
    """

    path: str
    width: int
    states: int
    entropy: float
    corrected: float
    coverage: float
    cap: float

    @property
    def efficiency(self) -> float:
        """Entropy over width, 0..1."""
        return self.entropy / self.width


@dataclass(frozen=True)
class Information:
    """What the layers of a network say about `samples` inputs; alpha: the order of the entropy."""

    samples: int
    points: str
    alpha: float
    layers: tuple[LayerInformation, ...]

    @property
    def efficiency(self) -> float:
        """Geometric mean of the layers' efficiencies; 0 when a layer is constant."""
        return _geometric([layer.efficiency for layer in self.layers])

    @property
    def corrected_efficiency(self) -> float:
        """The same of the entropies with Miller's term."""
        return _geometric([layer.corrected / layer.width for layer in self.layers])

    @property
    def cap(self) -> float:
        """The largest efficiency that this many inputs can show at these widths."""
        return _geometric([layer.cap / layer.width for layer in self.layers])

    def aiq(self, quality: float, beta: float = 2.0) -> float:
        """See `aiq`."""
        return aiq(self.efficiency, quality, beta)

    def as_dict(self) -> dict[str, object]:
        """The fields, and the efficiencies beside them, as what JSON can hold."""
        return {
            **asdict(self),
            "efficiency": self.efficiency,
            "corrected_efficiency": self.corrected_efficiency,
            "cap": self.cap,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """The inverse of `as_dict`, also after JSON; raises DataError when it is not that."""
        with at("information"):
            try:
                layers = tuple(LayerInformation(**layer) for layer in data["layers"])  # type: ignore[attr-defined]
                own = {name: data[name] for name in ("samples", "points", "alpha")}
            except (KeyError, TypeError) as error:
                raise DataError(f"is not what as_dict gave ({error})") from None
            return cls(layers=layers, **own)  # type: ignore[arg-type]


def information(
    net: Attached | nn.Module,
    x: Tensor,
    *,
    points: str | Sequence[str] = "published",
    alpha: float = 1.0,
) -> Information:
    """The states of a network's layers over the inputs x, (N, ...), in evaluation mode.

    points: a name of the table above, or the paths of the modules. alpha: the order of the entropy,
    1 is Shannon's. Channels of a convolution count with every place they are computed at.

    Raises DataError for no inputs, a point that no module has, or outputs that are not finite.
    """
    with at("information"):
        model = net.model if isinstance(net, Attached) else net
        if x.ndim == 0 or len(x) == 0:
            raise DataError(f"there are no inputs, got shape {tuple(x.shape)}")
        named = isinstance(points, str)
        paths = probe_points(model, points) if isinstance(points, str) else tuple(points)
        states = _states(model, x, paths)
        return Information(
            samples=len(x),
            points=str(points) if named else "given",
            alpha=alpha,
            layers=tuple(_layer(path, states[path], alpha) for path in paths),
        )


def aiq(efficiency: float, quality: float, beta: float = 2.0) -> float:
    """(efficiency * quality^beta)^(1 / (beta + 1)) (Schaub & Hotaling 2020 equation 6).

    Raises DataError for an efficiency or quality outside 0..1 and a beta below 0.
    """
    with at("aiq"):
        for name, value in (("efficiency", efficiency), ("quality", quality)):
            if not 0 <= value <= 1:
                raise DataError(f"{name} must be in 0..1, got {value}")
        if not beta >= 0:
            raise DataError(f"beta must be 0 or more, got {beta}")
        return float(efficiency ** (1 / (beta + 1)) * quality ** (beta / (beta + 1)))


def probe_points(model: nn.Module, points: str = "published") -> tuple[str, ...]:
    """The paths of the modules whose outputs `points` means, in the order they are registered in.

    Raises DataError for another name, and for a model without such modules.
    """
    if points not in POINTS:
        raise DataError(f"unknown points {points!r}{suggest(points, POINTS)}")
    modules = [(path, m) for path, m in model.named_modules() if isinstance(m, _LAYERS)]
    if not modules:
        raise DataError("the model has no linear layer or convolution to look at")
    linear = [path for path, _ in modules]
    if points == "linear":
        return tuple(linear)
    if points == "activation":
        acts = [path for path, m in model.named_modules() if isinstance(m, nn.ReLU)]
        return (*acts, linear[-1])
    return _published(model)


def _published(model: nn.Module) -> tuple[str, ...]:
    """Each layer's path, or that of the normalisation which follows it."""
    found: list[str] = []
    waiting = ""
    for path, module in model.named_modules():
        if isinstance(module, _NORMS) and waiting:
            found[-1], waiting = path, ""
        elif isinstance(module, _LAYERS):
            found.append(path)
            waiting = path
        elif isinstance(module, nn.ReLU):
            waiting = ""
    return tuple(found)


def _layer(path: str, on: Bits, alpha: float) -> LayerInformation:
    counts = state_counts(on)
    samples, width = on.shape
    return LayerInformation(
        path=path,
        width=width,
        states=len(counts),
        entropy=entropy(counts) if alpha == 1 else renyi(counts, alpha),
        corrected=min(miller_madow(counts), float(width)),
        coverage=coverage(counts),
        cap=cap(samples, width),
    )


@torch.no_grad()
def _states(model: nn.Module, x: Tensor, paths: Sequence[str]) -> dict[str, Bits]:
    """Which neurons are on for each input, (N, W) each."""
    known = dict(model.named_modules())
    for path in paths:
        if path not in known:
            raise DataError(f"no module {path!r}{suggest(path, [p for p in known if p])}")
    parts: dict[str, list[Bits]] = {path: [] for path in paths}
    first = next(model.parameters(), None)
    device = x.device if first is None else first.device
    with _evaluating(model), _watched(known, parts):
        for batch in torch.split(x, _BATCH):
            model(batch.to(device))
    return {path: np.concatenate(seen) for path, seen in parts.items()}


@contextmanager
def _watched(known: Mapping[str, nn.Module], parts: Mapping[str, list[Bits]]) -> Iterator[None]:
    """While this lasts, each output of a point adds its signs to `parts`."""
    handles = []
    for path, seen in parts.items():

        def note(
            _: nn.Module, _x: object, y: Tensor, path: str = path, seen: list[Bits] = seen
        ) -> None:
            if not bool(torch.isfinite(y).all()):
                raise DataError(f"the output of {path} is not finite; the network has diverged")
            seen.append((y > 0).reshape(len(y), -1).cpu().numpy())

        handles.append(known[path].register_forward_hook(note))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _geometric(values: Sequence[float]) -> float:
    if not values or min(values) <= 0:
        return 0.0
    return math.exp(sum(map(math.log, values)) / len(values))
