"""Two processes with gloo: ranks agree on masks, ranges and weights."""

import socket
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import pareq as pq
from tests.attach.networks import make


def rank_main(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model, x = make("mlp")
    net = pq.attach(
        model,
        pq.Recipe(
            pq.Rule("*:weight", pq.Prune(), pq.Ramp(1, 5, to=0.5, every=1)),
            pq.Rule("*:weight", pq.FixedPoint(5), pq.After(4)),
            pq.Rule("2:output", pq.FixedPoint(5, signed=False, window=2, refresh=2), pq.After(4)),
            pq.Rule("4:output", pq.LearnedScale(5), pq.After(4)),
        ),
    )
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    torch.manual_seed(rank)
    x = torch.randn(32, 6) * (1 + 3 * rank)  # ranks see different ranges
    for step in range(10):
        net.set_step(step)
        optimizer.zero_grad()
        loss = cross_entropy(wrapped(x), torch.arange(32) % 4) + net.penalty()
        loss.backward()
        optimizer.step()
    activation = next(s for s in net.sites if s.name == "2:output")
    floats = {"fixed": torch.tensor(activation.quantizer.fixed)} if rank else {}
    torch.save({**model.state_dict(), **floats}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
@pytest.mark.skipif(sys.platform == "win32", reason="spawned ranks share a port on POSIX only")
def test_ranks_end_with_the_same_operators(tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(rank_main, args=(port, str(tmp_path)), nprocs=2)
    states = [torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in (0, 1)]
    fixed = states[1].pop("fixed")
    local = ("running_mean", "running_var")  # batch norm of the last batch, each rank's own
    for key, value in states[0].items():
        if not key.endswith(local):
            assert torch.equal(value, states[1][key]), key
    assert fixed == states[0]["2.pareq_output.0.step"]
    masks = [v for k, v in states[0].items() if k.endswith("mask")]
    assert sum(int(m.sum()) for m in masks) == sum(m.numel() for m in masks) // 2
