"""Programs side by side: all measured, by turns, in one thread."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import pareq as pq
from pareq.backends import build
from pareq.errors import BackendError, RunError
from pareq.train.latency import (
    PEER,
    Latency,
    float32_peer,
    keep_latencies,
    kept_latencies,
    latencies,
)
from tests.ir.random_graphs import random_graph
from tests.lower.trained import attached
from tests.train.deployed import compiler

compiler()


def test_each_program_is_measured_by_turns(tmp_path):
    """The progress ends at the total; times are positive and of the batch that was asked for."""
    graph = random_graph(1, "mlp")
    made = {name: build(graph, "c", tmp_path / name) for name in ("a", "b")}
    told = []
    found = latencies(made, rows=16, seconds=0.002, progress=lambda *given: told.append(given))
    assert [(each.program, each.rows) for each in found] == [("a", 16), ("b", 16)]
    assert all(each.sample_ns > 0 and each.call_us > 0 for each in found)
    assert told == [(n, 18) for n in range(1, 19)]


def test_one_thread(tmp_path, monkeypatch):
    """Whatever a back end does otherwise."""
    made = build(random_graph(1, "mlp"), "c", tmp_path / "a")
    seen = []
    kind = type(made.backend)
    load = kind.load

    def noted(backend, artefact):
        seen.append(backend.threads)
        return load(backend, artefact)

    monkeypatch.setattr(kind, "load", noted)
    latencies({"a": replace(made, backend=replace(made.backend, threads=7))}, rows=2, seconds=0.002)
    assert seen == [1]


def test_the_float_network_runs_in_onnx_runtime():
    """It computes what torch computes without the quantizers; pruned weights are zeros."""
    pytest.importorskip("onnxruntime")
    rules = [
        pq.Rule("*:weight", pq.Prune(), pq.After(0, to=0.5)),
        pq.Rule(":input", pq.FixedPoint(4)),
    ]
    net = attached(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU()), rules, (6,))
    graph = random_graph(1, "mlp")
    peer = float32_peer(net, graph, torch.zeros(2, 6))
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    (found,) = peer.backend.call(x)
    with torch.no_grad():
        expected = net.detach().eval()(torch.from_numpy(x))
    assert found == pytest.approx(expected.numpy(), abs=1e-5)
    assert peer.backend.name == PEER


def test_a_network_that_cannot_be_exported_is_one_line():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return torch.linalg.eigvals(self.fc(x).T @ x).real

    pytest.importorskip("onnxruntime")
    net = pq.attach(Odd(), pq.Recipe(pq.Rule("fc:weight", pq.FixedPoint(4))), steps=1)
    with pytest.raises(BackendError, match=r"^torch cannot export the float network \(.*\)$"):
        float32_peer(net, random_graph(1, "mlp"), torch.ones(2, 2))


def test_times_are_kept(tmp_path):
    found = (Latency("c", 8, 1.5, 0.25), Latency(PEER, 8, 3.0, 4.0))
    assert kept_latencies(tmp_path) == ()
    keep_latencies(tmp_path, found)
    assert kept_latencies(tmp_path) == found
    (tmp_path / "latency.json").write_text('[{"program": "c", "rows": 1}]')
    with pytest.raises(RunError, match=r"latency\.json: is damaged; measure again: pareq bench$"):
        kept_latencies(tmp_path)
