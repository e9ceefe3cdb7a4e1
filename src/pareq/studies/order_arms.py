"""The arms of an order study, and what is compared with what.

Pruning (P) and quantization (Q) each come early or late: the 2 x 2 of joint arms. Where both share
a slot, either comes first, so these two cells have an arm for each order. Beside them stand P and Q
alone, and the network that is left in float.

| contrast | what it is |
|---|---|
| published | P early, Q late against Q early, P late: order and timing at once |
| order | P first against Q first where pruning happens at the same time, early and late |
| timing of P, of Q | late against early, averaged over when the other happens |
| P alone, Q alone | late against early without the other: timing and nothing else |
| published, without timing | the first, less Q alone, plus P alone: what timing cannot explain |

In the 2 x 2 the published difference is exactly the timing effect of Q minus that of P, whatever
the numbers are: it cannot tell an order. So the order is measured within a slot, and timing by
arms that do one thing alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pareq.operators.schedule import After, Levels
from pareq.recipe.order import Order, Places
from pareq.recipe.recipe import Recipe, Rule, Training

__all__ = ["ARMS", "CONTRASTS", "Strength", "Times", "contrast", "grid", "recipe"]

_EARLY, _LATE = (0.15, 0.31), (0.51, 0.67)  # of pruning; both end before the learning rate's tail
_GAP = 0.04  # of the run between pruning and the quantization next to it


@dataclass(frozen=True)
class Times:
    """When an arm prunes and quantizes, in fractions of the run; None: never. label: in words."""

    label: str
    prune: tuple[float, float] | None
    quantize: float | None


def _before(span: tuple[float, float]) -> float:
    return round(span[0] - _GAP, 4)


def _after(span: tuple[float, float]) -> float:
    return round(span[1] + _GAP, 4)


_Q_EARLY, _Q_LATE = _before(_EARLY), _after(_LATE)

ARMS: Mapping[str, Times] = MappingProxyType(
    {
        "float": Times("float", None, None),
        "p-late": Times("P late alone", _LATE, None),
        "q-late": Times("Q late alone", None, _Q_LATE),
        "pq-late": Times("P then Q, both late", _LATE, _after(_LATE)),
        "qp-late": Times("Q then P, both late", _LATE, _before(_LATE)),
        "p-early": Times("P early alone", _EARLY, None),
        "p-early-q-late": Times("P early, Q late", _EARLY, _Q_LATE),
        "pq-early": Times("P then Q, both early", _EARLY, _after(_EARLY)),
        "q-early": Times("Q early alone", None, _Q_EARLY),
        "q-early-p-late": Times("Q early, P late", _LATE, _Q_EARLY),
        "qp-early": Times("Q then P, both early", _EARLY, _before(_EARLY)),
    }
)

Weights = Mapping[str, float]  # of arms

_PQ, _QP = {"p-early-q-late": 1.0}, {"q-early-p-late": 1.0}
_EE = {"pq-early": 0.5, "qp-early": 0.5}
_LL = {"pq-late": 0.5, "qp-late": 0.5}


def _sum(*terms: tuple[float, Weights]) -> Weights:
    total: dict[str, float] = {}
    for factor, weights in terms:
        for name, weight in weights.items():
            total[name] = total.get(name, 0.0) + factor * weight
    return total


CONTRASTS: Mapping[str, Weights] = MappingProxyType(
    {
        "published: P early, Q late \u2212 Q early, P late": _sum((1, _PQ), (-1, _QP)),
        "order, early: P first \u2212 Q first": {"pq-early": 1, "qp-early": -1},
        "order, late: P first \u2212 Q first": {"pq-late": 1, "qp-late": -1},
        "order: P first \u2212 Q first, both slots": {
            "pq-early": 0.5,
            "qp-early": -0.5,
            "pq-late": 0.5,
            "qp-late": -0.5,
        },
        "timing of P: late \u2212 early": _sum((0.5, _QP), (0.5, _LL), (-0.5, _EE), (-0.5, _PQ)),
        "timing of Q: late \u2212 early": _sum((0.5, _PQ), (0.5, _LL), (-0.5, _EE), (-0.5, _QP)),
        "P alone: late \u2212 early": {"p-late": 1, "p-early": -1},
        "Q alone: late \u2212 early": {"q-late": 1, "q-early": -1},
        "published, without timing: less Q alone, plus P alone": _sum(
            (1, _PQ),
            (-1, _QP),
            (-1, {"q-late": 1, "q-early": -1}),
            (1, {"p-late": 1, "p-early": -1}),
        ),
    }
)


def contrast(weights: Weights, scores: Mapping[str, Mapping[int, float]]) -> list[float]:
    """The contrast of each seed that has all its arms; scores: by arm and seed."""
    held = [scores.get(name, {}) for name in weights]
    seeds = sorted(set.intersection(*(set(each) for each in held))) if held else []
    return [sum(weight * scores[name][s] for name, weight in weights.items()) for s in seeds]


def grid(number: int) -> dict[str, Times]:
    """Pruning at `number` places times quantization at as many, from early to late."""
    length = _EARLY[1] - _EARLY[0]
    starts = _spread(_EARLY[0], _LATE[0], number)
    begins = _spread(_Q_EARLY, _Q_LATE, number)
    return {
        f"grid-p{start:.2f}-q{begin:.2f}": Times(
            f"P {start:.2f}, Q {begin:.2f}", (start, round(start + length, 4)), begin
        )
        for start in reversed(starts)
        for begin in reversed(begins)
    }


def _spread(low: float, high: float, number: int) -> list[float]:
    return [round(low + (high - low) * k / (number - 1), 4) for k in range(number)]


@dataclass(frozen=True)
class Strength:
    """How much: bits of the quantizers, the share that is pruned; recalibrate as in `Order`."""

    bits: int
    sparsity: float
    recalibrate: bool = True
    activations: bool = True


def recipe(times: Times, how: Strength, places: Places, training: Training) -> Recipe:
    """The recipe of an arm. All arms have the same rules, so that they can share a beginning.

    What an arm does not do it does at strength 0, at the late time.
    """
    span, begin = times.prune or _LATE, times.quantize or _Q_LATE
    order = Order(
        prune_weights=span,
        prune_activations=span if how.activations else None,
        quantize_weights=begin,
        quantize_activations=begin,
        recalibrate=how.recalibrate,
    )
    made = order.recipe(how.sparsity, how.bits, places, training)
    return Recipe(*(_silenced(rule, times) for rule in made.rules), training=training)


def _silenced(rule: Rule, times: Times) -> Rule:
    """The rule at strength 0 where the arm goes without it."""
    when = rule.when
    if times.prune is None and isinstance(when, Levels):
        when = Levels(when.start, when.stop, 0.0, when.levels)
    elif times.quantize is None and isinstance(when, After):
        when = After(when.at, 0.0)
    return Rule(rule.where, rule.op.fresh(), when, rule.exclude)
