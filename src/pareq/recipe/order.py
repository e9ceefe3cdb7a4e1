"""`Order`: when weights and activations are pruned and quantized, as one point of one space.

| order | in the fractions of an `Order` |
|---|---|
| P->Q | pruning ends before quantization begins |
| Q->P | quantization begins before pruning does |
| joint | quantization begins while pruning goes on |
| interleaved | weights go the one way, activations the other |

`PUBLISHED` holds the schedules of Zhang et al. 2021 (arXiv 2110.08271), of which the epochs are
those of their experiments; `pq` and `qp` are the rows of their tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

from pareq.errors import RecipeError
from pareq.operators.schedule import After, Levels, Ramp, Schedule
from pareq.pruners import Prune, PruneActivation
from pareq.quantizers import Uniform
from pareq.recipe.recipe import Recipe, Rule, Training

__all__ = ["PUBLISHED", "Order", "Places", "Published"]

Span = tuple[float, float]


@dataclass(frozen=True)
class Places:
    """Which tensors a joint recipe works on, as patterns of sites.

    weights, activations: both pruned and quantized, but for those in `whole`, which are never
    pruned. edges: activations that are quantized and never pruned, such as the input.
    """

    weights: str = "*:weight"
    activations: str = "*:output"
    whole: Sequence[str] = ()
    edges: Sequence[str] = (":input",)


@dataclass(frozen=True)
class Order:
    """When each of four things happens, in fractions of the run; None: not at all.

    prune_weights, prune_activations: from where to where the share rises, in `levels` strides of
    the cubic schedule. quantize_weights, quantize_activations: from where on, whole at once, or
    blended in over the fraction `blend`. recalibrate: search the ranges anew when a mask changes.

    Raises RecipeError for what lies outside the run or ends before it begins.
    """

    prune_weights: Span | None = None
    prune_activations: Span | None = None
    quantize_weights: float | None = None
    quantize_activations: float | None = None
    blend: float = 0.0
    levels: int = 4
    recalibrate: bool = True

    def __post_init__(self) -> None:
        for name, (start, stop) in self._spans().items():
            if not 0 <= start <= stop <= 1:
                raise RecipeError(
                    f"{name} goes from {start:g} to {stop:g}; expected 0 <= start <= stop <= 1"
                )

    def _spans(self) -> dict[str, Span]:
        """From where to where each thing changes."""
        found: dict[str, Span] = {}
        for f in fields(self)[:4]:
            value = getattr(self, f.name)
            if isinstance(value, tuple):
                found[f.name] = value
            elif value is not None:
                found[f.name] = (value, value + self.blend)
        return found

    @property
    def last(self) -> float:
        """The fraction of the run at which the last thing has changed."""
        return max((stop for _, stop in self._spans().values()), default=0.0)

    @property
    def kind(self) -> str:
        """P->Q, Q->P, joint, interleaved, or P, Q, float where one or both are missing."""
        pairs = (
            (self.prune_weights, self.quantize_weights),
            (self.prune_activations, self.quantize_activations),
        )
        kinds = {_kind(p, q) for p, q in pairs if p is not None and q is not None}
        if len(kinds) == 1:
            return kinds.pop()
        if kinds:
            return "interleaved"
        pruned = any(p is not None for p, _ in pairs)
        quantized = any(q is not None for _, q in pairs)
        return {(True, True): "joint", (True, False): "P", (False, True): "Q"}.get(
            (pruned, quantized), "float"
        )

    def rules(
        self,
        sparsity: float = 0.5,
        bits: int = 8,
        places: Places | None = None,
        quantizer: Uniform | None = None,
        pruner: PruneActivation | None = None,
    ) -> tuple[Rule, ...]:
        """The rules of a recipe, pruning first on each tensor.

        quantizer, pruner: the operators to use, instead of Uniform(bits) and PruneActivation().
        """
        where = places or Places()
        quantizer = quantizer or Uniform(bits, recalibrate=self.recalibrate)
        made: list[Rule] = []
        parts = (
            ("weight", where.weights, Prune("magnitude", "layer"), self.prune_weights),
            ("output", where.activations, pruner or PruneActivation(), self.prune_activations),
        )
        times = {"weight": self.quantize_weights, "output": self.quantize_activations}
        for tensor, pattern, mask, span in parts:
            if span is not None:
                whole = [each for each in where.whole if each.endswith(f":{tensor}")]
                when = Levels(*span, to=sparsity, levels=self.levels)
                made.append(Rule(pattern, mask, when, whole))
            if (at := times[tensor]) is not None:
                edges = where.edges if tensor == "output" else ()
                made += [Rule(p, quantizer.fresh(), self._from(at)) for p in (pattern, *edges)]
        return tuple(made)

    def recipe(
        self,
        sparsity: float = 0.5,
        bits: int = 8,
        places: Places | None = None,
        training: Training | None = None,
    ) -> Recipe:
        """A recipe for a comparison: every order ends with the same fall of the learning rate.

        training: by default constant, then a cosine to 0 over the last quarter. Raises RecipeError
        when something changes within that tail.
        """
        training = training or Training(decay="tail")
        if training.decay == "tail" and self.last > 1 - training.tail:
            raise RecipeError(
                f"the last change is at {self.last:g} of the run, within the tail of the learning"
                f" rate, which begins at {1 - training.tail:g}; let it come sooner, or shorten"
                " training.tail"
            )
        return Recipe(*self.rules(sparsity, bits, places), training=training)

    def _from(self, at: float) -> Schedule:
        return Ramp(at, at + self.blend, power=1.0, every=1) if self.blend else After(at)


def _kind(prune: Span, quantize: float) -> str:
    """The order of one tensor's two operators."""
    if prune[1] <= quantize:
        return "P->Q"
    return "Q->P" if quantize <= prune[0] else "joint"


