"""The matrix of the study of quantization-aware pruning (Hawks et al. 2021), as data.

| field | values |
|---|---|
| bits | 32 (float), 12, 8, 6, 4 |
| method | ft: fine-tuning; lt: lottery ticket; late: rewinding to an early epoch; |
| | dense: fine-tuning that prunes nothing, which has the same budget in each state; |
| | bo: no pruning at all, but Bayesian optimisation of the widths |
| norm | on, off, no-affine, no-stats (batch statistics also in evaluation) |
| l1 | on: weights and normalisation scales, as published; weights: these only; off |
| noise | percent of the training labels that are random |
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise, product

from pareq.errors import StudyError
from pareq.registry import suggest

__all__ = [
    "ALIVE",
    "FRACTIONS",
    "MATRICES",
    "PROTOCOLS",
    "Protocol",
    "Setting",
    "full",
    "published",
    "quick",
]

# Shares of what is left, and weights of the 16-64-32-32-5 network that remain in each state.
FRACTIONS = (0.10, 0.111, 0.125, 0.143, 0.166, 0.20, 0.25, 0.333, 0.50, 0.666, 0.666)
ALIVE = (4256, 3830, 3405, 2979, 2553, 2129, 1703, 1277, 852, 426, 142, 47)

_VALUES: dict[str, tuple[int | str, ...]] = {
    "method": ("ft", "lt", "late", "dense", "bo"),
    "norm": ("on", "off", "no-affine", "no-stats"),
    "l1": ("on", "weights", "off"),
    "noise": (0, 25, 50, 75, 90, 100),
}
_USUAL = {"norm": "on", "l1": "on", "noise": 0}


@dataclass(frozen=True)
class Setting:
    """One kind of descent; see the table above. Raises StudyError for a value that is not there."""

    bits: int = 6
    method: str = "ft"
    norm: str = "on"
    l1: str = "on"
    noise: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 32:
            raise StudyError(f"bits must be in 2..32, got {self.bits}")
        for name in ("method", "norm", "l1", "noise"):
            value, known = getattr(self, name), _VALUES[name]
            if value not in known:
                raise StudyError(f"unknown {name} {value!r}{suggest(str(value), map(str, known))}")

    @property
    def name(self) -> str:
        """Such as 6b-ft, or 6b-ft-norm.off-noise.50 where it is not usual."""
        special = [
            f"{key}.{getattr(self, key)}"
            for key, usual in _USUAL.items()
            if getattr(self, key) != usual
        ]
        return "-".join([f"{self.bits}b", self.method, *special])

    @property
    def usual(self) -> bool:
        """Whether normalisation, L1 and labels are as in the main comparison."""
        return all(getattr(self, key) == usual for key, usual in _USUAL.items())


def full(widths: Iterable[int] = (32, 12, 8, 6, 4)) -> Iterator[Setting]:
    """Everything crossed with everything, 480 settings, and what they are compared with."""
    l1 = ("on", "off")
    noise = (0, 50, 75, 90)
    widths = tuple(widths)
    yield from _others(widths)
    for values in product(widths, ("ft", "lt", "late"), _VALUES["norm"], l1, noise):
        yield Setting(**dict(zip([f.name for f in fields(Setting)], values, strict=True)))  # type: ignore[arg-type]


def published(widths: Iterable[int] = (32, 12, 6, 4)) -> Iterator[Setting]:
    """What the authors ran: four widths, ablations, label noise, searches; and dense ones."""
    widths = tuple(widths)
    yield from _others(widths)
    for bits in widths:
        for noise in (0, 50, 75, 90):
            yield Setting(bits, "ft", noise=noise)
            yield Setting(bits, "lt", noise=noise)
            yield Setting(bits, "ft", norm="off", noise=noise)
            yield Setting(bits, "ft", l1="off", noise=noise)
        for norm in ("no-affine", "no-stats"):
            yield Setting(bits, "ft", norm=norm)
            yield Setting(bits, "lt", norm=norm)
        yield Setting(bits, "ft", norm="no-stats", l1="off")


def quick(widths: Iterable[int] = (32, 6, 4)) -> Iterator[Setting]:
    """The comparison on a small scale: three widths, both methods; the rest at 6 bits."""
    for bits in widths:
        yield Setting(bits, "ft")
        yield Setting(bits, "lt")
    yield Setting(32, "dense")
    yield Setting(6, "dense")
    yield Setting(6, "bo")
    yield Setting(6, "ft", norm="off")
    yield Setting(6, "ft", l1="off")
    yield Setting(6, "ft", norm="off", l1="off")
    yield Setting(6, "ft", noise=50)
    yield Setting(6, "ft", l1="off", noise=50)


def _others(widths: Iterable[int]) -> Iterator[Setting]:
    """What pruning is compared with."""
    for bits in widths:
        yield Setting(bits, "dense")
        yield Setting(bits, "bo")


MATRICES = {"full": full, "published": published, "quick": quick}

# The quick study takes fewer and larger stairs, to five of the same states.
QUICK_FRACTIONS = tuple(1 - b / a for a, b in pairwise((4256, 2129, 852, 426, 142)))


@dataclass(frozen=True)
class Protocol:
    """How each state is trained. l1: its coefficient beside a cross entropy.

    The published loss is a mean over five classes, ours over samples: their 1e-4 is our 5e-4.
    rewind: epochs, for the method "late". folds: repeats are folds of the data, each its own test
    set; else seeds on one split. scaling: as in `tasks.splits.Plan`. noise_rows, noise_validation:
    as in `tasks.noise.Noise`. l1_stops: the validation loss that stops a training has L1 in it,
    also where L1 is off, as published. noisy: states of the settings with random labels, 0 for all.
    bits: of the settings of a matrix that has several widths.

    shapes: that a search of widths tries. batch: how many of them at a time. goal: accuracy, or
    front for that of accuracy and bit operations. proxy: the share of the epochs after which it
    judges a shape.
    """

    epochs: int = 250
    learning_rate: float = 1e-4
    decay: str = "constant"
    patience: int | None = 10
    batch_size: int = 1024
    l1: float = 5e-4
    rewind: int = 5
    repeats: int = 4
    folds: bool = True
    scaling: str = "train"
    noise_rows: str = "random"
    noise_validation: bool = False
    l1_stops: bool = False
    fractions: tuple[float, ...] = FRACTIONS
    shapes: int = 20
    batch: int = 5
    goal: str = "accuracy"
    proxy: float = 0.1
    noisy: int = 0
    bits: tuple[int, ...] = (32, 12, 8, 6, 4)


PROTOCOLS = {
    "full": Protocol(),
    "published": Protocol(
        scaling="paper",
        noise_rows="paper",
        noise_validation=True,
        l1_stops=True,
        batch=1,
        bits=(32, 12, 6, 4),
    ),
    "quick": Protocol(
        epochs=20,
        learning_rate=3e-3,
        decay="cosine",
        patience=None,
        rewind=2,
        repeats=2,
        folds=False,
        fractions=QUICK_FRACTIONS,
        shapes=12,
        batch=3,
        noisy=3,
        bits=(32, 6, 4),
    ),
}
