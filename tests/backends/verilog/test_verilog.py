"""Designs are Verilog for three tools, and give in simulators what the graph gives."""

import re
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings

from pareq.backends import BACKENDS, Verilog, build, load, verify
from pareq.backends.vectors import uniform
from pareq.backends.verilog.circuit import Circuit, Term
from pareq.backends.verilog.pipeline import schedule
from pareq.backends.verilog.ports import Port
from pareq.backends.verilog.simulator import SIMULATORS, find
from pareq.errors import BackendError
from pareq.ir.build import Builder
from pareq.ir.execute import evaluate, execute
from pareq.ir.graph import Value
from pareq.lower.passes import simplify
from pareq.numerics.grid import Grid
from tests.backends.networks import convolutions, perceptron, tagger
from tests.backends.verilog.programs import BOTH, icarus, verilator, yosys
from tests.ir.random_graphs import FAMILIES, graphs, random_graph


def check(graph, folder, rows=100, **how):
    artefact = build(
        graph,
        Verilog(**{"emitter": "native", "simulator": "icarus", **how}),
        folder / "net",
        name="net",
    )
    assert verify(artefact, graph, rows=rows).samples == rows + 2
    return artefact


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@icarus
@pytest.mark.parametrize("family", FAMILIES[:-1])
def test_random_graphs(family, tmp_path):
    check(random_graph(7, family), tmp_path)


@icarus
@pytest.mark.slow
@settings(max_examples=50, derandomize=True, deadline=None, database=None)
@given(graph=graphs())
def test_50_random_graphs(graph):
    with TemporaryDirectory() as folder:
        check(simplify(graph), Path(folder), levels=2)


@icarus
@pytest.mark.parametrize("levels", [0, 1, 2, 7])
@pytest.mark.parametrize("share", [True, False])
def test_registers_may_stand_anywhere(levels, share, tmp_path):
    artefact = check(perceptron((6, 9, 4)), tmp_path, levels=levels, share=share)
    assert artefact.figures["levels"] <= levels or levels == 0
    assert (artefact.figures["latency_cycles"] == 0) == (levels == 0)
    assert (artefact.figures["register_bits"] == 0) == (levels == 0)


def powers_of_two():
    """A perceptron whose weights are powers of two and zero."""
    rng, b = np.random.default_rng(0), Builder()
    x = b.input("x", (16,), Grid(-32, 31, 0.125))
    for i, (inside, out) in enumerate([(16, 32), (32, 5)]):
        weight = rng.choice([-8, -4, -2, -1, 0, 0, 0, 0, 1, 2, 4, 8], (out, inside))
        names = [
            b.constant(f"w{i}", weight, 0.0625),
            b.constant(f"b{i}", rng.integers(-90, 90, out)),
        ]
        x = b.op("dense", (x, *names), name=f"fc{i}")
        if i == 0:
            ones = [b.constant(n, np.array([v])) for n, v in (("m", 1), ("o", 8), ("s", 4))]
            how = {"lo": 0, "hi": 63, "even": 0}
            x = b.op("requantize", (x, *ones), how, name="relu", scale=0.125)
    best = b.op("top_k", (x,), {"axis": 0, "k": 1}, name="best", scale=1.0)
    return b.graph((x, best))


NETWORKS = {
    "tagger": tagger,
    "dense": lambda: tagger(bits=8, density=1.0),
    "free": lambda: tagger(free=True),
    "powers of two": powers_of_two,
    "even": lambda: perceptron((9, 20, 8), rounding="half_even", signed=True, quantized=True),
    "conv": lambda: convolutions((2, 4), size=(6, 7), bits=5),
}


@icarus
@pytest.mark.parametrize("name", ["powers of two", "even", "conv"])
def test_networks(name, tmp_path):
    check(NETWORKS[name](), tmp_path, rows=200)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", BOTH)
@pytest.mark.parametrize("name", ["tagger", "powers of two", "conv"])
def test_networks_on_10000_samples(name, simulator, tmp_path):
    graph = NETWORKS[name]()
    (y, *_) = execute(graph, *uniform(graph, 1000, np.random.default_rng(0))).outputs
    assert len(np.unique(y)) > 20  # else nothing is compared
    check(graph, tmp_path, rows=10_000, simulator=simulator)


