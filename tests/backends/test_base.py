"""Artefacts: whole or not there, loaded as built, and particular about what they are given."""

import json
import shutil

import numpy as np
import pytest

from pareq.backends import BACKENDS, C, build, load
from pareq.errors import BackendError, GraphError, GridError, PareqError, UnknownName
from pareq.ir.execute import evaluate, execute
from tests.backends.networks import perceptron

QUICK = C(flags=("-O1",))


@pytest.fixture(scope="module")
def graph():
    return perceptron((5, 9, 3), density=0.6)


@pytest.fixture(scope="module")
def artefact(graph, tmp_path_factory):
    return build(graph, QUICK, tmp_path_factory.mktemp("built") / "net", name="net")


@pytest.fixture
def n(graph):
    return np.random.default_rng(0).integers(-32, 32, (200, 5))


def test_a_built_folder_can_be_loaded_again(artefact, graph, n):
    again = load(artefact.folder)
    assert (again.name, again.files, again.graph) == ("net", artefact.files, graph)
    assert set(artefact.files) == {"net.c", "net.h", "libnet.so"}
    assert artefact.figures["bytes"] > 1000
    assert np.array_equal(again.run(n)[0], execute(graph, n).outputs[0])


def test_every_integer_type_is_taken_and_int64_given(artefact, graph, n):
    expected = execute(graph, n).outputs[0]
    for kind in (np.int8, np.int16, np.int32, np.int64):
        found = artefact.run(n.astype(kind))[0]
        assert found.dtype == np.int64
        assert np.array_equal(found, expected)
    assert np.array_equal(artefact.run(n[:, ::-1][:, ::-1])[0], expected)  # strides
    assert np.array_equal(artefact.run(np.asfortranarray(n))[0], expected)
    still = n.astype(np.int8)
    still.setflags(write=False)
    assert np.array_equal(artefact.run(still)[0], expected)
    assert np.array_equal(
        artefact.run(n.astype(np.uint16) % 32)[0], execute(graph, n % 32).outputs[0]
    )


def test_no_samples_give_no_results(artefact):
    assert artefact.run(np.zeros((0, 5), dtype=np.int8))[0].shape == (0, 3)
    assert artefact(np.zeros((0, 5))).shape == (0, 3)


def test_reals_are_quantized_as_the_graph_says(artefact, graph):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 5)) * 3
    x[:4] = [[np.inf], [-np.inf], [1e300], [-0.0]]
    x[4:9] = rng.integers(-70, 70, (5, 5)) * 0.0625  # ties
    assert np.array_equal(artefact(x), evaluate(graph, x)[0])
    short = np.clip(x, -1e30, 1e30).astype(np.float32)
    assert np.array_equal(artefact(short), evaluate(graph, short)[0])
    assert np.array_equal(artefact(x[:, :].tolist()), evaluate(graph, x)[0])


@pytest.mark.parametrize("value", [np.nan, -np.nan])
def test_nan_is_an_error(artefact, value):
    x = np.zeros((300, 5))
    x[77, 3] = value
    for kind in (np.float32, np.float64):
        with pytest.raises(GridError, match=r"^artefact 'net': 1 of 1500 values are NaN$"):
            artefact(x.astype(kind))


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((4, 6), dtype=np.int8),
        np.zeros((4, 5, 1), dtype=np.int8),
        np.zeros(5, dtype=np.int8),
        np.zeros((4, 5), dtype=complex),
        np.zeros((4, 5), dtype=bool),
        np.full((4, 5), None),
        np.full((4, 5), 1 << 80, dtype=object),
        np.array([["a"] * 5]),
        "abc",
        None,
        3,
    ],
    ids=lambda given: f"{type(given).__name__}-{getattr(given, 'dtype', '')}",
)
def test_what_is_no_input_is_an_error(artefact, given):
    with pytest.raises(PareqError, match=r"^artefact 'net': input 'x': .*expected"):
        artefact.run(given)
    with pytest.raises(PareqError, match=r"^artefact 'net': input 'x': .*expected"):
        artefact(given)


@pytest.mark.parametrize("value", [32, -33, 127, -128, 2**40, -(2**63), 2**64 - 1])
def test_integers_outside_the_grid_are_an_error(artefact, value):
    kind = np.uint64 if value >= 2**63 else np.int64 if abs(value) > 128 else np.int8
    n = np.zeros((300, 5), dtype=kind)
    n[299, 4] = value
    with pytest.raises(BackendError, match=r"input 'x': integers are .*, expected -32\.\.31$"):
        artefact.run(n)


