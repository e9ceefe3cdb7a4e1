"""Requantization in 16 bits is proved, not hoped for; quads are grouped without loss."""

from dataclasses import replace

import numpy as np
import pytest

from pareq.backends.c.chain import chain
from pareq.backends.c.grouping import grouped
from pareq.backends.c.narrow import Narrow, Rescale, narrow
from tests.backends.networks import convolutions, perceptron, tagger


def rescale(m, b, s, *, even=False, lo=0, hi=63, low=-3000, high=3000):
    arrays = [np.atleast_1d(np.array(each, dtype=np.int64)) for each in (m, b, s)]
    still = arrays[0] == 0
    return Rescale(
        *arrays, even, lo, hi, np.where(still, 0, low), np.where(still, 0, high)
    )  # a neuron with multiplier 0 has no weights left


def everywhere(op, form):
    """Whether both agree on the whole range, integer by integer."""
    return all(
        np.array_equal(op(acc, k) - op.lo, form(acc, k))
        for k in range(len(op.offset))
        for acc in [np.arange(op.low[k], op.high[k] + 1)]
    )


@pytest.mark.parametrize(
    "op",
    [
        rescale([1, 1], [16, -700], [5, 5]),
        rescale([4, 8], [3, 5], [7, 8]),
        rescale([1, 0], [16, 900], [5, 3]),
        rescale([1], [0], [5], even=True),
        rescale([1], [16], [5], lo=-32, hi=31),
        rescale([1], [32], [6], even=True, lo=-32, hi=31),
        rescale([1], [16], [5], hi=255, low=-200_000, high=200_000),
        rescale([1, 1], [4, 8], [3, 4]),
    ],
    ids=str,
)
def test_the_narrow_form_is_equal_on_the_whole_range(op):
    form = narrow(op)
    assert form is not None
    assert everywhere(op, form)


def test_a_scale_of_few_levels_fits_into_a_factor():
    op = rescale([821], [821 * 3], [16], hi=15)
    form = narrow(op)
    assert form is not None
    assert form.factor is not None
    assert everywhere(op, form)


def test_what_does_not_fit_is_refused():
    assert narrow(rescale([46407], [-18147615], [22], low=-12470, high=10887)) is None
    assert narrow(rescale([1], [0], [8], hi=255, low=-(2**17), high=2**17)) is None  # saturates
    assert narrow(rescale([3], [0], [7], even=True)) is None
    assert narrow(rescale([1], [0], [5], low=-(2**40), high=2**40)) is None


@pytest.mark.parametrize("change", [{"offset": 1}, {"shift": 1}, {"top": -1}])
def test_a_wrong_constant_is_seen(change):
    """The proof breaks when a constant is broken on purpose."""
    op = rescale([1, 1], [16, -700], [5, 5])
    form = narrow(op)
    broken = replace(form, **{name: getattr(form, name) + by for name, by in change.items()})
    assert not everywhere(op, broken)


def test_chains_are_found_where_they_are():
    found = chain(tagger())
    assert found is not None
    assert [isinstance(layer.form, Narrow) for layer in found.layers] == [True, True, True, False]
    assert found.words
    wide = chain(tagger(free=True))
    assert wide is not None
    assert isinstance(wide.layers[1].form, Rescale)
    assert chain(convolutions()) is None
    assert chain(perceptron((3, 4), bits=10)) is None


def test_groups_hold_every_input_once_and_cost_less_than_neighbours():
    rng = np.random.default_rng(0)
    for outputs, inputs in ((32, 64), (5, 7), (1, 1), (3, 4), (64, 18)):
        used = rng.random((outputs, inputs)) < 0.2
        groups = grouped(used, 4)
        assert sorted(each for group in groups for each in group) == list(range(inputs))
        assert max(map(len, groups)) <= 4
        assert groups == grouped(used, 4)

        def cost(groups, used=used):
            return sum(used[:, group].any(axis=1).sum() for group in groups)

        neighbours = [list(range(i, min(i + 4, inputs))) for i in range(0, inputs, 4)]
        assert cost(groups) <= cost(neighbours)
