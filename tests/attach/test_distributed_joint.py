"""Two processes with gloo: ranks agree on masks of activations and on searched ranges."""

import socket
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import pareq as pq
from pareq.operators.schedule import Levels
from pareq.pruners import PruneActivation
from pareq.quantizers import Uniform


def rank_main(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    net = pq.attach(
        model,
        pq.Recipe(
            pq.Rule("*:weight", Uniform(5), pq.After(4)),
            pq.Rule("1:output", PruneActivation(window=2), Levels(1, 5, to=0.5, levels=2)),
            pq.Rule("1:output", Uniform(4, signed=False, window=2), pq.After(4)),
        ),
        example=torch.zeros(1, 6),
    )
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    torch.manual_seed(rank)
    inputs = torch.randn(8, 32, 6) * (1 + 3 * rank)  # ranks see different ranges
    for step, x in enumerate(inputs):
        net.set_step(step)
        optimizer.zero_grad()
        wrapped(x).square().mean().backward()
        optimizer.step()
    torch.save(model.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
@pytest.mark.skipif(sys.platform == "win32", reason="spawned ranks share a port on POSIX only")
def test_ranks_choose_the_same_masks_and_ranges(tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(rank_main, args=(port, str(tmp_path)), nprocs=2)
    states = [torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in (0, 1)]
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
    (mask,) = (v for k, v in states[0].items() if k.endswith("mask"))
    assert int((mask == 0).sum()) == 8
    errors = [v for k, v in states[0].items() if k.startswith("1.") and k.endswith("errors")]
    assert float(errors[0].max()) > 0