def test_integers_come_as_integers_and_the_right_number_of_arrays(artefact, n):
    with pytest.raises(BackendError, match="numbers are float64, expected integers"):
        artefact.run(n.astype(float))
    with pytest.raises(BackendError, match="got 2 inputs, expected 1"):
        artefact.run(n, n)
    with pytest.raises(BackendError, match="got 0 inputs, expected 1"):
        artefact()


def test_bound_arrays_are_read_and_filled(artefact, graph, n):
    bound = artefact.bind(7)
    for begin in (0, 7, 14):
        bound.x[0][...] = n[begin : begin + 7]
        bound()
        assert np.array_equal(bound.y[0], execute(graph, n[begin : begin + 7]).outputs[0])
    with pytest.raises(BackendError, match="rows is 0"):
        artefact.bind(0)


def test_a_built_folder_is_replaced_and_another_one_is_not(graph, tmp_path):
    place = tmp_path / "deep" / "net"
    build(graph, QUICK, place)
    build(perceptron((5, 4, 2)), QUICK, place)
    assert load(place).graph.value("fc2").shape == (2,)
    assert [each.name for each in place.parent.iterdir()] == ["net"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("the only copy")
    with pytest.raises(BackendError, match=r"holds other files and no artefact.json; name another"):
        build(graph, QUICK, mine)
    with pytest.raises(BackendError, match="holds other files"):
        build(graph, QUICK, mine / "thesis.txt")
    assert (mine / "thesis.txt").read_text() == "the only copy"


def test_a_failed_build_leaves_what_was_there(graph, tmp_path):
    place = tmp_path / "net"
    old = build(graph, QUICK, place)
    with pytest.raises(BackendError, match=r"^build c .*ended with 1"):
        build(graph, C(flags=("-O1", "-include", "no_such_file.h")), place)
    with pytest.raises(BackendError, match=r"no C compiler .* is installed; install gcc"):
        build(graph, C(compiler="no-such-compiler"), place)
    assert load(place).files == old.files
    assert [each.name for each in tmp_path.iterdir()] == ["net"]


def test_an_unknown_back_end_and_an_impossible_name_are_errors(graph, tmp_path):
    assert BACKENDS["c"] == C()
    with pytest.raises(UnknownName, match="unknown back end 'cc'"):
        build(graph, "cc", tmp_path / "net")
    for name in ("1st", "a-b", "", "a b", "naïve", "x;y"):
        with pytest.raises(BackendError, match="expected letters, digits and _"):
            build(graph, QUICK, tmp_path / "net", name=name)
    assert not (tmp_path / "net").exists()


def test_damage_is_found_on_loading(artefact, tmp_path):
    def damaged(change):
        place = tmp_path / "copy"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(artefact.folder, place)
        change(place)
        return place

    def card(place, **changes):
        data = json.loads((place / "artefact.json").read_text())
        (place / "artefact.json").write_text(json.dumps({**data, **changes}))

    cases = {
        "no artefact.json": lambda p: (p / "artefact.json").unlink(),
        "cannot be read": lambda p: (p / "artefact.json").write_bytes(b"\xff{"),
        "not of version 1": lambda p: card(p, version=99),
        "is damaged": lambda p: card(p, files=[3]),
        "figures|is damaged": lambda p: card(p, figures={"bytes": "many"}),
        "unknown back end": lambda p: card(p, backend="d"),
        "expected letters": lambda p: card(p, name="../../net"),
        "libnet.so is missing": lambda p: (p / "libnet.so").unlink(),
    }
    for message, change in cases.items():
        with pytest.raises(PareqError, match=message):
            load(damaged(change))
    with pytest.raises(GraphError):
        load(damaged(lambda p: (p / "graph" / "graph.json").write_text("{}")))
    broken = load(damaged(lambda p: (p / "libnet.so").write_bytes(b"no library")))
    with pytest.raises(BackendError, match=r"libnet.so cannot be loaded .*; build it again"):
        broken.run(np.zeros((1, 5), dtype=np.int8))


def test_many_threads_give_what_one_gives(graph, tmp_path):
    n = np.random.default_rng(2).integers(-32, 32, (20_011, 5)).astype(np.int8)
    one = build(graph, C(flags=("-O1",), threads=1), tmp_path / "one")
    many = build(graph, C(flags=("-O1",), threads=3), tmp_path / "many")
    assert np.array_equal(one.run(n)[0], many.run(n)[0])
    assert np.array_equal(one(n * 0.125), many(n * 0.125))
