"""A finished run as integers: the graph of its best network, and programs built from it.

| in the run's folder | content |
|---|---|
| graph/ | the graph; its metadata name by hash the checkpoint that it was made from |
| integers.json | what the graph does on the test split, and whether the network does the same |
| build/BACKEND/ | artefacts |
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pareq.attach.attach import Attached
from pareq.backends import BACKENDS, Artefact, Backend, build, load
from pareq.errors import BackendError, GraphError, LoweringError, RunError, at
from pareq.ir.execute import evaluate
from pareq.ir.graph import Graph
from pareq.ir.store import load_graph, save_graph
from pareq.lower.agreement import Agreement, agreement
from pareq.lower.lower import lower
from pareq.train import durable
from pareq.train.checkpoint import Json
from pareq.train.run import Run, open_run
from pareq.train.trial import reopen

__all__ = [
    "Integers",
    "Lowered",
    "artefacts",
    "build_run",
    "chosen",
    "home",
    "load_artefact",
    "lower_run",
    "lowered_run",
    "open_lowered",
]

_VERSION = 1
_KEY = "checkpoint_sha256"  # in the metadata of a graph


@dataclass(frozen=True)
class Lowered:
    """A run's graph and what was found out about it.

    test: the quality of the integers on the test split, as `Task.evaluate` gives it. agrees: the
    same samples through the network, in float64 and in float32.
    """

    folder: Path
    graph: Graph
    test: dict[str, Json]
    agrees: Agreement


class Integers(nn.Module):
    """A graph as a module: reals in, the reals of its first output out, `(N, *shape)`, float64."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        """Quantize, run on integers, dequantize."""
        return torch.from_numpy(evaluate(self.graph, x.detach().cpu().numpy())[0])


def lower_run(folder: str | Path) -> Lowered:
    """Lower the best network of a finished run, and keep the graph in the run's folder.

    Raises RunError for a folder that is no finished run, LoweringError for a network that has no
    exact integer meaning, or gives other outputs on the test split than its graph.
    """
    place = Path(folder)
    _finished(place)
    with at(str(place)):
        digest = _digest(place)
    run, task, net = reopen(place)
    with at(str(place)):
        _quantized(run, net)
        graph = lower(net, task.example)
        graph = replace(graph, metadata={**graph.metadata, _KEY: digest})
        test = task.load().test
        agrees = agreement(net, graph, test.x)
        if not agrees.exact:
            raise LoweringError(
                f"{agrees.float64_differ} of {agrees.outputs} outputs on the test split differ from"
                " the network in float64; report it with the run"
            )
        quality = task.evaluate(Integers(graph), test)
    found = Lowered(place, graph, json.loads(json.dumps(quality)), agrees)
    _keep(found, digest)
    return found


def open_lowered(folder: str | Path) -> Lowered:
    """What `lower_run` has kept in a run.

    Raises RunError when there is nothing, or it was made from another checkpoint, GraphError when
    it is damaged.
    """
    place = Path(folder)
    open_run(place)
    with at(str(place)):
        if not (place / "graph" / "graph.json").exists():
            raise RunError(f"has no graph yet; run: pareq lower {place}")
        try:
            graph = load_graph(place / "graph")
        except GraphError as error:
            raise GraphError(_again(error.fact, place), where="graph") from None
        if graph.metadata.get(_KEY) != _digest(place):
            raise RunError(_again("was made from another checkpoint", place), where="graph")
        with at("integers.json"):
            return _kept(place, graph)


def build_run(
    folder: str | Path,
    backend: str | Backend,
    out: str | Path | None = None,
    *,
    name: str = "",
) -> Artefact:
    """Build a run's graph, lowered first where there is none of its present checkpoint.

    backend: a name in BACKENDS, or one with settings of its own. out: default RUN/build/BACKEND.
    name: of the model; default that of the task. Raises what `lower_run`, `open_lowered` and
    `pareq.backends.build` raise.
    """
    writer = BACKENDS[backend] if isinstance(backend, str) else backend
    place = Path(folder)
    graph = lowered_run(place).graph
    task = open_run(place).about.task
    return build(
        graph,
        writer,
        out or place / "build" / writer.name,
        name=name or (task if task.isidentifier() and task.isascii() else "model"),
    )


def lowered_run(folder: str | Path) -> Lowered:
    """What `lower_run` has kept of a run's present checkpoint; else it is lowered now."""
    place = Path(folder)
    return open_lowered(place) if _present(place) else lower_run(place)


