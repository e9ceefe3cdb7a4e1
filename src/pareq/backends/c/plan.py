"""How AVX-512 code requantizes each layer of a chain, and in which form bytes go between layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pareq.backends.c.chain import Chain, Layer
from pareq.backends.c.narrow import Narrow, Rescale
from pareq.backends.c.ratio import HIGH, Ratio, Steps, plain, ratio, steps
from pareq.backends.c.wide import wide

__all__ = ["Plan", "plans"]

_SHIFTS = (*range(HIGH - 1, -1, -1), HIGH, HIGH + 1)
_SCALES = 24  # factors of weights that are tried


@dataclass(frozen=True, eq=False)
class Plan:
    """One layer: inputs come as integers times 2^enter, results go as integers times 2^leave.

    ratios: one for each neuron; None where the layer's own form is used, which costs `own`.
    """

    enter: int
    leave: int
    ratios: tuple[Ratio | None, ...]
    own: int

    @property
    def whole(self) -> bool:
        """Whether no neuron uses the layer's own form."""
        return None not in self.ratios

    @property
    def cost(self) -> int:
        """Vector instructions for four neurons of each kind, added up."""
        return sum(self.own if each is None else _cost(each) for each in self.ratios)


def _cost(found: Ratio) -> int:
    upper = 5 if found.factor == 0 else 7
    return upper if found.shift == HIGH else 9


def _own(form: Narrow | Rescale | None) -> int:
    if isinstance(form, Narrow):
        return 9 if form.factor is not None else 7
    return 13


def plans(chain: Chain) -> list[Plan]:
    """A plan for each layer, in order.

    Bytes have room for two more bits where results are 0..63, say. Results come shifted up where
    that lets the next layer place its steps more finely, and costs this one nothing.
    """
    layers, found = chain.layers, list[Plan]()
    known = [_steps(layer) for layer in layers]
    enter = 0
    room = _room(chain.top)
    if room:
        straight, raised = (_plan(layers[0], known[0], e, 0) for e in (0, room))
        enter = room if raised.whole and raised.cost < straight.cost else 0
    for k, layer in enumerate(layers):
        plan = _plan(layer, known[k], enter, 0)
        room = _room(layer.op.top) if layer.op and k + 1 < len(layers) else 0
        if room:
            raised = _plan(layer, known[k], enter, room)
            behind = [_plan(layers[k + 1], known[k + 1], e, 0) for e in (0, room)]
            better = raised.cost + behind[1].cost < plan.cost + behind[0].cost
            able = raised.whole or (enter == 0 and _shifts(layer, room))
            if better and able and behind[1].whole:
                plan = raised
        found.append(plan)
        enter = plan.leave
    return found


def _room(top: int) -> int:
    """By how many bits integers 0..top can go up; the largest must then fill its byte."""
    room = 8 - top.bit_length()
    return room if (top + 1) << room == 256 else 0


def _steps(layer: Layer) -> list[Steps | None]:
    if layer.op is None:
        return []
    return [steps(layer.op, neuron) for neuron in range(len(layer.bias))]


def _shifts(layer: Layer, room: int) -> bool:
    """Whether results of the layer's own form can go up by `room` bits."""
    form = layer.form
    if not isinstance(form, Rescale) or form.even:
        return False
    parts = [wide(form, neuron) for neuron in range(len(layer.bias))]
    return all(each is not None and each.shift >= room for each in parts)


def _plan(layer: Layer, known: Sequence[Steps | None], enter: int, leave: int) -> Plan:
    op, own = layer.op, layer.form
    if op is None:
        return Plan(enter, leave, (None,) * len(layer.bias), 0)
    gains = (op.multiplier / 2.0**op.shift).tolist()
    scales = [_scales(layer, neuron, enter) for neuron in range(len(gains))]
    each = list(zip(known, gains, scales, strict=True))
    made = tuple(plain(s, gain, c, leave) if s else None for s, gain, c in each)
    if None in made:
        simple = isinstance(own, Narrow) and own.factor is None and not (enter or leave)
        shifts = _SHIFTS if leave else (HIGH, *_SHIFTS)
        made = tuple(
            None if simple or not s else ratio(s, gain, c, leave, shifts) for s, gain, c in each
        )
    return Plan(enter, leave, made, _own(own))


def _scales(layer: Layer, neuron: int, enter: int) -> list[int]:
    """Factors of the sums of a neuron that keep weights in bytes and sums in 32 bits."""
    weight = np.abs(layer.weight[neuron])
    most = 127 // max(int(weight.max(initial=0)), 1)
    top = int(weight.sum()) * 255 + abs(int(layer.sum_bias[neuron]))
    room = 2**29 // max(top << enter, 1)
    return [c << enter for c in range(1, min(most, room, 127) + 1)][:_SCALES]
