"""Inference of a ResNet-20 in C, beside ONNX Runtime in int8 and float32.

3 x 32 x 32 pictures, 270,000 weights, batch normalisation, one thread. The weights are random: 8 or
4 bits, all of them or the largest tenth; activations have as many bits. A network is lowered like a
trained one, verified, and timed at batches of 1 and 16 in turns with the peers; each time is the
shortest that was seen. "integers" is the bound call of the C function, "reals" takes and gives
floats, as the peers do. The peers have no sparse kernels and no 4 bits: they run the dense network.

ratio: our time over the peer's; "sparse" beside "dense" shows what nine tenths of zeros bring.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import Row, arguments, report
from numpy.random import default_rng
from runtimes import Run, onnx_runtime, quickest
from train_step import resnet20

import pareq as pq
from pareq.backends import C, build, verify
from pareq.ir.graph import Graph

BATCHES = (1, 16)
BLOCKS = 150
ADDED = ("bn2", "down.1")  # what the residual additions add


def lowered(bits: int, zeros: float) -> Graph:
    """The network with so many bits, and so many of its weights zero."""
    torch.manual_seed(0)
    rules = [
        pq.Rule(":input", pq.FixedPoint(8, frac=5)),
        pq.Rule("*:weight", pq.MaxAbs(bits)),
        pq.Rule(":output", pq.FixedPoint(8, frac=5)),
        pq.Rule("*:output", pq.FixedPoint(bits, frac=bits - 3, signed=False)),
        pq.Rule("*@AdaptiveAvgPool2d:output", pq.FixedPoint(bits, frac=bits - 2, signed=False)),
        *(
            pq.Rule(f"*.{end}@BatchNorm2d:output", pq.FixedPoint(bits, frac=bits - 4))
            for end in ADDED
        ),
    ]
    if zeros:
        rules.insert(0, pq.Rule("*:weight", pq.Prune(scope="layer"), pq.After(0, to=zeros)))
    net = pq.attach(resnet20(), pq.Recipe(*rules), steps=1)
    net.set_step(0)
    x = torch.randn(8, 3, 32, 32)
    for _ in range(4):
        net.model(x)  # running statistics
    net.model.eval()
    return pq.lower(net, x[:2])


def measured(case: str, graph: Graph, others: dict[str, Run], x: np.ndarray) -> list[Row]:
    """Rows of one network at each batch, beside each peer."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        artefact = build(graph, C(threads=1), Path(folder) / "cnn", name="cnn")
        verify(artefact, graph, x, rows=16)
        for batch in BATCHES:
            bound, part = artefact.bind(batch), x[:batch].copy()
            bound.x[0][...] = graph.inputs[0].value.grid.quantize(part)
            ours: dict[str, Run] = {"integers": lambda _, call=bound: call(), "reals": artefact}
            steps = {name: partial(run, part) for name, run in {**ours, **others}.items()}
            found = {k: each / batch for k, each in quickest(steps, BLOCKS, 1).items()}
            for mine in ours:
                for name in others:
                    pair = (found[mine], found[name])
                    ratio, dense = round(pair[0] / pair[1], 3), "dense" in case
                    times = [round(each, 4) for each in pair]
                    metric = f"ms a picture, batch {batch}"
                    bar = 1.0 if dense else None
                    rows.append(Row(f"{case}, {mine}", metric, *times, name, ratio, bar))
    return rows


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    x = default_rng(1).normal(size=(512, 3, 32, 32)).astype(np.float32)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        others = onnx_runtime(resnet20().eval(), x, Path(folder))
        for bits in (8, 4):
            for kind, zeros in (("dense", 0.0), ("sparse", 0.9)):
                case = f"resnet20, {bits} bits, {kind}"
                rows += measured(case, lowered(bits, zeros), others, x[: max(BATCHES)])
    report(rows, options.json)


if __name__ == "__main__":
    main()
