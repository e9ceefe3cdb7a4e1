"""Area figures count what they say, name their tool, and show what sharing saves."""

import re
import subprocess

import numpy as np
import pytest

from benchmarks.naive import naive
from pareq.backends import C, Verilog, build
from pareq.backends.verilog.area import FAMILIES, area, synthesize
from pareq.backends.verilog.bench import bench
from pareq.backends.verilog.netlist import Cell, Netlist
from pareq.backends.verilog.ports import ports
from pareq.errors import BackendError, UnknownName
from pareq.ir.build import Builder
from pareq.numerics.grid import Grid
from tests.backends.networks import perceptron
from tests.backends.verilog.programs import icarus, yosys


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    return build(perceptron((6, 9, 4)), "verilog", tmp_path_factory.mktemp("area") / "n", name="n")


@yosys
@pytest.mark.parametrize("family", [pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES])
def test_area_names_tool_version_and_options(artefact, family):
    found = area(artefact, family=family)
    assert found.tool == "Yosys"
    assert re.match(r"\d+\.\d+", found.version)
    assert found.options == FAMILIES[family]
    assert family in found.options
    assert found.flip_flops <= artefact.figures["register_bits"]
    assert found.flip_flops > 0.8 * artefact.figures["register_bits"]
    assert 0.4 * artefact.figures["adder_bits"] < found.luts < 1.6 * artefact.figures["adder_bits"]
    assert 1 <= found.depth <= 2 * artefact.figures["levels"] + 2
    assert sum(found.cells.values()) >= found.flip_flops + found.carries
    if family == "ecp5":
        assert found.packed is None
    else:
        assert 0.7 * found.luts < found.packed <= found.luts


@yosys
@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_large_table_is_not_hidden_in_a_memory(family, tmp_path):
    b = Builder()
    x = b.input("x", (1,), Grid(0, 2**11 - 1))
    entries = np.random.default_rng(0).integers(0, 32, (1, 2**11))
    y = b.op("table", (x, b.constant("entries", entries)), {"first": 0}, name="y", scale=1.0)
    found = area(build(b.graph((y,)), Verilog(emitter="native"), tmp_path / "n"), family=family)
    assert found.luts > 32  # functions of 11 bits
    assert not any("RAM" in kind or kind.startswith("DP16") for kind in found.cells)


@yosys
@icarus
@pytest.mark.slow
def test_native_takes_two_thirds_of_multipliers_at_most(tmp_path):
    graph = perceptron((8, 10, 4), density=0.5)
    artefact = build(graph, "verilog", tmp_path / "native", name="net")
    place = artefact.folder
    (tmp_path / "naive.v").write_text(naive(graph, "net"))
    # both compute the same: the test bench of the one fits the other
    (tmp_path / "tb.v").write_text(bench("net", ports(graph), len(graph.ops), 5.0))
    command = ["iverilog", "-g2001", "-o", "naive.vvp", str(tmp_path / "tb.v")]
    subprocess.run([*command, str(tmp_path / "naive.v")], cwd=place, check=True)
    done = subprocess.run(["vvp", "-n", "naive.vvp"], cwd=place, capture_output=True, check=True)
    assert done.stdout == b"64 rows, no difference\n"
    first = synthesize(tmp_path / "naive.v", "net")
    assert area(artefact).luts <= first.luts * 2 / 3


def lut(output, *inputs, kind=""):
    ports_ = {f"I{i}": [net] for i, net in enumerate(inputs)}
    return Cell(kind or f"LUT{len(inputs)}", ports_, [output])


def register(output, given):
    return Cell("FDRE", {"D": [given]}, [output])


def test_small_functions_with_an_input_in_common_share_a_table():
    def packed(*cells):
        return Netlist(cells).packed()

    assert packed(lut(10, 1, 2, 3), lut(11, 3, 4, 5)) == 1
    assert packed(lut(10, 1, 2, 3), lut(11, 4, 5)) == 2  # nothing in common
    assert packed(lut(10, 1, 2, 3), lut(11, 3, 4, 5, 6)) == 2  # six inputs
    assert packed(lut(10, 1, 2, 3), lut(11, 1, 2), lut(12, 1, 3)) == 2
    chain = Cell("CARRY4", {"S": [10]}, [20])
    assert packed(lut(10, 1, 2), lut(11, 1, 2), chain) == 2  # one is bound to the chain


def test_inverters_in_front_of_tables_count_nothing():
    inverter = lut(2, 1, kind="INV")
    assert len(Netlist([inverter, lut(3, 2, 4)]).luts()) == 1
    assert len(Netlist([inverter, register(3, 2)]).luts()) == 1
    chain = Cell("CARRY4", {"S": [2]}, [3])
    assert len(Netlist([inverter, chain]).luts()) == 1


def test_depth_counts_tables_between_registers():
    assert Netlist([]).depth() == 0
    path = [lut(2, 1), lut(3, 2), register(4, 3), lut(5, 4)]
    assert Netlist(path).depth() == 2
    chained = [
        lut(2, 1),
        Cell("CARRY4", {"S": [2], "CI": []}, [3]),
        Cell("CARRY4", {"S": [], "CI": [3]}, [4]),
        lut(5, 4),
        lut(6, 5, kind="INV"),
    ]
    assert Netlist(chained).depth() == 2
    counted = [
        Cell("CCU2C", {"A0": [1], "CIN": []}, [2]),
        Cell("CCU2C", {"A0": [1], "CIN": [2]}, [3]),
    ]
    assert Netlist(counted).depth() == 1


def test_what_cannot_be_counted_says_why(artefact, tmp_path, monkeypatch):
    with pytest.raises(UnknownName, match="unknown family 'xcup2'; did you mean 'xcup'"):
        area(artefact, family="xcup2")
    other = build(perceptron((3, 2)), C(flags=("-O1",)), tmp_path / "c")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match=r"^artefact 'n': yosys is not installed; run, for ex"):
        area(artefact)
    (tmp_path / "yosys").write_text("#!/bin/sh\necho ERROR: no luck >&2; exit 1\n")
    (tmp_path / "yosys").chmod(0o755)
    with pytest.raises(BackendError, match=r"yosys ended with 1: ERROR: no luck"):
        area(artefact)
    with pytest.raises(BackendError, match=r"model.v is missing; build the graph with the Verilog"):
        area(other)
