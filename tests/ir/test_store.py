"""What is loaded is what was saved; what was not saved by pareq is refused in one line."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from pareq.errors import GraphError, PareqError
from pareq.ir.store import VERSION, load_graph, save_graph
from tests.ir.random_graphs import graphs, random_graph

STRUCTURE, ARRAYS = "graph.json", "constants.safetensors"
SAME_FOLDER = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def folder(tmp_path):
    return save_graph(random_graph(3, "mixed"), tmp_path / "runs" / "graph")


def forge(folder, edit=None, arrays=None):
    """Change the content and make all checksums right again, as an attacker would."""
    whole = json.loads((folder / STRUCTURE).read_text())
    if arrays:
        held = dict(load((folder / ARRAYS).read_bytes()))
        arrays(held)
        (folder / ARRAYS).write_bytes(save(held))
        whole["arrays"] = hashlib.sha256((folder / ARRAYS).read_bytes()).hexdigest()
    if edit:
        edit(whole["graph"])
    content = {name: whole[name] for name in ("arrays", "graph")}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    whole["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / STRUCTURE).write_text(json.dumps(whole))


@SAME_FOLDER
@given(graphs())
def test_round_trip_is_identity(tmp_path, graph):
    back = load_graph(save_graph(graph, tmp_path))
    assert back == graph
    assert [op.name for op in back.ops] == [op.name for op in graph.ops]


def test_saving_twice_gives_the_same_bytes(folder, tmp_path):
    again = save_graph(load_graph(folder), tmp_path / "again")
    for name in (STRUCTURE, ARRAYS):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(each.name for each in again.iterdir()) == [ARRAYS, STRUCTURE]


def test_forging_without_change_loads(folder):
    before = load_graph(folder)
    forge(folder, lambda graph: None, lambda arrays: None)
    assert load_graph(folder) == before


@SAME_FOLDER
@given(st.sampled_from([STRUCTURE, ARRAYS]), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_damaged_byte_is_noticed(folder, name, place, change):
    path, good = folder / name, (folder / name).read_bytes()
    bad = bytearray(good)
    bad[int(place * len(bad))] ^= change
    path.write_bytes(bad)
    message = ""
    try:
        load_graph(folder)
    except GraphError as error:
        message = str(error)
    finally:
        path.write_bytes(good)
    if message:
        assert "\n" not in message
        assert str(folder) in message
    else:  # space between the words of the JSON carries nothing
        assert name == STRUCTURE
        assert json.loads(bytes(bad)) == json.loads(good)


@SAME_FOLDER
@given(st.sampled_from([STRUCTURE, ARRAYS]), st.floats(0, 1, exclude_max=True))
def test_any_cut_is_noticed(folder, name, place):
    path, good = folder / name, (folder / name).read_bytes()
    path.write_bytes(good[: int(place * len(good))])
    with pytest.raises(GraphError):
        load_graph(folder)
    path.write_bytes(good)


@pytest.mark.parametrize("name", [STRUCTURE, ARRAYS])
def test_a_file_that_is_absent_or_a_folder(folder, name):
    (folder / name).unlink()
    with pytest.raises(GraphError, match="cannot be read"):
        load_graph(folder)
    (folder / name).mkdir()
    with pytest.raises(GraphError, match="cannot be read"):
        load_graph(folder)


def test_another_version_or_format(folder):
    path = folder / STRUCTURE
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "version": VERSION + 1}))
    with pytest.raises(GraphError, match=f"version is {VERSION + 1}, expected {VERSION}"):
        load_graph(folder)
    for text in (json.dumps({**whole, "format": "onnx"}), "[]", "null", "1" * 10_000, "[" * 99_999):
        path.write_text(text)
        with pytest.raises(GraphError):
            load_graph(folder)
    path.write_text(json.dumps({**whole, "more": 1}))
    with pytest.raises(GraphError, match="more"):
        load_graph(folder)


def op(index, **fields):
    return lambda graph: graph["ops"][index].update(fields)


def grid(**fields):
    return lambda graph: graph["inputs"][0]["grid"].update(fields)


HOSTILE = {
    "path as a name": (op(0, inputs=["../../etc/passwd"] * 4), "no earlier op gives"),
    "kind": (op(0, kind="__class__"), "unknown op kind"),
    "kind of another type": (op(0, kind=3), "field 'kind' is int"),
    "attribute of another type": (op(0, attributes={"lo": "0"}), "expected integers"),
    "attribute beyond int64": (op(0, attributes={"lo": 10**40}), "beyond"),
    "attributes as a list": (op(0, attributes=[]), "field 'attributes' is list"),
    "operands of another type": (op(0, inputs=[0]), "holds int"),
    "a shape of strings": (op(0, shape=["2"]), "field 'shape' holds str"),
    "a huge shape": (lambda g: g["inputs"][0].update(shape=[2**31, 2**31]), "more than"),
    "a negative shape": (lambda g: g["inputs"][0].update(shape=[-1, 3, 4]), "1 or more"),
    "an infinite scale": (grid(scale=float("1e999")), "damaged"),
    "a negative scale": (grid(scale=-1.0), "positive"),
    "a scale of another type": (grid(scale="1"), "field 'scale' is str"),
    "an absent scale": (grid(scale=None), "the scale of 'x' is absent"),
    "a huge grid": (grid(hi=2**80), "int64"),
    "a real limit": (grid(hi=3.5), "field 'hi' is float"),
    "a boolean limit": (grid(lo=True), "field 'lo' is bool"),
    "an empty grid": (grid(lo=9, hi=-9), "lo = 9"),
    "no inputs": (lambda g: g.pop("inputs"), "field 'inputs' is NoneType"),
    "rounding": (lambda g: g["inputs"][0].update(rounding="up"), "unknown rounding"),
    "output": (lambda g: g.update(outputs=["nothing"]), "no value 'nothing'"),
    "metadata": (lambda g: g.update(metadata={"a": ["b"]}), "expected a string"),
    "a constant less": (lambda g: g["constants"].pop(), "does not name"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_structure_is_refused(folder, name):
    edit, fact = HOSTILE[name]
    forge(folder, edit)
    with pytest.raises(PareqError, match=fact) as caught:
        load_graph(folder)
    assert "\n" not in str(caught.value)


def _first(arrays):
    return sorted(name for name in arrays if name.startswith("constant:"))[0]


def _retype(dtype):
    return lambda arrays: arrays.update({_first(arrays): arrays[_first(arrays)].astype(dtype)})


HOSTILE_ARRAYS = {
    "float": (_retype(np.float32), "float32, expected"),
    "wider": (_retype(np.int64), "int64, expected"),
    "absent": (lambda arrays: arrays.pop(_first(arrays)), "absent, expected"),
    "one more": (lambda arrays: arrays.update({"x": np.zeros(1)}), "holds 'x'"),
    "other values": (
        lambda arrays: arrays.update({_first(arrays): arrays[_first(arrays)] * 0 + 100}),
        "can take 100|can take .*100",
    ),
    "other shape": (
        lambda arrays: arrays.update({_first(arrays): arrays[_first(arrays)].ravel()[:1]}),
        "op '",
    ),
}


@pytest.mark.parametrize("name", HOSTILE_ARRAYS)
def test_hostile_arrays_are_refused(folder, name):
    edit, fact = HOSTILE_ARRAYS[name]
    forge(folder, None, edit)
    with pytest.raises(PareqError, match=fact):
        load_graph(folder)


def test_a_forged_header_of_the_arrays(folder):
    """Lengths that point outside the file, and names of files, are refused by the reader."""
    path = folder / ARRAYS
    header = json.dumps(
        {"constant:../x": {"dtype": "I8", "shape": [2**40], "data_offsets": [0, 2**40]}}
    )
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    whole = json.loads((folder / STRUCTURE).read_text())
    content = {"arrays": hashlib.sha256(path.read_bytes()).hexdigest(), "graph": whole["graph"]}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    whole.update(content, checksum=hashlib.sha256(text.encode()).hexdigest())
    (folder / STRUCTURE).write_text(json.dumps(whole))
    with pytest.raises(GraphError, match="cannot be read"):
        load_graph(folder)


def test_a_graph_that_is_not_whole_is_not_saved(tmp_path):
    graph = random_graph(0, "mlp")
    broken = type(graph)(graph.inputs, graph.constants, graph.ops[:-1], graph.outputs)
    with pytest.raises(GraphError):
        save_graph(broken, tmp_path / "graph")
    assert not (tmp_path / "graph").exists()
