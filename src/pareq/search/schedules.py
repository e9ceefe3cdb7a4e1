"""Schedules of pruning and quantization as points of a space, and the recipes they stand for.

| coordinate | meaning |
|---|---|
| p_start, p_length | from where pruning rises, and for how long |
| q_weights, q_activations | from where weights and activations are quantized |
| bits_weights, bits_activations | where `Target.bits` is a range |
| sparsity_weights, sparsity_activations | where `Target.sparsity` is one |
| spared | so many of the most sensitive layers are not pruned; where the cost is limited |

Times are fractions of the run. All of it lies before the fall of the learning rate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pareq.backends.verilog.native import Native, native
from pareq.errors import SearchError
from pareq.ir.graph import Graph
from pareq.lower.lower import lower
from pareq.metrics.probe import cost
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.recipe.order import Order, Places
from pareq.recipe.recipe import Recipe, Rule, Training
from pareq.search.space import Axis, Integers, Point, Reals, Space
from pareq.tasks.base import Task
from pareq.train.trial import network

__all__ = ["LIMITS", "STARTS", "Schedules", "Target", "billed", "price", "tables"]

_BITS = 32

# Where the search begins. The first is what to do without any search.
STARTS: Mapping[str, tuple[float, float, float, float]] = {  # coordinates of the four times
    "default": (0.2, 0.3, 0.52, 0.52),
    "q-last": (0.2, 0.3, 0.71, 0.71),
    "p-q-apart": (0.15, 0.16, 0.71, 0.71),
    "p-q-early": (0.05, 0.15, 0.22, 0.22),
    "q-p-early": (0.08, 0.15, 0.05, 0.05),
    "joint-early": (0.05, 0.25, 0.1, 0.1),
    "interleaved": (0.2, 0.3, 0.52, 0.1),
    "p-q-late": (0.45, 0.2, 0.68, 0.68),
    "q-p-late": (0.45, 0.2, 0.42, 0.42),
}
_TIMES = ("p_start", "p_length", "q_weights", "q_activations")
_BOUNDS = {
    "p_start": (0.02, 0.5),
    "p_length": (0.05, 0.4),
    "q_weights": (0.02, 0.74),
    "q_activations": (0.02, 0.74),
}
_TENSORS = ("weights", "activations")
_STEPS = 10  # strides from a point to the cheapest one

LIMITS = {  # what may be limited, and the totals of a `Cost` that add up to it
    "bops": ("bops_paper",),
    "memory": ("bits_biases", "bits_norms", "bits_rest"),
    "luts": (),  # of firmware: see `tables`
}
_ENCODINGS = ("bits_dense", "bits_bitmap", "bits_csr", "bits_relative")


@dataclass(frozen=True)
class Target:
    """What is wanted. bits, sparsity: lowest and highest; equal ones are fixed.

    limit: "bops" or "memory" (bytes), at most `most`: below 1 a share of the network in float;
    "luts": look-up tables of firmware, as `tables` estimates them; "" does not limit. tensors:
    "both", or "weights" to leave activations unpruned.

    Raises SearchError for a range without a limit, where the easiest end would always win.
    """

    bits: tuple[int, int] = (8, 8)
    sparsity: tuple[float, float] = (0.5, 0.5)
    limit: str = ""
    most: float = 0.0
    tensors: str = "both"

    def __post_init__(self) -> None:
        if not 1 <= self.bits[0] <= self.bits[1] <= _BITS:
            raise SearchError(f"bits must be lowest and highest in 1..32, got {self.bits}")
        if not 0 <= self.sparsity[0] <= self.sparsity[1] < 1:
            raise SearchError(f"sparsity must be lowest and highest in [0, 1), got {self.sparsity}")
        if self.limit and self.limit not in LIMITS:
            raise SearchError(f"limit must be one of {', '.join(LIMITS)}, got {self.limit!r}")
        if self.limit and not self.most > 0:
            raise SearchError(f"{self.limit} must be limited to more than 0, got {self.most:g}")
        if self.limit == "luts" and self.most < 1:
            raise SearchError(
                f"luts must be limited to 1 or more, got {self.most:g}; firmware has no share of a"
                " float network"
            )
        if self.ranged and not self.limit:
            raise SearchError(
                "a range of bits or sparsity needs a limit, or the easiest end always wins; give"
                " --bops, --memory or --luts"
            )
        if self.limit and not self.ranged:
            raise SearchError(
                f"with fixed bits and sparsity nothing can be done about {self.limit}; give a"
                " range, such as --bits 3-8"
            )

    @property
    def ranged(self) -> bool:
        """Whether bits or sparsity are searched too."""
        return self.bits[0] < self.bits[1] or self.sparsity[0] < self.sparsity[1]


@dataclass(frozen=True)
class Schedules:
    """The space of a target. sensitive: names of weights, the most sensitive to pruning first."""

    task: Task
    target: Target
    training: Training
    places: Places
    sensitive: Sequence[str] = ()

    @property
    def space(self) -> Space:
        """The axes, see the table above."""
        axes: dict[str, Axis] = {name: Reals(*ends) for name, ends in _BOUNDS.items()}
        target = self.target
        for tensor in _TENSORS:
            if target.bits[0] < target.bits[1]:
                axes[f"bits_{tensor}"] = Integers(*target.bits)
            if target.sparsity[0] < target.sparsity[1] and self._pruned(tensor):
                axes[f"sparsity_{tensor}"] = Reals(*target.sparsity)
        if target.limit and len(self.sensitive) > 1:
            axes["spared"] = Integers(0, min(2, len(self.sensitive) - 1))
        return Space(axes)

    def starts(self) -> dict[str, Point]:
        """The points where a search begins, at the middle of what else is searched."""
        space = self.space
        middle = space.point([0.5] * len(space.axes))
        if "spared" in middle:
            middle["spared"] = 0
        return {name: {**middle, **_times(times)} for name, times in STARTS.items()}

    def order(self, point: Point) -> Order:
        """The times of a point."""
        end = 1 - self.training.tail
        start = min(float(point["p_start"]), end - _BOUNDS["p_length"][0])
        span = (round(start, 4), round(min(start + float(point["p_length"]), end), 4))
        begins = [round(min(float(point[f"q_{tensor}"]), end), 4) for tensor in _TENSORS]
        both = self.target.tensors == "both"
        return Order(span, span if both else None, begins[0], begins[1])

    def recipe(self, point: Point, training: Training | None = None) -> Recipe:
        """What the point stands for; training: instead of its own."""
        order = self.order(point)
        spared = tuple(self.sensitive[: int(point.get("spared", 0))])
        places = replace(self.places, whole=(*self.places.whole, *spared))
        rules: list[Rule] = []
        for tensor in _TENSORS:
            other = "activations" if tensor == "weights" else "weights"
            only = replace(order, **{f"prune_{other}": None, f"quantize_{other}": None})  # type: ignore[arg-type]
            rules += only.rules(self.sparsity(point, tensor), self.bits(point, tensor), places)
        return Recipe(*rules, training=training or self.training)

    def bits(self, point: Point, tensor: str) -> int:
        """Of the weights or activations at a point."""
        return int(point.get(f"bits_{tensor}", self.target.bits[0]))

    def sparsity(self, point: Point, tensor: str) -> float:
        """The share of the weights or activations that falls at a point."""
        return round(float(point.get(f"sparsity_{tensor}", self.target.sparsity[0])), 4)

    def price(self, point: Point) -> float:
        """What is limited, before any training; 0 without a limit. It does not depend on times."""
        if not self.target.limit:
            return 0.0
        timed = {**point, **_times(STARTS["default"])}  # one recipe for all times: priced once
        return price(self.task, self.recipe(timed), self.target.limit)

    def within(self, point: Point, most: float) -> Point:
        """The point, or the nearest towards the cheapest one that costs no more than `most`.

        Raises SearchError when even the cheapest costs more.
        """
        if not self.target.limit:
            return point
        cheapest = dict(point)
        for tensor in _TENSORS:
            if f"bits_{tensor}" in point:
                cheapest[f"bits_{tensor}"] = self.target.bits[0]
            if f"sparsity_{tensor}" in point:
                cheapest[f"sparsity_{tensor}"] = self.target.sparsity[1]
        if "spared" in point:
            cheapest["spared"] = 0
        space = self.space
        ends = space.units(point), space.units(cheapest)
        for stride in range(_STEPS + 1):
            part = stride / _STEPS
            mixed = [a + part * (b - a) for a, b in zip(*ends, strict=True)]
            tried = {**space.point(mixed), **{name: point[name] for name in _TIMES}}
            found = self.price(tried)
            if found <= most:
                return tried
        raise SearchError(
            f"the cheapest point has {found:,.0f} of {self.target.limit}, the limit is {most:,.0f};"
            " raise it, or widen the range of bits or sparsity"
        )

    def _pruned(self, tensor: str) -> bool:
        return tensor == "weights" or self.target.tensors == "both"


def price(task: Task, recipe: Recipe, limit: str) -> float:
    """What is limited of the network at the end of a recipe, before any training.

    Bit operations and bytes follow from shapes, bits and counts, so that freshly drawn weights do;
    where masks of activations make a difference, and for look-up tables, about. Raises
    LoweringError and BackendError for a network that is no firmware, where these are limited.
    """
    return _priced(task, dump_recipe(recipe), limit)


@lru_cache(maxsize=1024)
def _priced(task: Task, recipe: str, limit: str) -> float:
    net = network(task, parse_recipe(recipe))
    net.plan(1)
    net.calibrate([task.example])
    if limit == "luts":
        return tables(lower(net, task.example))
    return billed(cost(net, task.example).totals(), limit)


def tables(graph: Graph) -> float:
    """Look-up tables of six inputs of our own Verilog, estimated without a tool."""
    return native(graph, "net", Native()).figures["lut_estimate"]


def billed(totals: Mapping[str, float], limit: str) -> float:
    """The bit operations or bytes among the totals of a `Cost`."""
    found = sum(totals[name] for name in LIMITS[limit])
    if limit == "memory":
        return (found + min(totals[name] for name in _ENCODINGS)) / 8
    return found


def _times(values: Sequence[float]) -> Point:
    return dict(zip(_TIMES, values, strict=True))
