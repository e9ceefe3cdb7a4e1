"""A graph is checked whole: one name once, in order, with the shapes, scales and ranges it says."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from pareq.errors import GraphError, PareqError, UnknownName
from pareq.ir.graph import Attributes, Constant, Graph, Input, Op, Value
from pareq.numerics.grid import Grid
from tests.ir.random_graphs import graphs

EYE = np.eye(2, dtype=np.int64)
INT4 = Grid(-8, 7, 0.5)


def small():
    """One dense layer of two inputs and two outputs, then a clamp."""
    constants = (
        Constant("w", np.array([[1, -2], [3, 0]]), Grid(-4, 3, np.array([[0.25], [0.125]]))),
        Constant("b", np.array([5, -1]), Grid(-8, 7)),
    )
    scale = np.array([0.125, 0.0625])
    ops = (
        Op("dense", ("x", "w", "b"), Value("fc", (2,), Grid(-64, 64, scale)), origin="net.fc"),
        Op(
            "clamp",
            ("fc",),
            Value("relu", (2,), Grid(0, 64, scale)),
            Attributes({"lo": 0, "hi": 64}),
        ),
    )
    return Graph((Input(Value("x", (2,), INT4)),), constants, ops, ("relu",), {"made": "by hand"})


def change(graph, index, **fields):
    """The graph with another op at `index`."""
    ops = list(graph.ops)
    ops[index] = replace(ops[index], **fields)
    return replace(graph, ops=tuple(ops))


def test_a_whole_graph_passes_and_answers():
    graph = small()
    assert graph.check() is graph
    assert graph.value("fc").shape == (2,)
    assert graph.constant("x") is None
    assert graph.constant("b").tolist() == [5, -1]
    assert graph.producer("relu").kind == "clamp"
    assert graph.producer("x") is None
    assert [op.name for op in graph.users("fc")] == ["relu"]
    assert graph.users("relu") == ()
    reach = graph.ranges()["fc"]
    assert (reach.lo.tolist(), reach.hi.tolist()) == ([-8 - 14 + 5, -24 - 1], [7 + 16 + 5, 20])


WRONG = {
    "read too early": (lambda g: replace(g, ops=g.ops[::-1]), "op 'relu': reads 'fc', which no"),
    "name twice": (lambda g: replace(g, ops=(*g.ops, g.ops[1])), "given twice"),
    "name of an input": (lambda g: replace(g, inputs=g.inputs * 2), "input 'x': the name is given"),
    "empty name": (lambda g: change(g, 1, output=replace(g.ops[1].output, name="")), "printable"),
    "unknown operand": (lambda g: change(g, 1, inputs=("fcc",)), "did you mean 'fc'"),
    "operands": (lambda g: change(g, 0, inputs=("x", "w")), "2 operands, expected x, weight, bias"),
    "weight must be constant": (
        lambda g: change(g, 0, inputs=("x", "x", "b")),
        "constant as weight",
    ),
    "attribute unknown": (
        lambda g: change(g, 1, attributes=Attributes({"lo": 0, "hi": 64, "low": 0})),
        "no attribute 'low'; did you mean 'lo'",
    ),
    "attribute absent": (lambda g: change(g, 1, attributes=Attributes({"lo": 0})), "'hi' is None"),
    "attribute of another type": (
        lambda g: change(g, 1, attributes=Attributes({"lo": 0, "hi": (64,)})),
        "expected an integer",
    ),
    "shape": (
        lambda g: change(g, 1, output=replace(g.ops[1].output, shape=(2, 1))),
        r"op 'relu': shape is \(2, 1\), expected \(2,\)",
    ),
    "scale": (
        lambda g: change(g, 1, output=replace(g.ops[1].output, grid=Grid(0, 64, 0.125))),
        "expected 0.0625..0.125 with zero 0",
    ),
    "zero": (
        lambda g: change(g, 0, output=Value("fc", (2,), replace(g.value("fc").grid, zero=1))),
        "with zero 1, expected",
    ),
    "scale that does not fit": (
        lambda g: change(g, 1, output=Value("relu", (2,), Grid(0, 64, np.ones(3)))),
        r"scale has shape \(3,\)",
    ),
    "range": (
        lambda g: change(g, 0, output=Value("fc", (2,), replace(g.value("fc").grid, hi=27))),
        r"value 'fc': can take -25\.\.28, expected -64\.\.27",
    ),
    "constant off its grid": (
        lambda g: replace(
            g, constants=(replace(g.constants[0], data=[[9, 0], [0, 0]]), g.constants[1])
        ),
        r"value 'w': can take 0\.\.9",
    ),
    "no outputs": (lambda g: replace(g, outputs=()), "no outputs"),
    "unknown output": (lambda g: replace(g, outputs=("rely",)), "did you mean 'relu'"),
    "metadata": (lambda g: replace(g, metadata={"a": 1}), "expected a string"),
    "rounding": (
        lambda g: replace(g, inputs=(replace(g.inputs[0], rounding="half_evn"),)),
        "did you mean 'half_even'",
    ),
    "empty shape": (
        lambda g: replace(g, inputs=(Input(Value("x", (0,), INT4)),)),
        "sizes of 1 or more",
    ),
    "huge shape": (
        lambda g: replace(g, inputs=(Input(Value("x", (2**40,), INT4)),)),
        "more than",
    ),
    "huge grid": (lambda g: replace(g, inputs=(Input(Value("x", (2,), Grid(0, 2**70))),)), "int64"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name):
    edit, fact = WRONG[name]
    with pytest.raises(PareqError, match=fact):
        edit(small()).check()


def test_an_unknown_kind_is_suggested():
    with pytest.raises(UnknownName, match="did you mean 'dense'"):
        change(small(), 0, kind="denser").check()


def test_nothing_can_be_changed():
    graph = small()
    with pytest.raises(ValueError, match="read-only"):
        graph.constants[0].data[0, 0] = 7
    with pytest.raises(AttributeError):
        graph.outputs = ()
    with pytest.raises(TypeError):
        graph.metadata["a"] = "b"
    data = np.array([1])
    kept = Constant("c", data, Grid(0, 9))
    data[0] = 5
    assert kept.data[0] == 1


@pytest.mark.parametrize("data", [np.array([1.0]), np.array([True]), np.array([1], np.uint64)])
def test_constants_are_integers(data):
    with pytest.raises(GraphError, match="expected integers"):
        Constant("c", data, Grid(0, 9))


def test_attributes_are_integers():
    assert dict(Attributes({"b": [1, np.int32(2)], "a": np.int64(3)})) == {"a": 3, "b": (1, 2)}
    for wrong in (1.0, "1", True, [1.5], None, 2**63):
        with pytest.raises(GraphError, match="'a'"):
            Attributes({"a": wrong})
    with pytest.raises(GraphError, match="expected a tuple"):
        Attributes({"a": 1}).wholes("a")


@settings(max_examples=20, deadline=None)
@given(graphs())
def test_copies_are_equal(graph):
    assert copy.deepcopy(graph) == graph
    assert pickle.loads(pickle.dumps(graph)) == graph
    assert hash(pickle.loads(pickle.dumps(graph))) == hash(graph)
    assert replace(graph, outputs=graph.outputs[:1]) != graph
