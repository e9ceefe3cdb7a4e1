from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pareq.errors import UnknownName
from pareq.metrics.layer import Layer
from pareq.metrics.memory import (
    ENCODINGS,
    activation_bits,
    bias_bits,
    compression,
    largest_activation_bits,
    stored_bits,
    weight_bits,
)


@pytest.fixture
def row():
    """10 of 8 x 4 weights left, 6 bits each."""
    return replace(Layer.dense("fc", 8, 4, bits=6), alive=12, nonzero=10)


def test_encodings_by_hand(row):
    assert weight_bits([row]) == 32 * 6
    assert weight_bits([row], "values") == 10 * 6
    assert weight_bits([row], "bitmap") == 10 * 6 + 32
    assert weight_bits([row], "csr") == 10 * (6 + 3) + 5 * 4
    # 22 zeros: gaps of 1, 2, 3, 4 bits need at most 11, 5, 2, 1 fillers
    sizes = {1: 21 * 7, 2: 15 * 8, 3: 12 * 9, 4: 11 * 10, 5: 10 * 11}
    assert weight_bits([row], "relative") == min(sizes.values()) == 108


def test_stored_bits_and_compression(row):
    assert bias_bits([row]) == 4 * 32
    assert stored_bits([row], "bitmap") == 92 + 128
    assert compression([row], "bitmap") == pytest.approx(32 * 36 / 220)
    assert compression([Layer.dense("fc", 8, 4)]) == 1.0


def stored_by_relative_index(zero, gap):
    """Entries that an encoder with gaps of `gap` bits writes, fillers too."""
    entries = run = 0
    for z in zero:
        run += z
        if not z or run == 2**gap:
            entries, run = entries + 1, 0
    return entries


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_relative_encoding_is_a_bound_for_every_pattern(zero):
    row = replace(Layer.dense("x", len(zero), 1, bits=4), nonzero=zero.count(False))
    bound = weight_bits([row], "relative")
    worst = sorted(zero, reverse=True)  # all zeros in front
    assert min(stored_by_relative_index(zero, g) * (4 + g) for g in range(1, 17)) <= bound
    assert min(stored_by_relative_index(worst, g) * (4 + g) for g in range(1, 17)) == bound


def test_shared_weights_are_stored_once(row):
    again = replace(row, shares="fc")
    assert stored_bits([row, again], "csr") == stored_bits([row], "csr")
    assert compression([row, again], "csr") == compression([row], "csr")
    tied = replace(row, path="tied", shares="fc")  # a module of its own, with its own biases
    assert weight_bits([row, tied], "csr") == weight_bits([row], "csr")
    assert bias_bits([row, tied]) == 2 * bias_bits([row])


def test_activations():
    rows = [replace(Layer.dense("a", 8, 4), input_bits=6), replace(Layer.dense("b", 4, 2), reads=9)]
    assert activation_bits(rows) == 8 * 6 + 9 * 32
    assert largest_activation_bits(rows) == 9 * 32
    assert (activation_bits([]), largest_activation_bits([])) == (0, 0)


def test_nothing_left_is_finite(row):
    empty = replace(row, alive=0, nonzero=0, biases=0, biases_alive=0)
    assert compression([empty], "values") == 32 * 32
    assert weight_bits([empty], "relative") == 0
    assert (stored_bits([]), compression([])) == (0, 0.0)


def test_unknown_encoding_names_the_nearest(row):
    with pytest.raises(UnknownName, match="unknown encoding 'bitmp'; did you mean 'bitmap'"):
        weight_bits([row], "bitmp")


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 32), st.data())
def test_memory_grows_with_weights_and_with_bits(inputs, outputs, bits, data):
    more = data.draw(st.integers(0, inputs * outputs))
    fewer = data.draw(st.integers(0, more))
    narrow = data.draw(st.integers(1, bits))
    row = replace(Layer.dense("x", inputs, outputs, bits=bits), alive=more, nonzero=more)
    for encoding in ENCODINGS:
        size = weight_bits([row], encoding)
        assert weight_bits([replace(row, nonzero=fewer)], encoding) <= size
        assert weight_bits([replace(row, weight_bits=narrow)], encoding) <= size
        assert size >= weight_bits([row], "values")
    assert weight_bits([row]) >= weight_bits([row], "values")
