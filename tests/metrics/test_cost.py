import json
from dataclasses import replace

import pytest

from pareq.errors import DataError
from pareq.metrics.bops import BOPS, bops, ebops
from pareq.metrics.cost import Cost, Rest
from pareq.metrics.layer import Layer
from pareq.metrics.memory import ENCODINGS, stored_bits


@pytest.fixture
def cost():
    fc1 = replace(Layer.dense("fc1", 16, 8, bits=6), alive=40, nonzero=30, effective=70)
    fc2 = Layer.dense("fc2", 8, 2)
    again = replace(fc2, shares="fc2")
    return Cost((fc1, fc2, again), (Rest("bn", "BatchNorm1d", 32, norm=True), Rest("x", "matmul")))


def test_totals(cost):
    totals = cost.totals()
    assert (totals["weights"], totals["alive"], totals["nonzero"]) == (144, 56, 46)
    assert totals["sparsity"] == pytest.approx(1 - 56 / 144)
    assert totals["zeros"] == pytest.approx(1 - 46 / 144)
    assert totals["multiplies"] == 128 + 16 + 16
    assert totals["biases"] == 10
    assert (totals["bits_norms"], totals["bits_rest"]) == (32 * 32, 0)
    assert totals["ebops"] == 6 * 70 + 2 * 32 * 32 * 16 == ebops(cost.rows)
    assert totals["ebops_per_layer_bits"] == 6 * 6 * 30 + 2 * 32 * 32 * 16
    for variant in BOPS:
        assert totals[f"bops_{variant}"] == bops(cost.rows, variant)
    for name in ENCODINGS:
        assert totals[f"bits_{name}"] + totals["bits_biases"] == stored_bits(cost.rows, name)
        assert totals[f"compression_{name}"] == 32 * 154 / stored_bits(cost.rows, name)


def test_layers_add_up_to_the_totals(cost):
    totals, layers = cost.totals(), cost.layers()
    assert [layer["path"] for layer in layers] == ["fc1", "fc2", "fc2"]
    for key in ["ebops", *(f"bops_{variant}" for variant in BOPS)]:
        assert sum(layer[key] for layer in layers) == pytest.approx(totals[key])
    assert sum(layer["bits_csr"] for layer in layers[:2]) == totals["bits_csr"]


def test_json_round_trip(cost):
    data = cost.as_dict()
    assert data["bops_paper"] == cost.totals()["bops_paper"]
    assert Cost.from_dict(json.loads(json.dumps(data, allow_nan=False))) == cost


def test_nothing_at_all():
    empty = Cost(())
    assert empty.totals()["sparsity"] == 0.0
    assert set(empty.totals().values()) == {0.0}
    assert Cost.from_dict(empty.as_dict()) == empty


def test_from_dict_refuses(cost):
    data = cost.as_dict()
    with pytest.raises(DataError, match="cost: layers must be a list of tables"):
        Cost.from_dict({**data, "layers": 3})
    with pytest.raises(DataError, match="cost: rest must be a list of tables"):
        Cost.from_dict({"layers": []})
    with pytest.raises(DataError, match="cost: a layer lacks alive, bias_bits, "):
        Cost.from_dict({**data, "layers": [{"path": "fc"}]})
    with pytest.raises(DataError, match="cost: rest has the keys a"):
        Cost.from_dict({**data, "rest": [{"a": 1}]})


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("kind", "lstm", "kind must be linear or conv, got lstm"),
        ("inputs", 0, "inputs must be 1 or more, got 0"),
        ("weight_bits", 0, "weight_bits must be 1 or more, got 0"),
        ("alive", 129, "129 alive of 128 weights"),
        ("nonzero", -1, "nonzero must be 0 or more, got -1"),
        ("biases_alive", 9, "9 biases_alive of 8 biases"),
        ("nonzero", 129, "129 nonzero of 128 weights"),
        ("positions", -1, "positions must be 0 or more, got -1"),
        ("alive", 1.5, "alive must be a whole number, got 1.5"),
        ("reads", "many", "reads must be a whole number, got 'many'"),
        ("input_bits", None, "input_bits must be a whole number, got None"),
        ("effective", -1, "effective must be 0 or more, got -1"),
    ],
)
def test_impossible_layers_are_refused(field, value, text):
    with pytest.raises(DataError, match=f"layer fc: {text}"):
        replace(Layer.dense("fc", 16, 8), **{field: value})
