"""A run in integers, as lower, build and bench leave it, without a compiler."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from pareq.ir.graph import Graph
from pareq.ir.store import save_graph
from pareq.lower.agreement import Agreement
from pareq.train.latency import PEER, Latency, keep_latencies
from tests.ir.random_graphs import random_graph

__all__ = ["AGREES", "deploy"]

AGREES = Agreement(4000, 20_000, 0, 12, 12, 3e-6)


def deploy(folder: Path, *, family: str = "residual", seed: int = 3, built: bool = True) -> Graph:
    """Add a graph to a finished run, with what goes with it."""
    best = folder / "checkpoints" / "best.safetensors"
    best.parent.mkdir()
    best.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    graph = replace(random_graph(seed, family), metadata={"checkpoint_sha256": digest})
    save_graph(graph, folder / "graph")
    test = json.loads((folder / "result.json").read_text())["test"]
    note = {"version": 1, "checkpoint_sha256": digest, "test": test, "agreement": asdict(AGREES)}
    (folder / "integers.json").write_text(json.dumps(note))
    if built:
        program = folder / "build" / "c"
        program.mkdir(parents=True)
        (program / "tagger.c").write_text("int x;\n")
        card = {"version": 1, "backend": "c", "name": "tagger", "files": ["tagger.c"]}
        (program / "artefact.json").write_text(json.dumps({**card, "figures": {"bytes": 93_500.0}}))
        save_graph(graph, program / "graph")
        keep_latencies(folder, [Latency("c", 1024, 6.4, 0.7), Latency(PEER, 1024, 63.2, 5.1)])
    return graph