@icarus
@pytest.mark.slow
def test_a_dense_network_of_8_bits(tmp_path):
    check(NETWORKS["dense"](), tmp_path, rows=100)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", BOTH)
def test_several_inputs_and_outputs(simulator, tmp_path):
    b = Builder()
    x = b.input("always", (2, 3), Grid(-4, 3, 0.5))
    y = b.input("wire", (3,), Grid(0, 1, 0.5))
    far = b.input("far", (1,), Grid(-(2**40), 2**40, 1.0))
    product = b.op("multiply", (x, y), name="module")
    square = b.op("multiply", (x, x), name="x_0")
    wide = b.op("leaky", (far,), {"shift": 3}, name="clk")
    still = b.constant("still", np.array([3, -5]))
    graph = b.graph((product, square, product, wide, still, x))
    check(graph, tmp_path, simulator=simulator)


LINTED = [
    pytest.param(lambda: perceptron((6, 9, 4)), id="mlp"),
    pytest.param(lambda: random_graph(1, "mixed"), id="mixed", marks=pytest.mark.slow),
]


@verilator
@pytest.mark.parametrize("levels", [0, 2])
@pytest.mark.parametrize("graph", LINTED)
def test_designs_are_clean_for_verilator(graph, levels, tmp_path):
    place = build(graph(), Verilog(levels=levels), tmp_path / "net", name="net").folder
    command = ["verilator", "--lint-only", "-Wall", "--timing", "--top-module"]
    for top, files in (("net", ["net.v"]), ("net_tb", ["net_tb.v", "net.v"])):
        assert run([*command, top, *files], place) == (0, "")


@yosys
@pytest.mark.parametrize("graph", LINTED)
def test_designs_are_read_by_yosys(graph, tmp_path):
    place = build(graph(), "verilog", tmp_path / "net", name="net").folder
    script = "read_verilog net.v; hierarchy -check -top net; proc; check -assert"
    assert run(["yosys", "-q", "-p", script], place) == (0, "")


@icarus
def test_the_test_bench_compares_on_its_own(tmp_path):
    place = build(perceptron((6, 9, 4)), "verilog", tmp_path / "net", name="net").folder
    compiled = ["iverilog", "-g2001", "-Wall", "-Wno-timescale", "-o", "net.vvp"]
    assert run([*compiled, "net_tb.v", "net.v"], place) == (0, "")
    assert run(["vvp", "-n", "net.vvp"], place) == (0, "64 rows, no difference\n")
    rows = (place / "net_y.hex").read_text().splitlines()
    rows[40] = rows[40].translate(str.maketrans("0123", "1234"))
    (place / "net_y.hex").write_text("\n".join(rows))
    found = run(["vvp", "-n", "net.vvp"], place)[1]
    assert re.match(r"row 40: [0-9a-f]+, expected [0-9a-f]+\n1 of 64 rows differ\n", found)


def test_files_name_modules_grids_and_the_clock(tmp_path):
    artefact = build(perceptron((6, 9, 4)), Verilog(period=2.0), tmp_path / "net", name="jets")
    assert set(artefact.files) == {
        "jets.v",
        "jets.xdc",
        "jets_tb.v",
        "jets_vivado.tcl",
        "jets_x.hex",
        "jets_y.hex",
    }
    text = (artefact.folder / "jets.v").read_text()
    assert "// op fc1: dense net.fc1; " in text
    assert f"// Results follow after {artefact.figures['latency_cycles']:.0f} rising edges" in text
    assert "6 signed numbers of 6\n" in text
    assert max(map(len, text.splitlines())) < 160
    assert "-period 2.000 " in (artefact.folder / "jets.xdc").read_text()
    assert "synth_design -top jets " in (artefact.folder / "jets_vivado.tcl").read_text()
    assert artefact.figures["interval_cycles"] == 1
    assert 0 < artefact.figures["adders"] < artefact.figures["adder_bits"]


