import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pareq.errors import UnknownName
from pareq.metrics.bops import (
    BOPS,
    bops,
    bops_per_layer,
    ebops,
    ebops_per_layer,
    effective_bits,
)
from pareq.metrics.layer import Layer

REFERENCE = json.loads(Path(__file__).with_name("qap_reference.json").read_text())
WIDTHS = REFERENCE["architecture"]
FULL = [name for name in BOPS if name != "multiply_only"]
FLOAT_FIRST = ("code", "all_discounted", "all_discounted_twice")


def mlp(bits, widths=WIDTHS, input_bits=32):
    """The published network: `bits` everywhere, the input apart."""
    rows = [Layer.dense(f"fc{i + 1}", n, m, bits=bits) for i, (n, m) in enumerate(pairwise(widths))]
    return [replace(rows[0], input_bits=input_bits), *rows[1:]]


def pruned(rows, alive):
    return [replace(row, alive=a, nonzero=a) for row, a in zip(rows, alive, strict=True)]


rows_strategy = st.lists(
    st.builds(
        lambda n, m, positions, w, a: replace(
            Layer.dense("x", n, m, bits=w), input_bits=a, positions=positions
        ),
        st.integers(1, 40),
        st.integers(1, 40),
        st.integers(1, 9),
        st.integers(1, 32),
        st.integers(1, 32),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("variant", FULL)
@pytest.mark.parametrize("bits", REFERENCE["dense_bops_input32"])
def test_published_dense_network(bits, variant):
    assert bops(mlp(int(bits)), variant) == REFERENCE["dense_bops_input32"][bits]


def test_the_four_constants():
    found = [bops(mlp(bits)) for bits in (32, 12, 6, 4)]
    assert found == [4_652_832, 1_003_552, 412_960, 267_808]


@pytest.mark.parametrize("bits", REFERENCE["dense_bops_per_layer_input32"])
def test_published_dense_layers(bits):
    expected = REFERENCE["dense_bops_per_layer_input32"][bits]
    assert list(bops_per_layer(mlp(int(bits)))) == expected
    assert sum(expected) == REFERENCE["dense_bops_input32"][bits]


@pytest.mark.parametrize("bits", REFERENCE["dense_bops_input_eq_bw"])
@pytest.mark.parametrize("variant", [name for name in FULL if name not in FLOAT_FIRST])
def test_input_at_its_true_width(bits, variant):
    rows = mlp(int(bits), input_bits=int(bits))
    assert bops(rows, variant) == REFERENCE["dense_bops_input_eq_bw"][bits]


@pytest.mark.parametrize("variant", FLOAT_FIRST)
def test_the_authors_charge_the_input_at_32_bits_whatever_it_is(variant):
    assert bops(mlp(6, input_bits=6), variant) == 412_960


@pytest.mark.parametrize(
    ("variant", "key"),
    [("code", "uniform_prune_bops_code"), ("paper", "uniform_prune_bops_weights_only")],
)
@pytest.mark.parametrize("bits", REFERENCE["uniform_prune_bops_code"])
def test_published_pruning_steps(bits, variant, key):
    # survivors in proportion are no whole numbers, so the line between all and none is read
    rows = mlp(int(bits))
    most, least = bops(rows, variant), bops(pruned(rows, [0] * 4), variant)
    weights = sum(REFERENCE["weights_per_layer"])
    steps = REFERENCE["alive_weights_after_each_step"]
    found = [least + (most - least) * alive / weights for alive in steps]
    assert found == pytest.approx(REFERENCE[key][bits], abs=1e-3)


@pytest.mark.parametrize("variant", ["code", "paper", "true_input", "multiply_only"])
def test_pruned_weights_count_on_a_line(variant):
    rows = mlp(6)
    half = pruned(rows, [row.weights // 2 for row in rows])
    ends = bops(rows, variant), bops(pruned(rows, [0] * 4), variant)
    assert bops(half, variant) == pytest.approx(sum(ends) / 2)


def test_what_pruning_everything_leaves():
    assert bops(pruned(mlp(32), [0] * 4)) == 294_688
    assert bops(pruned(mlp(6), [0] * 4)) == 100_000


@pytest.mark.parametrize("model", REFERENCE["authors_pth"])
def test_the_authors_trained_networks(model):
    expected = REFERENCE["authors_pth"][model]
    rows = pruned(mlp(6), expected["alive"])
    assert sum(row.alive for row in rows) == 852
    assert bops(rows, "code") == pytest.approx(expected["bops_code"], abs=1e-6)
    zeros = [
        replace(row, nonzero=n)
        for row, n in zip(rows, expected["nonzero_after_quant"], strict=True)
    ]
    assert bops(zeros, "paper") == bops(rows, "paper")
    assert bops(zeros, "quantized_zeros") == pytest.approx(
        bops(pruned(mlp(6), expected["nonzero_after_quant"]), "paper")
    )
    assert bops(zeros, "quantized_zeros") < bops(zeros, "paper") < bops(zeros, "code")


@pytest.mark.parametrize("shape", REFERENCE["bo_best_dense_bops"])
def test_searched_networks(shape):
    bits, hidden = shape.split("b ", 1)
    widths = [16, *(int(n) for n in hidden.strip("()").split(",")), 5]
    found = bops(mlp(int(bits), widths), "code")
    assert found == pytest.approx(REFERENCE["bo_best_dense_bops"][shape], rel=1e-12)


def test_old_forms_discount_the_additions_too():
    # a quarter of the weights is left, and there are no biases
    rows = [
        replace(row, alive=row.weights // 4, biases=0, biases_alive=0) for row in mlp(6, [16, 8, 4])
    ]
    dense = bops(mlp(6, [16, 8, 4]))
    assert bops(rows, "all_discounted") == pytest.approx(dense / 4)
    assert bops(rows, "all_discounted_twice") == pytest.approx(dense / 16)
    # the published "factor of 50" at 80 % is this form
    share = [
        replace(row, alive=round(row.weights * 0.2), biases=0, biases_alive=0) for row in mlp(6)
    ]
    assert 4_652_832 / bops(share, "all_discounted") == pytest.approx(56.3, abs=0.1)


def test_convolution_by_hand():
    # 3 -> 8 channels, 3x3, 10x10 outputs: n k^2 = 27
    conv = replace(Layer.dense("conv", 27, 8, bits=4), kind="conv", input_bits=8, positions=100)
    assert bops([conv]) == pytest.approx(100 * 8 * 27 * (32 + 8 + 4 + np.log2(27)))
    assert bops([conv], "multiply_only") == 100 * 8 * 27 * 32
    assert ebops([conv]) == 100 * 8 * 27 * 32


@given(rows_strategy)
def test_variants_are_equal_at_full_density(rows):
    true_width = {round(bops(rows, v), 6) for v in FULL if v not in FLOAT_FIRST}
    assert len(true_width) == 1
    float_input = [replace(rows[0], input_bits=32), *rows[1:]]
    assert len({round(bops(float_input, v), 6) for v in FULL}) == 1
    assert bops(rows, "multiply_only") == ebops(rows) < bops(rows)


@given(rows_strategy, st.data())
def test_fewer_weights_never_cost_more(rows, data):
    more = [data.draw(st.integers(0, row.weights)) for row in rows]
    fewer = [data.draw(st.integers(0, m)) for m in more]
    a, b = pruned(rows, more), pruned(rows, fewer)
    for variant in BOPS:
        assert bops(b, variant) <= bops(a, variant) * (1 + 1e-12)
    assert ebops(b) <= ebops(a)
    for variant in BOPS:
        assert bops(a, variant) == pytest.approx(sum(bops_per_layer(a, variant)))


@given(rows_strategy)
def test_bops_of_copies_add_up(rows):
    assert bops(rows * 2, "paper") == pytest.approx(2 * bops(rows, "paper"))
    assert ebops(rows * 2) == 2 * ebops(rows)


def test_unknown_variant_names_the_nearest():
    with pytest.raises(UnknownName, match="unknown BOPs variant 'papr'; did you mean 'paper'"):
        bops(mlp(6), "papr")


def test_no_layers_cost_nothing():
    assert bops([]) == 0
    assert ebops([]) == 0


def span_by_text(n):
    return len(bin(abs(n))[2:].strip("0"))


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_effective_bits_are_the_span_of_the_binary_digits(n):
    assert effective_bits(n) == span_by_text(n)


def test_effective_bits_by_hand():
    found = effective_bits([[0, 1, -1, 2], [3, 5, -6, 64], [7, 96, 127, -128]])
    assert found.tolist() == [[0, 1, 1, 1], [2, 3, 2, 1], [3, 2, 7, 1]]


@given(rows_strategy)
def test_ebops_of_weights_of_one_are_activation_bits_times_weights(rows):
    ones = [
        replace(row, effective=int(effective_bits(np.ones((row.outputs, row.inputs))).sum()))
        for row in rows
    ]
    assert ebops(ones) == sum(row.multiplies * row.input_bits for row in rows)


def test_ebops_per_weight_and_per_layer():
    weights = np.array([[0, 1, 6], [-8, 5, 0]])
    row = Layer(
        path="fc", kind="linear", inputs=3, outputs=2, alive=5, nonzero=4, weight_bits=4,
        input_bits=6, effective=int(effective_bits(weights).sum()),
    )  # fmt: skip
    assert ebops([row]) == 6 * (1 + 2 + 1 + 3)
    assert ebops([row], per_weight=False) == 6 * 4 * 4
    assert ebops_per_layer([row, row]) == (42, 42)
    unknown = replace(row, effective=None)
    assert ebops([unknown]) == ebops([row], per_weight=False)
