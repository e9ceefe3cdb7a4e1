"""Designs of alkaid give what the graph gives, behind the same ports as those of our own."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from pareq.backends import BACKENDS, Alkaid, Verilog, build, load, verify
from pareq.backends.verilog import backend
from pareq.backends.verilog.alkaid.design import plan
from pareq.backends.verilog.alkaid.emitters import EMITTERS
from pareq.errors import BackendError, MissingExtra, PareqError
from pareq.ir.build import Builder
from pareq.ir.ops import KINDS
from pareq.numerics.grid import Grid
from tests.backends.networks import convolutions, perceptron
from tests.backends.verilog.programs import icarus, verilator
from tests.conformance.test_backends import KIND_GRAPHS
from tests.ir.random_graphs import random_graph

pytest.importorskip("alkaid", reason="ALKAID IS NOT INSTALLED: pip install 'pareq[fpga]'")


def graph_of(kind):
    b = Builder()
    return b.graph(tuple(KIND_GRAPHS[kind](b, lambda bits: 2 ** min(bits, 5))))


def test_every_kind_of_op_has_an_emitter():
    assert set(EMITTERS) == set(KINDS)


LONG = ("conv", "conv_transpose")  # unrolled at many positions; in the networks below


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KIND_GRAPHS if kind not in LONG])
def test_kind(kind):
    """`plan` itself holds the adder graph to the integers of the graph."""
    graph = graph_of(kind)
    if kind == "top_k":
        with pytest.raises(BackendError, match=r"op 'top_k.2': only the first of top_k can be"):
            plan(graph)
    else:
        assert plan(graph).estimate >= 0


NETWORKS = {
    "mlp": lambda: perceptron((6, 9, 4)),
    "free": lambda: perceptron((6, 8, 4), free=True, quantized=True),
    "even": lambda: perceptron((5, 6, 4), rounding="half_even", signed=True, quantized=True),
    "conv": lambda: convolutions((1, 2), size=(4, 5), bits=4),
    "residual": lambda: random_graph(1, "residual"),
}


@icarus
@pytest.mark.parametrize("stage", [3.0, 0.0])
@pytest.mark.parametrize("name", ["mlp", "even"])
def test_networks(name, stage, tmp_path):
    graph = NETWORKS[name]()
    artefact = build(graph, Alkaid(stage=stage, simulator="icarus"), tmp_path / "net", name="net")
    assert verify(artefact, graph, rows=300).samples == 302
    assert (artefact.figures["latency_cycles"] > 0) == (stage > 0)


@icarus
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("mlp", "even")])
def test_more_networks(name, tmp_path):
    graph = NETWORKS[name]()
    artefact = build(graph, Alkaid(simulator="icarus"), tmp_path / "net", name="net")
    assert verify(artefact, graph, rows=300).samples == 302


@icarus
def test_ports_are_those_of_our_own_design(tmp_path):
    """Elements that are constant, wider or shifted in alkaid's ports; several inputs."""
    b = Builder()
    x = b.input("x", (3,), Grid(-3, 9, 0.5))
    y = b.input("y", (2,), Grid(0, 1, 0.5))
    wide = b.op("leaky", (x,), {"shift": 3})
    still = b.constant("still", np.array([3, -5]))
    both = b.op("multiply", (y, b.constant("c", np.array([4, -8]))))
    graph = b.graph((wide, still, both, y, wide))
    headers = []
    for emitter in ("native", "alkaid"):
        how = Verilog(emitter=emitter, simulator="icarus")
        artefact = build(graph, how, tmp_path / emitter, name="net")
        assert verify(artefact, graph, rows=50).samples == 52
        lines = (artefact.folder / "net.v").read_text().splitlines()
        headers.append(
            [each.strip() for each in lines if each.startswith(("    input", "    output"))]
        )
    assert headers[0][:7] == headers[1][:7]