@dataclass(frozen=True)
class Published:
    """A published schedule in epochs: the run, start and stride of pruning, then the quantizers."""

    epochs: int
    start: float | None
    stride: float
    weights: float
    activations: float
    levels: int = 4

    def order(self, *, weights_only: bool = False) -> Order:
        """The same in fractions of the run; ranges are searched once."""
        span = None
        if self.start is not None:
            stop = self.start + self.levels * self.stride
            span = (self.start / self.epochs, stop / self.epochs)
        return Order(
            prune_weights=span,
            prune_activations=None if weights_only else span,
            quantize_weights=self.weights / self.epochs,
            quantize_activations=self.activations / self.epochs,
            levels=self.levels,
            recalibrate=False,
        )


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "mobilenet-pq": Published(250, 100, 15, 230, 235),
        "mobilenet-qp-early": Published(250, 130, 15, 100, 110),
        "mobilenet-qp": Published(250, 180, 15, 160, 170),
        "mobilenet-q": Published(250, None, 0, 230, 240),
        "espcn-pq": Published(200, 140, 5, 160, 170),
        "espcn-qp": Published(200, 155, 5, 140, 150),
        "espcn-q": Published(200, None, 0, 140, 150),
        "rcnn-pq": Published(9, 3, 0.5, 7.2, 7.5),
        "rcnn-qp-early": Published(9, 5.7, 0.5, 5.2, 5.5),
        "rcnn-qp": Published(9, 6.9, 0.5, 6.5, 6.8),
        "rcnn-q": Published(9, None, 0, 7.2, 7.5),
        "gan-pq": Published(300, 100, 15, 280, 290),
        "gan-qp": Published(300, 130, 15, 110, 120),
        "gan-qp-late": Published(300, 230, 15, 210, 220),
        "gan-q": Published(300, None, 0, 270, 280),
        "mnist-pq": Published(14, 2, 1, 6, 7, levels=3),
        "mnist-qp": Published(14, 4, 1, 2, 3, levels=3),
    }
)