@icarus
def test_a_built_folder_can_be_loaded_and_takes_reals(tmp_path):
    graph = perceptron((6, 9, 4))
    folder = build(graph, "verilog", tmp_path / "net", name="net").folder
    again = load(folder)
    again = type(again)(again.folder, Verilog(simulator="icarus"), again.name, again.graph)
    x = np.random.default_rng(0).normal(size=(30, 6)) * 3
    assert np.array_equal(again(x), evaluate(graph, x)[0])
    assert again(x[:0]).shape == (0, 4)
    bound = again.bind(3)
    bound()
    assert np.array_equal(bound.y[0], again.run(np.zeros((3, 6), dtype=int))[0])
    (folder / "net.v").unlink()
    lost = type(again)(again.folder, again.backend, again.name, again.graph)
    with pytest.raises(BackendError, match=r"net.v is missing; build the artefact again"):
        lost(x)


def test_what_is_missing_is_named_with_what_to_install(tmp_path, monkeypatch):
    graph = perceptron((6, 9, 4))
    monkeypatch.setenv("PATH", str(tmp_path))
    artefact = build(graph, "verilog", tmp_path / "net")  # needs no tool
    n = np.zeros((1, 6), dtype=int)
    with pytest.raises(BackendError, match=r"no simulator \(verilator or icarus\) .* apt install"):
        artefact.run(n)
    for simulator, package in SIMULATORS.items():
        other = build(graph, Verilog(simulator=simulator), tmp_path / simulator)
        with pytest.raises(BackendError, match=f"apt install {package}"):
            other.run(n)
    with pytest.raises(BackendError, match="simulator is 'modelsim', expected one of verilator"):
        build(graph, Verilog(simulator="modelsim"), tmp_path / "other").run(n)


def test_what_cannot_be_built_leaves_nothing(tmp_path):
    graph = perceptron((6, 9, 4))
    for settings_, name, message in (
        (Verilog(most=10), "net", "expected 10 at most; prune it"),
        (Verilog(), "module", "name is 'module', a word of Verilog"),
    ):
        with pytest.raises(BackendError, match=message):
            build(graph, settings_, tmp_path / "net", name=name)
    b = Builder()
    empty = b.graph((b.constant("c", np.array([1])),))
    with pytest.raises(BackendError, match="the graph has no inputs"):
        build(empty, "verilog", tmp_path / "net")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BackendError, match="levels is -1"):
        Verilog(levels=-1)
    with pytest.raises(BackendError, match="period is 0"):
        Verilog(period=0)
    assert BACKENDS["verilog"] == Verilog()


@pytest.mark.parametrize("emitter", ["native", "best"])
def test_the_pruned_tagger_builds_within_5_seconds(emitter, tmp_path):
    begin = time.process_time()  # of this process, whatever else the machine does
    build(tagger(), Verilog(emitter=emitter), tmp_path / "net", name="net")
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [1, 5, 8, 33, 63])
def test_integers_survive_the_lines_of_a_test_bench(width, signed):
    low = -(2 ** (width - 1)) if signed else 0
    port = Port("x", Value("x", (2, 3), Grid(low, low + 2**width - 1)), width, signed)
    n = np.random.default_rng(0).integers(low, low + 2**width - 1, (9, 2, 3), endpoint=True)
    lines = port.pack(n)
    assert np.array_equal(port.unpack(lines), n)
    with pytest.raises(BackendError, match="x has bits that are not known"):
        port.unpack(["x" * len(lines[0])])


def test_stages_are_balanced_and_every_path_has_one_latency():
    circuit = Circuit()
    x = [circuit.input(0, i, 0, 7) for i in range(16)]
    total = circuit.node(Term(tuple(digit for term in x for digit in term.digits)))
    (first,) = (d.node for d in x[0].digits)
    plan = schedule(circuit, [total, first], 3)  # 4 levels: 2 stages of 2, not of 3 and 1
    assert (plan.latency, plan.levels) == (2, 2)
    assert plan.registers(total) == 1
    assert plan.registers(first) == 2
    assert schedule(circuit, [total], 0).latency == 0
    assert schedule(circuit, [total], 1).latency == 4


def test_small_designs_start_in_icarus_and_others_in_verilator(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert (find(), find(small=True), find("icarus")) == ("verilator", "icarus", "icarus")
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "iverilog" else name)
    assert find(small=True) == "verilator"
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "verilator" else name)
    assert find() == "icarus"