@verilator
def test_verilator_reads_it(tmp_path):
    place = build(NETWORKS["mlp"](), Alkaid(vhdl=False), tmp_path / "net", name="net").folder
    command = [
        "verilator",
        "--lint-only",
        "--timing",
        "--top-module",
        "net_tb",
        "net_tb.v",
        "net.v",
    ]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(
    shutil.which("ghdl") is None or shutil.which("iverilog") is None,
    reason="GHDL OR ICARUS IS NOT INSTALLED: apt install ghdl iverilog",
)
def test_the_vhdl_is_the_same_design(tmp_path):
    """Turned into Verilog by ghdl, it passes the test bench of the Verilog one."""
    place = build(NETWORKS["mlp"](), Alkaid(), tmp_path / "net", name="net").folder
    files = sorted((place / "vhdl").glob("*.vhd"), key=lambda each: each.name == "net_graph.vhd")
    static = [each for each in files if not each.stem.startswith(("logic", "net_graph"))]
    order = [*static, *(each for each in files if each not in static)]
    command = ["ghdl", "--synth", "--std=08", "--out=verilog", *map(str, order), "-e", "net_graph"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    text = (place / "net.v").read_text()
    top = text[: text.index("endmodule") + len("endmodule")]
    (place / "net.v").write_text(f"{top}\n{done.stdout}")
    artefact = load(place)
    assert verify(artefact, artefact.graph, rows=200).samples == 202


def test_the_head_names_the_licence(tmp_path):
    artefact = build(NETWORKS["mlp"](), "alkaid", tmp_path / "net", name="net")
    text = (artefact.folder / "net.v").read_text()
    assert "Made by alkaid 0.8.2, whose modules here are LGPL-3.0-or-later." in text
    assert "verilator lint_off WIDTHTRUNC" not in text
    assert "vhdl/net_graph.vhd" in artefact.files
    assert artefact.figures["alkaid_cost"] > 0
    assert BACKENDS["alkaid"] == Alkaid()


def test_the_better_of_both_is_taken(tmp_path, monkeypatch):
    graph = NETWORKS["mlp"]()

    def built(emitter):
        return build(graph, Verilog(emitter=emitter), tmp_path / emitter, name="net")

    ours, other = (built(each).figures["lut_estimate"] for each in ("native", "alkaid"))
    assert built("best").figures["lut_estimate"] == min(ours, other)

    class Cheap:
        estimate = 0.0
        design = staticmethod(plan(graph).design)

    monkeypatch.setattr(backend, "plan", lambda graph: Cheap)
    assert "alkaid_cost" in built("best").figures


def test_what_alkaid_cannot_take_is_said_and_best_takes_our_own(tmp_path):
    b = Builder()
    x = b.input("x", (2,), Grid(0, 2**40))
    graph = b.graph((b.op("clamp", (x,), {"lo": 0, "hi": 7}, name="c"),))
    for how in ("alkaid", Verilog(emitter="alkaid")):
        with pytest.raises(
            BackendError, match=r"input 'x': integers reach \d+, alkaid takes those"
        ):
            build(graph, how, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []
    assert "alkaid_cost" not in build(graph, "verilog", tmp_path / "net").figures
    b = Builder()
    weights = b.constant("w", np.array([[2**24, 1]])), b.constant("b", np.array([0]))
    graph = b.graph((b.op("dense", (b.input("x", (2,), Grid(0, 1)), *weights), name="d"),))
    with pytest.raises(
        BackendError, match="op 'd': a weight is 16777216, alkaid takes those below"
    ):
        plan(graph)


def test_what_is_too_large_is_refused_before_alkaid_searches(tmp_path, monkeypatch):
    def never(graph):
        raise NotImplementedError

    monkeypatch.setattr(backend, "plan", never)
    monkeypatch.setattr("pareq.backends.verilog.alkaid.backend.plan", never)
    for how in (Alkaid(most=10), Verilog(emitter="alkaid", most=10)):
        with pytest.raises(BackendError, match=r"'fc1' alone \d+\), expected 10 at most; prune it"):
            build(NETWORKS["mlp"](), how, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_without_alkaid_it_is_said_what_to_install(tmp_path, monkeypatch):
    for name in [each for each in sys.modules if each.split(".")[0] == "alkaid"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "alkaid", None)
    graph = NETWORKS["mlp"]()
    with pytest.raises(
        MissingExtra, match=r"alkaid is not installed; run: pip install 'pareq\[fpga\]'"
    ):
        build(graph, "alkaid", tmp_path / "net")
    assert list(tmp_path.iterdir()) == []
    assert "adder_bits" in build(graph, "verilog", tmp_path / "net").figures


def test_settings_are_checked():
    for wrong in ({"stage": -1.0}, {"period": 0.0}):
        with pytest.raises(PareqError, match=r"^alkaid: \w+ is "):
            Alkaid(**wrong)
    with pytest.raises(BackendError, match="emitter is 'other', expected one of best, native, alk"):
        Verilog(emitter="other")
