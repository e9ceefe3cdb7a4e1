"""Hostile graph files and numbers: an error of one line, never a crash, a hang or a lot of memory.

Damage that the checksums notice is in `tests/ir/test_store.py`; here the checksums are right, as
those of an attacker would be.
"""

import copy
import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pareq.errors import PareqError
from pareq.ir.execute import evaluate
from pareq.ir.store import load_graph, save_graph
from tests.ir.random_graphs import random_graph

HOSTILE = (
    None, True, -1, 0, 2**31, 2**63, 10**40, 1e308, -0.5, "", "../../etc/passwd", "\x00", "x" * 9999,
    [], {}, [0] * 70, [2**31, 2**31, 2**31], {"a": {"b": []}}, "conv", "half_up",
)  # fmt: skip


def places(holder, path=()):
    """The paths of everything inside a JSON value."""
    pairs = holder.items() if isinstance(holder, dict) else enumerate(holder)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def change(graph, path, value):
    """Put a value at a place."""
    holder = graph
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = copy.deepcopy(value)


def forged(folder, graph):
    """Write a structure with the checksum that it should have."""
    data = (folder / "constants.safetensors").read_bytes()
    content = {"arrays": hashlib.sha256(data).hexdigest(), "graph": graph}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    checksum = hashlib.sha256(text.encode()).hexdigest()
    whole = {"format": "pareq-graph", "version": 1, "checksum": checksum, **content}
    (folder / "graph.json").write_text(json.dumps(whole))


def refused_or_fine(folder):
    """Loads and runs, or says in one line why not."""
    said = ""
    try:
        graph = load_graph(folder)
        sizes = [(2, *each.value.shape) for each in graph.inputs]
        if sum(int(np.prod(size)) for size in sizes) < 10**5:
            evaluate(graph, *(np.zeros(size) for size in sizes))
    except PareqError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.slow
@settings(max_examples=250, derandomize=True, deadline=None, database=None)
@given(
    family=st.sampled_from(["mlp", "conv2d", "mixed"]),
    where=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3),
    value=st.sampled_from(HOSTILE),
)
def test_any_change_of_the_structure(family, where, value):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_graph(random_graph(1, family), folder)
        graph = json.loads((folder / "graph.json").read_text())["graph"]
        for each in where:
            found = list(places(graph))
            if found:
                change(graph, found[int(each * len(found))], value)
        forged(folder, graph)
        refused_or_fine(folder)


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(where=st.floats(0, 1, exclude_max=True), value=st.sampled_from(HOSTILE))
def test_one_change_of_the_structure(where, value):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_graph(random_graph(1, "mlp"), folder)
        graph = json.loads((folder / "graph.json").read_text())["graph"]
        found = list(places(graph))
        change(graph, found[int(where * len(found))], value)
        forged(folder, graph)
        refused_or_fine(folder)


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(header=st.binary(max_size=200), length=st.integers(0, 2**64 - 1))
def test_any_header_of_the_arrays(header, length):
    """Lengths that lie, and bytes that are no JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_graph(random_graph(1, "mlp"), folder)
        graph = json.loads((folder / "graph.json").read_text())["graph"]
        data = length.to_bytes(8, "little") + header
        (folder / "constants.safetensors").write_bytes(data)
        forged(folder, graph)
        with pytest.raises(PareqError) as refusal:
            load_graph(folder)
        assert "\n" not in str(refusal.value)
