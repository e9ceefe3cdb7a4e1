"""Requantization by unsigned products, and in 32 bits: proved, on the whole range, in every form."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pareq.backends import C, build, verify
from pareq.backends.c.chain import chain
from pareq.backends.c.narrow import Rescale
from pareq.backends.c.plan import plans
from pareq.backends.c.ratio import HIGH, plain, ratio, steps
from pareq.backends.c.source import sources
from pareq.backends.c.wide import wide
from tests.backends.networks import perceptron

SHIFTS = range(HIGH + 2)


def rescale(m, b, s, *, even=False, lo=0, hi=63, low=-3000, high=3000):
    arrays = [np.array([each], dtype=np.int64) for each in (m, b, s, low, high)]
    return Rescale(*arrays[:3], even, lo, hi, *arrays[3:])


def span(op):
    return np.arange(op.low[0], op.high[0] + 1)


HARD = [
    rescale(46407, -18147615, 22, low=-12470, high=10887),
    rescale(1, 0, 6, even=True),
]
OPS = [
    rescale(821, 821 * 3, 16, hi=15),
    rescale(30371, 715616, 20, even=True),
    rescale(1, 16, 5, lo=-32, hi=31),
    rescale(195, -376986, 11, hi=255),
    rescale(9, 5, 3, hi=63, low=-20, high=20),  # steps of more than one level
    rescale(0, 40, 1, low=0, high=0),
    rescale(93, 0, 12, low=-5000, high=-4000),  # never above its lowest result
    rescale(93, 2**20, 12, low=0, high=4000),  # never below its highest
]


@pytest.mark.parametrize("op", OPS, ids=lambda op: f"{op.multiplier}{op.offset}{op.shift}")
def test_ratios_are_equal_on_the_whole_range(op):
    gain = float(op.multiplier[0] / 2.0 ** op.shift[0])
    room = 8 - op.top.bit_length()
    found, count, acc = steps(op, 0), 0, span(op)
    for enter in (0, 2, 4):
        scales = [c << enter for c in range(1, 25)]
        for rise in {0, room}:
            expected = (op(acc, 0) - op.lo) << rise
            for form in (
                plain(found, gain, scales, rise),
                ratio(found, gain, scales, rise, SHIFTS),
            ):
                if form is not None:
                    assert np.array_equal(form(acc, rise, op.top), expected), form
                    count += 1
    assert count or op.multiplier[0] == 0


@pytest.mark.parametrize("op", HARD, ids=lambda op: f"{op.multiplier}{op.shift}")
def test_what_no_ratio_gives_is_none(op):
    """Steps too fine for 16 bits, and ties that alternate."""
    gain = float(op.multiplier[0] / 2.0 ** op.shift[0])
    assert ratio(steps(op, 0), gain, [1, 2, 4, 8], 0, SHIFTS) is None
    assert plain(steps(op, 0), gain, [1, 2, 4, 8], 0) is None


@pytest.mark.parametrize("change", [{"offset": 900}, {"factor": 400}, {"scale": 1}, {"shift": 1}])
def test_a_wrong_constant_is_seen(change):
    op = OPS[0]
    form = ratio(steps(op, 0), 821 / 2**16, [4, 8], 0, SHIFTS)
    broken = replace(form, **{name: getattr(form, name) + by for name, by in change.items()})
    assert np.array_equal(form(span(op), 0, 15), op(span(op), 0))
    assert not np.array_equal(broken(span(op), 0, 15), op(span(op), 0))


@pytest.mark.parametrize(
    "op",
    [
        *OPS,
        *HARD,
        rescale(576083, 96388470, 26, lo=-105, low=-12292, high=7308),
        rescale(2**29 + 12345, -(2**40) + 7, 41, low=-30000, high=30000),
        rescale(2**15 + 1, 3, 33, hi=127, low=-(2**20), high=2**20),
    ],
    ids=lambda op: f"{op.multiplier}{op.shift}",
)
def test_two_products_give_what_one_in_64_bits_gives(op):
    form = wide(op, 0)
    lo = 0 if op.even else op.lo
    for acc in {int(op.low[0]), int(op.high[0]), -1, 0, 1, *range(-2000, 2000, 7)}:
        if op.low[0] <= acc <= op.high[0] and not op.even:
            result = min(max(form(acc) + lo, op.lo), op.hi)
            assert result == op(np.array([acc]), 0)[0]
    assert abs(form.offset) < 2**31


def test_what_needs_more_is_refused():
    assert wide(rescale(2**20 + 1, 0, 26, even=True, low=-(2**14), high=2**14), 0) is None
    assert wide(rescale(2**50, 0, 60), 0) is None
    assert steps(rescale(1, 0, 5, low=-(2**30), high=2**30), 0) is None


def test_plans_raise_bytes_where_that_is_cheaper():
    free = plans(chain(quantized()))
    assert all(after.enter == before.leave for before, after in pairwise(free))
    assert any(plan.enter for plan in free)
    assert all(plan.whole for plan in free if plan.enter)
    powers = plans(chain(perceptron((16, 24, 16, 6), density=0.4)))
    found = [each for plan in powers for each in plan.ratios if each is not None]
    assert found
    assert {each.factor for each in found} == {0}


def quantized(**how):
    return perceptron((16, 24, 16, 6), free=True, quantized=True, density=0.4, **how)


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor"])
@pytest.mark.parametrize("signed", [False, True])
def test_every_ending_is_generated_and_exact(rounding, signed, tmp_path):
    """Signed results of 6 bits use their whole byte too: 0..63 above the smallest."""
    graph = quantized(rounding=rounding, signed=signed)
    program = sources(graph, "net")[1]
    assert "RATIOS(" in program.partition("#ifdef NET_LANES")[2]
    assert "LEAVE8(" in program.partition("net_lanes(")[2]
    artefact = build(graph, C(flags=("-O1", "-march=native")), tmp_path / "net")
    assert verify(artefact, graph, rows=2000).samples == 2002
