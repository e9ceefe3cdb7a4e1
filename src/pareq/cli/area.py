"""The command that says what a design takes on an FPGA."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pareq.cli.deploying import Artefacts, emitters, emitting
from pareq.cli.options import say

if TYPE_CHECKING:
    from pareq.backends import Artefact, Verilog
    from pareq.ir.graph import Graph

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Add it to the command line."""
    app.command(rich_help_panel="Deploy")(area)


def _families() -> list[str]:
    from pareq.backends.verilog.area import FAMILIES

    return list(FAMILIES)


def area(
    what: Artefacts,
    family: Annotated[
        str,
        typer.Option(help="xcup (UltraScale+), xc7 (7-series) or ecp5.", autocompletion=_families),
    ] = "xcup",
    clock: Annotated[
        bool, typer.Option("--clock", help="Place and route too, on an ECP5, by nextpnr.")
    ] = False,
    emitter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Instead of what was built, count what best, native or alkaid makes; repeatable.",
            autocompletion=emitters,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count what designs take on an FPGA: look-up tables, flip-flops, stages, logic depth.

    Counted by Yosys, which is not the vendor's tool: compare counts of one tool only. Designs are
    what pareq build RUN verilog and pareq build RUN alkaid write.

    [bold]Examples[/]
    pareq area runs/mine
    pareq area runs/mine/build/verilog --family ecp5 --clock
    pareq area runs/mine --emitter native --emitter alkaid
    """
    from pareq.train.deploy import load_artefact

    console = Console()
    found = []
    if emitter:
        makers = {each: emitting(each) for each in emitter}
        for place, graph in _graphs(what).items():
            for name, maker in makers.items():
                status = console.status(f"{place}: synthesis of {name}")
                with status, _made(graph, maker) as artefact:
                    found.append(_measured(artefact, place, family, clock=clock))
    else:
        for place in _designs(what):
            with console.status(f"{place}: synthesis"):
                artefact = load_artefact(place)
                found.append(_measured(artefact, place, family, clock=clock))
    if as_json:
        say(console, json.dumps(found, indent=1))
        return
    console.print(_table(found))
    for line in _notes(found):
        say(console, line)


def _designs(what: Sequence[Path]) -> list[Path]:
    """The artefacts among the given ones that are designs. Raises BackendError for none."""
    from pareq.backends import Alkaid, Verilog
    from pareq.errors import BackendError
    from pareq.train.deploy import chosen, load_artefact

    places = chosen(what, "verilog")
    designs = [p for p in places if isinstance(load_artefact(p).backend, Verilog | Alkaid)]
    if not designs:
        raise BackendError(
            "nothing there is a design for an FPGA; run, for example: pareq build RUN verilog",
            where=str(what[0]),
        )
    return designs


def _graphs(what: Sequence[Path]) -> "dict[Path, Graph]":
    """The graph of each run, which is lowered if need be, or artefact."""
    from pareq.train.deploy import chosen, load_artefact, lowered_run

    found = {}
    for place in what:
        if (place / "run.json").exists():
            found[place] = lowered_run(place).graph
        else:
            found |= {each: load_artefact(each).graph for each in chosen([place])}
    return found


@contextmanager
def _made(graph: "Graph", maker: "Verilog") -> "Iterator[Artefact]":
    """A design that nobody keeps."""
    from pareq.backends import build

    with tempfile.TemporaryDirectory(prefix="area-") as folder:
        yield build(graph, maker, Path(folder) / "made", name="net")


def _measured(artefact: "Artefact", place: Path, family: str, *, clock: bool) -> dict[str, object]:
    """All figures of one design, each with where it comes from."""
    from pareq.backends.verilog.alkaid.design import plan
    from pareq.backends.verilog.area import area as count
    from pareq.backends.verilog.routing import routed
    from pareq.errors import BackendError, MissingExtra

    known = artefact.figures
    found: dict[str, object] = {
        "design": str(place),
        "backend": artefact.backend.name,
        "emitter": "alkaid" if "alkaid_cost" in known else "native",
        "stages": int(known["latency_cycles"]),
        "lut_estimate": known["lut_estimate"],
        **asdict(count(artefact, family=family)),
    }
    try:
        own = plan(artefact.graph)
        found["alkaid"] = {"cost": own.cost, "tool": "alkaid", "version": own.version}
    except (MissingExtra, BackendError) as error:
        found["alkaid"] = {"missing": str(error)}
    if clock:
        try:
            found["clock"] = asdict(routed(artefact))
        except BackendError as error:
            found["clock"] = {"missing": str(error)}
    return found


_ROWS = {
    "look-up tables": "luts",
    "after packing two into one": "packed",
    "flip-flops": "flip_flops",
    "carry cells": "carries",
    "stages": "stages",
    "tables between registers": "depth",
    "look-up tables, estimated": "lut_estimate",
}


def _table(found: Sequence[dict[str, object]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for each in found:
        table.add_column(str(each["design"]), justify="right", overflow="fold")
    table.add_row("made by the emitter", *(str(each["emitter"]) for each in found))
    for label, key in _ROWS.items():
        table.add_row(label, *(_number(each[key]) for each in found))
    for label, key, inside in (
        ("look-up tables, estimated by alkaid for its own design", "alkaid", "cost"),
        ("clock on an ECP5, MHz", "clock", "mhz"),
    ):
        parts = [each.get(key) for each in found]
        cells = [_number(p.get(inside)) if isinstance(p, dict) else "-" for p in parts]
        if any(cell != "-" for cell in cells):
            table.add_row(label, *cells)
    return table


def _number(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else "-"


def _notes(found: Sequence[dict[str, object]]) -> Iterator[str]:
    """By what it was counted, and what is missing; each once."""
    first = found[0]
    yield f"counted by {first['tool']} {first['version']}: {first['options']}"
    seen: set[str] = set()
    for key in ("clock", "alkaid"):
        for part in (each.get(key) for each in found):
            if not isinstance(part, dict):
                continue
            line = str(part.get("missing", ""))
            if "mhz" in part:
                line = f"clock by {part['tool']} {part['version']}: {part['options']}"
            if line and line not in seen:
                yield line if "mhz" in part else f"without {key}: {line}"
            seen.add(line)
    yield "no figure is one of the vendor's tool; what they mean: docs/reference/area.md"