def artefacts(folder: str | Path) -> tuple[Path, ...]:
    """The folders of the artefacts in a run, sorted."""
    return tuple(sorted(each.parent for each in Path(folder).glob("build/*/artefact.json")))


def chosen(places: Sequence[Path], example: str = "c") -> tuple[Path, ...]:
    """The artefacts that paths mean: those of a run, or the one at the path.

    Raises RunError for a run in which nothing was built, and says how to build `example`;
    BackendError for another folder.
    """
    found: dict[Path, None] = {}
    for place in places:
        if (place / "run.json").exists():
            inside = artefacts(place)
            if not inside:
                raise RunError(
                    f"nothing was built yet; run: pareq build {place} {example}", where=str(place)
                )
            found |= dict.fromkeys(inside)
        elif (place / "artefact.json").exists():
            found[place] = None
        else:
            what = "does not exist" if not place.exists() else "is neither"
            raise BackendError(
                f"{what}, expected the folder of a run, or one that pareq build wrote",
                where=str(place),
            )
    return tuple(found)


def load_artefact(folder: str | Path) -> Artefact:
    """An artefact; one inside a run must be of the run's present checkpoint.

    Raises BackendError and GraphError for one that is damaged or older than its run.
    """
    found = load(folder)
    run = home(folder)
    if run is not None and found.graph.metadata.get(_KEY) != _digest(run):
        raise BackendError(
            "was built from another checkpoint than the run has now; build it again:"
            f" pareq build {run} {found.backend.name}",
            where=str(folder),
        )
    return found


def home(folder: str | Path) -> Path | None:
    """The run in which a folder lies, or that it is."""
    place = Path(folder)
    for each in (place, *place.parents):
        if (each / "run.json").exists():
            return each
    return None


def _present(place: Path) -> bool:
    """Whether there is a graph, damaged or not, that is not of an older checkpoint."""
    if not (place / "graph" / "graph.json").exists():
        return False
    try:
        return load_graph(place / "graph").metadata.get(_KEY) == _digest(place)
    except GraphError:
        return True  # to be refused


def _finished(place: Path) -> None:
    run = open_run(place)
    if run.finished:
        return
    command = f": {' '.join(run.about.command)}" if run.about.command else ""
    raise RunError(f"has not finished; train it to its end{command}", where=str(place))


def _quantized(run: Run, net: Attached) -> None:
    """Refuse a network of reals in one line of its own."""
    if not any(site.quantizer for site in net.sites):
        raise LoweringError(
            "no rule of its recipe quantizes, so its numbers are no integers; train one that does,"
            f" such as: pareq train {run.about.task} qap"
        )


def _digest(place: Path) -> str:
    """The hash of the best network of a run."""
    path = place / "checkpoints" / "best.safetensors"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        reason = error.strerror or "not readable"
        raise RunError(f"{path.name} cannot be read ({reason}); train further") from None


def _again(fact: str, place: Path) -> str:
    return f"{fact.partition(';')[0]}; lower the run again: pareq lower {place}"


def _keep(found: Lowered, digest: str) -> None:
    save_graph(found.graph, found.folder / "graph")
    card = {
        "version": _VERSION,
        _KEY: digest,
        "test": found.test,
        "agreement": asdict(found.agrees),
    }
    text = json.dumps(card, indent=1, allow_nan=False)
    durable.write(found.folder / "integers.json", (text + "\n").encode())


def _kept(place: Path, graph: Graph) -> Lowered:
    """The graph with what integers.json says."""
    names = {field.name for field in fields(Agreement)}
    try:
        card = json.loads((place / "integers.json").read_bytes())
        found, test = card["agreement"], card["test"]
        same = (card["version"], card[_KEY]) == (_VERSION, graph.metadata[_KEY])
        whole = set(found) == names and isinstance(test, dict)
        if same and whole and all(isinstance(each, int | float) for each in found.values()):
            return Lowered(place, graph, test, Agreement(**found))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise RunError(_again("is missing or damaged", place))
